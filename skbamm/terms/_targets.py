"""Whether targets are numbers or classes, and which pairs of columns interact for them."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.multiclass import type_of_target

from ._logit_screening import strongest_pairs
from ._pairs import standardized_targets

# Whole numbers of more distinct values are taken for counts, not classes.
MOST_CLASSES = 20


def pairs_for(search, y, target_type, asked, cv, seed):
    """The strongest pairs of a `PairSearch`: a number of them, or with "auto" as many as pay."""
    y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
    check_consistent_length(search.weight, y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if _are_classes(y, target_type):
        labels = np.unique(y, return_inverse=True)[1]
        some, labels = search.some_rows(labels, cv)
        return strongest_pairs(some, labels, asked, cv, seed)
    targets = standardized_targets(check_array(y, ensure_2d=False, input_name="y"), search.weight)
    some, targets = search.some_rows(targets, cv)
    return some.strongest(targets, asked, cv, seed)


def _are_classes(y, target_type):
    if target_type == "classes" and y.ndim > 1:
        raise ValueError(f"y must have one column of classes: got shape {y.shape}.")
    if target_type != "auto" or y.ndim > 1:
        return target_type == "classes"
    is_number = y.dtype.kind in "fiu"
    return not is_number or (
        type_of_target(y) in ("binary", "multiclass") and len(np.unique(y)) <= MOST_CLASSES
    )
