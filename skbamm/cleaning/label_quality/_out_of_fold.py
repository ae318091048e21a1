"""Label quality from out-of-fold predictions and Bayes' rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ...linalg._tensors import as_tensor
from .._constants import (
    CRITERION,
    EXACT,
    KERNEL_RIDGES,
    LEAST_INITIAL,
    N_ROUNDS,
    ONE_RATE_COUNT,
    PAIR_COUNT,
    PLAIN_RIDGES,
    PREFERENCE,
    PROBABILITY_FACTOR,
    ROUGH,
    ROUND_RIDGE,
    ROUND_VERIFIED_WEIGHT,
    SINGLE_PRIOR,
    SMOOTHING,
    STACKED_PRIOR,
    STACKED_ROWS,
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
    weights_by_folds,
)
from ._stacking import stacked_rounds


class ScoreStages(NamedTuple):
    """How linear models are made and mixed: of verified rows, if any, and of all rows."""

    ridge: float  # of the fit of given labels
    mixing: np.ndarray  # (n_models,), factors of their scores, those of given labels last
    transition: np.ndarray  # (n_classes, n_classes), P(given label | true class)
    first_ridge: float = 0.0  # of models of verified rows alone
    first_inverse_temperature: float = 1.0


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
    is_noise_shown: bool = False  # whether given labels are clearly likelier with wrong ones
    transition: np.ndarray | None = None  # P(given label | true class), as labels are likeliest
    stages: ScoreStages | None = None  # what it takes to score rows out of other folds
    plain: tuple[torch.Tensor, ...] = ()  # fits of given labels with `PLAIN_RIDGES`, if needed


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
    folds = design.folds
    training = folds.in_training * rows.is_clean + folds.out_of_fold * ~rows.is_clean
    stage = fit_first_stage(design, first_stage_weights(rows, training), VERIFIED_RIDGES)
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
    plain_fits, plain_ridge, plain_params = plain_average(design, folds.out_of_fold * rows.weight)
    plain = _BaseModel.of(design, plain_params)
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
        linear = _BaseModel.of(design, params)
        stack = _stack(design, [first, linear, plain], temperature, kernel, weights)
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
    given_noise = fit_given_noise(predictions, rows.labels, rows.weight, folds.own, rows.is_clean)
    return LabelQuality(
        log_odds(posterior, labels),
        predictions,
        params,
        scorer,
        other_labels(posterior, labels),
        is_noise_shown=given_noise.is_shown,
        transition=given_noise.transition,
        stages=ScoreStages(plain_ridge, stack.mixing, noise.transition, stage.ridge, temperature),
        plain=plain_fits,
    )


def quality_by_noisy(design, final_estimator) -> LabelQuality:
    """By out-of-fold models of the given labels, linear and kernel, stacked."""
    rows, folds = design.rows, design.folds
    base = folds.out_of_fold * rows.weight
    fits, ridge, params = plain_average(design, base)
    plain = _BaseModel.of(design, params)
    alone, lowest = _mixed(design, [plain.held_out], [1.0], SINGLE_PRIOR)
    stack = _with_kernel(design, [plain], alone, lowest, design.kernel_rows(), base)
    predictions = np.exp(log_softmax(stack.out_of_fold))
    odds = plain_log_odds(predictions, rows.labels)
    final = None
    skipped: list[str] = []

    def round_weights(is_weighted):
        return base / (1 + np.exp(-odds)) if is_weighted else base

    for final in _rounds(design, final_estimator, stack.out_of_fold, round_weights, skipped):
        predictions = np.exp(log_softmax(final.out_of_fold))
        odds = plain_log_odds(predictions, rows.labels)
    guide = np.exp(log_softmax(plain.out_of_fold))
    known = rows.labels, rows.weight, folds.own, rows.is_clean
    noise = fit_given_noise(predictions, *known, guide if final is None else None)
    return LabelQuality(
        odds,
        predictions,
        params,
        LabelScorer(stack.linear, stack.kernel, **_final_fields(final, skipped)),
        ridge=ridge,
        noise=noise,
        is_noise_shown=noise.is_shown,
        transition=noise.transition,
        stages=ScoreStages(ridge, stack.mixing, noise.transition),
        plain=fits,
    )


def plain_average(design, weights):
    """Fits with `PLAIN_RIDGES`, the geometric mean of these, and mean params, as labels say."""
    fits, losses = ridge_fits(design, weights, PLAIN_RIDGES)
    shares = weights_by_folds(losses, 1.0)
    params = torch.tensordot(as_tensor(shares, fits[0]), torch.stack(fits), 1)
    return tuple(fits), float(np.exp(shares @ np.log(PLAIN_RIDGES))), params


def ridge_fits(design, weights, ridges):
    """Params of softmax fits with several ridges, and losses of labels out of each fold."""
    rows = design.rows
    fits: list[torch.Tensor] = []
    losses = []
    for ridge in ridges:
        # Label weights hang on these fits, and must be the same for repeated rows.
        fits.append(design.fit(weights, ridge, fits[-1] if fits else None, tol=CRITERION / 100))
        scores = log_softmax(design.out_of_fold(design.scores(fits[-1])))
        loss = -rows.weight * scores[design.every, rows.labels]
        losses.append(np.bincount(design.folds.own, loss, design.folds.n_folds))
    return fits, np.array(losses)


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
    mixing: np.ndarray  # (n_models,), factors of linear models alone
    kernel: KernelScores | None = None


def _mixed(design, models, initial, precision=STACKED_PRIOR):
    """Factors of held-out scores, and their loss.

    A prior counts as against verified rows, or so many noisy ones: weights may be repeated rows.
    """
    weight = design.validation_weight
    weight = weight * (len(weight) if design.rows.has_verified else STACKED_ROWS)
    return mixing_weights(
        np.stack(models),
        design.validation_labels,
        weight,
        initial=np.array(initial),
        precision=precision,
    )


def _stack(design, models, temperature, kernel, weights) -> _Stack:
    """Of first-stage and other linear models, and a kernel model."""
    alone = [_mixed(design, [model.held_out], [1.0], SINGLE_PRIOR)[0][0] for model in models[1:]]
    initial = np.maximum(np.array([temperature, *alone]) / len(models), LEAST_INITIAL)
    mixing, lowest = _mixed(design, [model.held_out for model in models], initial)
    return _with_kernel(design, models, mixing, lowest, kernel, weights)


def _with_kernel(design, models, mixing, lowest, kernel, weights) -> _Stack:
    """Of linear models, mixed so at a loss of `lowest`, and a kernel model where it helps."""
    held_out = [model.held_out for model in models]
    initial = [*np.maximum(mixing / 2, LEAST_INITIAL), PROBABILITY_FACTOR]
    coef = kernel.fit(weights, np.eye(design.rows.n_classes)[design.rows.labels])
    at = design.validation_fold, design.validation_row
    tried = [
        _mixed(design, [*held_out, kernel.scores(coef[i], *at)], initial)
        for i in range(len(KERNEL_RIDGES))
    ]
    chosen = int(np.argmin([loss for _, loss in tried]))
    (*linear_factors, factor), loss = tried[chosen]
    helps = loss < lowest * (1 - PREFERENCE)
    factors = linear_factors if helps else mixing
    pairs = list(zip(factors, models, strict=True))
    out_of_fold = sum(share * model.out_of_fold for share, model in pairs)
    raw = design.raw_scores(sum(share * model.params for share, model in pairs))
    if not helps:
        return _Stack(out_of_fold, raw, mixing)
    own = kernel.scores(coef[chosen], design.folds.own, design.every)
    raw_map = design.standardizer.raw_map(kernel.map)
    raw_kernel = KernelScores(raw_map, factor * coef[chosen].mean(0))
    return _Stack(out_of_fold + factor * own, raw, mixing, raw_kernel)


def first_stage_weights(rows, training):
    """Of verified rows; and, for a class without any, of its noisy rows, as an average class.

    The verified rows cannot tell that such a class exists, let alone who belongs to it. `training`,
    of shape (n_folds, n_rows), is 1 where a row may train.
    """
    mass, noisy_mass = (
        np.bincount(rows.labels, rows.weight * kind, minlength=rows.n_classes)
        for kind in (rows.is_clean, ~rows.is_clean)
    )
    average = mass[mass > 0].mean()
    share = np.where(mass == 0, average / np.maximum(noisy_mass, average), 0.0)
    return rows.weight * training * np.where(rows.is_clean, 1.0, share[rows.labels])


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
