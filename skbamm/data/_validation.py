"""Checking input, and every private name of scikit-learn that the package uses."""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.utils import gen_batches
from sklearn.utils._available_if import _AvailableIfDescriptor
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.sparsefuncs import min_max_axis
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_sample_weight,
    check_is_fitted,
)
from sklearn.utils.validation import validate_data as sklearn_validate_data

from ._columns import features_only, refuse_files
from ._tables import check_columns, explanation

__all__ = [
    "HasMethods",
    "Interval",
    "Options",
    "StrOptions",
    "_check_feature_names_in",
    "_fit_context",
    "available_if",
    "check_alike",
    "check_is_fitted",
    "check_training",
    "column_ranges",
    "column_sizes",
    "has_validation_rows",
    "level_of_caller",
    "require_squares",
    "validate_data",
    "validate_weight",
    "warn_if_unlike",
]


class _AvailableIf(_AvailableIfDescriptor):
    def _check(self, obj, owner):
        self.check(obj)


def available_if(check):
    """scikit-learn's decorator, but an error tells what the check says, which it raises."""
    return lambda method: _AvailableIf(method, check, method.__name__)


def validate_data(estimator, X, *args, name="X", **kwargs):
    """scikit-learn's `validate_data`, naming the table and the column that is at fault.

    Columns that were targets or weights in `fit`, by name, are left out of further tables.
    """
    refuse_files(X, name)
    is_new = kwargs.get("reset", True)
    X = features_only(X, () if is_new else getattr(estimator, "named_columns_", ()))
    check_columns(X, name)
    try:
        # scikit-learn adds all entries up, in their own precision, to see whether all are finite.
        with np.errstate(over="ignore", invalid="ignore"):
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


def name_of(estimator):
    """Whom messages of a fit name: the estimator, or another that fits it for itself."""
    return getattr(estimator, "_fitted_for", type(estimator).__name__)


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
    return weight


# Weight of all rows but one, relative to that one's, below which they count for nothing: sums
# without it, as where it is held out, would have lost their digits.
LEAST_WEIGHT = 1e-10


def check_alike(weight):
    """Raise where one row has all the weight, but for rounding."""
    most = weight.max()
    if (
        np.delete(weight, weight.argmax()).sum() < LEAST_WEIGHT * most
        and np.count_nonzero(weight) > 1
    ):
        raise ValueError(
            f"sample_weight has an entry of {most:.3g}, beside which all others together count for "
            f"nothing (less than {LEAST_WEIGHT:g} of it): give weights of like size."
        )


def check_training(train, weight):
    """Raise where the training rows of a fold have no weight, but for rounding, beside others."""
    if 0 < train.sum() < LEAST_WEIGHT * weight.sum():
        raise ValueError(
            "The training rows of a fold have next to no sample_weight: it is on rows that are "
            f"held out together, up to {weight.max():.3g} each. Give weights of like size."
        )


# Entries of some rows side by side, and how many of these fit into a processor's memory.
WIDE_ROW, WIDE_ROWS = 1024, 64


def column_ranges(X):
    """Least and largest entry of each column."""
    if sparse.issparse(X):
        return min_max_axis(sparse.csr_matrix(X), axis=0)
    n_beside = WIDE_ROW // max(X.shape[1], 1) if X.flags.c_contiguous else 1
    n_wide = len(X) // max(n_beside, 1)
    if n_beside < 2 or not n_wide:
        return X.min(axis=0), X.max(axis=0)
    # Rows side by side, a block at a time: twice as fast on tall tables.
    wide = X[: n_wide * n_beside].reshape(n_wide, -1)
    least, most = wide[0].copy(), wide[0].copy()
    for rows in gen_batches(n_wide, WIDE_ROWS):
        np.minimum(least, wide[rows].min(axis=0), out=least)
        np.maximum(most, wide[rows].max(axis=0), out=most)
    ends = np.vstack([end.reshape(n_beside, -1) for end in (least, most)])
    ends = np.vstack([ends, X[n_wide * n_beside :]])
    return ends.min(axis=0), ends.max(axis=0)


def column_sizes(least, most):
    """Largest absolute entries, in double precision, which holds the limits of any."""
    return np.maximum(-least, most).astype(np.float64)


# Largest entries of columns whose squares, and sums of these, are numbers with all their digits.
SQUARABLE = {"d": (1e-150, 1e100), "f": (0.0, 1e18)}
# The same of weights, which multiply them.
SUMMABLE = 1e-140, 1e140


def require_squares(X, name, weight=None, *, tiny=True):
    """Raise where weighted squares of a table's values overflow, or those of a column vanish.

    The latter unless columns may be `tiny`: in units so large that they count as constant.
    """
    most_weight = 1.0 if weight is None else float(weight.max(initial=0.0))
    if most_weight and not SUMMABLE[0] <= most_weight <= SUMMABLE[1]:
        raise ValueError(
            f"sample_weight{name.removeprefix('X')} has values of size {most_weight:.0e}, sums of "
            "which are beyond the range of numbers: multiply it by a power of ten."
        )
    size = column_sizes(*column_ranges(X))
    smallest, largest = SQUARABLE[X.dtype.char]
    wrong = size * max(most_weight, 1.0) ** 0.5 > largest
    if not tiny:
        wrong |= (size > 0) & (size < smallest)
    if wrong.any():
        columns = np.flatnonzero(wrong)
        raise ValueError(
            f"Input {name} has columns of values too large or too small for their weighted squares "
            f"to be numbers: {len(columns)}, the first of them column {columns[0]}. Choose another "
            "unit for them."
        )


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
