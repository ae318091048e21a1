"""Label quality of rows that were not in the fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.utils.extmath import safe_sparse_dot

from ...linalg._session import threads_for
from .._constants import BLOCK_ROWS, LEAST_PROBABILITY, TILT
from .._final_estimator import class_probabilities
from ._given_noise import GivenNoise
from ._kernel import FeatureMap
from ._scores import NoiseModel, log_odds, log_softmax, other_labels, plain_log_odds


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
    """Kernel ridge regression on random features of the raw columns."""

    map: FeatureMap
    coef: np.ndarray

    def __call__(self, X):
        return self.map.product(X, self.coef)


@dataclass(frozen=True)
class FinalScores:
    """Weighted sum of the log probabilities of any fitted classifiers."""

    estimators: tuple
    classes: np.ndarray
    mixing_weights: tuple[float, ...]

    def __call__(self, X):
        pairs = zip(self.mixing_weights, self.estimators, strict=True)
        return sum(share * log_probabilities(one, X, self.classes) for share, one in pairs)


def log_probabilities(estimator, X, classes):
    """Log probabilities of all classes, also of those that a classifier has not seen."""
    with threads_for(math.inf):
        return bounded_logs(class_probabilities(estimator, X, classes))


def bounded_logs(probabilities):
    """Of probabilities that may be 0, or not add up to 1 by rounding."""
    found = np.clip(probabilities, LEAST_PROBABILITY, None, dtype=float)
    return np.log(found / found.sum(axis=1, keepdims=True))


class UserScores(NamedTuple):
    """Mixing weights of the scores that were there, and of the user's log probabilities."""

    before: float
    own: float

    def mixed(self, scores, pred_probs):
        return self.before * scores + self.own * bounded_logs(pred_probs)


class ScoredLabels(NamedTuple):
    """What a `LabelScorer` says of some rows."""

    log_odds: np.ndarray  # (n_rows,), log posterior odds that the given label is right
    # (n_rows, n_classes), of other classes if the label is wrong; None without verified labels
    others: np.ndarray | None
    predictions: np.ndarray  # (n_rows, n_classes), made without the label


@dataclass(frozen=True)
class LabelScorer:
    """Scores labels of rows that no model has seen: the folds' models, averaged."""

    linear: LinearScores  # first-stage and linear model, stacked
    kernel: KernelScores | None = None
    # Noise transition matrix, P(given label | true class); None without verified labels, where
    # models know given labels alone.
    transition: np.ndarray | None = None
    given_noise: GivenNoise | None = None  # in its place, if wrong labels show
    given: LinearScores | None = None  # of the given labels, where noise depends on the row
    final: FinalScores | None = None  # the user's own model or trees, where these help
    mixing_weight: float = 1.0  # of linear and kernel scores, with `final`
    user: UserScores | None = None  # where the user's own probabilities help
    # Why clones of the user's model are left out, a sentence for each that failed.
    skipped: tuple[str, ...] = ()

    def score(self, X, labels, pred_probs=None, given=None) -> ScoredLabels:
        """Label quality, block by block; labels are positions of classes.

        Rows without `pred_probs` are scored by all other models. What is `given` are votes, or
        these labels.
        """
        given = labels if given is None else given
        firsts = range(0, max(X.shape[0], 1), BLOCK_ROWS)
        blocks = [slice(first, first + BLOCK_ROWS) for first in firsts]
        odds, others, predictions = zip(
            *(
                self._score(
                    X[block],
                    labels[block],
                    None if pred_probs is None else pred_probs[block],
                    given[block],
                )
                for block in blocks
            ),
            strict=True,
        )
        return ScoredLabels(
            np.concatenate(odds),
            None if self.transition is None else np.concatenate(others),
            np.concatenate(predictions),
        )

    def _score(self, X, labels, pred_probs, given):
        scores = self.linear(X)
        if self.kernel is not None:
            scores = scores + self.kernel(X)
        if self.user is not None and pred_probs is not None:
            scores = self.user.mixed(scores, pred_probs)
        if self.final is not None:
            scores = self.mixing_weight * scores + self.final(X)
        predictions = np.exp(log_softmax(scores))
        if self.transition is None:
            if self.given_noise is None:
                return plain_log_odds(predictions, labels), None, predictions
            posterior = self.given_noise.posterior(predictions, given)
            return log_odds(posterior, labels), None, predictions
        tilt = None if self.given is None else np.exp(TILT * log_softmax(self.given(X)))
        posterior = NoiseModel(self.transition, tilt).posterior(predictions, given)
        return log_odds(posterior, labels), other_labels(posterior, labels), predictions
