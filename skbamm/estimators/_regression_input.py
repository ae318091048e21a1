"""The rows of a regression, validated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils.validation import FLOAT_DTYPES

from ._validation import has_validation_rows, validate_data, validate_weight, warn_if_unlike


@dataclass(frozen=True)
class RegressionRows:
    """Validated rows: targets 2-D, weights None when all equal."""

    X: object  # ndarray or sparse, (n_samples, n_features)
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

    def weights(self):
        return np.ones(len(self)) if self.weight is None else self.weight


def regression_rows(estimator, X, y, sample_weight):
    """Validated training rows; sets what the estimator knows of its features."""
    X, y = validate_data(
        estimator,
        X,
        y,
        accept_sparse=["csr", "csc"],
        dtype=FLOAT_DTYPES,
        y_numeric=True,
        multi_output=True,
        ensure_min_samples=2,
    )
    return _rows(X, y, sample_weight, "sample_weight")


def _rows(X, y, sample_weight, name):
    weight = None if sample_weight is None else validate_weight(sample_weight, X, name)
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
