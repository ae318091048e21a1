"""From validated rows to the weight of each target, and a fit with these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from ...linalg._tensors import resolve_device, to_numpy
from ._average import share_told, shares
from ._columns import ColumnUnits, DenseColumns
from ._constants import FAR, FARTHEST, IMPOSSIBLE, MOST_COLUMNS, MOST_FINAL_COLUMNS, TOLD
from ._input import distinct, effective, searched_rows
from ._learning import learn
from ._noise import Normal, Student
from ._report import FLAGGED
from ._ridge import FoldedRidge, standardized
from ._search import HEAVY, TargetRows, fit_all, held_out
from ._space import Space, log_space


@dataclass(frozen=True)
class RunOptions:
    """Of the run that learns."""

    solver: Any
    max_iter: int
    tol: float
    device: Any


@dataclass(frozen=True)
class LearnedTargets:
    """What a fit has learned of the rows; arrays have an entry for each of them."""

    label_weight: np.ndarray
    right: np.ndarray  # probability that the target is right
    predicted: np.ndarray  # out of its fold, in raw units
    share: dict[str, float]
    models: dict[str, dict[str, float]]
    noise_rate: float
    solution: Any
    hyper: np.ndarray
    names: tuple[str, ...]
    ridge: float  # of the last linear fit, per unit of weight
    is_told: bool  # whether the columns tell which targets are far off

    @property
    def is_noise_shown(self):
        return bool((self.right < FLAGGED).any())


class TargetSearch:
    """The rows that noise models are learned from, and all that is found of them."""

    def __init__(self, rows, estimator, seed, split_params):
        self.rows = rows
        # Rows of a splitter, or of one item, may have to be held out together.
        self.is_by_row = isinstance(estimator.cv, Integral) and rows.items is None
        self.index, bounds = searched_rows(rows, estimator.cv, seed, split_params)
        one, self.which, bounds = distinct(rows, self.index, bounds)
        self.first = self.index[one]
        X, y, is_clean = (array[self.first] for array in (rows.X, rows.y, rows.is_clean))
        self.dense = DenseColumns.of(X)
        self.X = self.dense(X)
        weight = effective(np.bincount(self.which, rows.weight[self.index]))
        self.units = ColumnUnits.of(self.X, weight)
        ridge = FoldedRidge(self.units.columns(self.X), y, weight, bounds)
        if rows.predictions is not None:
            ridge = ridge.with_columns(rows.predictions[self.first, None])
        self.raw = Space.of(ridge, y, is_clean)
        self.is_told = False  # whether the columns tell which targets are far off
        # Heavy tails, their space, and chances of held-out errors, where targets may be wrong.
        self.heavy: Any = None
        self.found, self.share, self.spaces = self._search(y)
        # What learning goes on from: the mixture of the largest share, else heavy tails.
        self.parent = int(np.argmax(self.share))
        if isinstance(self.found[self.parent].noise, Normal):
            self.parent = next(
                index for index, one in enumerate(self.found) if isinstance(one.noise, Student)
            )

    def _search(self, y):
        """Models, their shares and spaces."""
        raw = self.raw
        if not raw.may_be_wrong:
            found = fit_all(raw.ridge, raw.targets, may_be_wrong=False)
            return found, np.eye(len(found))[0], [raw] * len(found)
        log = log_space(raw, y)
        if log is None:
            found, share = self._shares(raw, may_be_wrong=True)
            return found, share, [raw] * len(found)
        # Mixtures of logarithms; their complement is split by squares of the targets themselves.
        found, share = self._shares(raw, may_be_wrong=False)
        other, more = self._shares(log, may_be_wrong=True)
        is_mixture = np.array([one.noise.is_mixture for one in other])
        share = np.append(share * more[~is_mixture].sum(), more[is_mixture])
        spaces = [raw] * len(found) + [log] * is_mixture.sum()
        return found + [one for one in other if one.noise.is_mixture], share, spaces

    def _shares(self, space, may_be_wrong):
        """Models of a space and their shares."""
        found = fit_all(space.ridge, space.targets, may_be_wrong)
        residuals, log_densities, chance = held_out(space.ridge, space.targets, may_be_wrong)
        if may_be_wrong:
            self.heavy = found[HEAVY], space, chance
        given = found, residuals, log_densities, space.targets
        share = shares(*given)
        mixed = sum(part for one, part in zip(found, share, strict=True) if one.noise.is_mixture)
        if not mixed:
            return found, share
        wrong = np.zeros(len(self.first))
        for one, part in zip(found, share, strict=True):
            if one.noise.is_mixture:
                wrong += part / mixed * (1 - one.label_weight)
        if self._share_told(wrong) > TOLD:
            self.is_told = True
            share = shares(*given, may_be_wrong=False)
        return found, share

    def _share_told(self, wrong):
        ridge = self.raw.ridge
        scaled = (self.X - self.units.mean) / self.units.scale  # trees are of single precision
        return share_told(scaled, wrong, ridge.weight, ridge.folds)

    def _impossible(self, residual_of):
        """Rows with errors that no right target has, by heavy tails of all."""
        if self.heavy is None or self.is_told:
            return np.zeros(len(self.rows.y), bool)
        one, space, held_out_chance = self.heavy
        chance = one.noise.chance(residual_of(one, space))
        chance[self.index] = held_out_chance[self.which]
        found = (chance * len(self.first) < IMPOSSIBLE) & ~self.rows.is_clean
        if self._share_told(found[self.first].astype(float)) > TOLD:
            found[:] = False
        return found

    def learn(self, options, callback):
        """Solution, a function of it that tells what it means, and names of the numbers."""
        if not self.raw.may_be_wrong:
            options = replace(options, max_iter=0)  # no weight stands on these numbers
        space = self.spaces[self.parent]
        return learn(space.ridge, space.targets, self.found[self.parent], options, callback)

    def conclude(self, solution, learned, names):
        """All that the estimator tells of the rows."""
        share = self.share.copy()
        share[self.parent] /= 2
        share = np.append(share, share[self.parent])
        found, spaces = [*self.found, learned], [*self.spaces, self.spaces[self.parent]]
        keys = [space.name(one.noise) for one, space in zip(found, spaces, strict=True)]
        keys[-1] = "learned"
        weight, right, predicted = self._mean(found, share, spaces)
        kept = {key: float(part) for key, part in zip(keys, share, strict=True) if part > 0}
        noisy = ~self.rows.is_clean
        mass = self.rows.weight[noisy].sum()
        wrong = self.rows.weight[noisy] @ (1 - right[noisy])
        models = zip(keys, found, spaces, strict=True)
        return LearnedTargets(
            label_weight=weight,
            right=right,
            predicted=predicted,
            share=dict(sorted(kept.items(), key=lambda item: -item[1])),
            models={
                key: one.noise.numbers(space.unit, space.mean)
                for key, one, space in models
                if key in kept
            },
            noise_rate=float(wrong / mass) if mass else 0.0,
            solution=solution,
            hyper=to_numpy(solution.hyper),
            names=names,
            ridge=self._last_strength(weight),
            is_told=self.is_told,
        )

    def _mean(self, found, share, spaces):
        """Weights, probabilities and out-of-fold predictions of all rows."""
        rows = self.rows
        n_rows = len(rows.y)
        rest = np.setdiff1d(np.arange(n_rows), self.index)
        columns = self.units.columns(self.dense(rows.X[rest]))
        if len(rest) and rows.predictions is not None:
            own = rows.predictions[self.first]
            _, mean, scale = standardized(own[:, None], self.raw.targets.weight)
            more = (rows.predictions[rest, None] - mean) / scale
            columns = np.hstack([more, columns])

        def residual_of(one, space):
            residual = np.empty(n_rows)
            residual[self.index] = one.residual[self.which]
            if len(rest):
                coefs = space.ridge.coefs(one.label_weight, one.ridge)
                residual[rest] = space.standardized(rows.y[rest]) - columns @ coefs.mean(0)
            return residual

        weight, right, predicted = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows)
        for one, part, space in zip(found, share, spaces, strict=True):
            if not part:
                continue
            every = TargetRows(space.standardized(rows.y), rows.weight, rows.is_clean)
            residual = residual_of(one, space)
            own = one.noise.label_weight(residual, every)
            weight += part * own
            right += part * (own if one.noise.is_mixture else 1.0)
            predicted += part * space.raw(every.y - residual)
        weight[rows.is_clean] = right[rows.is_clean] = 1.0
        right[self._impossible(residual_of)] = 0.0
        weight = np.minimum(weight, bounded(rows, right, predicted, self.raw))
        predicted = predicted + rows.level
        return np.clip(weight, 0.0, 1.0), np.clip(right, 0.0, 1.0), predicted

    def _last_strength(self, weight):
        """Of the last linear fit: without other columns, and less is turned."""
        ridge = self.raw.ridge
        is_cut = self.units.turn is not None and self.units.turn.shape[1] == MOST_COLUMNS
        if self.rows.predictions is not None or is_cut:
            units = ColumnUnits.of(self.X, ridge.weight, MOST_FINAL_COLUMNS)
            ridge = replace(ridge, X=units.columns(self.X))
        if self.is_by_row:
            return ridge.search_by_row(weight[self.first])
        return ridge.search(weight[self.first])[0]


def bounded(rows, right, predicted, raw):
    """The most that rows may weigh: wrong ones no more than a right one `FAR` deviations off.

    A model without wrong targets keeps a share where few rows tell, and 5 % of a gross error's
    square is far more than all others.
    """
    is_right = right >= FLAGGED
    # Weights are those of targets that are no farther off.
    most = (FARTHEST / np.maximum(np.abs(rows.y - raw.mean) / raw.unit, FARTHEST)) ** 2
    if is_right.all() or not rows.weight[is_right].any():
        return most
    off = np.abs(rows.y - predicted) / raw.unit
    square = np.average(off[is_right] ** 2, weights=rows.weight[is_right])
    wrong = ~is_right
    least = (FAR * square**0.5 / np.maximum(off[wrong], square**0.5)) ** 2
    most[wrong] = np.minimum(most[wrong], least)
    return np.minimum(most, 1.0)


def run_options(estimator):
    device = resolve_device(estimator.device)
    return RunOptions(estimator.solver, estimator.max_iter, estimator.tol, device)
