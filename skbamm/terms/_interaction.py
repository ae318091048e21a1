"""Columns of an interaction: products of few functions of two columns, main effects taken out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import eigh, pinvh

from ._columns import CategoricalColumn
from ._spline import TINY

# So many functions of each column enter the products, the smoothest ones; so many columns are kept,
# and none whose variance is a smaller fraction of the first one's.
N_MARGINS, N_KEPT, NEGLIGIBLE = 7, 24, 1e-3
# What main effects leave of products, relative to these, that is rounding.
ROUNDING = 1e-12
# Order of the derivative that makes their roughness, whatever that of main effects: what two
# columns do together is often a threshold, and second derivatives missed it (measured).
ORDER = 1
# Roughness of a product of two linear functions; that of the smoothest other function is 1.
BILINEAR = 0.05


@dataclass(frozen=True)
class Margin:
    """Few functions of a column: the line and the smoothest ones, or the most frequent levels."""

    column: Any  # NumericColumn or CategoricalColumn
    functions: Any  # SmoothFunctions of variance 1, positions of levels, or None
    roughness: np.ndarray  # (n_functions,)

    @classmethod
    def of(cls, column, values, weight, n_knots):
        if isinstance(column, CategoricalColumn):
            levels = np.argsort(-column.share, kind="stable")[:N_MARGINS]
            return cls(column, levels, np.zeros(len(levels)))
        n_linear = int(bool(column.deviation))
        functions = column.functions(values, weight, n_knots, ORDER)
        if functions is None:
            return cls(column, None, np.zeros(n_linear))
        functions = functions.first(N_MARGINS - n_linear).standardized()
        variance = functions.variance
        return cls(column, functions, np.append(np.zeros(n_linear), variance[:1] / variance))

    def __call__(self, values):
        if isinstance(self.column, CategoricalColumn):
            return self.column.transform(values)[:, self.functions].toarray()
        smooth = self.column.evaluate(self.functions, values)
        return np.hstack([self.column.linear(values), smooth])


@dataclass(frozen=True)
class PairColumns:
    """In a ridge penalty of these columns, that of a product is the sum of its roughnesses.

    The products are what main effects of the two columns leave of them, on the rows of `fit`, and
    so do not correlate with these. Variances add up to 1.
    """

    pair: tuple[int, int]  # positions of the columns
    margins: tuple[Margin, Margin]
    main: np.ndarray  # (1 + n_first + n_second, n_columns), regression on the main effects
    rotation: np.ndarray  # (n_products, n_columns)
    ends: np.ndarray  # (2, n_columns): least and largest entries on the rows of `fit`

    @classmethod
    def fit(cls, pair, margins, functions, mains, weight):
        """Also the columns themselves, on rows with weights that sum to 1.

        Given the functions of both margins on these rows, and the main effects of both columns.
        """
        products = _products(*functions)
        covariates = _with_constant(mains)
        root = np.sqrt(weight)[:, None]
        weighted = np.hstack([covariates, products]) * root
        gram, n_mains = weighted.T @ weighted, covariates.shape[1]
        cross = gram[:n_mains, n_mains:]
        main = pinvh(gram[:n_mains, :n_mains]) @ cross
        rough = np.sqrt(np.add.outer(*(margin.roughness for margin in margins)).ravel() + BILINEAR)
        whole = gram[n_mains:, n_mains:] / np.outer(rough, rough)
        left = whole - cross.T @ main / np.outer(rough, rough)
        variance, vectors = eigh(left)
        variance, vectors = variance[::-1][:N_KEPT], vectors[:, ::-1][:, :N_KEPT]
        least = max(NEGLIGIBLE * variance[:1].max(initial=0.0), ROUNDING * np.trace(whole), TINY)
        kept = variance > least
        vectors = vectors[:, kept] / np.sqrt(max(variance[kept].sum(), TINY))
        rotation = vectors / rough[:, None]
        block = products @ rotation - covariates @ (main @ rotation)
        seen = block[weight > 0]
        ends = np.stack([seen.min(0), seen.max(0)])
        return cls(pair, margins, main @ rotation, rotation, ends), np.clip(block, *ends, out=block)

    @property
    def n_columns(self):
        return self.rotation.shape[1]

    def transform(self, values, mains):
        """Given values and main effects of both columns.

        Not beyond what `fit` has seen of each: products are large where there are no rows.
        """
        functions = [margin(some) for margin, some in zip(self.margins, values, strict=True)]
        found = _products(*functions) @ self.rotation
        found -= _with_constant(mains) @ self.main
        return np.clip(found, *self.ends, out=found)

    def names(self, first, second):
        term = f"{first}:{second}"
        found = [f"{term}__smooth_{k + 1}" for k in range(self.n_columns)]
        return found, [f"{term}__smooth"] * self.n_columns


def _products(first, second):
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _with_constant(mains):
    return np.hstack([np.ones((len(mains[0]), 1)), *mains])
