"""What errors are like: of right targets, and of wrong ones; few numbers each.

Residuals are in units of the targets' standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, stdtr

from ._constants import DEGREES, INNER_ROUNDS, LEAST_RATE, LOG_GROSS, MOST_RATE, PRIOR_ROWS
from ._units import limits, weighted_median

LEAST_VARIANCE = 1e-12


def log_normal(residual, variance):
    return -0.5 * (np.log(2 * np.pi * variance) + residual**2 / variance)


def log_student(residual, variance, degrees):
    scale = gammaln((degrees + 1) / 2) - gammaln(degrees / 2)
    scale -= 0.5 * np.log(degrees * np.pi * variance)
    return scale - (degrees + 1) / 2 * np.log1p(residual**2 / (degrees * variance))


@dataclass(frozen=True)
class Normal:
    """No target is wrong, and errors are normal: the plain fit."""

    variance: float = 1.0
    name = "plain"
    is_mixture, is_usable = False, True

    def fit(self, residual, rows, label_weight):
        return Normal(max(np.average(residual**2, weights=rows.weight), LEAST_VARIANCE))

    def label_weight(self, residual, rows):
        return np.ones(len(residual))

    def log_density(self, residual, rows):
        return log_normal(residual, self.variance)

    def numbers(self, unit, mean):
        return {"scale": unit * self.variance**0.5}


@dataclass(frozen=True)
class Student:
    """No target is wrong, but errors have heavy tails: Student's t, with learned degrees."""

    variance: float = np.nan
    degrees: float = 5.0
    name = "heavy tails"
    is_mixture, is_usable = False, True

    def fit(self, residual, rows, label_weight):
        square, weight = residual**2, rows.weight
        start = self.variance
        if np.isnan(start):
            # A mean would have to come down from gross errors, in more steps than there are.
            start = max((1.4826 * weighted_median(np.abs(residual), weight)) ** 2, LEAST_VARIANCE)
        found = []
        for degrees in DEGREES:
            variance = start
            for _ in range(20 if np.isnan(self.variance) else 5):
                factor = (degrees + 1) / (degrees + square / variance)
                variance = max(np.average(factor * square, weights=weight), LEAST_VARIANCE)
            found.append(Student(variance, float(degrees)))
        total = [weight @ one.log_density(residual, rows) for one in found]
        return found[int(np.argmax(total))]

    def label_weight(self, residual, rows):
        found = 1 / (1 + residual**2 / (self.degrees * self.variance))
        return np.where(rows.is_clean, 1.0, found)

    def log_density(self, residual, rows):
        return log_student(residual, self.variance, self.degrees)

    def chance(self, residual):
        """Of an error as large as that, in either direction."""
        return 2 * stdtr(self.degrees, -np.abs(residual) / self.variance**0.5)

    def numbers(self, unit, mean):
        return {"scale": unit * self.variance**0.5, "degrees": self.degrees}


@dataclass(frozen=True)
class SkewedStudent:
    """No target is wrong, but errors have tails that differ: t of two scales about a mode.

    It is there for comparison alone: rows in a tail that belongs to the errors are not wrong.
    """

    numbers: tuple[float, ...] = (
        0.0,
        0.0,
        0.0,
        np.log(5.0),
        0.0,
    )  # mode, log scales, log degrees, growth
    name = "skewed"
    is_mixture, is_usable = False, False

    @staticmethod
    def start(variance, degrees):
        scale = 0.5 * np.log(variance)
        return SkewedStudent((0.0, scale, scale, np.log(degrees), 0.0))

    def fit(self, residual, rows, label_weight):
        weight = rows.weight / rows.weight.sum()

        def loss(numbers):
            return -weight @ SkewedStudent(tuple(numbers)).log_density(residual, rows)

        scale = np.exp(self.numbers[1])
        box = [(-5 * scale, 5 * scale), (self.numbers[1] - 4, self.numbers[1] + 4)]
        bounds = [box[0], box[1], box[1], (np.log(DEGREES[0]), np.log(DEGREES[-1])), (-1.5, 1.5)]
        # The mode moves in units of the scale.
        found = minimize(loss, self.numbers, method="L-BFGS-B", bounds=bounds, tol=1e-7)
        return SkewedStudent(tuple(found.x.tolist()))

    def log_density(self, residual, rows):
        mode, lower, upper, degrees, growth = self.numbers
        fitted = np.clip(rows.y - residual, -3.0, 3.0)
        common = np.exp(growth * fitted)
        left, right = np.exp(lower) * common, np.exp(upper) * common
        off = residual - mode
        scale = np.where(off < 0, left, right)
        # Halves of two densities that meet at the mode.
        return np.log(2 * scale / (left + right)) + log_student(off, scale**2, np.exp(degrees))


@dataclass(frozen=True)
class Mixture:
    """A share of targets is wrong: by a normal error about `shift`, or drawn from all targets.

    Few of these are anywhere: one gross error would set the width of the normal else, or be less
    likely, where it is held out, than all others can make up for.
    """

    rate: float
    variance: float  # of right ones
    shift: float  # mean of wrong ones: of their errors, or, `is_marginal`, of the targets
    wrong_variance: float
    is_marginal: bool = False
    is_mixture, is_usable = True, True

    @property
    def name(self):
        return "unrelated" if self.is_marginal else "shifted"

    @classmethod
    def start(cls, residual, rows, label_weight, is_marginal):
        wrong = rows.weight * np.where(rows.is_clean, 0.0, np.maximum(1 - label_weight, 1e-3))
        if not wrong.any():  # all rows of the other folds are verified
            variance = max(np.average(residual**2, weights=rows.weight), LEAST_VARIANCE)
            return cls(0.02, variance, 0.0, 4 * variance, is_marginal)
        right = rows.weight * label_weight
        noisy = rows.weight * ~rows.is_clean
        rate = float(np.clip(wrong.sum() / noisy.sum(), 0.02, 0.5))
        variance = max(np.average(residual**2, weights=right), LEAST_VARIANCE)
        value = rows.y if is_marginal else residual
        found = []
        # Gross errors are all that is wrong, or few beside others.
        for near in (value, np.clip(value, *limits(value, wrong))):
            shift = float(np.average(near, weights=wrong))
            spread = float(np.average((near - shift) ** 2, weights=wrong))
            one = cls(rate, variance, shift, max(spread, 2 * variance), is_marginal)
            for _ in range(INNER_ROUNDS):
                one = one.fit(residual, rows, label_weight)
            found.append(one)
        return max(found, key=lambda one: rows.weight @ one.log_density(residual, rows))

    def fit(self, residual, rows, label_weight):
        """A step of EM, from the probabilities that targets are right at the numbers here."""
        right = rows.weight * self.label_weight(residual, rows)
        wrong = rows.weight - right
        variance = max(np.average(residual**2, weights=right), LEAST_VARIANCE)
        value = rows.y if self.is_marginal else residual
        near = self._log_near(value)
        near = wrong * np.exp(near - np.logaddexp(near, LOG_GROSS))  # and not anywhere
        seen = near.sum() + PRIOR_ROWS
        shift = near @ value / seen  # targets and errors alike are about 0
        prior = 1.0 if self.is_marginal else 4 * variance
        spread = (near @ (value - shift) ** 2 + PRIOR_ROWS * prior) / seen
        spread = max(spread, 0.5 if self.is_marginal else 2 * variance)
        noisy = rows.weight @ ~rows.is_clean
        rate = np.clip((wrong.sum() + 1) / (noisy + 10), LEAST_RATE, MOST_RATE)
        return Mixture(float(rate), variance, float(shift), float(spread), self.is_marginal)

    def _log_near(self, value):
        return log_normal(value - self.shift, self.wrong_variance)

    def _log_parts(self, residual, rows):
        near = self._log_near(rows.y if self.is_marginal else residual)
        right = np.log1p(-self.rate) + log_normal(residual, self.variance)
        return right, np.log(self.rate) + np.logaddexp(near, LOG_GROSS)

    def label_weight(self, residual, rows):
        right, wrong = self._log_parts(residual, rows)
        found = np.exp(right - np.logaddexp(right, wrong))
        return np.where(rows.is_clean, 1.0, found)

    def log_density(self, residual, rows):
        right, wrong = self._log_parts(residual, rows)
        # Of a verified row it is known that its target is right.
        return np.where(rows.is_clean, right - np.log1p(-self.rate), np.logaddexp(right, wrong))

    def numbers(self, unit, mean):
        return {
            "rate": self.rate,
            "scale": unit * self.variance**0.5,
            "shift": unit * self.shift + mean * self.is_marginal,
            "wrong_scale": unit * self.wrong_variance**0.5,
        }
