"""Learning a penalty that is not a square: of a learned power, or on positive coefficients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ...problems._base import CurvatureProducts, Gradients, Metric
from .._constants import (
    ACCURACY,
    BARRIER_ACCURACY,
    CURVATURE_FLOOR,
    MAX_SOLVE_ITER,
    NEAR,
    ROUGH,
    ROUNDING,
    SOFTENING,
)
from ..penalties._functions import Barrier, Bridge, Square
from ._quadratic import PenalizedError, PenaltyProblem


@dataclass(frozen=True)
class NonquadraticError(PenalizedError):
    """Half the mean squared error plus ``sum_j alpha_j phi(w_j)``, and a barrier at zero."""

    function: Any = field(default_factory=Square)  # phi, a `Bridge` or `Square`
    barrier: Barrier = field(default_factory=Barrier)

    def power(self, hyper):
        if self.penalty.power_basis is None:
            return hyper.new_full((len(hyper), 1, 1, 1), 2.0)
        return self.penalty.powers(hyper)

    def _alpha(self, hyper):
        return self.weights(hyper).alpha[:, :, None]

    def value(self, hyper, params):
        return self.loss.value(params) + self._penalty(hyper, params).sum(1)

    def by_fold(self, hyper, params):
        """Value of each fold, but for a constant; shape (n_candidates, n_folds)."""
        return self.loss.by_fold(params) + self._penalty(hyper, params)

    def _penalty(self, hyper, params):
        penalty = self._alpha(hyper) * self.function.value(params, self.power(hyper))
        return (penalty + self.barrier.value(params)).sum((2, 3))

    def gradients(self, hyper, params, *, differentiable=False):
        power = self.power(hyper)
        by_weight = self.function.value(params, power)
        by_hyper = self._hyper_vjp(
            hyper, by_weight, lambda: self.function.value_by_power(params, power)
        )
        return Gradients(by_hyper, self.params_gradient(hyper, params))

    def params_gradient(self, hyper, params):
        penalty = self._alpha(hyper) * self.function.gradient(params, self.power(hyper))
        return self.loss.gradient(params) + penalty + self.barrier.gradient(params)

    def curvature(self, hyper, params):
        """Second derivative of the penalty, elementwise."""
        penalty = self._alpha(hyper) * self.function.curvature(params, self.power(hyper))
        return penalty + self.barrier.curvature(params)

    def penalty_gradient(self, hyper, params):
        """Of the penalty function alone, before its weight: the dual variable."""
        return self.function.gradient(params, self.power(hyper))

    def dual_curvature(self, hyper, params, dual):
        """Curvature of the penalty where its gradient is taken to be `dual`."""
        power = self.power(hyper)
        ratio = self.function.majorizer(params, power)
        curved = ratio * (1 - dual * self.function.stretch(params, power))
        curved = curved.maximum(CURVATURE_FLOOR * ratio)
        return self._alpha(hyper) * curved + self.barrier.curvature(params)

    def next_dual(self, hyper, params, dual, direction, step):
        """The dual variable after its own Newton step, within the gradients that there are."""
        power = self.power(hyper)
        ratio = self.function.majorizer(params, power)
        change = (
            ratio * (direction * (1 - dual * self.function.stretch(params, power)) + params) - dual
        )
        bound = self.function.largest_gradient(params, power)
        return (dual + step[..., None, None] * change).clamp(-bound, bound)

    def majorizer(self, hyper, params):
        """Weights of the quadratic penalty that touches this one from above at `params`."""
        weight = self._alpha(hyper) * self.function.majorizer(params, self.power(hyper))
        return weight + self.barrier.curvature(params)

    def hessian_product(self, hyper, params, vector):
        return self.loss.product(vector) + self.curvature(hyper, params) * vector

    def mixed_product(self, hyper, params, vector):
        power = self.power(hyper)
        by_weight = self.function.gradient(params, power) * vector
        return self._hyper_vjp(
            hyper, by_weight, lambda: self.function.gradient_by_power(params, power) * vector
        )

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(
            self.hessian_product(hyper, params, vector),
            self.mixed_product(hyper, params, vector),
        )

    def _hyper_vjp(self, hyper, by_weight, by_power):
        """Gradient in `hyper` from those in weights and, where these are learned, powers."""
        gradient = self.weights(hyper).vjp(by_weight.sum(2))
        basis = self.penalty.power_basis
        if basis is None:
            return gradient
        return gradient + (self._alpha(hyper) * by_power()).sum((1, 2)) @ basis.mT


@dataclass(frozen=True)
class NonquadraticProblem(PenaltyProblem):
    """Builds the `BilevelProblem` of a penalty that is not a square, from a `NonquadraticError`."""

    lower: NonquadraticError

    @property
    def accuracy(self):
        """The lower level is solved when its gradient is this small relative to the one at zero."""
        return BARRIER_ACCURACY if isinstance(self.lower.function, Square) else ACCURACY

    def metric(self, hyper, params, averaging):
        return InexactMetric(self._metric(self.lower, hyper, params, averaging))

    def _metric(self, lower, hyper, params, averaging=0.0):
        loss = lower.loss
        if averaging:
            loss = loss.combine(1 - averaging, self.upper.loss, 2 * averaging)
        floor = CURVATURE_FLOOR * lower.majorizer(hyper, params)
        return loss.metric((1 - averaging) * lower.curvature(hyper, params).maximum(floor))

    def solve_lower(self, hyper, params):
        """The minimiser of the lower level that is reached from `params`.

        From far away it begins with ridge and takes smoother penalties first: where
        a power is below 1 there are several minimisers, and a smooth problem has one.
        """
        size = self.lower.loss.gradient(torch.zeros_like(params)).square().sum((1, 2, 3))
        gradient = self.lower.params_gradient(hyper, params).square().sum((1, 2, 3))
        far = (gradient > NEAR**2 * size) | ~params.flatten(1).any(1)
        if bool(far.any()):
            continued = self._continued(hyper, self._ridge(hyper, params))
            params = continued.where(far[:, None, None, None], params)
        return self._descend(self.lower, hyper, params, self.accuracy)

    def _continued(self, hyper, params):
        lower, function = self.lower, self.lower.function
        if isinstance(function, Bridge):
            for factor in SOFTENING:
                rounder = Bridge(function.smoothing * factor)
                softer = NonquadraticError(lower.loss, lower.penalty, rounder, lower.barrier)
                params = self._descend(softer, hyper, params, ROUGH)
        return params

    def _ridge(self, hyper, params):
        """Ridge whose weights are the penalty's where coefficients are as large as usual."""
        function = self.lower.function
        typical = torch.ones_like(params[..., :1, :])
        if isinstance(function, Bridge):
            typical = typical * (function.smoothing * SOFTENING[0])
        weights = self.lower.majorizer(hyper, typical)[:, :, 0]
        return self.lower.loss.metric(weights).minimizer(self.lower.loss, params)

    def _descend(self, lower, hyper, params, accuracy):
        """Primal-dual Newton steps where they descend, else the majorizer's, which always do.

        The gradient of the penalty is a variable of its own, which tames the curvature near zero
        (Chan, Golub, Mulet, "A nonlinear primal-dual method for total variation-based image
        restoration", 1999).
        """
        size = lower.loss.gradient(torch.zeros_like(params)).square().sum((2, 3)).sqrt()
        value = lower.by_fold(hyper, params)
        dual = lower.penalty_gradient(hyper, params)
        for _ in range(MAX_SOLVE_ITER):
            gradient = lower.params_gradient(hyper, params)
            active = gradient.square().sum((2, 3)).sqrt() > accuracy * size
            if not bool(active.any()):
                break
            curvature = lower.dual_curvature(hyper, params, dual)
            curvature = curvature + lower.barrier.holding(params, gradient)
            direction = -lower.loss.metric(curvature).solve(gradient)
            step, new_value = _backtrack(lower, hyper, params, direction, value, gradient)
            failed = active & (step == 0)
            dual = lower.next_dual(hyper, params, dual, direction, step)
            if bool(failed.any()):
                weights = lower.majorizer(hyper, params) + lower.barrier.holding(params, gradient)
                safe = -lower.loss.metric(weights).solve(gradient)
                direction = safe.where(failed[..., None, None], direction)
                fraction, safe_value = _backtrack(lower, hyper, params, safe, value, gradient)
                step = step.where(~failed, fraction)
                new_value = new_value.where(~failed, safe_value)
                arrived = lower.barrier.step(params, step[..., None, None] * direction)
                dual = dual.where(~failed[..., None, None], lower.penalty_gradient(hyper, arrived))
            step = step * active
            if not bool((step > 0).any()):
                break
            params = lower.barrier.step(params, step[..., None, None] * direction)
            value = new_value.where(step > 0, value)
        return params


def _backtrack(lower, hyper, params, direction, value, gradient):
    """Largest of a few fractions of the direction that decrease each fold's value; 0 if none."""
    decrease = (gradient * direction).sum((2, 3))
    step = torch.ones_like(value)
    for _ in range(4):
        new_value = lower.by_fold(
            hyper, lower.barrier.step(params, step[..., None, None] * direction)
        )
        good = new_value <= value + 1e-4 * step * decrease + ROUNDING * value.abs()
        if bool(good.all()):
            return step, new_value
        step = step.where(good, step / 4)
    return step * good, new_value


@dataclass(frozen=True)
class InexactMetric:
    """An inverse of a Hessian that changes with params."""

    inverse: Metric
    exact = False

    def solve(self, vector):
        return self.inverse.solve(vector)
