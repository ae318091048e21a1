"""What tells whether a given label is right: models that have not seen it, and Bayes' rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ._kernel import STRENGTHS
from ._scorer import EvidenceModel, KernelScores, LinearScores
from ._scores import (
    FREE_COUNT,
    calibrate,
    fit_noise_model,
    log_odds,
    log_softmax,
    other_labels,
    plain_log_odds,
)
from ._stacking import further_rounds

# Share of every label that pilots spread over all classes.
SMOOTHING = 1e-3
# Ridge strengths tried for pilots.
PILOT_PATH = np.logspace(0, -2.5, 6)
NOISY_PATH = np.logspace(-1, -3.5, 6)
# A weaker ridge must beat a stronger one by this much, so that rounding cannot flip the choice.
PREFERENCE = 1e-6
# Evidence comes from exact fits: what is left of their iterations would be noise in it.
EXACT = 1e-9
# Fits that only choose a ridge strength; fits that seldom count.
ROUGH, NEAR = 1e-3, 1e-3
# Models of all rows: their ridge, the weight of a clean row, and how often they are fitted.
ROUND_RIDGE = 1e-2
ROUND_CLEAN = 2.0
N_ROUNDS = 2
# Factor at which predicted shares of classes, between 0 and 1, are expected to be scores.
SHARE_FACTOR = 3.0


@dataclass(frozen=True)
class Evidence:
    """Log odds of the noisy rows' labels, and the fits that they come from."""

    odds: np.ndarray  # (n_noisy,)
    predictions: np.ndarray  # (n_rows, n_classes)
    params: torch.Tensor  # (1, n_folds, n_scores, n_columns), where the folds' fits start
    model: EvidenceModel  # for other rows
    others: np.ndarray | None = None  # (n_noisy, n_classes), should the label be wrong
    ridge: float | None = None  # of `params`, where it was chosen


def pilot_path(search, weights, strengths):
    """Params, scores (n_folds, n_rows, n_classes), sharpness and strength that predict best.

    Labels are smoothed a little: few rows may miss a class.
    """
    n_judging = np.count_nonzero(search.folds.judging)

    def fitted(strength, params):
        params = search.fit_folds(weights, strength, params, tol=ROUGH, smoothing=SMOOTHING)
        held_out, labels, weight = search.judged(search.full_scores(params))
        factors, loss = calibrate(
            held_out[None], labels, weight * n_judging, start=np.ones(1), pull=1.0
        )
        return loss, params, float(factors[0]), strength

    best = found = fitted(strengths[0], None)
    for strength in strengths[1:]:
        found = fitted(strength, found[1])
        if found[0] < best[0] * (1 - PREFERENCE):
            best = found
    _, params, sharpness, strength = best
    params = search.fit_folds(weights, strength, params, tol=EXACT, smoothing=SMOOTHING)
    return params, search.full_scores(params), sharpness, strength


def clean_evidence(search):
    """Bayes' log odds from models of clean rows, then in rounds of all rows weighted by these.

    Model k of a round has seen neither the clean nor the noisy rows of part k, so it judges
    both. A linear model's scores, a kernel model's and the pilot's are pooled by how well they
    predict held-out clean rows.
    """
    rows, noisy = search.rows, search.rows.noisy
    params, scores, sharpness, _ = pilot_path(search, _pilot_weights(search), PILOT_PATH)
    pilot = _Opinion.of(search, params, scores)
    predictions = np.exp(log_softmax(sharpness * pilot.own))
    if len(noisy) == 0:
        model = EvidenceModel(
            search.raw_scores(sharpness * params), transition=np.eye(rows.n_classes)
        )
        return Evidence(np.zeros(0), predictions, params, model, np.zeros((0, rows.n_classes)))
    given = _given_params(search)
    log_given = None if given is None else log_softmax(search.cross_fitted(given))[noisy]
    kernel = search.kernel_rows()
    # Few rows, poor predictions: one overall noise rate at first, class pairs later.
    posterior = _noise(rows, predictions, log_given, 1e4)[1]
    labels, further = rows.labels[noisy], None

    def round_weights(is_trusted=True):
        trust = np.where(rows.is_clean, ROUND_CLEAN, 1.0)
        if is_trusted:
            trust[noisy] = posterior[np.arange(len(noisy)), labels]
        return search.folds.unseen * rows.weight * trust

    for _ in range(N_ROUNDS):
        weights = round_weights()
        params = search.fit_folds(search.tensor(weights), ROUND_RIDGE, params, tol=EXACT)
        linear = _Opinion.of(search, params, search.full_scores(params))
        pooled = _pool(search, pilot, sharpness, linear, kernel, weights)
        predictions = np.exp(log_softmax(pooled.own))
        noise, posterior = _noise(rows, predictions, log_given, FREE_COUNT)
    for further in further_rounds(search, pooled.own, round_weights):
        predictions = np.exp(log_softmax(further.scores))
        noise, posterior = _noise(rows, predictions, log_given, FREE_COUNT)
    model = EvidenceModel(
        pooled.linear,
        pooled.kernel,
        noise.transition,
        None if noise.tilt is None else search.raw_scores(given),
        **_shares(further),
    )
    return Evidence(
        log_odds(posterior, labels), predictions, params, model, other_labels(posterior, labels)
    )


@dataclass(frozen=True)
class _Opinion:
    """A model of each fold, and its scores."""

    params: torch.Tensor  # (1, n_folds, n_scores, n_columns)
    own: np.ndarray  # (n_rows, n_classes), out-of-fold
    held_out: np.ndarray  # (n_judging, n_classes), of the judging rows, fold by fold

    @classmethod
    def of(cls, search, params, scores):
        own = scores[search.folds.part, np.arange(len(search.rows.labels))]
        return cls(params, own, search.judged(scores)[0])


@dataclass(frozen=True)
class _Pooled:
    """Scores of all rows by several models together, and these models for other rows."""

    own: np.ndarray
    linear: LinearScores
    kernel: KernelScores | None = None


def _given_params(search):
    """Models of the given labels of noisy rows; None where a fold has no such rows."""
    rows = search.rows
    weights = search.folds.unseen * rows.weight * ~rows.is_clean
    if not weights.any(1).all():
        return None
    return search.fit_folds(search.tensor(weights), ROUND_RIDGE, tol=NEAR)


def _noise(rows, predictions, log_given, pseudo_count):
    """How the noisy rows got their labels, and the chances of their true classes."""
    noisy = rows.noisy
    predictions, labels = predictions[noisy], rows.labels[noisy]
    noise = fit_noise_model(
        predictions, labels, rows.weight[noisy], pseudo_count=pseudo_count, log_given=log_given
    )
    return noise, noise.posterior(predictions, labels)


def _pool(search, pilot, sharpness, linear, kernel, weights):
    """Scores of all rows by pilot, linear and kernel model together."""
    labels, weight = search.judging_labels()
    weight = weight * len(weight)

    def factors(opinions, start, pull):
        return calibrate(np.stack(opinions), labels, weight, start=np.array(start), pull=pull)

    held_out = [pilot.held_out, linear.held_out]
    alone, _ = factors([linear.held_out], [1.0], 1.0)
    start = np.maximum([sharpness / 2, alone[0] / 2], 1e-2)
    both, lowest = factors(held_out, start, 4.0)
    start = [*np.maximum(both / 2, 1e-2), SHARE_FACTOR]
    coef = kernel.fit(weights, np.eye(search.rows.n_classes)[search.rows.labels])
    fold, row = np.nonzero(search.folds.judging)
    tried = [
        factors([*held_out, kernel.scores(coef[i], fold, row)], start, 4.0)
        for i in range(len(STRENGTHS))
    ]
    chosen = int(np.argmin([loss for _, loss in tried]))
    share, loss = tried[chosen]
    if loss >= lowest * (1 - PREFERENCE):
        own = both[0] * pilot.own + both[1] * linear.own
        return _Pooled(own, search.raw_scores(both[0] * pilot.params + both[1] * linear.params))
    every = np.arange(len(search.rows.labels))
    own = kernel.scores(coef[chosen], search.folds.part, every)
    return _Pooled(
        share[0] * pilot.own + share[1] * linear.own + share[2] * own,
        search.raw_scores(share[0] * pilot.params + share[1] * linear.params),
        KernelScores(search.standardizer.raw_map(kernel.map), share[2] * coef[chosen].mean(0)),
    )


def _pilot_weights(search):
    """Clean rows; and for a class without any, its noisy rows, as if they were an average class.

    The clean rows cannot tell that such a class exists, let alone who belongs to it.
    """
    rows = search.rows
    mass = np.bincount(rows.labels, rows.weight * rows.is_clean, minlength=rows.n_classes)
    noisy_mass = np.bincount(rows.labels, rows.weight * ~rows.is_clean, minlength=rows.n_classes)
    share = np.where(mass == 0, mass[mass > 0].mean() / np.maximum(noisy_mass, 1e-300), 0.0)
    stand_in = ~rows.is_clean * np.minimum(share, 1.0)[rows.labels]
    weights = search.folds.in_training * rows.is_clean + search.folds.unseen * stand_in
    return search.tensor(rows.weight * weights)


def noisy_evidence(search):
    """Log odds from cross-fitted models of noisy rows, in two rounds."""
    rows = search.rows
    base = search.in_training * search.row_weight
    ridge, lowest, near = 0.0, np.inf, None
    params = None
    for strength in NOISY_PATH:
        params = search.fit_folds(base, strength, params, tol=ROUGH)
        held_out, labels, weight = search.judged(search.full_scores(params))
        loss = -weight @ log_softmax(held_out)[np.arange(len(labels)), labels]
        if loss < lowest * (1 - PREFERENCE):
            ridge, lowest, near = strength, loss, params
    params = search.fit_folds(base, ridge, near, tol=EXACT)
    predictions = np.exp(log_softmax(search.cross_fitted(params)))
    odds = plain_log_odds(predictions, rows.labels)
    weights = base * search.tensor(1 / (1 + np.exp(-odds)))
    params = search.fit_folds(weights, ridge, params, tol=EXACT)
    scores, further = search.cross_fitted(params), None
    predictions = np.exp(log_softmax(scores))
    odds = plain_log_odds(predictions, rows.labels)

    def round_weights(is_trusted):
        weights = search.folds.unseen * rows.weight
        return weights / (1 + np.exp(-odds)) if is_trusted else weights

    for further in further_rounds(search, scores, round_weights):
        predictions = np.exp(log_softmax(further.scores))
        odds = plain_log_odds(predictions, rows.labels)
    model = EvidenceModel(search.raw_scores(params), **_shares(further))
    return Evidence(odds, predictions, params, model, ridge=ridge)


def _shares(further):
    """Fields of an `EvidenceModel`."""
    return {} if further is None else {"further": further.model, "share": further.share}
