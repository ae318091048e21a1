"""Label quality from out-of-fold predictions and Bayes' rule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from .._constants import (
    CLOSE,
    EXACT,
    KERNEL_RIDGES,
    LEAST_INITIAL,
    N_ROUNDS,
    NO_LABEL_ODDS,
    ONE_RATE_COUNT,
    PAIR_COUNT,
    PREFERENCE,
    PROBABILITY_FACTOR,
    ROUND_RIDGE,
    ROUND_VERIFIED_WEIGHT,
    SINGLE_PRIOR,
    STACKED_PRIOR,
    STACKED_ROWS,
    VERIFIED_RIDGES,
)
from ._first_stage import first_stage_weights, fit_first_stage, plain_average
from ._given_noise import GivenNoise, fit_given_noise
from ._nested import ScoreStages
from ._scorer import KernelScores, LabelScorer, LinearScores
from ._scores import (
    fit_noise_model,
    log_odds,
    log_softmax,
    mixing_weights,
    other_labels,
    plain_log_odds,
)
from ._stacking import stacked_rounds, with_user
from ._trees import Trees, TreeStack, can_grow, stack_trees


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
    transition_std: np.ndarray | None = None
    stages: ScoreStages | None = None  # what it takes to score rows out of other folds
    plain: tuple[torch.Tensor, ...] = ()  # fits of given labels with `PLAIN_RIDGES`, if needed
    trees: tuple[Trees, ...] = ()


def label_quality(design, final_estimator=None, grows_trees=False) -> LabelQuality:
    """Of the noisy rows of a `FoldedDesign`."""
    rows = design.rows
    kind = quality_by_verified if rows.has_verified else quality_by_noisy
    quality = kind(design, final_estimator, grows_trees and can_grow(rows, design.folds))
    if rows.is_unlabelled is None:
        return quality
    is_gap, others = rows.is_unlabelled[rows.noisy], quality.others
    if others is not None:
        others = np.where(is_gap[:, None], quality.predictions[rows.noisy], others)
    log_odds = np.where(is_gap, NO_LABEL_ODDS, quality.log_odds)
    return replace(quality, log_odds=log_odds, others=others)


def quality_by_verified(design, final_estimator, grows_trees) -> LabelQuality:
    """By models of verified rows, then in rounds of all rows weighted by what these say.

    Model k of a round has seen neither the verified nor the noisy rows of fold k, so it scores
    both. First-stage, linear and kernel models are stacked by how well they predict held-out
    verified rows.
    """
    rows, folds = design.rows, design.folds
    training = folds.in_training * rows.is_clean + folds.out_of_fold * ~rows.is_clean
    stage = fit_first_stage(design, first_stage_weights(rows, training), VERIFIED_RIDGES)
    params, temperature = stage.params, stage.inverse_temperature
    first = _BaseModel.of(design, params)
    scores = temperature * first.out_of_fold
    if len(rows.noisy) == 0:
        return _quality_of_verified(design, params, scores, temperature, grows_trees)
    plain_fits, plain_ridge, plain_params = plain_average(design, folds.out_of_fold * rows.weight)
    plain, kernel = _BaseModel.of(design, plain_params), design.kernel_rows()
    # Few rows, poor predictions: one overall noise rate at first, class pairs later.
    labels = _NoisyLabels(design, scores, ONE_RATE_COUNT)
    for _ in range(N_ROUNDS):
        weights = labels.round_weights()
        params = design.fit(weights, ROUND_RIDGE, params, tol=EXACT)
        linear = _BaseModel.of(design, params)
        stack = _stack(design, [first, linear, plain], temperature, kernel, weights)
        scores, user = with_user(design, stack.out_of_fold)
        labels.update(scores)
    final = None
    skipped: list[str] = []
    for final in _rounds(design, final_estimator, scores, labels.round_weights, skipped):
        labels.update(final.out_of_fold)
    noise = labels.noise
    stages = ScoreStages(
        plain_ridge, stack.mixing, noise.transition, stage.ridge, temperature, user
    )
    is_own = final is None and user is None
    guides = [first.out_of_fold, plain.out_of_fold] if is_own else []
    trees = TreeStack(scores)
    if grows_trees:
        trees = _trees_by_verified(design, scores, stages, guides)
        labels.update(trees.scores)
    scorer = LabelScorer(
        stack.linear,
        stack.kernel,
        labels.noise.transition,
        None if labels.noise.tilt is None else design.raw_scores(labels.given_params),
        user=user,
        **_final_fields(final, trees, skipped),
    )
    guides += [one.scores for one in trees.trees[:1] if guides]  # those on all labels
    shown = _noise_shown(design, labels.predictions, guides)
    known = {"stages": stages, "plain": plain_fits, "trees": trees.trees, **_noise_fields(shown)}
    return labels.quality(params, scorer, **known)


class _NoisyLabels:
    """How noisy rows got their labels, by the latest scores; verified ones teach it."""

    def __init__(self, design, scores, pseudo_count):
        self.design = design
        self.given_params, self.log_given = _given_params(design), None
        if self.given_params is not None:
            given = design.out_of_fold(design.scores(self.given_params))
            self.log_given = log_softmax(given)[design.rows.noisy]
        self.update(scores, pseudo_count)

    def update(self, scores, pseudo_count=PAIR_COUNT):
        rows, self.predictions = self.design.rows, np.exp(log_softmax(scores))
        predictions, given = self.predictions[rows.noisy], rows.given[rows.noisy]
        options = {"pseudo_count": pseudo_count, "log_given": self.log_given}
        self.noise = fit_noise_model(predictions, given, rows.weight[rows.noisy], **options)
        self.posterior = self.noise.posterior(predictions, given)  # of true classes

    def round_weights(self, is_weighted=True):
        rows = self.design.rows
        weight = np.where(rows.is_clean, ROUND_VERIFIED_WEIGHT, 1.0)
        if is_weighted:
            labels = rows.labels[rows.noisy]
            weight[rows.noisy] = self.posterior[np.arange(len(labels)), labels]
        return self.design.folds.out_of_fold * rows.weight * weight

    def quality(self, params, scorer, **known):
        labels = self.design.rows.labels[self.design.rows.noisy]
        odds, others = log_odds(self.posterior, labels), other_labels(self.posterior, labels)
        return LabelQuality(odds, self.predictions, params, scorer, others, **known)


def _quality_of_verified(design, params, scores, temperature, grows_trees) -> LabelQuality:
    """Where all rows are verified, of which first-stage models say enough."""
    n_classes = design.rows.n_classes
    trees = TreeStack(scores)
    if grows_trees:
        trees = stack_trees(design, scores, None, lambda *known: None)
    linear = design.raw_scores(trees.before * temperature * params)
    return LabelQuality(
        np.zeros(0),
        np.exp(log_softmax(trees.scores)),
        params,
        LabelScorer(linear, transition=np.eye(n_classes)),
        np.zeros((0, n_classes)),
        transition_std=np.full((n_classes, n_classes), np.nan),
        trees=trees.trees,
    )


def quality_by_noisy(design, final_estimator, grows_trees) -> LabelQuality:
    """By out-of-fold models of the given labels, linear and kernel, stacked."""
    rows, folds = design.rows, design.folds
    base = folds.out_of_fold * rows.weight
    fits, ridge, params = plain_average(design, base)
    plain = _BaseModel.of(design, params)
    alone, lowest = _mixed(design, [plain.held_out], [1.0], SINGLE_PRIOR)
    stack = _with_kernel(design, [plain], alone, lowest, design.kernel_rows(), base)
    scores, user = with_user(design, stack.out_of_fold)
    predictions = np.exp(log_softmax(scores))
    odds = plain_log_odds(predictions, rows.labels)
    final = None
    skipped: list[str] = []

    def round_weights(is_weighted):
        return base / (1 + np.exp(-odds)) if is_weighted else base

    for final in _rounds(design, final_estimator, scores, round_weights, skipped):
        predictions = np.exp(log_softmax(final.out_of_fold))
        odds = plain_log_odds(predictions, rows.labels)
    guide = np.exp(log_softmax(plain.out_of_fold))
    is_own = final is None and user is None
    if not is_own and not _given_noise(design, guide).is_shown:
        guide = None  # they may show what linear models hide
    noise = _given_noise(design, predictions, guide)
    stages = ScoreStages(ridge, stack.mixing, noise.transition, user=user, noise=noise)
    trees = TreeStack(scores)
    if grows_trees:
        trees, noise = _trees_by_noisy(design, scores, stages, guide)
        predictions = np.exp(log_softmax(trees.scores))
        odds = plain_log_odds(predictions, rows.labels)
    if noise.is_shown:
        odds = log_odds(noise.posterior(predictions, rows.given), rows.labels)
    return LabelQuality(
        odds,
        predictions,
        params,
        LabelScorer(
            stack.linear,
            stack.kernel,
            given_noise=noise if noise.is_shown else None,
            user=user,
            **_final_fields(final, trees, skipped),
        ),
        ridge=ridge,
        noise=noise,
        stages=stages,
        plain=fits,
        trees=trees.trees,
        **_noise_fields(noise),
    )


def _noise_fields(noise):
    """Fields of a `LabelQuality` that say how noise shows."""
    found = {"transition": noise.transition, "transition_std": noise.transition_std}
    return {"is_noise_shown": noise.is_shown, **found}


def _given_noise(design, predictions, guide=None):
    rows = design.rows
    known = rows.given, rows.weight, design.folds.own, rows.is_clean
    return fit_given_noise(predictions, *known, guide)


def _noise_shown(design, predictions, scores):
    """How noise shows in predictions; only if it does by the mean of these out-of-fold scores too.

    Models fitted by label weights contradict the labels that weigh little, as if these were wrong:
    so the others, of which there are none where the user's own model takes part, know no weights.
    """
    if not scores:
        return _given_noise(design, predictions)
    held_out = [each[design.validation_row] for each in scores]
    factors, _ = _mixed(design, held_out, np.full(len(scores), 1 / len(scores)))
    guide = np.exp(log_softmax(np.tensordot(factors, scores, 1)))
    is_shown = _given_noise(design, guide).is_shown
    return _given_noise(design, predictions, None if is_shown else guide)


def _trees_by_verified(design, scores, stages, guides):
    """Scores stacked with those of trees."""

    def transition_of(predictions, trees):
        noise = _noise_shown(design, predictions, guides and [*guides, trees.scores])
        return noise.transition if noise.is_shown else None

    return stack_trees(design, scores, stages, transition_of)


def _trees_by_noisy(design, scores, stages, guide):
    """The same, and the noise of given labels; without trees where labels are no likelier with.

    Trees may follow wrong labels so well that these leave no trace in what they say.
    """
    rows = design.rows

    def likelihood(predictions, noise):
        return rows.weight @ noise.log_likelihood(predictions, rows.given)

    before = likelihood(np.exp(log_softmax(scores)), stages.noise)

    def noise_by_trees(predictions):
        noise = _given_noise(design, predictions, guide)
        return noise if likelihood(predictions, noise) > before else None

    def transition_of(predictions, trees):
        noise = noise_by_trees(predictions) or stages.noise
        return noise.transition if noise.is_shown else None

    trees = stack_trees(design, scores, stages, transition_of)
    noise = noise_by_trees(np.exp(log_softmax(trees.scores)))
    return (trees.unused(scores), stages.noise) if noise is None else (trees, noise)


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


def _given_params(design):
    """Models of single labels of noisy rows; None where a fold has no such rows."""
    weights = design.folds.out_of_fold * design.rows.weight * ~design.rows.is_clean
    is_used = weights.any(1).all() and design.rows.votes is None
    return design.fit(weights, ROUND_RIDGE, tol=CLOSE) if is_used else None


def _rounds(design, final_estimator, out_of_fold, round_weights, skipped):
    """Stacks with the final estimator, where there is one and folds to fit it out of."""
    if final_estimator is None or design.folds.n_folds == 1:
        return ()
    return stacked_rounds(design, final_estimator, out_of_fold, round_weights, skipped)


def _final_fields(final, trees, skipped):
    """Fields of a `LabelScorer` that the final estimator fills, if it is in the stack.

    Trees that are fitted to all rows come later.
    """
    fields = {"mixing_weight": trees.before}
    if final is not None:
        fields = {"final": final.final, "mixing_weight": final.mixing_weight}
    return {**fields, "skipped": tuple(skipped)}
