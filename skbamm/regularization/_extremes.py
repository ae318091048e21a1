"""Values whose squares no number holds: columns and weights times powers of two, which is exact."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from scipy import sparse

from ..data._validation import column_ranges, column_sizes, level_of_caller

# Largest entries of a column whose squares and products are far from any limit: 1e-77 and 1e77.
SAFE = 2.0**-256, 2.0**256
# The same of weights, which multiply squares.
SAFE_WEIGHT = 2.0**-100, 2.0**100
# Weighted squares of what is larger overflow, and so do those of what is this much larger than the
# training rows, by which it is divided.
LARGEST, LARGEST_RATIO = 2.0**500, 2.0**400
# Rounding of a column's entries relative to its range, above which it lacks digits.
FEW_DIGITS = 1e-3


def moderated(rows, estimator):
    """The rows with `exponents`, of 2, by which extreme columns and targets were divided."""
    rows = replace(rows, weight=_moderate_weight(rows.weight))
    least, most = column_ranges(rows.X)
    _warn_of_few_digits(rows.X, least, most, estimator)
    X_exponents, y_exponents = _exponents(least, most), _exponents(*column_ranges(rows.y))
    if not (X_exponents.any() or y_exponents.any()):
        return rows
    if rows.weight is not None and not rows.weight.all():
        # Rows without weight may hold anything: nothing then.
        counts = rows.weight > 0
        is_sparse = sparse.issparse(rows.X)
        X = sparse.diags(counts * 1.0) @ rows.X if is_sparse else rows.X * counts[:, None]
        rows = replace(rows, X=X, y=rows.y * counts[:, None])
        X_exponents, y_exponents = _exponents(*column_ranges(X)), _exponents(*column_ranges(rows.y))
    if X_exponents.any() and not estimator.standardize:
        raise ValueError(
            "Input X has columns whose largest entries are above 1e77 or below 1e-77. With "
            "standardize=False the penalty depends on their unit: choose another one."
        )
    return scaled(replace(rows, exponents=np.append(X_exponents, y_exponents)))


def moderated_alike(rows, validation):
    """Validation rows in the units of moderated training rows."""
    weight = _moderate_weight(validation.weight)
    found = scaled(replace(validation, weight=weight, exponents=rows.exponents))
    most_weight = 1.0 if weight is None else max(weight.max(), 1.0)
    for name, values, known in (("X_val", found.X, rows.X), ("y_val", found.y, rows.y)):
        size, usual = column_sizes(*column_ranges(values)), column_sizes(*column_ranges(known))
        limit = np.where(usual > 0, np.minimum(LARGEST, LARGEST_RATIO * usual), LARGEST)
        if (size * np.sqrt(most_weight) > limit).any():
            raise ValueError(
                f"Input {name} has values too large to be squared: beyond 1e150, or as many times "
                "larger than those of the training rows."
            )
    return found


def scaled(rows):
    """Rows divided by their powers of two."""
    if rows.exponents is None:
        return rows
    n_features = rows.X.shape[1]
    exponents = -rows.exponents
    with np.errstate(over="ignore"):
        if sparse.issparse(rows.X):
            X = rows.X.tocsr().copy()
            X.data = np.ldexp(X.data, exponents[X.indices])
        else:
            X = np.ldexp(rows.X, exponents[:n_features])
        return replace(rows, X=X, y=np.ldexp(rows.y, exponents[n_features:]))


def in_raw_units(coef, intercept, exponents):
    """Coefficients, (n_targets, n_features), and intercepts before rows were divided."""
    n_features = coef.shape[1]
    of_X, of_y = exponents[:n_features], exponents[n_features:]
    with np.errstate(over="ignore", under="ignore"):
        raw = np.ldexp(coef, of_y[:, None] - of_X), np.ldexp(intercept, of_y)
    for before, after in zip((coef, intercept), raw, strict=True):
        if not np.isfinite(after).all() or ((after == 0) & (before != 0)).any():
            raise ValueError(
                "The coefficients have no floating-point number in the units of X and y: choose "
                "other ones."
            )
    return raw


def _exponents(least, most):
    size = column_sizes(least, most)
    extreme = (size > 0) & ((size < SAFE[0]) | (size > SAFE[1]))
    return np.where(extreme, np.frexp(size)[1], 0)


def _moderate_weight(weight):
    """Weights, of which only ratios count, the largest near 1 where it is extreme."""
    if weight is None or SAFE_WEIGHT[0] < weight.max() < SAFE_WEIGHT[1]:
        return weight
    return np.ldexp(weight, -np.frexp(weight.max())[1])


def _warn_of_few_digits(X, least, most, estimator):
    eps = np.finfo(X.dtype).eps
    size, width = np.maximum(-least, most), most / 2 - least / 2
    # What varies by a few roundings of double precision is constant.
    constant = width <= 20 * np.finfo(np.float64).eps * size
    few = np.flatnonzero(~constant & (eps * size > FEW_DIGITS * width))
    if not estimator.fit_intercept or not len(few):
        return
    names = getattr(estimator, "feature_names_in_", None)
    shown = [int(j) if names is None else str(names[j]) for j in few[:5]]
    warnings.warn(
        f"Columns of X lie so far from zero that {X.dtype} keeps few digits of what varies in "
        f"them: {len(few)}, among them {shown}. Subtract their means before they are rounded"
        + (", or pass float64." if X.dtype == np.float32 else "."),
        UserWarning,
        stacklevel=level_of_caller(),
    )
