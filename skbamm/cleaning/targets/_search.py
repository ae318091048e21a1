"""Noise models and fits in turn: what each takes to be right, and how likely it makes targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._constants import (
    HELD_OUT_ROUNDS,
    HUBER,
    INNER_ROUNDS,
    LEAST_ROWS,
    MOST_TIED,
    ROUNDS,
    SEARCH_EVERY,
    TUKEY,
)
from ._noise import Mixture, Normal, SkewedStudent, Student


@dataclass(frozen=True)
class TargetRows:
    """What noise models know of the rows, sorted by fold."""

    y: np.ndarray  # standardized
    weight: np.ndarray  # the user's
    is_clean: np.ndarray

    def take(self, kept):
        return TargetRows(self.y[kept], self.weight[kept], self.is_clean[kept])

    @property
    def may_be_wrong(self):
        """Whether there are enough targets to tell wrong ones."""
        if self.is_clean.all() or self.weight.sum() < LEAST_ROWS:
            return False
        _, which = np.unique(self.y, return_inverse=True)
        return np.bincount(which, self.weight).max() <= MOST_TIED * self.weight.sum()


@dataclass(frozen=True)
class Fitted:
    """A noise model, its label weights and what it says of each row, out of its fold."""

    noise: Any
    label_weight: np.ndarray
    ridge: float
    residual: np.ndarray
    log_density: np.ndarray

    @property
    def name(self):
        return self.noise.name


def robust_weights(ridge, is_clean):
    """Huber's, then Tukey's weights of out-of-fold residuals: where mixtures begin."""
    weight, strength = np.ones(len(ridge.y)), None
    for tuning, is_huber in [(HUBER, True)] * 4 + [(TUKEY, False)] * 5:
        if strength is None:
            strength, fitted = ridge.search(weight)
        else:
            fitted = ridge.out_of_fold(weight, strength)
        off = np.abs(ridge.y - fitted)
        off = off / (tuning * max(1.4826 * np.median(off), 1e-9))
        weight = 1 / np.maximum(off, 1.0) if is_huber else np.clip(1 - off**2, 0.0, 1.0) ** 2
        weight[is_clean] = 1.0
    return weight


def fit_in_turn(ridge, rows, noise, weight, rounds=ROUNDS, inner=1):
    """`noise` makes the first model of residuals; then a model's weights fit the ridge."""
    strength: Any = None
    model: Any = None
    residual: Any = None
    for number in range(rounds):
        if number % SEARCH_EVERY == 0:
            strength, fitted = ridge.search(weight)
        else:
            fitted = ridge.out_of_fold(weight, strength)
        residual = ridge.y - fitted
        model = noise(residual, weight) if model is None else model
        for _ in range(inner):
            model = model.fit(residual, rows, weight)
        weight = model.label_weight(residual, rows)
    return Fitted(model, weight, strength, residual, model.log_density(residual, rows))


def fit_all(ridge, rows, may_be_wrong, rounds=ROUNDS):
    """Models without wrong targets, then mixtures."""
    ones = np.ones(len(rows.y))
    plain = fit_in_turn(ridge, rows, lambda *_: Normal(), ones, rounds=1)
    heavy = fit_in_turn(ridge, rows, lambda *_: Student(), ones, rounds)
    begin = SkewedStudent.start(heavy.noise.variance, heavy.noise.degrees)
    skewed = begin.fit(heavy.residual, rows, heavy.label_weight)
    log_density = skewed.log_density(heavy.residual, rows)
    skewed = Fitted(skewed, heavy.label_weight, heavy.ridge, heavy.residual, log_density)
    found = [plain, heavy, skewed]
    if may_be_wrong:
        weight = robust_weights(ridge, rows.is_clean)
        for is_marginal in (False, True):

            def begin(residual, weight, is_marginal=is_marginal):
                return Mixture.start(residual, rows, weight, is_marginal)

            found.append(fit_in_turn(ridge, rows, begin, weight, rounds, INNER_ROUNDS))
    return found


def held_out(ridge, rows, may_be_wrong):
    """Residuals and log densities, (n_models, n_rows), of rows that a fit has not seen."""
    residuals, log_densities = [], []
    for fold, own in enumerate(ridge.folds):
        rest, kept = ridge.without(fold)
        mine = rows.take(own)
        found = fit_all(rest, rows.take(kept), may_be_wrong, HELD_OUT_ROUNDS)
        errors = [mine.y - ridge.X[own] @ rest.coef(one.label_weight, one.ridge) for one in found]
        residuals.append(errors)
        log_densities.append(
            [one.noise.log_density(e, mine) for one, e in zip(found, errors, strict=True)]
        )
    return np.concatenate(residuals, axis=1), np.concatenate(log_densities, axis=1)
