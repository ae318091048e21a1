"""The rows of a regression, validated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import FLOAT_DTYPES

from ..data._validation import has_validation_rows, validate_data, validate_weight, warn_if_unlike
from ..linalg._cross_products import column_shift, split_moments
from ..linalg._fold_cross_products import fold_moments


@dataclass(frozen=True)
class RegressionRows:
    """Validated rows: targets 2-D, weights None when all equal."""

    X: Any  # ndarray or sparse, (n_samples, n_features)
    y: np.ndarray  # (n_samples, n_targets)
    weight: np.ndarray | None
    single_target: bool = True

    def target(self, index):
        """The same rows with one target, or a slice of the targets."""
        if isinstance(index, slice):
            return self
        return RegressionRows(self.X, self.y[:, [index]], self.weight)

    def __len__(self):
        return len(self.y)

    @property
    def n_features(self):
        return self.X.shape[1]

    @property
    def n_targets(self):
        return self.y.shape[1]

    def moments(self, folds, validation, fit_intercept):
        """What is taken off the columns, and `Moments` of the rows of the folds."""
        shift = column_shift(self.X, self.y, fit_intercept)
        if validation is None and folds.is_partition:
            sums = fold_moments(self.X, self.y, self.weight, folds.label, len(folds), shift)
            return shift, sums
        held_out = None if validation is None else (validation.X, validation.y, validation.weight)
        return shift, split_moments(self.X, self.y, self.weight, folds.splits, shift, held_out)

    def weights(self):
        return np.ones(len(self)) if self.weight is None else self.weight


def regression_rows(estimator, X, y, sample_weight, *, more=False, enough=True):
    """Validated training rows; sets what the estimator knows of its features.

    With ``more`` these must be the features that it knows. Unless they must be ``enough`` to learn
    from, one row will do, also without weight.
    """
    X, y = validate_data(
        estimator,
        X,
        y,
        accept_sparse=["csr", "csc"],
        dtype=FLOAT_DTYPES,
        y_numeric=True,
        multi_output=True,
        ensure_min_samples=2 if enough else 1,
        reset=not more,
    )
    return _rows(X, y, sample_weight, "sample_weight", all_zero=not enough)


def _rows(X, y, sample_weight, name, *, all_zero=False):
    weight = sample_weight
    if weight is not None:
        weight = validate_weight(weight, X, name, all_zero=all_zero)
    if sparse.issparse(X):
        X = X.tocsr()
    single = np.ndim(y) == 1
    return RegressionRows(X, np.asarray(y, dtype=np.float64).reshape(len(y), -1), weight, single)


def validation_rows(estimator, data, X_val, y_val, sample_weight_val):
    """Validated rows to judge by, or None."""
    if not has_validation_rows(X_val, y_val, sample_weight_val):
        return None
    X_val, y_val = validate_data(
        estimator,
        X_val,
        y_val,
        accept_sparse=["csr", "csc"],
        dtype=FLOAT_DTYPES,
        y_numeric=True,
        multi_output=True,
        reset=False,
        name="X_val",
    )
    validation = _rows(X_val, y_val, sample_weight_val, "sample_weight_val")
    warn_if_unlike(data.X, validation.X)
    if validation.y.shape[1] != data.y.shape[1]:
        raise ValueError(
            f"y_val must have as many targets as y: got {validation.y.shape[1]}, "
            f"not {data.y.shape[1]}."
        )
    if sparse.issparse(data.X) != sparse.issparse(validation.X):
        convert = sparse.csr_matrix if sparse.issparse(data.X) else sparse.csr_matrix.toarray
        validation = RegressionRows(convert(validation.X), validation.y, validation.weight, True)
    return validation
