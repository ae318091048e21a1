"""Any classifier, refitted with learned weights, and what it answers for all classes."""

from __future__ import annotations

import contextlib
import inspect
import math

import numpy as np
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.pipeline import Pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from ..data._folds import position_keys
from ..linalg._session import threads_for
from ..linalg._tensors import to_numpy
from ._constants import ABSENT_SCORE, LEAST_TARGET, MOST_COPIES, SEED

# These pass weights on only where metadata routing is enabled and each part requests them.
ONLY_ROUTED = (
    *(OneVsRestClassifier, OneVsOneClassifier, OutputCodeClassifier, SelfTrainingClassifier),
    *(FixedThresholdClassifier, TunedThresholdClassifierCV),
)


def given_estimator(estimator):
    """The user's `final_estimator`, if any: "linear" is none."""
    given = estimator.final_estimator
    return None if isinstance(given, str) else given


def check_final_estimator(estimator, is_kind=is_classifier, kind="classifier"):
    """Raise unless it is a classifier, or of another kind, that can be fitted and then predicts."""
    if isinstance(estimator, type):
        raise ValueError(
            f"final_estimator must be an instance: got the class {estimator.__name__}."
        )
    nested = list(_nested(estimator))
    name = type(nested[-1]).__name__
    if not is_kind(estimator):
        raise ValueError(f"final_estimator must be a {kind}: {name} is none.")
    if any(getattr(one, "refit", True) is False for one in nested):
        raise ValueError("final_estimator must predict: a search with refit=False does not.")


def weight_names(estimator) -> list[str]:
    """What its `fit` calls the weights of rows, the model's own ones last; none if it takes none.

    In a Pipeline transformers that take weights get them as well; a search passes on what the
    estimator that it searches takes.
    """
    if isinstance(estimator, Pipeline):
        *before, (step, last) = estimator.steps
        names = [f"{step}__{name}" for name in weight_names(last)]
        return names and _transformers_names(before) + names
    if has_fit_parameter(estimator, "sample_weight"):
        return ["sample_weight"]
    if isinstance(estimator, ONLY_ROUTED) or not _takes_weights(estimator.fit):
        return []
    if hasattr(estimator, "estimator"):
        return weight_names(estimator.estimator)
    # All members of an ensemble get the weights under one name.
    members = [model for _, model in getattr(estimator, "estimators", ()) if model != "drop"]
    is_weighted = all(weight_names(model) == ["sample_weight"] for model in members)
    return ["sample_weight"] if is_weighted else []


def _transformers_names(steps):
    """The same of transformers in a Pipeline, any of which may take none."""
    names = []
    for step, transformer in steps:
        if isinstance(transformer, Pipeline):
            names += [f"{step}__{name}" for name in _transformers_names(transformer.steps)]
        elif hasattr(transformer, "fit_transform"):
            takes = has_fit_parameter(transformer, "sample_weight")
            if takes and _takes_weights(transformer.fit_transform):
                names.append(f"{step}__sample_weight")
    return names


def _takes_weights(method):
    """Whether it takes `sample_weight` among its arguments, or any."""
    parameters = inspect.signature(method).parameters
    return "sample_weight" in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def _nested(estimator):
    """It, and what a Pipeline ends in or a search searches, which takes the weights or refuses."""
    yield estimator
    if isinstance(estimator, Pipeline):
        yield from _nested(estimator.steps[-1][1])
        return
    answers = isinstance(estimator, ONLY_ROUTED) or has_fit_parameter(estimator, "sample_weight")
    if not answers and hasattr(estimator, "estimator"):
        yield from _nested(estimator.estimator)


def restrict_tags(tags, estimator):
    """What a model cannot do since its final estimator cannot. It does no more than without one."""
    own = None
    with contextlib.suppress(Exception):  # `fit` says what is wrong with it
        own = get_tags(estimator)
    if own is None or own.classifier_tags is None:
        return
    tags.input_tags.sparse &= own.input_tags.sparse
    tags.input_tags.positive_only |= own.input_tags.positive_only
    tags.classifier_tags.multi_class &= own.classifier_tags.multi_class
    tags.classifier_tags.poor_score |= own.classifier_tags.poor_score
    tags.non_deterministic |= own.non_deterministic


def weighted_labels(rows, learned):
    """Positions of rows, labels and weights to train any classifier with, and which to begin with.

    A row with soft targets comes once for each class, with the weight of its target; first of all
    only where that is large.
    """
    weight = rows.training_weight(learned.targets) * learned.training
    if learned.targets is None:
        return np.arange(len(weight)), rows.labels, weight, weight > 0
    targets = to_numpy(learned.targets)
    if rows.n_classes == 2:
        targets = np.vstack([1 - targets, targets])
    kept = targets >= LEAST_TARGET
    labels, index = np.nonzero(kept | (rows.labels == np.arange(rows.n_classes)[:, None]))
    weight = weight[index] * targets[labels, index]
    return index, labels, weight, (weight > 0) & kept[labels, index]


def repeated_rows(weight, labels, unit=None):
    """Positions of rows, each as often as its weight says, for a fit without weights.

    A row of weight `unit`, by default the mean of positive weights, comes once. Every class keeps
    its weight, to half a row, and one row at least: what rounding down leaves goes to its rows with
    the largest remainders. So of rows with label weights, those of the lowest are left out, as many
    as wrong labels are expected. There are at most `MOST_COPIES` times as many rows as before.
    """
    used = np.flatnonzero(weight > 0)
    unit = weight[used].mean() if unit is None else unit
    share = weight / max(unit, weight.sum() / (MOST_COPIES * len(used)))
    copies = np.floor(share).astype(int)
    # Equal remainders are not told apart by their order: tables are sorted.
    order = used[np.lexsort((position_keys(len(used), SEED), (copies - share)[used]))]
    for label in np.unique(labels[used]):
        own = order[labels[order] == label]
        lacking = max(round(share[own].sum()), 1) - copies[own].sum()
        copies[own[:lacking]] += 1
    # Copies side by side mostly stay in one fold of a search, which does not see what it scores.
    return np.repeat(np.arange(len(weight)), copies)


def fit_final_estimator(estimator, X, y, weight, index=None, first=None, unit=None):
    """A clone, fitted to rows: of X, or of positions `index` in it.

    To those of the mask `first`, by default of all with a weight. Where it fails, to all: fewer may
    leave too few of a class for splits of its own, or labels that are not consecutive, though it
    fits the rows by itself. And without weights for transformers, which may refuse what they take.
    Where it takes no weights at all, to `repeated_rows`, by their `unit`.
    """
    every = np.arange(len(y))
    index, used = every if index is None else index, weight > 0 if first is None else first
    tried = [np.flatnonzero(used), every] if not used.all() else [every]
    if (y[tried[0]] == y[tried[0][0]]).all():
        tried = tried[-1:]  # some fit a single class, and answer as if there were two
    names, errors = weight_names(estimator), []
    if not names:
        kept = tried[0][repeated_rows(weight[tried[0]], y[tried[0]], unit)]
        return _fitted_clone(estimator, X[index[kept]], y[kept])
    for entries in tried:
        for given in [names, names[-1:]][: len(names)]:
            weights = dict.fromkeys(given, weight[entries])
            try:
                return _fitted_clone(estimator, X[index[entries]], y[entries], weights)
            except Exception as error:
                errors.append(error)
    raise errors[0]


def _fitted_clone(estimator, X, y, weights=None):
    # Steps would need requests where routing is on, though this is no call of users.
    with config_context(enable_metadata_routing=False), threads_for(math.inf):
        return clone(estimator).fit(X, y, **(weights or {}))


def final_estimator_has(method):
    """For `available_if`: the linear model has all methods, a final estimator its own."""

    def check(self):
        given = getattr(self, "final_estimator_", given_estimator(self))
        if given is not None:
            getattr(given, method)

    return check


def class_probabilities(estimator, X, classes):
    """Probabilities of all classes; 0 of those that a fitted classifier has not seen."""
    found = np.asarray(estimator.predict_proba(X))
    columns = _columns(estimator, classes, found)
    if not np.isfinite(found).all():
        raise ValueError(
            "final_estimator must give finite probabilities: those of "
            f"{type(estimator).__name__} have NaN or infinity."
        )
    if np.array_equal(columns, np.arange(len(classes))):
        return found
    whole = np.zeros((len(found), len(classes)), dtype=found.dtype)
    whole[:, columns] = found
    return whole


def class_scores(estimator, X, classes):
    """Its decision function, as of a classifier of all classes.

    A class that it has not seen is below all others, as of a probability that rounds to 0.
    """
    pairwise = any(getattr(e, "decision_function_shape", "") == "ovo" for e in _nested(estimator))
    if pairwise and len(classes) > 2:
        raise ValueError(
            "final_estimator must have a score for each class: decision_function_shape='ovo' gives "
            "one for each pair of them. Set it to 'ovr'."
        )
    found = np.asarray(estimator.decision_function(X))
    own = np.asarray(getattr(estimator, "classes_", classes))
    if np.array_equal(own, classes) and found.ndim == 1 + (len(classes) > 2):
        return found
    if found.ndim == 1 or found.shape[1] == 1:
        # Scores whose softmax are the probabilities that a logistic score stands for.
        halves = [-0.5, 0.5] if len(own) == 2 else [0.0]
        found = np.outer(found, np.asarray(halves, dtype=found.dtype))
    columns, lowest = _columns(estimator, classes, found), found.min(axis=1, keepdims=True)
    whole = np.tile(lowest - (ABSENT_SCORE + abs(lowest)), len(classes))
    whole[:, columns] = found
    return whole[:, 1] - whole[:, 0] if len(classes) == 2 else whole


def saw_all(estimator, classes):
    """Whether what a fitted classifier answers has a column for each class, in their order."""
    return np.array_equal(getattr(estimator, "classes_", classes), classes)


def _columns(estimator, classes, found):
    """Positions among the classes of what a fitted classifier's columns stand for."""
    own = np.asarray(getattr(estimator, "classes_", classes))
    known = np.isin(own, classes)
    if (
        found.ndim != 2
        or found.shape[1] != len(own)
        or not (known.all() or len(own) == len(classes))
    ):
        raise ValueError(
            "final_estimator must have a column for each of its classes_: "
            f"{type(estimator).__name__} gave shape {found.shape} for {own.tolist()}."
        )
    return np.searchsorted(classes, own) if known.all() else np.arange(len(classes))
