"""The user's final estimator as a base model of label quality, with linear and kernel models.

Where classes are not linear in the columns these alone are poor, and trees or a network that are
fitted with their weights would learn their mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._final_estimator import fit_final_estimator
from ._scorer import FinalScores, log_chances
from ._scores import calibrate, log_softmax

# Strength of the pull of two models' factors to equal shares, as in the rounds before.
PULL = 4.0
# By how many standard errors a further model must predict held-out rows better.
STANDARD_ERRORS = 0.5


@dataclass(frozen=True)
class Further:
    """Scores of all rows that the final estimator has a share in."""

    scores: np.ndarray  # (n_rows, n_classes)
    share: float  # factor of the scores that were there before
    model: FinalScores  # for other rows, times its factor


def further_rounds(search, scores, weights):
    """Yield what scores become with the final estimator: by all labels as given, then by trust.

    Labels as given come first: linear models may be wrong about them. Nothing comes where there is
    no estimator or a single fold, and no more where it does not help. ``weights(is_trusted)`` are
    those of the rows of each fold, by the trust of the moment.
    """
    if search.final_estimator is None or search.folds.n_folds == 1:
        return
    for is_trusted in (False, True):
        further = with_further(search, scores, weights(is_trusted))
        if further is None:
            return
        yield further


def with_further(search, scores, weights) -> Further | None:
    """Scores pooled with the final estimator's by how well they predict held-out judging rows.

    None where they predict no better with it, by more than half a standard error: a further model
    always fits a little, and costs accuracy where it knows nothing new.
    """
    found = out_of_fold_scores(search, weights)
    if found is None:
        return None
    own, model = found
    labels, weight = search.judging_labels()
    row = np.nonzero(search.folds.judging)[1]

    def pooled(scores, start):
        factors, _ = calibrate(scores, labels, weight * len(weight), start=start, pull=PULL)
        chances = log_softmax(np.tensordot(factors, scores, 1))
        return factors, -chances[np.arange(len(labels)), labels]

    _, alone = pooled(scores[None, row], np.ones(1))
    factors, both = pooled(np.stack([scores[row], own[row]]), np.full(2, 0.5))
    gain = alone - both
    error = np.sqrt(np.square(weight) @ np.square(gain - weight @ gain))
    if weight @ gain <= STANDARD_ERRORS * error:
        return None
    share, factor = (float(one) for one in factors)
    return Further(share * scores + factor * own, share, replace(model, factor=factor))


def out_of_fold_scores(search, weights) -> tuple[np.ndarray, FinalScores] | None:
    """Scores of each row by a final estimator fitted outside of its part, and these estimators.

    None where a fold has rows of one class only, or there are no probabilities.
    """
    rows, folds = search.rows, search.folds
    scores, fitted = np.empty((len(rows.labels), rows.n_classes)), []
    for k, weight in enumerate(weights):
        index, part = np.flatnonzero(weight), np.flatnonzero(folds.part == k)
        labels = rows.labels[index]
        if len(np.unique(labels)) < 2:
            return None
        model = fit_final_estimator(search.final_estimator, rows.X[index], labels, weight[index])
        if not hasattr(model, "predict_proba"):
            return None
        fitted.append(model)
        if len(part):
            scores[part] = log_chances(model, rows.X[part], rows.n_classes)
    return scores, FinalScores(tuple(fitted), rows.n_classes)
