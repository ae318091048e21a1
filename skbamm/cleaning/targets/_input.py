"""The rows of a fit, validated and stacked."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import FLOAT_DTYPES

from ...data._folds import make_folds, position_folds, position_keys
from ...data._validation import (
    check_alike,
    check_training,
    has_validation_rows,
    require_squares,
    validate_data,
    validate_weight,
    warn_if_unlike,
)
from ...row_weights._record import equal_rows
from .._input import refuse_boolean_weight, stacked, validated_mask
from ._constants import MOST_FOLDS, MOST_ROWS
from ._units import limits


@dataclass(frozen=True)
class GivenRows:
    """Rows of X, and behind them those of X_val."""

    X: Any  # or sparse
    y: np.ndarray  # less `level`
    weight: np.ndarray  # the user's, times those learned of rows
    is_clean: np.ndarray
    predictions: np.ndarray | None  # the user's own, out-of-fold
    n_given: int
    level: Any  # (n_rows,), of each row's source, or 0.0
    items: np.ndarray | None  # rows to be held out together


def given_rows(estimator, X, y, sample_weight, is_clean, held_out, predictions=None, columns=None):
    """Validated rows; sets what the estimator knows of its features."""
    checks: Any = {"accept_sparse": "csr", "dtype": FLOAT_DTYPES, "y_numeric": True}
    X, y = validate_data(estimator, X, y, ensure_min_samples=2, **checks)
    weight = validate_weight(sample_weight, X, "sample_weight")
    refuse_boolean_weight(sample_weight, "targets")
    clean = validated_mask(is_clean, len(y))
    n_given = len(y)
    require_squares(X, "X", weight)
    X_val, y_val, sample_weight_val = held_out
    if has_validation_rows(X_val, y_val, sample_weight_val):
        if is_clean is not None:
            raise ValueError(
                "is_clean and X_val were both given: mark rows with verified targets in X, or "
                "pass them apart."
            )
        if predictions is not None:
            raise ValueError(
                "predictions and X_val were both given: the rows of X_val have none. Put these "
                "rows into X, with predictions, and mark them by is_clean."
            )
        X_val, y_val = validate_data(estimator, X_val, y_val, reset=False, name="X_val", **checks)
        weight_val = validate_weight(sample_weight_val, X_val, "sample_weight_val")
        require_squares(X_val, "X_val", weight_val)
        warn_if_unlike(X, X_val)
        X, y = stacked(X, X_val), np.concatenate([y, y_val])
        weight = np.concatenate([weight, weight_val])
        clean = np.concatenate([clean, np.ones(len(y_val), dtype=bool)])
    check_alike(weight)
    if predictions is not None:
        predictions = np.asarray(predictions, dtype=np.float64)
        if predictions.shape != (n_given,) or not np.isfinite(predictions).all():
            raise ValueError(
                "predictions must be finite, one for each row of X: got shape "
                f"{predictions.shape} for {n_given} rows."
            )
    y = y.astype(np.float64)
    # Squares are taken in units of the targets, but for those that row weights are learned from.
    require_squares(y[:, None] * (1.0 if columns else 1e-100), "y", weight)
    weight, level, items = _row_weights(estimator, X, y, weight, columns, n_given)
    return GivenRows(X, y - level, weight, clean, predictions, n_given, level, items)


def _row_weights(estimator, X, y, weight, columns, n_given):
    """Weights with those learned of rows, levels, and numbers of rows to be held out together."""
    own = slice(0, n_given)
    # Gross errors tell nothing of when and where rows are from.
    near = np.clip(y[own], *limits(y[own], weight[own]))
    found = estimator._learn_row_weights(X[own], near[:, None], weight[own], columns)
    level: Any = 0.0
    if found is None:
        return weight, level, None
    if found.found:
        weight = weight.copy()
        weight[own] *= found.weight
    if found.level is not None:
        level = np.zeros(len(y))
        level[own] = found.level[:, 0]
    return weight, level, found.items


def searched_rows(rows, cv, seed, split_params):
    """Positions of rows with a weight, sorted by fold, and where each fold begins.

    Of more than `MOST_ROWS` a pseudo-random sample, at least half of it noisy where there are.
    """
    label = _fold_labels(rows, cv, seed, split_params)
    used = np.flatnonzero((rows.weight > 0) & (label >= 0))
    if len(used) > MOST_ROWS:
        rank = position_keys(len(rows.y), seed)[used].argsort(kind="stable")
        clean = rows.is_clean[used][rank]
        verified, noisy = used[rank[clean]], used[rank[~clean]]
        n_verified = min(len(verified), max(MOST_ROWS // 2, MOST_ROWS - len(noisy)))
        kept = np.concatenate([verified[:n_verified], noisy[: MOST_ROWS - n_verified]])
        used = np.sort(kept)
    _, own = np.unique(label[used], return_inverse=True)
    if own.max() >= MOST_FOLDS:
        own = own % MOST_FOLDS
    for fold in range(own.max() + 1):
        check_training(rows.weight[used[own != fold]], rows.weight[used])
    order = own.argsort(kind="stable")
    return used[order], np.concatenate([[0], np.bincount(own).cumsum()])


def distinct(rows, index, bounds):
    """Rows of a fold that are equal in all but weight are one: a row of weight 2 is two of 1.

    Positions in `index` of the first of each, the number of its own for each row of it, and where
    folds begin.
    """
    fold = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    table = [fold[:, None], rows.y[index, None], rows.is_clean[index, None]]
    if rows.predictions is not None:
        table.append(rows.predictions[index, None])
    known = np.hstack(table) + 0.0  # no -0.0
    _, number, count = np.unique(known, axis=0, return_inverse=True, return_counts=True)
    number = number.ravel()
    tied = np.flatnonzero(count[number] > 1)
    which = np.arange(len(index))
    if len(tied):
        alike = equal_rows(rows.X[index[tied]], np.ones(len(tied), bool))
        pairs = np.column_stack([number[tied], alike])
        _, one, own = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
        which[tied] = tied[one][own.ravel()]
    one, which = np.unique(which, return_inverse=True)
    return one, which, np.concatenate([[0], np.bincount(fold[one]).cumsum()])


def effective(weight):
    """Weights that add up to the effective number of rows (Kish), which has no unit."""
    return weight * (weight.sum() / (weight @ weight))


def _fold_labels(rows, cv, seed, split_params):
    """The fold of each row; -1 of rows without weight, which an int does not count."""
    label = np.full(len(rows.y), -1)
    counted = np.flatnonzero(rows.weight > 0)
    if isinstance(cv, Integral):
        if len(counted) < 2:
            raise ValueError("sample_weight leaves a single row: two or more are needed.")
        items = None
        if rows.items is not None:  # of the rows of X, behind which others are items of their own
            items = np.append(
                rows.items, rows.items.max() + 1 + np.arange(len(label) - rows.n_given)
            )
            items = np.unique(items[counted], return_inverse=True)[1]
        folds = make_folds(int(cv), None, rows.y[counted], seed=seed, items=items)
        label[counted] = np.asarray(folds.label)
        return label
    given = slice(0, rows.n_given)
    folds = make_folds(cv, rows.X[given], rows.y[given], seed=seed, split_params=split_params)
    if folds.label is None:
        raise ValueError(
            "cv must hold out every row once, and train on all others then, as KFold and "
            "GroupKFold do: label weights need a prediction of each row."
        )
    label[given] = folds.label
    label[rows.n_given :] = position_folds(len(rows.y) - rows.n_given, len(folds), seed)
    if len(np.unique(label[counted])) < 2:
        raise ValueError("cv must have two folds or more with rows that have a weight.")
    return label
