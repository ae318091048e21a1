"""Label quality out of a fold: scores of its training rows by models that have not seen the fold.

What a fit says of held-out verified rows is only honest if these have not told which labels are
wrong. So a row of fold j is scored, for a fit without fold k, by linear models without both. What a
few numbers can carry (ridge, mixing weights, noise) is taken over from all rows.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from .._constants import CLOSE, ROUND_RIDGE, ROUND_VERIFIED_WEIGHT, SMOOTHING
from ._first_stage import first_stage_weights
from ._given_noise import GivenNoise
from ._scorer import UserScores
from ._scores import label_likelihood, log_softmax


class ScoreStages(NamedTuple):
    """How linear models are made and mixed: of verified rows, if any, and of all rows."""

    ridge: float  # of the fit of given labels
    mixing: np.ndarray  # (n_models,), factors of their scores, those of given labels last
    transition: np.ndarray  # (n_classes, n_classes), P(given label | true class)
    first_ridge: float = 0.0  # of models of verified rows alone
    first_inverse_temperature: float = 1.0
    user: UserScores | None = None
    noise: GivenNoise | None = None  # without verified labels


def nested_predictions(design, stages, predictions):
    """Probabilities of classes of every row, for fits without each fold.

    Of shape (n_folds, n_rows, n_classes). Where two folds leave no rows they are the out-of-fold
    ones, `predictions`, which are a little optimistic.
    """
    rows, folds = design.rows, design.folds
    pairs = list(combinations(range(folds.n_folds), 2))
    kept = folds.out_of_fold
    training = np.array([kept[j] * kept[k] for j, k in pairs]).reshape(-1, len(rows.labels))
    kind = _scores_by_verified if rows.has_verified else _scores_by_noisy
    scores = kind(design, stages, training) if len(pairs) > 1 else None
    if scores is None:
        return np.broadcast_to(predictions, (folds.n_folds, *predictions.shape))
    if stages.user is not None:
        # The user's own models are there for one folding only: these have seen both folds, and are
        # a little optimistic.
        scores = stages.user.mixed(scores, rows.pred_probs)
    found = np.tile(predictions, (folds.n_folds, 1, 1))
    for score, (j, k) in zip(scores, pairs, strict=True):
        for other, own in ((k, folds.own == j), (j, folds.own == k)):
            found[other, own] = np.exp(log_softmax(score[own]))
    return found


def _scores_by_verified(design, stages, training):
    """By first-stage models, and linear models of all rows weighted by what these say."""
    rows = design.rows
    weights = first_stage_weights(rows, training)
    if not weights.any(1).all():
        return None
    first = design.scores(design.fit(weights, stages.first_ridge, tol=CLOSE, smoothing=SMOOTHING))
    predictions = np.exp(log_softmax(stages.first_inverse_temperature * first))
    joint = predictions * label_likelihood(stages.transition, rows.given)
    given = joint[:, design.every, rows.labels] / joint.sum(axis=2)
    weights = rows.weight * training * np.where(rows.is_clean, ROUND_VERIFIED_WEIGHT, given)
    linear = design.scores(design.fit(weights, ROUND_RIDGE, tol=CLOSE))
    plain = design.scores(design.fit(rows.weight * training, stages.ridge, tol=CLOSE))
    return np.tensordot(stages.mixing, [first, linear, plain], 1)


def _scores_by_noisy(design, stages, training):
    """By linear models of all rows."""
    weights = design.rows.weight * training
    if not weights.any(1).all():
        return None
    params = design.fit(weights, stages.ridge, tol=CLOSE)
    return stages.mixing[0] * design.scores(params)
