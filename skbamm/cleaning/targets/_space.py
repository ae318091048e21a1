"""Targets as they are, or their logarithms: where errors are alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...data._fold_weights import standard_error
from ...row_weights._record import weighted_quantiles
from ._constants import FARTHEST, LOG_ADVANTAGE, MOST_NEGATIVE, SKEWED
from ._noise import Student
from ._search import FittingInTurn, TargetRows, fit_all, robust_weights, skewed
from ._units import limits, target_unit


@dataclass(frozen=True)
class Space:
    """Rows with targets of mean 0 and variance 1."""

    ridge: Any  # FoldedRidge
    targets: TargetRows
    mean: float
    unit: float
    floor: float | None = None  # of the targets, where these are logarithms

    @classmethod
    def of(cls, ridge, y, is_clean, floor=None):
        """`y` replaces the targets of a `FoldedRidge`."""
        mean, unit = target_unit(transformed(y, floor), ridge.weight)
        found = cls(ridge, TargetRows(y, ridge.weight, is_clean), mean, unit, floor)
        y = found.standardized(y)
        return replace(found, ridge=replace(ridge, y=y), targets=replace(found.targets, y=y))

    def standardized(self, y):
        """What is farther off than any model of errors can tell apart is as far as that."""
        off = (transformed(y, self.floor) - self.mean) / self.unit
        return np.clip(off, -FARTHEST, FARTHEST)

    def raw(self, y):
        y = self.mean + self.unit * y
        return y if self.floor is None else np.exp(np.minimum(y, 700.0))

    @property
    def may_be_wrong(self):
        return len(self.ridge.folds) > 2 and self.targets.may_be_wrong

    def name(self, noise):
        return noise.name if self.floor is None else f"{noise.name}, of logarithms"


def transformed(y, floor):
    return y if floor is None else np.log(np.maximum(y, floor))


def log_space(raw, y):
    """The `Space` of logarithms if they make targets clearly likelier, else None.

    Heavy tails, which wrong targets have as well, are compared with heavy ones of the targets as
    they are and with skewed ones that grow.
    """
    weight = raw.ridge.weight
    floor = _floor(y, weight)
    if floor is None:
        return None
    log = Space.of(raw.ridge, y, raw.targets.is_clean, floor)
    robust = robust_weights(log.ridge, log.targets.is_clean)
    heavy = FittingInTurn(log.ridge, log.targets, rounds=3)(lambda *_: Student(), robust)
    best = max(skewed(heavy, log.targets).log_density, heavy.log_density, key=lambda d: d @ weight)
    of_logarithms = best - np.log(log.unit) - transformed(y, floor)
    found = fit_all(raw.ridge, raw.targets, may_be_wrong=False)
    plain = max((one.log_density for one in found), key=lambda d: d @ weight) - np.log(raw.unit)
    more = of_logarithms - plain
    is_likelier = np.average(more, weights=weight) > LOG_ADVANTAGE * standard_error(more, weight)
    return log if is_likelier else None


def _floor(y, weight):
    """Least target of which the logarithm is taken; None where no tail asks for logarithms."""
    positive = y > 0
    if weight[~positive].sum() > MOST_NEGATIVE * weight.sum():
        return None
    values, own = y[positive], weight[positive]
    floor = max(np.exp(limits(np.log(values), own)[0]), values.min())
    skewness = [_skewness(one, own) for one in (values, np.log(values))]
    return floor if skewness[0] > SKEWED and abs(skewness[1]) < skewness[0] else None


def _skewness(values, weight):
    """Of the distances of the first and last tenth from the median."""
    low, middle, high = weighted_quantiles(values, weight, (0.1, 0.5, 0.9))
    return (high + low - 2 * middle) / (high - low) if high > low else 0.0
