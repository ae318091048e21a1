"""What displays read from a fitted estimator."""

from __future__ import annotations

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from ..row_weights._estimator import dataframe_of

__all__ = ["dataframe_of", "feature_names", "of_target", "unwrapped"]


def unwrapped(estimator, *attributes):
    """The fitted estimator inside of searches and pipelines, and the steps before it or None.

    It must have these attributes; else it is another kind than the display is for: TypeError.
    """
    before = None
    while not (attributes and all(hasattr(estimator, name) for name in attributes)):
        if isinstance(estimator, Pipeline):
            steps = estimator[:-1]
            before = steps if before is None else make_pipeline(before, steps)
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "regressor_"):
            estimator = estimator.regressor_
        else:
            break
    check_is_fitted(estimator)
    missing = [name for name in attributes if not hasattr(estimator, name)]
    if missing:
        raise TypeError(
            f"{type(estimator).__name__} has no {missing[0]}: this display is for another kind of "
            "estimator."
        )
    return estimator, before


def feature_names(estimator, before=None):
    """Names of the features; of what the steps before put out; else "x0", "x1", ..."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None and before is not None and len(before):
        try:
            names = before.get_feature_names_out()
        except (AttributeError, ValueError):  # a step that gives no names
            names = None
    if names is None or len(names) != estimator.n_features_in_:
        names = [f"x{number}" for number in range(estimator.n_features_in_)]
    return np.asarray(names, dtype=object)


def of_target(target, name, *values):
    """The entries, or rows, for one target of attributes that have one for each."""
    n_targets = len(values[0])
    if target is None and n_targets > 1:
        raise ValueError(
            f"{name} differs between {n_targets} targets: pass target=0 to {n_targets - 1}."
        )
    index = 0 if target is None else target
    if not -n_targets <= index < n_targets:
        raise ValueError(f"target must be between 0 and {n_targets - 1}: got {target!r}.")
    return [each[index] for each in values]
