"""The rows of a fit, validated and stacked."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.utils.validation import FLOAT_DTYPES

from ...data._folds import make_folds, position_folds, position_keys
from ...data._validation import (
    has_validation_rows,
    require_squares,
    validate_data,
    validate_weight,
    warn_if_unlike,
)
from .._input import refuse_boolean_weight, validated_mask
from ._constants import MOST_ROWS


@dataclass(frozen=True)
class GivenRows:
    """Rows of X, and behind them those of X_val."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray  # the user's
    is_clean: np.ndarray
    predictions: np.ndarray | None  # the user's own, out-of-fold
    n_given: int


def given_rows(estimator, X, y, sample_weight, is_clean, held_out, predictions=None):
    """Validated rows; sets what the estimator knows of its features."""
    X, y = validate_data(estimator, X, y, dtype=FLOAT_DTYPES, y_numeric=True, ensure_min_samples=2)
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
        X_val, y_val = validate_data(
            estimator, X_val, y_val, dtype=FLOAT_DTYPES, y_numeric=True, reset=False, name="X_val"
        )
        weight_val = validate_weight(sample_weight_val, X_val, "sample_weight_val")
        require_squares(X_val, "X_val", weight_val)
        warn_if_unlike(X, X_val)
        X, y = np.vstack([X, X_val]), np.concatenate([y, y_val])
        weight = np.concatenate([weight, weight_val])
        clean = np.concatenate([clean, np.ones(len(y_val), dtype=bool)])
    if predictions is not None:
        predictions = np.asarray(predictions, dtype=np.float64)
        if predictions.shape != (n_given,) or not np.isfinite(predictions).all():
            raise ValueError(
                "predictions must be finite, one for each row of X: got shape "
                f"{predictions.shape} for {n_given} rows."
            )
    require_squares(y[:, None].astype(np.float64), "y", weight)
    return GivenRows(X, y.astype(np.float64), weight, clean, predictions, n_given)


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
    order = own.argsort(kind="stable")
    return used[order], np.concatenate([[0], np.bincount(own).cumsum()])


def _fold_labels(rows, cv, seed, split_params):
    """The fold of each row; -1 of rows without weight, which an int does not count."""
    label = np.full(len(rows.y), -1)
    counted = np.flatnonzero(rows.weight > 0)
    if isinstance(cv, Integral):
        if len(counted) < 2:
            raise ValueError("sample_weight leaves a single row: two or more are needed.")
        label[counted] = make_folds(int(cv), None, rows.y[counted], seed=seed).label
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
