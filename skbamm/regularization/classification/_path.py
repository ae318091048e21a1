"""Ridge fits of all folds for any strength: solved at knots, cubic in the log strength between."""

from __future__ import annotations

import math

import numpy as np
import torch

from ...linalg._softmax import CrossEntropy, minimize
from ...linalg._tensors import to_numpy
from ...solvers._linear_system import conjugate_gradient
from .._constants import (
    KNOT_STEP,
    LOG_LOSS_NEAR,
    LOG_LOSS_STEPS,
    MAX_PATIENCE,
    N_BETWEEN,
    NO_LOSS,
    STRENGTH_GAIN,
    STRONG_ROWS,
    STRONGEST,
)
from ..losses._log_loss import PenalizedLogLoss


class RidgePath:
    """Answers what a pilot is asked, as `GramPath` does.

    A knot is solved when it is first needed, from its neighbours. Knots are `KNOT_STEP` apart in
    the log strength; between two of them coefficients are the cubic with their values and
    derivatives, of which all derivatives here are exact.
    """

    def __init__(self, loss, n_penalized, unit, log_bounds):
        self.loss, self.n_penalized = loss, n_penalized
        self.unit = math.log(unit)
        low, high = ((bound - self.unit) / KNOT_STEP for bound in log_bounds)
        self.ends = math.ceil(low - 1e-9), math.floor(high + 1e-9)
        self._params: dict[int, torch.Tensor] = {}
        self._derivatives: dict[int, torch.Tensor] = {}
        self._curvatures: dict[int, object] = {}
        self._full = PenalizedLogLoss(loss, None).full

    def log_strength(self, index):
        return self.unit + index * KNOT_STEP

    def params(self, index):
        """Of one candidate at a knot."""
        if index not in self._params:
            self._params[index] = self._solve(index)
        return self._params[index]

    def curvature(self, index):
        if index not in self._curvatures:
            self._curvatures[index] = self.loss.curvature(self.params(index))
        return self._curvatures[index]

    def coefficients(self, log_strength):
        """Penalized coefficients at the strength of each candidate, and their derivatives."""
        found = [self._between(float(each)) for each in log_strength]
        return tuple(torch.cat(part)[..., : self.n_penalized] for part in zip(*found, strict=True))

    def near(self, log_strength):
        """All params about at a strength."""
        return self._between(float(log_strength))[0]

    def best(self, upper, near=None):
        """The log strength with the lowest held-out loss: the vertex of a parabola at the knots.

        From strong to weak, as long as the loss falls; or from a log strength `near` the best one.
        """
        low, high = self.ends
        if near is None:
            # What is best falls with the number of rows: of many, strong ones need no look.
            n_rows = float((1 / self.loss.weight.square().sum(1)).mean())
            first = STRONGEST + round(min(math.log(STRONG_ROWS / n_rows), 0.0) / KNOT_STEP)
        else:
            first = round((near - self.unit) / KNOT_STEP) + 1
        index = min(max(first, low), high)
        losses = {index: self._loss(upper, index)}
        self._descend(upper, losses, index, -1, low)
        if min(losses, key=lambda knot: losses[knot]) == index:
            self._descend(upper, losses, index, 1, high)
        best = min(losses, key=lambda knot: losses[knot])
        vertex = 0.0
        if best - 1 in losses and best + 1 in losses:
            below, above = (losses[best + side] - losses[best] for side in (-1, 1))
            vertex = (below - above) / (2 * (below + above)) if below + above > 0 else 0.0
        return self.log_strength(best + round(vertex * N_BETWEEN) / N_BETWEEN), best

    def _descend(self, upper, losses, index, side, end):
        best, patience = losses[index], 0
        while index != end and patience < MAX_PATIENCE and best > NO_LOSS:
            index += side
            losses[index] = self._loss(upper, index)
            is_gain = losses[index] < best * (1 - STRENGTH_GAIN)
            patience = 0 if is_gain else patience + 1
            best = min(best, losses[index])

    def _loss(self, upper, index):
        loss = float(to_numpy(upper.by_fold(self.params(index)).sum()))
        return loss if np.isfinite(loss) else math.inf

    def _penalty(self, index):
        """Of all columns, (n_folds, n_columns)."""
        alpha = self.loss.weight.new_full(
            (self.loss.n_folds, self.n_penalized), math.exp(self.log_strength(index))
        )
        return self._full(alpha)

    def tol(self, index):
        """Distance to the minimiser, as `minimize` has it, at which fits near a knot are solved."""
        params = self.params(index)
        penalty = (self._penalty(index)[:, None] * params[0].square()).sum((1, 2)) / 2
        return LOG_LOSS_NEAR * math.sqrt(float((self.loss.by_fold(params)[0] + penalty).min()))

    def _solve(self, index):
        penalty = self._penalty(index)
        if not self._params:
            params, tol = self.loss.zeros(), LOG_LOSS_NEAR
            curvature = self.loss.curvature(params[None])
        else:
            near = min(self._params, key=lambda knot: abs(knot - index))
            # That of a knot further away is still good.
            last = (
                near
                if not self._curvatures
                else min(self._curvatures, key=lambda knot: abs(knot - index))
            )
            curvature = self.curvature(last if abs(last - index) <= 2 else near)
            params = self._params[near][0]
            tol = self.tol(near)
            before = 2 * near - index
            if before in self._params:
                params = 2 * params - self._params[before][0]
        objective = CrossEntropy(self.loss.rows, self.loss.weight, penalty[:, None])
        metric = curvature.shared_metric(penalty[None])
        options = {"tol": tol, "max_iter": LOG_LOSS_STEPS, "metric": metric}
        return minimize(objective, params, **options)[None]

    def _derivative(self, index):
        """Of params in the log strength: ``-H^-1 (alpha * params)``."""
        if index not in self._derivatives:
            params, penalty = self.params(index), self._penalty(index)[None, :, None]
            target = -penalty * params
            target[..., self.n_penalized :] = 0.0
            metric = self.curvature(index).shared_metric(penalty[..., 0, :])
            found, _, _ = conjugate_gradient(
                lambda vector: self.loss.product(params, vector) + penalty * vector,
                target,
                torch.zeros_like(target),
                lambda vector: metric.solve(vector[0])[None],
                LOG_LOSS_STEPS,
                1e-3,
            )
            self._derivatives[index] = found
        return self._derivatives[index]

    def _between(self, log_strength):
        """The cubic and its derivative at a strength; constant beyond the ends."""
        low, high = self.ends
        place = min(max((log_strength - self.unit) / KNOT_STEP, low), high)
        left = min(math.floor(place), high - 1) if high > low else low
        t = place - left
        if high == low:
            return self.params(low), torch.zeros_like(self.params(low))
        begin, end = self.params(left), self.params(left + 1)
        slopes = [KNOT_STEP * self._derivative(knot) for knot in (left, left + 1)]
        change = end - begin
        # Of t: begin + t slope + t^2 quadratic + t^3 cubic.
        quadratic = 3 * change - 2 * slopes[0] - slopes[1]
        cubic = slopes[0] + slopes[1] - 2 * change
        value = begin + t * (slopes[0] + t * (quadratic + t * cubic))
        derivative = slopes[0] + t * (2 * quadratic + 3 * t * cubic)
        return value, derivative / KNOT_STEP
