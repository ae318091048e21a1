"""Cross-products of cells of rows: a weighting of cells is fitted without a pass over the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from ..linalg._cross_products import FoldSums, column_shift

# Weightings are compared on so many directions of X at most: beyond, a factorization for each of
# some hundred fits would cost more than the fit that the weights are for.
MAX_COLUMNS = 128
# A standard deviation below this share of the mean is rounding.
CONSTANT = 1e-10


def leading_directions(X, weight):
    """X itself, or the rows' coordinates along its largest directions, columns of variance 1."""
    if X.shape[1] <= MAX_COLUMNS:
        return X
    share = weight / weight.sum()
    if sparse.issparse(X):
        X = X.astype(np.float64)
        mean = share @ X  # stays: sparse columns are mostly 0
        spread = np.sqrt((share @ X.multiply(X) - mean**2).clip(0))
        X = X @ sparse.diags_array(_inverse(spread, mean))
    else:
        mean = share @ X
        X = X - mean
        X *= _inverse(np.sqrt(share @ X**2), mean)
    vectors = randomized_svd(X, MAX_COLUMNS, n_iter=2, random_state=0)[2]
    return X @ vectors.T


def _inverse(spread, mean):
    """One over a deviation, 0 for constant columns."""
    known = spread > CONSTANT * np.abs(mean)
    return np.divide(1.0, spread, where=known, out=np.zeros(len(spread)))


@dataclass(frozen=True)
class Cells:
    """Weighted cross-products of ``[X, y, 1]``, columns of mean 0 and variance 1, over each cell.

    d is ``n_features + n_targets + 1``.
    """

    products: np.ndarray  # (n_cells, d, d)
    n_targets: int
    scale: np.ndarray  # (n_targets,), deviations of the targets
    transform: np.ndarray  # (d, d): [X, y, 1] @ transform are those columns

    @classmethod
    def of(cls, X, y, weight, label, n_cells):
        """From rows and the cell of each; rows of label -1 are in none, but count for the scale."""
        shift = column_shift(X, y, True)
        inside = label if (label >= 0).all() else np.where(label < 0, n_cells, label)
        sums = FoldSums(shift, y.shape[1], int(inside.max()) + 1)
        with np.errstate(over="ignore", invalid="ignore"):
            products = sums.add(X, y, weight, inside).cross_products(overwrite=True).test
            total = products.sum(axis=0)
        if not np.isfinite(total).all():
            raise ValueError(
                "Weights of rows cannot be learned: X or y have values whose squares are beyond "
                "the range of numbers. Choose another unit for them."
            )
        mean = total[-1, :-1] / total[-1, -1]
        spread = np.sqrt((np.diag(total)[:-1] / total[-1, -1] - mean**2).clip(0))
        inverse = _inverse(spread, mean + shift)
        transform = np.diag(np.append(inverse, 1.0))
        transform[-1, :-1] = -mean * inverse
        products = transform.T @ products[:n_cells] @ transform
        if len(products) < n_cells:  # the last cells are empty
            products = np.concatenate([products, np.zeros((n_cells - len(products), *total.shape))])
        of_rows = transform.copy()
        of_rows[-1, :-1] -= shift * inverse
        n_targets = y.shape[1]
        return cls(products, n_targets, spread[-n_targets:], of_rows)

    @property
    def n_features(self):
        return self.products.shape[-1] - self.n_targets - 1

    def combined(self, weights):
        """Cross-products of weighted cells; (..., n_cells) gives (..., d, d)."""
        d = self.products.shape[-1]
        found = weights @ self.products.reshape(len(self.products), -1)
        return found.reshape(*weights.shape[:-1], d, d)

    def standardized(self, X, y):
        """Rows as ``[X, 1]`` and targets, in the units of the cells."""
        p = self.n_features
        columns = X @ self.transform[:p, :p]
        columns = np.asarray(columns) + self.transform[-1, :p]
        targets = y @ self.transform[p:-1, p:-1] + self.transform[-1, p:-1]
        return np.column_stack([columns, np.ones(len(y))]), targets


def ridge_path(products, n_targets, strengths):
    """Coefficients of ridge fits, (..., n_strengths, n_features + 1, n_targets), intercepts last.

    `products`, (..., d, d), are those of the rows that are fitted; a strength is on the scale of
    sums, as `Ridge` has it.
    """
    p = products.shape[-1] - n_targets - 1
    size = products[..., -1, -1, None]
    mean = products[..., -1, :-1] / np.where(size > 0, size, 1.0)
    centred = products[..., :-1, :-1] - size[..., None] * mean[..., :, None] * mean[..., None, :]
    values, vectors = np.linalg.eigh(centred[..., :p, :p])
    right = np.swapaxes(vectors, -1, -2) @ centred[..., :p, p:]
    scaled = values.clip(0)[..., None, :] + np.asarray(strengths)[:, None]
    coef = vectors[..., None, :, :] @ (right[..., None, :, :] / scaled[..., None])
    level = mean[..., None, p:] - (mean[..., None, None, :p] @ coef)[..., 0, :]
    return np.concatenate([coef, level[..., None, :]], axis=-2)


def squared_errors(coef, products, n_targets):
    """Mean over rows and targets of the squared errors of fits, from the rows' cross-products."""
    p = products.shape[-1] - n_targets - 1
    minus = np.broadcast_to(-np.eye(n_targets), (*coef.shape[:-2], n_targets, n_targets))
    combined = np.concatenate([coef[..., :p, :], minus, coef[..., p:, :]], axis=-2)
    found = (combined * (products[..., None, :, :] @ combined)).sum(axis=(-1, -2))
    return found.clip(0) / (n_targets * products[..., -1, -1, None])
