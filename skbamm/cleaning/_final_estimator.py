"""Any classifier, refitted with learned weights."""

from __future__ import annotations

import numpy as np
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from ..data._tensors import to_numpy

# Rows come with classes of this share or more: all shares make trees slower, and no better.
LEAST_SHARE = 0.3


def check_final_estimator(estimator):
    """Raise unless it is a classifier, or a Pipeline that ends in one, that takes weights."""
    if isinstance(estimator, type):
        raise ValueError(
            f"final_estimator must be an instance: got the class {estimator.__name__}."
        )
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if not is_classifier(estimator):
        raise ValueError(f"final_estimator must be a classifier: {type(last).__name__} is none.")
    if not has_fit_parameter(last, "sample_weight"):
        raise ValueError(
            f"final_estimator must accept sample_weight in fit: {type(last).__name__} does not."
        )


def weighted_labels(rows, learned):
    """Rows, labels and weights to train any classifier with.

    A row that the last fit trains to be partly of another class comes once for each class, with
    the weight of its share.

    Returns
    -------
    index : ndarray of int
        Positions of rows.
    labels : ndarray of int
    weight : ndarray
        Positive.
    """
    weight = rows.weight * learned.training
    if learned.targets is None:
        index = np.flatnonzero(weight)
        return index, rows.labels[index], weight[index]
    shares = to_numpy(learned.targets)
    if rows.n_classes == 2:
        shares = np.vstack([1 - shares, shares])
    labels, index = np.nonzero((shares >= LEAST_SHARE) * weight)
    return index, labels, weight[index] * shares[labels, index]


def fit_final_estimator(estimator, X, y, weight):
    """A fitted clone."""
    name = "sample_weight"
    if isinstance(estimator, Pipeline):
        name = f"{estimator.steps[-1][0]}__sample_weight"
    # A Pipeline would need requests where routing is on, though this is no call of the user's.
    with config_context(enable_metadata_routing=False):
        return clone(estimator).fit(X, y, **{name: weight})


def final_estimator_has(method):
    """For `available_if`: the linear model has all methods, a final estimator its own."""

    def check(self):
        if self.final_estimator is None:
            return True
        getattr(getattr(self, "final_estimator_", self.final_estimator), method)
        return True

    return check
