"""Any classifier, refitted with learned weights."""

from __future__ import annotations

import inspect
import math

import numpy as np
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.pipeline import Pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.validation import has_fit_parameter

from ..linalg._session import threads_for
from ..linalg._tensors import to_numpy
from ._constants import LEAST_TARGET

# These pass weights on only where metadata routing is enabled and each part requests them.
ONLY_ROUTED = (
    *(OneVsRestClassifier, OneVsOneClassifier, OutputCodeClassifier, SelfTrainingClassifier),
    *(FixedThresholdClassifier, TunedThresholdClassifierCV),
)


def check_final_estimator(estimator):
    """Raise unless it is a classifier that takes weights of rows."""
    if isinstance(estimator, type):
        raise ValueError(
            f"final_estimator must be an instance: got the class {estimator.__name__}."
        )
    nested = list(_nested(estimator))
    name = type(nested[-1]).__name__
    if not is_classifier(estimator):
        raise ValueError(f"final_estimator must be a classifier: {name} is none.")
    if weight_name(estimator) is None:
        raise ValueError(f"final_estimator must accept sample_weight in fit: {name} does not.")
    if any(getattr(one, "refit", True) is False for one in nested):
        raise ValueError("final_estimator must predict: a search with refit=False does not.")


def weight_name(estimator) -> str | None:
    """What its `fit` calls the weights of rows; None if it takes none.

    Of a Pipeline only the last step is weighted; a search passes on what the estimator that it
    searches takes.
    """
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        name = weight_name(last)
        return None if name is None else f"{step}__{name}"
    if has_fit_parameter(estimator, "sample_weight"):
        return "sample_weight"
    if isinstance(estimator, ONLY_ROUTED) or not _takes_any_keyword(estimator):
        return None
    if hasattr(estimator, "estimator"):
        return weight_name(estimator.estimator)
    # All members of an ensemble get the weights under one name.
    members = [model for _, model in getattr(estimator, "estimators", ()) if model != "drop"]
    is_weighted = all(weight_name(model) == "sample_weight" for model in members)
    return "sample_weight" if is_weighted else None


def _takes_any_keyword(estimator):
    parameters = inspect.signature(estimator.fit).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _nested(estimator):
    """It, and what a Pipeline ends in or a search searches, which takes the weights or refuses."""
    yield estimator
    if isinstance(estimator, Pipeline):
        yield from _nested(estimator.steps[-1][1])
        return
    answers = isinstance(estimator, ONLY_ROUTED) or has_fit_parameter(estimator, "sample_weight")
    if not answers and hasattr(estimator, "estimator"):
        yield from _nested(estimator.estimator)


def weighted_labels(rows, learned):
    """Positions of rows, labels and positive weights to train any classifier with.

    A row with soft targets comes once for each class, with the weight of its target.
    """
    weight = rows.weight * learned.training
    if learned.targets is None:
        index = np.flatnonzero(weight)
        return index, rows.labels[index], weight[index]
    targets = to_numpy(learned.targets)
    if rows.n_classes == 2:
        targets = np.vstack([1 - targets, targets])
    labels, index = np.nonzero((targets >= LEAST_TARGET) * weight)
    return index, labels, weight[index] * targets[labels, index]


def fit_final_estimator(estimator, X, y, weight):
    """A fitted clone."""
    # Parts would need requests where routing is on, though this is no call of the user's.
    with config_context(enable_metadata_routing=False), threads_for(math.inf):
        return clone(estimator).fit(X, y, **{weight_name(estimator) or "sample_weight": weight})


def final_estimator_has(method):
    """For `available_if`: the linear model has all methods, a final estimator its own."""

    def check(self):
        if self.final_estimator is None:
            return True
        getattr(getattr(self, "final_estimator_", self.final_estimator), method)
        return True

    return check
