"""Rows without a label: what stands for that in y."""

from __future__ import annotations

from numbers import Number, Real

import numpy as np
from sklearn.utils.validation import column_or_1d


def fill_gaps(y, unlabeled, name="y"):
    """Labels with those of rows without one replaced by some label, and which rows these are.

    None instead of a mask where no value stands for such rows. NaN stands for any missing value.
    """
    if unlabeled is None:
        refuse_gaps(y, name, "Leave them out, or pass unlabeled=np.nan.")
        return y, None
    labels = column_or_1d(np.asarray(y), warn=True)
    is_gap = _is_missing(labels) if _is_nan(unlabeled) else labels == unlabeled
    is_gap = np.broadcast_to(is_gap, labels.shape)
    if is_gap.all() and len(labels):
        raise ValueError(
            f"{name} has no labels: all {len(labels)} are {unlabeled!r}, which stands for rows "
            "without one (unlabeled)."
        )
    if not is_gap.any():
        return y, is_gap
    known = labels[~is_gap]
    if known.dtype == object and all(isinstance(label, Number) for label in known):
        known = np.array(known.tolist())
    filled = np.full(len(labels), known[0], known.dtype)
    filled[~is_gap] = known
    return filled, is_gap


def refuse_gaps(y, name, advice):
    """Raise where labels are missing, which scikit-learn calls a label type that is unknown."""
    labels = np.asarray(y)
    n_gaps = np.count_nonzero(_is_missing(labels)) if labels.ndim == 1 else 0
    if n_gaps:
        raise ValueError(
            f"Input {name} contains NaN or None: {n_gaps} rows have no label. {advice}"
        )


def labels_with_gaps(labels, is_gap, unlabeled):
    """Labels of all rows, the `is_gap` ones with what stands for none."""
    if not np.any(is_gap):
        return labels
    if _is_nan(unlabeled) and labels.dtype.kind not in "biuf":
        labels, unlabeled = labels.astype(object), None
    return np.where(is_gap, unlabeled, labels)


def _is_nan(value):
    return isinstance(value, Real) and value != value


def _is_missing(labels):
    if labels.dtype != object:
        return labels != labels
    # What NaN or pandas.NA equal is no truth value, or not themselves.
    return np.array([label is None or not _equals_itself(label) for label in labels], dtype=bool)


def _equals_itself(label):
    try:
        return bool(label == label)
    except TypeError:
        return False
