"""The user's final estimator as a base model of label quality, with linear and kernel models.

Where classes are not linear in the columns these alone are poor, and trees or a network that are
fitted with their weights would learn their mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._constants import LEAST_OF_CLASS, STACKED_PRIOR, STANDARD_ERRORS
from .._final_estimator import fit_final_estimator
from ._scorer import FinalScores, log_probabilities
from ._scores import log_softmax, mixing_weights


@dataclass(frozen=True)
class StackedFinal:
    """Scores of all rows by a stack that the final estimator is in."""

    out_of_fold: np.ndarray  # (n_rows, n_classes)
    mixing_weight: float  # of the scores that were there before
    final: FinalScores  # for other rows, with its mixing weight


def stacked_rounds(design, final_estimator, out_of_fold, weights, skipped):
    """Yield stacks with the final estimator: by all labels as given, then by label weights.

    Labels as given come first: linear models may be wrong about them. No more come where it does
    not help. ``weights(is_weighted)`` are those of the rows of each fold, by the label weights of
    the moment. A clone that fails ends the rounds, and is noted in the list `skipped`.
    """
    for is_weighted in (False, True):
        stacked = stack_final(design, final_estimator, out_of_fold, weights(is_weighted), skipped)
        if stacked is None:
            return
        yield stacked


def stack_final(design, final_estimator, out_of_fold, weights, skipped) -> StackedFinal | None:
    """Scores stacked with the final estimator's by how well they predict validation rows.

    None where they predict no better with it, by more than half a standard error: a further model
    always fits a little, and costs accuracy where it knows nothing new.
    """
    found = out_of_fold_scores(design, final_estimator, weights, skipped)
    if found is None:
        return None
    own, final = found
    labels, weight, row = design.validation_labels, design.validation_weight, design.validation_row

    def stacked(scores, initial):
        factors, _ = mixing_weights(
            scores, labels, weight * len(weight), initial=initial, precision=STACKED_PRIOR
        )
        predictions = log_softmax(np.tensordot(factors, scores, 1))
        return factors, -predictions[np.arange(len(labels)), labels]

    _, alone = stacked(out_of_fold[None, row], np.ones(1))
    factors, both = stacked(np.stack([out_of_fold[row], own[row]]), np.full(2, 0.5))
    gain = alone - both
    error = np.sqrt(np.square(weight) @ np.square(gain - weight @ gain))
    if weight @ gain <= STANDARD_ERRORS * error:
        return None
    before, factor = (float(one) for one in factors)
    return StackedFinal(
        before * out_of_fold + factor * own, before, replace(final, mixing_weight=factor)
    )


def out_of_fold_scores(
    design, final_estimator, weights, skipped
) -> tuple[np.ndarray, FinalScores] | None:
    """Scores of each row by a final estimator fitted out of its fold, and these estimators.

    None where a fold has rows of one class only, there are no probabilities, or a clone fails: it
    is the user's for other ends, and what it adds here is not asked for.
    """
    rows, folds = design.rows, design.folds
    scores, fitted = np.empty((len(rows.labels), rows.n_classes)), []
    for k, weight in enumerate(weights):
        own = np.flatnonzero(folds.own == k)
        if len(np.unique(rows.labels[weight > 0])) < 2:
            return None
        try:
            model = _fitted(final_estimator, rows, weight)
            if not hasattr(model, "predict_proba"):
                return None
            if len(own):
                scores[own] = log_probabilities(model, rows.X[own], rows.classes)
        except Exception as error:
            skipped.append(f"out of fold {k}: {type(error).__name__}: {error}")
            return None
        fitted.append(model)
    return scores, FinalScores(tuple(fitted), rows.classes)


def _fitted(final_estimator, rows, weight):
    """A clone, fitted to the rows with a weight; without rare classes where it fails with these."""
    y = rows.classes[rows.labels]
    try:
        return fit_final_estimator(final_estimator, rows.X, y, weight)
    except Exception:
        count = np.bincount(rows.labels, weight > 0)
        common = np.flatnonzero((count >= LEAST_OF_CLASS)[rows.labels])
        if len(common) == len(y):
            raise
        return fit_final_estimator(final_estimator, rows.X, y[common], weight[common], common)
