"""Columns of an interaction: products of few functions of two columns, main effects taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, pinvh

from ._spline import TINY

# So many functions of each column enter the products, the smoothest ones; so many columns are kept,
# and none whose variance is a smaller fraction of the first one's.
N_MARGINS, N_KEPT, NEGLIGIBLE = 10, 30, 3e-4
# Roughness of a product of two linear functions; that of the smoothest other function is 1.
BILINEAR = 0.05


@dataclass(frozen=True)
class PairColumns:
    """In a ridge penalty of these columns, that of a product is the sum of its roughnesses.

    The products are what main effects of the two columns leave of them, on the rows of `fit`, and
    so do not correlate with these.
    """

    pair: tuple[int, int]  # positions of the columns
    chosen: tuple[np.ndarray, np.ndarray]  # which of their functions are multiplied
    scales: tuple[np.ndarray, np.ndarray]
    main: np.ndarray  # (1 + n_first + n_second, n_products), regression on the main effects
    rotation: np.ndarray  # (n_products, n_columns)
    ends: np.ndarray  # (2, n_columns): least and largest entries on the rows of `fit`

    @classmethod
    def of(cls, pair, columns, mains, weight):
        """Given both columns and their main effects, dense, on rows with weights that sum to 1."""
        margins = [column.margins() for column in columns]
        # The smoothest functions, or the most frequent levels.
        chosen = tuple(np.argsort(-variance, kind="stable")[:N_MARGINS] for variance, *_ in margins)
        scales = tuple(m[2][c] for m, c in zip(margins, chosen, strict=True))
        roughness = [m[1][c] for m, c in zip(margins, chosen, strict=True)]
        products = _products(mains, chosen, scales)
        covariates = _with_constant(mains)
        weighted = covariates * weight[:, None]
        main = pinvh(weighted.T @ covariates) @ (weighted.T @ products)
        products = products - covariates @ main
        rough = np.sqrt(np.add.outer(*roughness).ravel() + BILINEAR)
        products = products / rough
        variance, vectors = eigh(products.T @ (products * weight[:, None]))
        variance, vectors = variance[::-1][:N_KEPT], vectors[:, ::-1][:, :N_KEPT]
        kept = variance > max(NEGLIGIBLE * variance[:1].max(initial=0.0), TINY)
        vectors = vectors[:, kept] / rough[:, None]
        vectors = vectors / np.sqrt(max(variance[kept].sum(), TINY))
        # `products` were divided by their roughness already.
        seen = (products * rough) @ vectors
        seen = seen[weight > 0]
        ends = np.stack([seen.min(axis=0), seen.max(axis=0)])
        return cls(pair, chosen, scales, main, vectors, ends)

    @property
    def n_columns(self):
        return self.rotation.shape[1]

    def transform(self, mains):
        """Given the main effects of both columns.

        Not beyond what `fit` has seen of each column: products are large where there are no rows.
        """
        products = _products(mains, self.chosen, self.scales)
        found = products @ self.rotation - _with_constant(mains) @ (self.main @ self.rotation)
        return np.clip(found, *self.ends, out=found)

    def names(self, first, second):
        term = f"{first}:{second}"
        found = [f"{term}__smooth_{k + 1}" for k in range(self.n_columns)]
        return found, [f"{term}__smooth"] * self.n_columns


def _products(mains, chosen, scales):
    first, second = (
        part[:, some] * scale for part, some, scale in zip(mains, chosen, scales, strict=True)
    )
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _with_constant(mains):
    return np.hstack([np.ones((len(mains[0]), 1)), *mains])
