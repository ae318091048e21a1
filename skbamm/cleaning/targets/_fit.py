"""From validated rows to the weight of each target, and a fit with these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from ...linalg._tensors import resolve_device, to_numpy
from ._average import shares
from ._constants import FAR, LEAST_WEIGHT, MOST_COLUMNS, MOST_FINAL_COLUMNS
from ._input import searched_rows
from ._learning import learn
from ._noise import Normal, Student
from ._report import FLAGGED
from ._ridge import FoldedRidge, rotation, standardized
from ._search import TargetRows, fit_all, held_out


@dataclass(frozen=True)
class RunOptions:
    """Of the run that learns."""

    solver: Any
    max_iter: int
    tol: float
    device: Any


@dataclass(frozen=True)
class Standardized:
    """Targets and columns in their own units, and columns turned where there are many."""

    mean: np.ndarray
    scale: np.ndarray
    mean_y: float
    unit: float
    turn: np.ndarray | None

    @classmethod
    def of(cls, X, y, weight, most_columns=MOST_COLUMNS):
        scaled, mean, scale = standardized(X, weight)
        mean_y = float(np.average(y, weights=weight))
        unit = float(np.sqrt(np.average((y - mean_y) ** 2, weights=weight)))
        unit = unit if unit > 1e-12 * max(abs(mean_y), 1e-300) else 1.0
        return cls(mean, scale, mean_y, unit, rotation(scaled, weight, most_columns))

    def columns(self, X):
        scaled = (X - self.mean) / self.scale
        turned = scaled if self.turn is None else scaled @ self.turn
        return np.hstack([turned, np.ones((len(X), 1))])

    def targets(self, y):
        return (y - self.mean_y) / self.unit


@dataclass(frozen=True)
class LearnedTargets:
    """What a fit has learned of the rows; arrays have an entry for each of them."""

    label_weight: np.ndarray
    right: np.ndarray  # probability that the target is right
    predicted: np.ndarray  # out of its fold
    share: dict[str, float]
    models: dict[str, dict[str, float]]
    noise_rate: float
    solution: Any
    hyper: np.ndarray
    names: tuple[str, ...]
    ridge: float  # of the last linear fit, per unit of weight

    @property
    def is_noise_shown(self):
        return bool((self.right < FLAGGED).any())


class TargetSearch:
    """The rows that noise models are learned from, and all that is found of them."""

    def __init__(self, rows, estimator, seed, split_params):
        self.rows = rows
        self.index, bounds = searched_rows(rows, estimator.cv, seed, split_params)
        X, y, weight = (array[self.index] for array in (rows.X, rows.y, rows.weight))
        X = X.astype(np.float64, copy=False)
        self.units = Standardized.of(X, y, weight)
        self.targets = TargetRows(self.units.targets(y), weight, rows.is_clean[self.index])
        given = self.units.columns(X), self.targets.y, weight, bounds
        self.ridge = FoldedRidge(*given)
        if rows.predictions is not None:
            self.ridge = self.ridge.with_columns(rows.predictions[self.index, None])
        self.found = fit_all(self.ridge, self.targets, self._may_be_wrong)
        self.share = self._shares()
        # What learning goes on from: the mixture of the largest share, else heavy tails.
        self.parent = int(np.argmax(self.share))
        if isinstance(self.found[self.parent].noise, Normal):
            self.parent = next(
                index for index, one in enumerate(self.found) if isinstance(one.noise, Student)
            )

    @property
    def _may_be_wrong(self):
        return len(self.ridge.folds) > 2 and self.targets.may_be_wrong

    def _shares(self):
        if not self._may_be_wrong:
            return np.eye(len(self.found))[0]
        residuals, log_densities = held_out(self.ridge, self.targets, may_be_wrong=True)
        return shares(self.found, residuals, log_densities, self.targets)

    def learn(self, options, callback):
        """Solution, a function of it that tells what it means, and names of the numbers."""
        if not self._may_be_wrong:
            options = replace(options, max_iter=0)  # no weight stands on these numbers
        return learn(self.ridge, self.targets, self.found[self.parent], options, callback)

    def conclude(self, solution, learned, names):
        """All that the estimator tells of the rows."""
        found, share = list(self.found), self.share.copy()
        share[self.parent] /= 2
        found.append(learned)
        share = np.append(share, share[self.parent])
        keys = [one.name for one in self.found] + ["learned"]
        weight, right, predicted = self._mean(found, share)
        kept = {key: float(part) for key, part in zip(keys, share, strict=True) if part > 0}
        noisy = ~self.rows.is_clean
        mass = self.rows.weight[noisy].sum()
        wrong = self.rows.weight[noisy] @ (1 - right[noisy])
        units = self.units.unit, self.units.mean_y
        models = zip(keys, found, strict=True)
        return LearnedTargets(
            label_weight=weight,
            right=right,
            predicted=predicted,
            share=dict(sorted(kept.items(), key=lambda item: -item[1])),
            models={key: one.noise.numbers(*units) for key, one in models if key in kept},
            noise_rate=float(wrong / mass) if mass else 0.0,
            solution=solution,
            hyper=to_numpy(solution.hyper),
            names=names,
            ridge=self._last_strength(weight),
        )

    def _mean(self, found, share):
        """Weights, probabilities and out-of-fold predictions of all rows."""
        rows = self.rows
        n_rows = len(rows.y)
        every = TargetRows(self.units.targets(rows.y), rows.weight, rows.is_clean)
        rest = np.setdiff1d(np.arange(n_rows), self.index)
        columns = self.units.columns(rows.X[rest].astype(np.float64))
        if len(rest) and rows.predictions is not None:
            own = rows.predictions[self.index]
            _, mean, scale = standardized(own[:, None], self.targets.weight)
            more = (rows.predictions[rest, None] - mean) / scale
            columns = np.hstack([more, columns])
        weight, right, predicted = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows)
        for one, part in zip(found, share, strict=True):
            if not part:
                continue
            residual = np.empty(n_rows)
            residual[self.index] = one.residual
            if len(rest):
                coefs = self.ridge.coefs(one.label_weight, one.ridge)
                residual[rest] = every.y[rest] - columns @ coefs.mean(0)
            own = one.noise.label_weight(residual, every)
            weight += part * own
            right += part * (own if one.noise.is_mixture else 1.0)
            predicted += part * (every.y - residual)
        weight[rows.is_clean] = right[rows.is_clean] = 1.0
        weight = np.minimum(weight, bounded(every, right, every.y - predicted))
        predicted = self.units.mean_y + self.units.unit * predicted
        return np.clip(weight, 0.0, 1.0), np.clip(right, 0.0, 1.0), predicted

    def _last_strength(self, weight):
        """Of the last linear fit, by the folds: without other columns, and less is turned."""
        ridge = self.ridge
        is_cut = self.units.turn is not None and self.units.turn.shape[1] == MOST_COLUMNS
        if self.rows.predictions is not None or is_cut:
            X = self.rows.X[self.index].astype(np.float64, copy=False)
            units = Standardized.of(
                X, self.rows.y[self.index], self.targets.weight, MOST_FINAL_COLUMNS
            )
            ridge = FoldedRidge(units.columns(X), ridge.y, ridge.weight, ridge.bounds)
        return ridge.search(weight[self.index])[0]


def bounded(targets, right, residual):
    """The most that rows may weigh: wrong ones no more than a right one `FAR` deviations off.

    A model without wrong targets keeps a share where few rows tell, and 5 % of a gross error's
    square is far more than all others.
    """
    is_right = right >= FLAGGED
    most = np.ones(len(right))
    if is_right.all() or not targets.weight[is_right].any():
        return most
    square = np.average(residual[is_right] ** 2, weights=targets.weight[is_right])
    wrong = ~is_right
    most[wrong] = FAR**2 * square / np.maximum(residual[wrong] ** 2, square)
    return np.minimum(most, 1.0)


def fit_linear(rows, label_weight, ridge):
    """Coefficients and intercept, in raw units, of ridge on weighted rows."""
    weight = rows.weight * np.maximum(label_weight, LEAST_WEIGHT)
    used = weight > 0
    X, y, weight = rows.X[used].astype(np.float64, copy=False), rows.y[used], weight[used]
    # Units are the rows' own, whatever their labels weigh.
    scaled, mean, scale = standardized(X, rows.weight[used])
    model = Ridge(ridge * weight.sum(), solver="cholesky").fit(scaled, y, sample_weight=weight)
    coef = model.coef_ / scale
    return coef, float(model.intercept_ - mean @ coef)


def run_options(estimator):
    device = resolve_device(estimator.device)
    return RunOptions(estimator.solver, estimator.max_iter, estimator.tol, device)
