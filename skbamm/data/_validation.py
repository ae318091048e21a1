"""Checking input, and every private name of scikit-learn that the package uses."""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from sklearn.utils.validation import validate_data as sklearn_validate_data

from ._tables import explanation

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "_fit_context",
    "check_is_fitted",
    "check_size",
    "has_validation_rows",
    "level_of_caller",
    "validate_data",
    "validate_weight",
    "warn_if_unlike",
]


def validate_data(estimator, X, *args, name="X", **kwargs):
    """scikit-learn's `validate_data`, naming the table and the column that is at fault."""
    try:
        return sklearn_validate_data(estimator, X, *args, **kwargs)
    except (TypeError, ValueError) as error:
        said = str(error).replace("Input X contains", f"Input {name} contains", 1)
        more = explanation(X, error)
        if not more and said == str(error):
            raise
        # scikit-learn goes on to advise imputation.
        first, _, rest = said.partition("\n")
        first = first if first.endswith(".") else f"{first}."
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind("\n".join(filter(None, [f"{first} {more}".strip(), rest]))) from None


# Sizes whose squares, and sums of these, stay within the range of numbers in double precision.
LARGEST, SMALLEST = 1e151, 1e-140


def check_size(values, name, weight=None, *, largest=LARGEST):
    """Raise where entries are so large, or all so small, that weighted sums of squares overflow."""
    entries = values.data if sparse.issparse(values) else values
    if not entries.size:
        return
    size = max(float(entries.max()), -float(entries.min()))
    root = 1.0 if weight is None else float(np.sqrt(weight.max()))
    if size * root > largest or 0 < size * root < SMALLEST:
        times = "" if weight is None else f", times the weights of up to {weight.max():.0e},"
        raise ValueError(
            f"{name} has values of size {size:.0e}, whose squares{times} are beyond the range of "
            f"numbers: multiply {name} by a power of ten."
        )


def validate_weight(weight, X, name, *, all_zero=False):
    """Weights as float64, ones for None; not negative, and not `all_zero` unless that is so."""
    weight = _check_sample_weight(
        weight,
        X,
        dtype=np.float64,
        ensure_non_negative=True,
        allow_all_zero_weights=True,  # refused below, by its name
    )
    if not (all_zero or weight.any()):
        raise ValueError(f"{name} must not be all zero.")
    check_size(weight, name)
    return weight


def has_validation_rows(X_val, y_val, sample_weight_val):
    """Whether validation rows were given; raises where they are incomplete."""
    if (X_val is None) != (y_val is None):
        missing, given = ("X_val", "y_val") if X_val is None else ("y_val", "X_val")
        raise ValueError(f"{given} was given without {missing}: pass both, or neither.")
    if X_val is None and sample_weight_val is not None:
        raise ValueError("sample_weight_val was given without X_val and y_val.")
    return X_val is not None


# Ratio of two standard deviations of a column, and distance of two means in such deviations,
# beyond which samples of one table are not expected.
UNLIKE_SPREAD, UNLIKE_OFFSET = 8.0, 8.0


def warn_if_unlike(X, X_val):
    """Warn where validation rows look untransformed: their columns have other scales."""
    if sparse.issparse(X) or sparse.issparse(X_val) or len(X_val) < 10:
        return
    # In single precision squares of large values overflow.
    spread, spread_val = (np.std(rows, axis=0, dtype=np.float64) for rows in (X, X_val))
    known = (spread > 0) & (spread_val > 0)
    if not known.any():
        return
    ratio = np.abs(np.log(spread_val[known] / spread[known]))
    means = [rows.mean(axis=0, dtype=np.float64) for rows in (X, X_val)]
    offset = np.abs(means[1] - means[0])[known] / spread[known]
    # Either tells of a column: a scaler that was left out shows in one or the other.
    if np.median(np.maximum(ratio / np.log(UNLIKE_SPREAD), offset / UNLIKE_OFFSET)) > 1:
        warnings.warn(
            "The columns of X_val have scales unlike those of X. In a Pipeline, X_val reaches the "
            "estimator untransformed unless metadata routing is enabled and the Pipeline has "
            'transform_input=["X_val"].',
            UserWarning,
            stacklevel=level_of_caller(),
        )


def level_of_caller():
    """The `stacklevel` with which a warning points at the code that called `fit`."""
    inside = tuple(
        os.path.dirname(str(module.__file__)) for module in (sklearn, sys.modules["skbamm"])
    )
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    return level
