"""Noise models and fits in turn: what each takes to be right, and how likely it makes targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._constants import (
    CONVERGED,
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
from ._units import limits, weighted_median


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
        least, most = limits(self.y, self.weight)
        near = (least <= self.y) & (self.y <= most)  # -9999 of a third of the rows is an error
        _, which = np.unique(self.y[near], return_inverse=True)
        return np.bincount(which, self.weight[near]).max() <= MOST_TIED * self.weight.sum()


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
    """Huber's, then Tukey's weights of out-of-fold residuals: where others begin."""
    weight = np.ones(len(ridge.y))
    near = replace(ridge, y=np.clip(ridge.y, *limits(ridge.y, ridge.weight)))
    strength, fitted = near.search(weight)
    for tuning, is_huber in [(HUBER, True)] * 3 + [(TUKEY, False)] * 4:
        off = np.abs(ridge.y - fitted)
        off = off / (tuning * max(1.4826 * weighted_median(off, ridge.weight), 1e-9))
        weight = 1 / np.maximum(off, 1.0) if is_huber else np.clip(1 - off**2, 0.0, 1.0) ** 2
        weight[is_clean] = 1.0
        fitted = ridge.out_of_fold(weight, strength)
    return weight


@dataclass(frozen=True)
class FittingInTurn:
    """Fits and noise models of some rows in turn."""

    ridge: Any
    rows: Any
    rounds: int

    def __call__(self, noise, weight, *, inner=1, rounds=None):
        """`noise` makes the first model of residuals; then a model's weights fit the ridge."""
        ridge, rows = self.ridge, self.rows
        strength: Any = None
        model: Any = None
        residual: Any = None
        for number in range(rounds or self.rounds):
            if number % SEARCH_EVERY == 0:
                strength, fitted = ridge.search(weight)
            else:
                fitted = ridge.out_of_fold(weight, strength)
            residual = ridge.y - fitted
            model = noise(residual, weight) if model is None else model
            for _ in range(inner):
                model = model.fit(residual, rows, weight)
            before, weight = weight, model.label_weight(residual, rows)
            if number and np.abs(weight - before).max() < CONVERGED:
                break
        log_density = model.log_density(residual, rows)
        return Fitted(model, weight, strength, residual, log_density)


HEAVY = 1  # the place of heavy tails


def fit_all(ridge, rows, may_be_wrong, rounds=ROUNDS):
    """Models without wrong targets, then mixtures."""
    fit = FittingInTurn(ridge, rows, rounds)
    plain = fit(lambda *_: Normal(), np.ones(len(rows.y)), rounds=1)
    robust = robust_weights(ridge, rows.is_clean)
    heavy = fit(lambda *_: Student(), robust)
    found = [plain, heavy, skewed(heavy, rows)]
    if may_be_wrong:
        for is_marginal in (False, True):

            def begin(residual, weight, is_marginal=is_marginal):
                return Mixture.start(residual, rows, weight, is_marginal)

            found.append(fit(begin, robust, inner=INNER_ROUNDS))
    return found


def skewed(heavy, rows):
    """Tails that differ, of the residuals of the fit for heavy tails."""
    begin = SkewedStudent.start(heavy.noise.variance, heavy.noise.degrees)
    noise = begin.fit(heavy.residual, rows, heavy.label_weight)
    return replace(heavy, noise=noise, log_density=noise.log_density(heavy.residual, rows))


def held_out(ridge, rows, may_be_wrong):
    """Residuals and log densities, (n_models, n_rows), of rows that a fit has not seen.

    And the chance that heavy tails give errors as large: those of a row itself would allow for it.

    Strengths are looked for anew: with those of all rows plain fits, whose strength gross errors
    move, seem better than they are.
    """
    residuals, log_densities, chances = [], [], []
    for fold, own in enumerate(ridge.folds):
        rest, kept = ridge.without(fold)
        mine = rows.take(own)
        found = fit_all(rest, rows.take(kept), may_be_wrong, HELD_OUT_ROUNDS)
        errors = [mine.y - ridge.X[own] @ rest.coef(one.label_weight, one.ridge) for one in found]
        residuals.append(errors)
        log_densities.append(
            [one.noise.log_density(e, mine) for one, e in zip(found, errors, strict=True)]
        )
        chances.append(found[HEAVY].noise.chance(errors[HEAVY]))
    joined = (np.concatenate(each, axis=1) for each in (residuals, log_densities))
    return *joined, np.concatenate(chances)
