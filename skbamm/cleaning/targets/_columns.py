"""Columns for noise models and the last linear fit: dense ones in their own units, or sparse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.utils.extmath import randomized_svd

from ._constants import MOST_COLUMNS, MOST_DENSE
from ._ridge import rotation, standardized


@dataclass(frozen=True)
class DenseColumns:
    """Rows of few directions in place of those of many sparse columns; others as they are."""

    turn: np.ndarray | None = None

    @classmethod
    def of(cls, X):
        if not sparse.issparse(X) or X.shape[1] <= MOST_DENSE:
            return cls()
        size = np.sqrt(np.asarray(X.multiply(X).mean(axis=0)).ravel())
        inverse = 1 / np.where(size > 0, size, np.inf)
        turn = randomized_svd(X @ sparse.diags(inverse), MOST_COLUMNS, n_iter=2, random_state=0)[2]
        return cls(inverse[:, None] * turn.T)

    def __call__(self, X):
        if self.turn is not None:
            return np.asarray(X @ self.turn)
        return (X.toarray() if sparse.issparse(X) else X).astype(np.float64, copy=False)


@dataclass(frozen=True)
class ColumnUnits:
    """Columns in their own units, turned where there are many."""

    mean: np.ndarray
    scale: np.ndarray
    turn: np.ndarray | None

    @classmethod
    def of(cls, X, weight, most_columns=MOST_COLUMNS):
        scaled, mean, scale = standardized(X, weight)
        return cls(mean, scale, rotation(scaled, weight, most_columns))

    def columns(self, X):
        scaled = (X - self.mean) / self.scale
        turned = scaled if self.turn is None else scaled @ self.turn
        return np.hstack([turned, np.ones((len(X), 1))])


def fit_linear(rows, label_weight, ridge):
    """Coefficients and intercept, in raw units, of ridge on weighted rows."""
    weight = rows.weight * label_weight
    if not weight.any():
        weight = rows.weight
    used = weight > 0
    X, y, weight = rows.X[used].astype(np.float64, copy=False), rows.y[used], weight[used]
    # Units are the rows' own, whatever their labels weigh.
    if sparse.issparse(X):
        return _fit_sparse(X, y, weight, rows.weight[used], ridge)
    scaled, mean, scale = standardized(X, rows.weight[used])
    model = Ridge(ridge * weight.sum(), solver="cholesky").fit(scaled, y, sample_weight=weight)
    coef = model.coef_ / scale
    return coef, float(model.intercept_ - mean @ coef)


def _fit_sparse(X, y, weight, row_weight, ridge):
    share = row_weight / row_weight.sum()
    mean, square = X.T @ share, X.multiply(X).T @ share
    variance = square - mean**2
    scale = np.sqrt(np.where(variance > 1e-12 * square, variance, np.inf))
    # A constant column has no coefficient: what is divided by infinity is left out.
    scaled = X @ sparse.diags(1 / scale)
    unit = np.abs(y).max() or 1.0  # that tolerances are relative to
    model = Ridge(ridge * weight.sum(), solver="sparse_cg", tol=1e-10)
    model.fit(scaled, y / unit, sample_weight=weight)
    return unit * model.coef_ / scale, float(unit * model.intercept_)
