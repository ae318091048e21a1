"""The user's final estimator, and probabilities, as base models with linear and kernel ones.

Where classes are not linear in the columns these alone are poor, and trees or a network that are
fitted with their weights would learn their mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .._constants import LEAST_OF_CLASS, STACKED_PRIOR, STACKED_ROWS, STANDARD_ERRORS
from .._final_estimator import fit_final_estimator
from ._scorer import FinalScores, UserScores, bounded_logs, log_probabilities
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
    """Scores stacked with the final estimator's; None where that does not help."""
    found = out_of_fold_scores(design, final_estimator, weights, skipped)
    if found is None:
        return None
    own, final = found
    factors = stack_factors(design, [out_of_fold, own])
    if factors is None:
        return None
    before, factor = (float(one) for one in factors)
    shares = (factor / len(final.estimators),) * len(final.estimators)
    return StackedFinal(
        before * out_of_fold + factor * own, before, replace(final, mixing_weights=shares)
    )


def stack_user(design, out_of_fold) -> UserScores | None:
    """How to stack scores with the user's own probabilities; None where that does not help."""
    if design.rows.pred_probs is None:
        return None
    factors = stack_factors(design, [out_of_fold, bounded_logs(design.rows.pred_probs)])
    return None if factors is None else UserScores(*map(float, factors))


def with_user(design, scores):
    """Scores with the user's own probabilities, and their `UserScores`, where these help."""
    user = stack_user(design, scores)
    return (scores if user is None else user.mixed(scores, design.rows.pred_probs)), user


def stack_factors(design, scores):
    """Factors of scores of all rows, the first of which are there, that predict labels best.

    None where the others make validation rows no likelier, by more than half a standard error: a
    further model always fits a little, and costs accuracy where it knows nothing new.
    """
    labels, weight, row = design.validation_labels, design.validation_weight, design.validation_row
    counts = weight * (len(weight) if design.rows.has_verified else STACKED_ROWS)

    def stacked(each):
        held_out = np.stack(each)[:, row]
        initial = np.full(len(each), 1 / len(each))
        factors, _ = mixing_weights(
            held_out, labels, counts, initial=initial, precision=STACKED_PRIOR
        )
        predictions = log_softmax(np.tensordot(factors, held_out, 1))
        return factors, -predictions[np.arange(len(labels)), labels]

    alone, (factors, together) = stacked(scores[:1])[1], stacked(scores)
    gain = alone - together
    error = np.sqrt(np.square(weight) @ np.square(gain - weight @ gain))
    return factors if weight @ gain > STANDARD_ERRORS * error else None


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
    return scores, FinalScores(tuple(fitted), rows.classes, (1 / len(fitted),) * len(fitted))


def _fitted(final_estimator, rows, weight):
    """A clone, fitted to the rows with a weight; without rare classes where it fails with these."""
    y, unit = rows.classes[rows.labels], rows.unit_weight
    try:
        return fit_final_estimator(final_estimator, rows.X, y, weight, unit=unit)
    except Exception:
        count = np.bincount(rows.labels, weight > 0)
        common = np.flatnonzero((count >= LEAST_OF_CLASS)[rows.labels])
        if len(common) == len(y):
            raise
        kept = y[common], weight[common], common
        return fit_final_estimator(final_estimator, rows.X, *kept, unit=unit)
