"""Boosted trees as base models of labels, for classes that are not linear in the columns.

Fitted to labels as given trees learn wrong ones, the more the longer they are boosted. So their
number is the one at which given labels are likeliest out of each fold, and where wrong labels show,
trees are fitted as well to the rows whose labels are probably right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier

from ...linalg._session import openmp_threads_for
from .._constants import (
    FEW_CLASSES,
    LEAST_PROBABILITY,
    SEED,
    TINY,
    TREE_COLUMNS,
    TREE_FOLDS,
    TREE_OPTIONS,
    TREE_ROWS,
    TREE_STAGES,
    TREES_OF_FEW,
    TREES_OF_MANY,
    WORK_OF_ENTRY,
)
from ._nested import nested_predictions
from ._scores import label_likelihood, likeliest_factor, log_likelihood, log_softmax
from ._stacking import stack_factors

ALL_LABELS, FILTERED = "trees, all labels", "trees, filtered"


@dataclass(frozen=True)
class Trees:
    """Boosted trees on labels of a kind, and their scores out of each fold."""

    kind: str
    scores: np.ndarray  # (n_rows, n_classes), log probabilities
    n_iter: int  # after which these are
    mixing_weight: float = 0.0  # in the stack that scores labels


@dataclass(frozen=True)
class TreeStack:
    """Scores of all rows by a stack that trees may be in."""

    scores: np.ndarray  # (n_rows, n_classes)
    before: float = 1.0  # mixing weight of the scores that were there before
    trees: tuple[Trees, ...] = ()

    def unused(self, scores):
        """These scores alone; trees may still join the average."""
        return TreeStack(scores, trees=tuple(replace(one, mixing_weight=0.0) for one in self.trees))


def can_grow(rows, folds):
    """Whether there are rows enough, such as trees take, and of two classes or more."""
    if sparse.issparse(rows.X) or folds.n_folds == 1:
        return False
    counts = np.bincount(rows.labels, rows.weight > 0, rows.n_classes)
    return bool(counts.sum() >= TREE_ROWS and np.count_nonzero(counts) > 1)


def boosted_trees(n_classes, n_features, n_iter=None):
    """Not fitted. With many classes, each of which has its trees, fewer and larger steps."""
    most, rate = TREES_OF_FEW if n_classes <= FEW_CLASSES else TREES_OF_MANY
    return HistGradientBoostingClassifier(
        max_iter=most if n_iter is None else n_iter,
        learning_rate=rate,
        max_features=min(1.0, TREE_COLUMNS / n_features),
        early_stopping=False,
        random_state=SEED,
        **TREE_OPTIONS,
    )


def fit_trees(rows, kept, n_iter=None):
    """Fitted to the labels of rows where the mask `kept` is true; None to less than two classes."""
    index = np.flatnonzero(kept & (rows.weight > 0))
    labels, weight = rows.labels[index], rows.weight[index]
    if len(np.unique(labels)) < 2:
        return None
    # With weights the columns are binned several times as slowly (scikit-learn 1.9).
    weights = {} if (weight == weight[0]).all() else {"sample_weight": weight / weight.mean()}
    trees = boosted_trees(rows.n_classes, rows.X.shape[1], n_iter)
    X = rows.X if len(index) == len(rows.labels) else rows.X[index]  # which copies
    with openmp_threads_for(WORK_OF_ENTRY * rows.X.size):
        return trees.fit(X, rows.classes[labels], **weights)


def class_log_probabilities(scores, known, classes):
    """Of all classes, from a decision function of the `known` ones."""
    if scores.ndim == 1:
        scores = np.column_stack([np.zeros_like(scores), scores])
    found = np.full((len(scores), len(classes)), np.log(LEAST_PROBABILITY))
    found[:, np.searchsorted(classes, known)] = log_softmax(scores)
    return found


def staged_scores(design, kept):
    """Scores of every row out of its fold at each of the `TREE_STAGES`; and their iterations.

    Of shape (n_stages, n_rows, n_classes); None where a fold has no two classes to learn. Masks
    `kept` say which rows train in each fold.
    """
    rows, folds = design.rows, design.folds
    kept = np.broadcast_to(kept, folds.in_training.shape)
    most = boosted_trees(rows.n_classes, rows.X.shape[1]).max_iter
    stages = [max(1, round(share * most)) for share in TREE_STAGES]
    found = np.empty((len(stages), len(rows.labels), rows.n_classes))
    for k in range(folds.n_folds):
        own = np.flatnonzero(folds.own == k)
        trees = fit_trees(rows, kept[k] & (folds.out_of_fold[k] > 0))
        if trees is None:
            return None
        if not len(own):
            continue
        known = trees.classes_, rows.classes
        with openmp_threads_for(WORK_OF_ENTRY * rows.X.size):
            each = trees.staged_decision_function(rows.X[own])
            reached = (scores for number, scores in enumerate(each, 1) if number in stages)
            for stage, scores in enumerate(reached):
                found[stage, own] = class_log_probabilities(scores, *known)
    return found, stages


def stack_trees(design, scores, stages, transition_of) -> TreeStack:
    """Scores of all rows with those of trees, as they predict validation rows together.

    ``transition_of(predictions, trees)`` is the noise transition matrix, `trees` being those on all
    labels; None where no wrong labels show.
    By `stages` the models that were there before are made for pairs of folds.
    """
    few, rows = design.with_few_folds(TREE_FOLDS), design.rows
    given = np.eye(rows.n_classes)[rows.labels]
    staged = staged_scores(few, np.ones(len(given), dtype=bool))
    if staged is None:
        return TreeStack(scores)
    trees = [_likeliest(ALL_LABELS, staged, given, rows.weight)]
    first = _stacked(design, scores, trees)
    transition = transition_of(np.exp(log_softmax(first.scores)), trees[0])
    if transition is None:
        return first
    likelihood = np.where(rows.is_clean[:, None], given, label_likelihood(transition, rows.given))
    trees = [_likeliest(ALL_LABELS, staged, likelihood, rows.weight)]
    nested = np.log(nested_predictions(few, stages, np.exp(log_softmax(scores))) + TINY)
    right = nested_right(few, trees[0], first, nested, likelihood)
    kept = np.array([probably_right(rows, each) for each in right])
    staged = staged_scores(few, kept)
    if staged is not None:
        trees.append(_likeliest(FILTERED, staged, likelihood, rows.weight))
    return _stacked(design, scores, trees)


def nested_right(design, trees, stack, nested, likelihood):
    """Probabilities that labels are right, for fits without each fold, (n_folds, n_rows).

    By models of neither that fold nor the row's own, stacked like those of all: out-of-fold scores
    of rows know the labels of each other's folds, and a filter by these would confirm given labels.
    """
    rows, folds = design.rows, design.folds
    (share,) = (one.mixing_weight for one in stack.trees)
    scores = stack.before * nested
    pairs = combinations(range(folds.n_folds), 2) if share > 0 else ()
    for j, k in pairs:
        found = fit_trees(rows, folds.out_of_fold[j] * folds.out_of_fold[k] > 0, trees.n_iter)
        for own, other in ((j, k), (k, j)):
            index = np.flatnonzero(folds.own == own)
            if found is None or not len(index):
                continue
            with openmp_threads_for(WORK_OF_ENTRY * rows.X.size):
                own_scores = found.decision_function(rows.X[index])
            own_scores = class_log_probabilities(own_scores, found.classes_, rows.classes)
            scores[other, index] += share * own_scores
    joint = np.exp(log_softmax(scores)) * likelihood
    return joint[:, design.every, rows.labels] / (joint.sum(axis=2) + TINY)


def probably_right(rows, right):
    """A mask of the rows that train filtered trees; a class that has no other keeps all of its."""
    kept = rows.is_clean | (right > 0.5)
    is_left = np.bincount(rows.labels, kept * rows.weight, rows.n_classes) > 0
    return kept | ~is_left[rows.labels]


def _likeliest(kind, staged, likelihood, weight):
    """The `Trees` of the stage at which given labels are likeliest."""
    likelihoods = []
    for scores in staged[0]:
        factor = likeliest_factor(scores, likelihood, weight)
        likelihoods.append(weight @ log_likelihood(factor * scores, likelihood))
    best = int(np.argmax(likelihoods))
    return Trees(kind, staged[0][best], staged[1][best])


def _stacked(design, scores, trees):
    """As they are where trees do not predict better."""
    factors = stack_factors(design, [scores, *(one.scores for one in trees)])
    if factors is None:
        return TreeStack(scores, trees=tuple(trees))
    before, *others = (float(factor) for factor in factors)
    trees = [replace(one, mixing_weight=share) for one, share in zip(trees, others, strict=True)]
    both = before * scores + sum(one.mixing_weight * one.scores for one in trees)
    return TreeStack(both, before, tuple(trees))
