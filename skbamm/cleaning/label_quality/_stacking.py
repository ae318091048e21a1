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
# By how many standard errors a further judge must predict held-out rows better.
STANDARD_ERRORS = 0.5


@dataclass(frozen=True)
class Further:
    """Scores of all rows that a further model has a share in.

    Attributes
    ----------
    scores : ndarray of shape (n_rows, n_classes)
    share : float
        Factor of the scores that were there before.
    model : FinalScores
        Of other rows, times its factor.
    """

    scores: np.ndarray
    share: float
    model: FinalScores


class FinalJudge:
    """A clone of the final estimator for each fold."""

    def __init__(self, search, estimator):
        self.search = search
        self.estimator = estimator

    def fit(self, weights):
        """Scores of each row by the model of its part, and the models for other rows.

        None where a fold has rows of one class only, or there are no probabilities.
        """
        rows, folds = self.search.rows, self.search.folds
        scores, fitted = np.empty((len(rows.labels), rows.n_classes)), []
        for k, weight in enumerate(weights):
            index, part = np.flatnonzero(weight), np.flatnonzero(folds.part == k)
            labels = rows.labels[index]
            if len(np.unique(labels)) < 2:
                return None
            model = fit_final_estimator(self.estimator, rows.X[index], labels, weight[index])
            if not hasattr(model, "predict_proba"):
                return None
            fitted.append(model)
            if len(part):
                scores[part] = log_chances(model, rows.X[part], rows.n_classes)
        return scores, FinalScores(tuple(fitted), rows.n_classes)


def make_judge(search):
    """The further judge of a search, None where there is none or no fold to learn from."""
    if search.folds.n_folds == 1 or search.final_estimator is None:
        return None
    return FinalJudge(search, search.final_estimator)


def further_rounds(search, scores, weights):
    """What scores become with a further judge, fitted to all labels as given, then by trust.

    Labels as given come first: linear models may be wrong about them. Nothing comes where there is
    no judge, and no more where it does not help.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_classes)
    weights : callable
        ``weights(is_trusted)`` are those of the rows of each fold, by the trust of the moment.

    Yields
    ------
    further : Further
    """
    judge = make_judge(search)
    for is_trusted in () if judge is None else (False, True):
        further = with_further(search, judge, scores, weights(is_trusted))
        if further is None:
            return
        yield further


def with_further(search, judge, scores, weights):
    """Scores pooled with those of a judge by how well they predict held-out judging rows.

    None where they predict no better with it, by more than half a standard error: a further model
    always fits a little, and costs accuracy where it knows nothing new.
    """
    found = judge.fit(weights)
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
