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
    """Scores of all classes, linear in the raw columns.

    Attributes
    ----------
    coef : ndarray of shape (n_scores, n_features)
    intercept : ndarray of shape (n_scores,)
        One score stands for that of the second of two classes.
    """

    coef: np.ndarray
    intercept: np.ndarray

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
    """Mean of the log probabilities of any fitted classifiers, times a factor.

    Attributes
    ----------
    estimators : tuple of classifiers
        Their classes are positions.
    n_classes : int
    factor : float
    """

    estimators: tuple
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
    """What judges the labels of rows that no model has seen: the folds' models, averaged.

    Attributes
    ----------
    linear : LinearScores
        Pilot and linear model, as they are pooled.
    kernel : KernelScores or None
    transition : ndarray of shape (n_classes, n_classes) or None
        P(given label | true class); None without clean rows, where the given label itself is
        all that the models know.
    given : LinearScores or None
        Model of the given labels, where noise depends on the row.
    further : FinalScores or None
        The user's own model, where it helps.
    share : float
        Factor of linear and kernel scores beside `further`.
    """

    linear: LinearScores
    kernel: KernelScores | None = None
    transition: np.ndarray | None = None
    given: LinearScores | None = None
    further: FinalScores | None = None
    share: float = 1.0

    def judge(self, X, labels):
        """Log odds that the labels are right, and what the true ones may be.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_rows, n_features)
        labels : ndarray of int of shape (n_rows,)

        Returns
        -------
        odds : ndarray of shape (n_rows,)
        others : ndarray of shape (n_rows, n_classes) or None
            Chances of the other classes, should the label be wrong; None without clean rows.
        predictions : ndarray of shape (n_rows, n_classes)
            Chances of classes, the label not being known.
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
