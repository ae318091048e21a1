"""Label quality from out-of-fold predictions and Bayes' rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .._constants import (
    EXACT,
    KERNEL_RIDGES,
    LEAST_INITIAL,
    N_ROUNDS,
    NOISY_RIDGES,
    ONE_RATE_COUNT,
    PAIR_COUNT,
    PREFERENCE,
    PROBABILITY_FACTOR,
    ROUGH,
    ROUND_RIDGE,
    ROUND_VERIFIED_WEIGHT,
    SINGLE_PRIOR,
    SMOOTHING,
    STACKED_PRIOR,
    VERIFIED_RIDGES,
)
from ._given_noise import GivenNoise, fit_given_noise
from ._scorer import KernelScores, LabelScorer, LinearScores
from ._scores import (
    fit_noise_model,
    log_odds,
    log_softmax,
    mixing_weights,
    other_labels,
    plain_log_odds,
)
from ._stacking import stacked_rounds


@dataclass(frozen=True)
class LabelQuality:
    """Log posterior odds of the noisy rows' labels, and the fits that they come from."""

    log_odds: np.ndarray  # (n_noisy,)
    predictions: np.ndarray  # (n_rows, n_classes)
    params: torch.Tensor  # (n_folds, n_scores, n_columns), near which the folds' fits are
    scorer: LabelScorer  # for other rows
    others: np.ndarray | None = None  # (n_noisy, n_classes), should the label be wrong
    ridge: float | None = None  # of `params`, where it was chosen
    noise: GivenNoise | None = None  # where no verified labels have taught the log odds


def label_quality(design, final_estimator=None) -> LabelQuality:
    """Of the noisy rows of a `FoldedDesign`."""
    kind = quality_by_verified if design.rows.has_verified else quality_by_noisy
    return kind(design, final_estimator)


@dataclass(frozen=True)
class FirstStage:
    """Models of the folds whose ridge predicts validation rows best."""

    params: torch.Tensor
    inverse_temperature: float
    ridge: float


def fit_first_stage(design, weights, ridges) -> FirstStage:
    """Softmax fits by `weights` of rows, (n_folds, n_rows), with one of several ridges."""

    def fitted(ridge, initial):
        params = design.fit(weights, ridge, initial, tol=ROUGH, smoothing=SMOOTHING)
        temperature, loss = inverse_temperature(design, design.scores(params))
        return loss, FirstStage(params, temperature, ridge)

    lowest, best = fitted(ridges[0], None)
    found = best
    for ridge in ridges[1:]:
        loss, found = fitted(ridge, found.params)
        if loss < lowest * (1 - PREFERENCE):
            lowest, best = loss, found
    params = design.fit(weights, best.ridge, best.params, smoothing=SMOOTHING)
    return FirstStage(params, best.inverse_temperature, best.ridge)


def inverse_temperature(design, scores):
    """That predicts validation rows best by their held-out scores, and the mean loss there."""
    weight = design.validation_weight * len(design.validation_weight)
    factors, loss = mixing_weights(
        design.held_out(scores)[None],
        design.validation_labels,
        weight,
        initial=np.ones(1),
        precision=SINGLE_PRIOR,
    )
    return float(factors[0]), loss


def quality_by_verified(design, final_estimator) -> LabelQuality:
    """By models of verified rows, then in rounds of all rows weighted by what these say.

    Model k of a round has seen neither the verified nor the noisy rows of fold k, so it scores
    both. First-stage, linear and kernel models are stacked by how well they predict held-out
    verified rows.
    """
    rows, noisy = design.rows, design.rows.noisy
    stage = fit_first_stage(design, _first_stage_weights(design), VERIFIED_RIDGES)
    params, temperature = stage.params, stage.inverse_temperature
    first = _BaseModel.of(design, params)
    predictions = np.exp(log_softmax(temperature * first.out_of_fold))
    if len(noisy) == 0:
        scorer = LabelScorer(
            design.raw_scores(temperature * params), transition=np.eye(rows.n_classes)
        )
        nothing = np.zeros((0, rows.n_classes))
        return LabelQuality(np.zeros(0), predictions, params, scorer, nothing)
    given = _given_params(design)
    log_given = None
    if given is not None:
        log_given = log_softmax(design.out_of_fold(design.scores(given)))[noisy]
    kernel = design.kernel_rows()
    # Few rows, poor predictions: one overall noise rate at first, class pairs later.
    posterior = _noise(rows, predictions, log_given, ONE_RATE_COUNT)[1]
    labels, final = rows.labels[noisy], None
    skipped: list[str] = []

    def round_weights(is_weighted=True):
        weight = np.where(rows.is_clean, ROUND_VERIFIED_WEIGHT, 1.0)
        if is_weighted:
            weight[noisy] = posterior[np.arange(len(noisy)), labels]
        return design.folds.out_of_fold * rows.weight * weight

    for _ in range(N_ROUNDS):
        weights = round_weights()
        params = design.fit(weights, ROUND_RIDGE, params, tol=EXACT)
        stack = _stack(design, first, temperature, _BaseModel.of(design, params), kernel, weights)
        predictions = np.exp(log_softmax(stack.out_of_fold))
        noise, posterior = _noise(rows, predictions, log_given, PAIR_COUNT)
    for final in _rounds(design, final_estimator, stack.out_of_fold, round_weights, skipped):
        predictions = np.exp(log_softmax(final.out_of_fold))
        noise, posterior = _noise(rows, predictions, log_given, PAIR_COUNT)
    scorer = LabelScorer(
        stack.linear,
        stack.kernel,
        noise.transition,
        None if noise.tilt is None else design.raw_scores(given),
        **_final_fields(final, skipped),
    )
    others = other_labels(posterior, labels)
    return LabelQuality(log_odds(posterior, labels), predictions, params, scorer, others)


def quality_by_noisy(design, final_estimator) -> LabelQuality:
    """By out-of-fold models of noisy rows, in two rounds."""
    rows = design.rows
    base = design.folds.in_training * rows.weight
    labels, weight = design.validation_labels, design.validation_weight
    ridge, lowest, nearest, params = 0.0, np.inf, None, None
    for strength in NOISY_RIDGES:
        params = design.fit(base, strength, params, tol=ROUGH)
        held_out = design.held_out(design.scores(params))
        loss = -weight @ log_softmax(held_out)[np.arange(len(labels)), labels]
        if loss < lowest * (1 - PREFERENCE):
            ridge, lowest, nearest = strength, loss, params

    def scored(weights, initial):
        params = design.fit(weights, ridge, initial, tol=EXACT)
        scores = design.out_of_fold(design.scores(params))
        predictions = np.exp(log_softmax(scores))
        return params, scores, predictions, plain_log_odds(predictions, rows.labels)

    params, _, _, odds = scored(base, nearest)
    params, scores, predictions, odds = scored(base * (1 / (1 + np.exp(-odds))), params)
    final = None
    skipped: list[str] = []

    def round_weights(is_weighted):
        weights = design.folds.out_of_fold * rows.weight
        return weights / (1 + np.exp(-odds)) if is_weighted else weights

    for final in _rounds(design, final_estimator, scores, round_weights, skipped):
        predictions = np.exp(log_softmax(final.out_of_fold))
        odds = plain_log_odds(predictions, rows.labels)
    scorer = LabelScorer(design.raw_scores(params), **_final_fields(final, skipped))
    noise = fit_given_noise(predictions, rows.labels, rows.weight)
    return LabelQuality(odds, predictions, params, scorer, ridge=ridge, noise=noise)


@dataclass(frozen=True)
class _BaseModel:
    """A model of each fold, and its scores."""

    params: torch.Tensor  # (n_folds, n_scores, n_columns)
    out_of_fold: np.ndarray  # (n_rows, n_classes)
    held_out: np.ndarray  # (n_validation, n_classes), of the validation rows, fold by fold

    @classmethod
    def of(cls, design, params):
        scores = design.scores(params)
        return cls(params, design.out_of_fold(scores), design.held_out(scores))


@dataclass(frozen=True)
class _Stack:
    """Scores of all rows by several models together, and these models for other rows."""

    out_of_fold: np.ndarray
    linear: LinearScores
    kernel: KernelScores | None = None


def _stack(design, first, temperature, linear, kernel, weights) -> _Stack:
    """Of first-stage, linear and kernel model; without the latter where it does not help."""
    labels, weight = design.validation_labels, design.validation_weight
    weight = weight * len(weight)

    def mixed(models, initial, precision=STACKED_PRIOR):
        return mixing_weights(
            np.stack(models), labels, weight, initial=np.array(initial), precision=precision
        )

    held_out = [first.held_out, linear.held_out]
    alone, _ = mixed([linear.held_out], [1.0], SINGLE_PRIOR)
    initial = np.maximum([temperature / 2, alone[0] / 2], LEAST_INITIAL)
    both, lowest = mixed(held_out, initial)
    initial = [*np.maximum(both / 2, LEAST_INITIAL), PROBABILITY_FACTOR]
    coef = kernel.fit(weights, np.eye(design.rows.n_classes)[design.rows.labels])
    at = design.validation_fold, design.validation_row
    tried = [
        mixed([*held_out, kernel.scores(coef[i], *at)], initial) for i in range(len(KERNEL_RIDGES))
    ]
    chosen = int(np.argmin([loss for _, loss in tried]))
    mixing, loss = tried[chosen]
    helps = loss < lowest * (1 - PREFERENCE)
    mixing = mixing if helps else both
    out_of_fold = mixing[0] * first.out_of_fold + mixing[1] * linear.out_of_fold
    raw = design.raw_scores(mixing[0] * first.params + mixing[1] * linear.params)
    if not helps:
        return _Stack(out_of_fold, raw)
    own = kernel.scores(coef[chosen], design.folds.own, design.every)
    raw_map = design.standardizer.raw_map(kernel.map)
    raw_kernel = KernelScores(raw_map, mixing[2] * coef[chosen].mean(0))
    return _Stack(out_of_fold + mixing[2] * own, raw, raw_kernel)


def _first_stage_weights(design):
    """Of verified rows; and, for a class without any, of its noisy rows, as an average class.

    The verified rows cannot tell that such a class exists, let alone who belongs to it.
    """
    rows, folds = design.rows, design.folds
    mass, noisy_mass = (
        np.bincount(rows.labels, rows.weight * kind, minlength=rows.n_classes)
        for kind in (rows.is_clean, ~rows.is_clean)
    )
    average = mass[mass > 0].mean()
    share = np.where(mass == 0, average / np.maximum(noisy_mass, average), 0.0)
    stand_in = ~rows.is_clean * share[rows.labels]
    return rows.weight * (folds.in_training * rows.is_clean + folds.out_of_fold * stand_in)


def _given_params(design):
    """Models of the given labels of noisy rows; None where a fold has no such rows."""
    weights = design.folds.out_of_fold * design.rows.weight * ~design.rows.is_clean
    return design.fit(weights, ROUND_RIDGE, tol=ROUGH) if weights.any(1).all() else None


def _noise(rows, predictions, log_given, pseudo_count):
    """How the noisy rows got their labels, and the probabilities of their true classes."""
    noisy = rows.noisy
    predictions, labels = predictions[noisy], rows.labels[noisy]
    noise = fit_noise_model(
        predictions, labels, rows.weight[noisy], pseudo_count=pseudo_count, log_given=log_given
    )
    return noise, noise.posterior(predictions, labels)


def _rounds(design, final_estimator, out_of_fold, round_weights, skipped):
    """Stacks with the final estimator, where there is one and folds to fit it out of."""
    if final_estimator is None or design.folds.n_folds == 1:
        return ()
    return stacked_rounds(design, final_estimator, out_of_fold, round_weights, skipped)


def _final_fields(final, skipped):
    """Fields of a `LabelScorer` that the final estimator fills, if it is in the stack."""
    fields = {} if final is None else {"final": final.final, "mixing_weight": final.mixing_weight}
    return {**fields, "skipped": tuple(skipped)}
