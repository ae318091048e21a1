"""The rows of a cleaning fit, validated and stacked."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse
from sklearn.utils.validation import (
    FLOAT_DTYPES,
    check_array,
    check_consistent_length,
    column_or_1d,
)

from ..data._labels import class_factors, require_two_classes, validated_labels
from ..data._tables import columns_by_name
from ..data._validation import (
    has_validation_rows,
    level_of_caller,
    require_squares,
    validate_data,
    validate_weight,
    warn_if_unlike,
)
from ._rows import LabelRows
from ._unlabelled import fill_gaps
from ._votes import validated_votes

# How far the probabilities of a row may add up to something else than 1.
SUM_TOL = 1e-2


def label_rows(
    estimator,
    X,
    y,
    sample_weight,
    is_clean,
    X_val,
    y_val,
    sample_weight_val,
    *,
    pred_probs=None,
    votes=None,
    columns=None,
):
    """Validated rows of X and of X_val, stacked; sets what the estimator knows of its features."""
    y, is_gap = fill_gaps(y, estimator.unlabeled)
    X, y = validate_data(
        estimator, X, y, accept_sparse="csr", dtype=FLOAT_DTYPES, ensure_min_samples=2
    )
    y, weight, clean = label_columns(X, y, sample_weight, is_clean)
    require_squares(X, "X", weight, tiny=not estimator.standardize)
    n_given = len(y)
    if is_gap is not None and (is_gap & clean).any():
        raise ValueError(
            f"is_clean marks {np.count_nonzero(is_gap & clean)} rows without a label as verified: "
            f"their y is {estimator.unlabeled!r} (unlabeled)."
        )
    if has_validation_rows(X_val, y_val, sample_weight_val):
        if is_clean is not None:
            raise ValueError(
                "is_clean and X_val were both given: mark rows with verified labels in X, or pass "
                "them apart."
            )
        held_out = _validation_rows(estimator, X, y, X_val, y_val, sample_weight_val)
        X = stacked(X, held_out[0])
        y, weight, clean = map(np.concatenate, zip((y, weight, clean), held_out[1:], strict=True))
    classes, labels = np.unique(y, return_inverse=True)
    if pred_probs is not None:
        pred_probs = _pred_probs(pred_probs, estimator, len(y), n_given, classes)
    if votes is not None:
        given = estimator.weighting, classes, labels, clean
        votes, is_gap = validated_votes(votes, *given, n_given, is_gap)
    is_unlabelled = None
    if is_gap is not None and is_gap.any():
        is_unlabelled = np.concatenate([is_gap, np.zeros(len(y) - n_given, dtype=bool)])
    known = X, labels, clean, n_given, classes
    weight, soft_weight = _row_weights(estimator, *known, weight, is_unlabelled, columns)
    told = pred_probs, is_unlabelled, soft_weight, votes
    return LabelRows(X, labels, weight, clean, n_given, classes, *told)


def _validation_rows(estimator, X, y, X_val, y_val, sample_weight_val):
    """Validated rows that are not in X, all of them verified: X, labels, weights and mask."""
    y_val, is_gap = fill_gaps(y_val, estimator.unlabeled, "y_val")
    if is_gap is not None and is_gap.any():
        raise ValueError(
            f"y_val has {np.count_nonzero(is_gap)} rows without a label "
            f"(unlabeled={estimator.unlabeled!r}), and must be verified: put them into X."
        )
    kinds = {"accept_sparse": "csr", "dtype": FLOAT_DTYPES, "reset": False, "name": "X_val"}
    X_val, y_val = validate_data(estimator, X_val, y_val, **kinds)
    weight = validate_weight(sample_weight_val, X_val, "sample_weight_val")
    require_squares(X_val, "X_val", weight)
    warn_if_unlike(X, X_val)
    y_val = _checked_against(y, validated_labels(y_val))
    return X_val, y_val, weight, np.ones(len(y_val), dtype=bool)


def stacked(X, other):
    """Rows of one, then those of the other, sparse where the first are."""
    if not sparse.issparse(X):
        return np.vstack([X, other.toarray() if sparse.issparse(other) else other])
    return sparse.vstack([X, sparse.csr_matrix(other)], format="csr")


def _row_weights(estimator, X, labels, clean, n_given, classes, weight, is_unlabelled, columns):
    """Weights of the rows by label, and of soft labels where some rows have none of their own."""
    soft_weight = weight
    # A copy: the user's weights may be multiplied.
    weight = weight.copy() if is_unlabelled is None else np.where(is_unlabelled, 0.0, weight)
    own = slice(0, n_given)
    found = estimator._learn_row_weights(X[own], labels[own], weight[own], columns, classes=True)
    if found is not None and found.found:
        weight[own] *= found.weight
    mass = np.bincount(labels, weight)
    check_learnable(mass, clean.sum())
    if estimator.class_weight is not None:
        weight = weight * class_factors(estimator.class_weight, classes, mass)[labels]
    if is_unlabelled is None:
        return weight, None
    return weight, np.where(is_unlabelled & estimator.relabel, soft_weight, weight)


def label_columns(X, y, sample_weight, is_clean, *, all_zero=False):
    """Validated labels, weights and mask of rows with verified labels of some rows."""
    y = validated_labels(y)
    weight = validate_weight(sample_weight, X, "sample_weight", all_zero=all_zero)
    refuse_boolean_weight(sample_weight, "labels")
    return y, weight, validated_mask(is_clean, len(y))


def validated_probabilities(pred_probs, n_rows):
    """As float64; a row for each label, which sums to 1."""
    predictions = check_array(pred_probs, dtype=np.float64, input_name="pred_probs")
    if len(predictions) != n_rows:
        raise ValueError(
            f"pred_probs must have one row for each label: got {len(predictions)} for {n_rows}."
        )
    off = np.abs(predictions.sum(axis=1) - 1).max()
    if predictions.min() < 0 or off > SUM_TOL:
        raise ValueError(
            "pred_probs must be probabilities, rows of which add up to 1: got values from "
            f"{predictions.min():.3g} to {predictions.max():.3g}, sums off by up to {off:.3g}. "
            "Logits and votes are none yet."
        )
    return predictions


def require_columns(predictions, classes, advice):
    """Raise unless there is one for each class."""
    if predictions.shape[1] != len(classes):
        raise ValueError(
            f"pred_probs must have a column for each class: got {predictions.shape[1]} columns for "
            f"{len(classes)} classes. {advice}"
        )


def _pred_probs(pred_probs, estimator, n_rows, n_given, classes):
    """Of the rows of a fit."""
    if estimator.weighting != "adaptive":
        raise ValueError(
            "pred_probs are for label quality, which weighting='adaptive' learns from: got "
            f"weighting={estimator.weighting!r}."
        )
    if n_rows > n_given:
        raise ValueError(
            "pred_probs and X_val were both given: the rows of X_val have none. Put these rows "
            "into X, with predictions, and mark them by is_clean."
        )
    predictions = validated_probabilities(pred_probs, n_rows)
    advice = "They are those of the labels in y, in ascending order; leave out any other column."
    require_columns(predictions, classes, advice)
    return predictions[:, columns_by_name(pred_probs, classes.tolist(), "pred_probs")]


def check_learnable(mass, n_verified):
    """Raise where the weights of the classes, or a number of verified rows, teach nothing."""
    if n_verified == 1:
        raise ValueError(
            "A single row with a verified label cannot be split into folds: mark two or more, or "
            "none."
        )
    require_two_classes(mass)


def label_positions(y, X, classes):
    """Positions among the classes of the labels of other rows."""
    y = validated_labels(y)
    check_consistent_length(X, y)
    known = np.isin(y, classes)
    if not known.all():
        raise ValueError(
            f"y has labels that were not in fit: got {np.unique(y[~known])[:5].tolist()}, and "
            f"classes_ is {classes.tolist()}."
        )
    return np.searchsorted(classes, y)


def label_kind(y):
    return "text" if y.dtype.kind in "OUST" else "numbers"


def _checked_against(y, y_val):
    """Labels of validation rows; warns of classes that y does not have."""
    kinds = label_kind(y), label_kind(y_val)
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"y and y_val must be labels of one kind: got {kinds[0]} in y and {kinds[1]} in y_val."
        )
    new = np.setdiff1d(y_val, y)
    if len(new):
        warnings.warn(
            f"y_val has classes that y does not have: {new[:5].tolist()}. They are learned from "
            "y_val alone; if that is not meant, look at how they are spelled.",
            UserWarning,
            stacklevel=level_of_caller(),
        )
    return y_val


def refuse_boolean_weight(sample_weight, kind):
    """Raise where it is a mask, which is not meant for weights."""
    if np.asarray(sample_weight).dtype == bool:
        raise ValueError(
            f"sample_weight is boolean: to mark rows with verified {kind}, pass is_clean=."
        )


def validated_mask(is_clean, n_samples):
    if is_clean is None:
        return np.zeros(n_samples, dtype=bool)
    mask = column_or_1d(is_clean)
    if len(mask) != n_samples:
        raise ValueError(
            f"is_clean must have one entry per row of X: got {len(mask)} for {n_samples} rows."
        )
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError("is_clean must be a boolean mask: got other values than True and False.")
    return mask.astype(bool)
