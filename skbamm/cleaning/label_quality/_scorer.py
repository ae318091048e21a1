"""Evidence about labels of rows that were not in the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.utils.extmath import safe_sparse_dot

from ._kernel import BLOCK, FeatureMap
from ._scores import (
    TILT,
    NoiseModel,
    log_odds,
    log_softmax,
    other_labels,
    plain_log_odds,
)

# Trees that are sure of a class are not that sure.
LEAST_CHANCE = 1e-4


@dataclass(frozen=True)
class LinearScores:
    """Scores of all classes, linear in the raw columns; one stands for the second of two."""

    coef: np.ndarray  # (n_scores, n_features)
    intercept: np.ndarray  # (n_scores,)

    def __call__(self, X):
        scores = safe_sparse_dot(X, self.coef.T, dense_output=True) + self.intercept
        return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores


@dataclass(frozen=True)
class KernelScores:
    """Shares of classes by kernel ridge regression on random features of the raw columns."""

    map: FeatureMap
    coef: np.ndarray

    def __call__(self, X):
        return self.map.product(X, self.coef)


@dataclass(frozen=True)
class FinalScores:
    """Mean of the log probabilities of any fitted classifiers, times a factor."""

    estimators: tuple  # their classes are positions
    n_classes: int
    factor: float = 1.0

    def __call__(self, X):
        parts = [log_chances(one, X, self.n_classes) for one in self.estimators]
        return self.factor * np.mean(parts, axis=0)


def log_chances(estimator, X, n_classes):
    """Log probabilities of all classes, also of those that a classifier has not seen."""
    chances = np.full((X.shape[0], n_classes), LEAST_CHANCE)
    chances[:, estimator.classes_] = estimator.predict_proba(X).clip(LEAST_CHANCE)
    return np.log(chances / chances.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class EvidenceModel:
    """What judges the labels of rows that no model has seen: the folds' models, averaged."""

    linear: LinearScores  # pilot and linear model, as they are pooled
    kernel: KernelScores | None = None
    # P(given label | true class); None without clean rows, where models know given labels alone.
    transition: np.ndarray | None = None
    given: LinearScores | None = None  # of the given labels, where noise depends on the row
    further: FinalScores | None = None  # the user's own model, where it helps
    share: float = 1.0  # factor of linear and kernel scores, with `further`

    def judge(self, X, labels):
        """Log odds that labels are right, chances of other classes if wrong, and predictions.

        The second is None without clean rows; the last are made without the label.
        """
        starts = range(0, max(X.shape[0], 1), BLOCK)
        blocks = [
            self._judge(X[first : first + BLOCK], labels[first : first + BLOCK]) for first in starts
        ]
        return tuple(
            None if parts[0] is None else np.concatenate(parts)
            for parts in zip(*blocks, strict=True)
        )

    def _judge(self, X, labels):
        scores = self.linear(X)
        if self.kernel is not None:
            scores = scores + self.kernel(X)
        if self.further is not None:
            scores = self.share * scores + self.further(X)
        predictions = np.exp(log_softmax(scores))
        if self.transition is None:
            return plain_log_odds(predictions, labels), None, predictions
        tilt = None if self.given is None else np.exp(TILT * log_softmax(self.given(X)))
        posterior = NoiseModel(self.transition, tilt).posterior(predictions, labels)
        return log_odds(posterior, labels), other_labels(posterior, labels), predictions
