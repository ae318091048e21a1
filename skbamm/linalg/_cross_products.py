"""Sums of squares and products of rows, in one pass over the data and in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn import get_config

# A block of rows that stays in the cache between the passes over it ...
CACHED_BYTES = 2**21
# ... but with this many rows of each fold, below which products of wide blocks are slow.
FOLD_ROWS = 400
# So many rows tell roughly where the columns are.
SHIFT_ROWS = 1000


@dataclass(frozen=True)
class Moments:
    """Weighted sums over sets of rows of ``[X - shift, y - shift, 1]``.

    The shift is taken off before multiplying, so that columns with a large mean keep their
    digits.

    Attributes
    ----------
    total : ndarray of shape (d, d), d = n_features + n_targets + 1
        ``M' W M`` over all training rows.
    test : ndarray of shape (n_folds, d, d)
        Of the held-out rows.
    formed_train : ndarray of shape (n_folds, d, d) or None
        Of the training rows; None where they are the total less the held-out ones.
    """

    total: np.ndarray
    test: np.ndarray
    formed_train: np.ndarray | None = None

    @property
    def train(self):
        return self.total - self.test if self.formed_train is None else self.formed_train


def row_blocks(n_samples: int, n_columns: int, n_folds: int | None = None) -> Iterator[slice]:
    """Slices of rows whose float64 copy fits scikit-learn's ``working_memory``.

    With `n_folds` they are also no larger than is good for speed.
    """
    n_bytes = get_config()["working_memory"] * 2**20 / 4
    row_bytes = 8 * max(n_columns, 1)
    if n_folds is not None:
        n_bytes = min(n_bytes, max(CACHED_BYTES, FOLD_ROWS * n_folds * row_bytes))
    size = max(1, int(n_bytes // row_bytes))
    for start in range(0, n_samples, size):
        yield slice(start, min(start + size, n_samples))


def column_shift(X, y, fit_intercept: bool) -> np.ndarray:
    """Means of the first rows: near enough to the means to keep digits, at no extra pass."""
    n_columns = X.shape[1] + y.shape[1]
    if not fit_intercept:
        return np.zeros(n_columns)
    first = slice(0, SHIFT_ROWS)
    X_shift = (
        np.zeros(X.shape[1])
        if sparse.issparse(X)
        else np.asarray(X[first], dtype=np.float64).mean(axis=0)
    )
    return np.concatenate([X_shift, np.asarray(y[first], dtype=np.float64).mean(axis=0)])


def augmented(X, y, weight, shift, rows):
    """``sqrt(weight) * [X - shift, y - shift, 1]`` for some rows, as a new array."""
    n_features = X.shape[1]
    block = np.empty((len(y[rows]), n_features + y.shape[1] + 1))
    part = X[rows]
    block[:, :n_features] = part.toarray() if sparse.issparse(part) else part
    block[:, n_features:-1] = y[rows]
    block[:, :-1] -= shift
    block[:, -1] = 1.0
    if weight is not None:
        block *= np.sqrt(weight[rows])[:, None]
    return block


def split_moments(
    X, y, weight, splits: Sequence[tuple[np.ndarray, np.ndarray]], shift, validation=None
) -> Moments:
    """Moments for any train and test indices, each formed directly.

    With ``validation = (X_val, y_val, weight_val)``, test indices refer to its rows.
    """
    X_test, y_test, weight_test = (X, y, weight) if validation is None else validation

    def moments(X, y, weight, indices):
        d = X.shape[1] + y.shape[1] + 1
        result = np.zeros((d, d))
        for rows in row_blocks(len(indices), d):
            block = augmented(X, y, weight, shift, indices[rows])
            result += block.T @ block
        return result

    every = np.arange(len(y))
    total = moments(X, y, weight, every)
    train = [
        total if np.array_equal(np.sort(train), every) else moments(X, y, weight, train)
        for train, _ in splits
    ]
    test = [moments(X_test, y_test, weight_test, test) for _, test in splits]
    return Moments(total, np.stack(test), np.stack(train))


def residual_moments(train, test, n_eliminated: int):
    """Moments after regressing all columns on the last `n_eliminated` *training* columns.

    Parameters
    ----------
    train, test : ndarray of shape (..., d, d)
        Moments of the rows that are fitted, and of rows that the fit is applied to.

    Returns
    -------
    train, test : ndarray of shape (..., d - n_eliminated, d - n_eliminated)
    coefficients : ndarray of shape (..., n_eliminated, d - n_eliminated)
        Of the eliminated columns, for each column that is kept.
    """
    kept = slice(None, train.shape[-1] - n_eliminated)
    gone = slice(train.shape[-1] - n_eliminated, None)
    coefficients = np.linalg.pinv(train[..., gone, gone], hermitian=True) @ train[..., gone, kept]
    transposed = np.swapaxes(coefficients, -1, -2)

    def residual(moments):
        cross = transposed @ moments[..., gone, kept]
        inner = transposed @ moments[..., gone, gone] @ coefficients
        return moments[..., kept, kept] - cross - np.swapaxes(cross, -1, -2) + inner

    return residual(train), residual(test), coefficients


def centre_parts(total, parts, n_eliminated: int):
    """Regress columns on the last ones, all rows on all rows and each fold on its training rows.

    Works in place: afterwards the training rows' moments are ``total - parts[k]``, those of
    the held-out rows ``parts[k] + roots[k]' roots[k]``, but for the eliminated columns.

    Parameters
    ----------
    total : ndarray of shape (d, d)
        Moments of all rows.
    parts : ndarray of shape (n_folds, d, d)
        Of the held-out rows, which add up to `total`.

    Returns
    -------
    roots : ndarray of shape (n_folds, n_eliminated, d - n_eliminated)
    coefficients : ndarray of shape (n_eliminated, d - n_eliminated)
        Of the eliminated columns in the regression of all rows.
    """
    gone = slice(len(total) - n_eliminated, None)
    values, vectors = np.linalg.eigh(total[gone, gone])
    root = np.sqrt(values.clip(0))[:, None] * vectors.T
    centred = total.copy()
    coefficients = _eliminate(centred, n_eliminated)
    roots = np.empty((len(parts), *coefficients.shape))
    train = np.empty_like(total)
    for k, part in enumerate(parts):
        np.subtract(total, part, out=train)
        # The residuals of all rows are orthogonal to the eliminated columns: other
        # coefficients add the square of their difference.
        roots[k] = root @ (_eliminate(train, n_eliminated) - coefficients)
        np.subtract(centred, train, out=part)
    total[:] = centred
    return roots, coefficients


def _eliminate(square, n_eliminated, size=256):
    """Regress the first columns of moments on the last ones, in place; their coefficients."""
    n_kept = len(square) - n_eliminated
    inverse = np.linalg.pinv(square[n_kept:, n_kept:], hermitian=True)
    coefficients = inverse @ square[n_kept:, :n_kept]
    for start in range(0, n_kept, size):
        rows = slice(start, min(start + size, n_kept))
        square[rows, :n_kept] -= square[rows, n_kept:] @ coefficients
    return coefficients
