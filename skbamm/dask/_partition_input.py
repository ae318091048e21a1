"""The rows of a partition, checked by themselves; it may be empty."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import FLOAT_DTYPES


def checked_rows(X, y, weight=None):
    """Finite floats, y in two dimensions, weights not negative (or None)."""
    X = check_array(
        X, accept_sparse="csr", dtype=FLOAT_DTYPES, ensure_min_samples=0, input_name="X"
    )
    y = _column(y, "y", dtype=np.float64)
    _check_length(X, y, "y")
    if weight is not None:
        weight = _checked_weight(X, weight)
    return X, y if y.ndim > 1 else y[:, None], weight


def checked_labels(X, y, weight=None, is_clean=None):
    """Finite floats, labels, weights and a mask of rows with verified labels."""
    X = check_array(X, dtype=FLOAT_DTYPES, ensure_min_samples=0, input_name="X")
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(f"y must have one dimension: got shape {y.shape}.")
    _check_length(X, y, "y")
    if len(y):
        check_classification_targets(y)
    weight = np.ones(len(y)) if weight is None else _checked_weight(X, weight)
    clean = np.zeros(len(y), dtype=bool) if is_clean is None else np.asarray(is_clean)
    _check_length(X, clean, "is_clean")
    if not np.isin(clean, (0, 1)).all():
        raise ValueError("is_clean must be a boolean mask.")
    return X, y, weight, clean.astype(bool)


def _checked_weight(X, weight):
    weight = _column(weight, "sample_weight", dtype=np.float64)
    _check_length(X, weight, "sample_weight")
    if (weight < 0).any():
        raise ValueError("Negative values in sample_weight.")
    return weight


def _column(values, name, dtype):
    values = np.asarray(values)
    return check_array(values, ensure_2d=False, dtype=dtype, ensure_min_samples=0, input_name=name)


def _check_length(X, column, name):
    if len(column) != X.shape[0]:
        raise ValueError(f"{name} has {len(column)} rows where X has {X.shape[0]}.")
