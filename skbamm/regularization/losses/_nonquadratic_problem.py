"""Learning a penalty that is not a square: the lasso, or one of positive coefficients."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...problems import CurvatureProducts, Gradients
from ...problems._base import Metric
from .._constants import (
    ACCURACY,
    BARRIER_ACCURACY,
    CURVATURE_FLOOR,
    DUAL_FLOOR,
    MAX_SOLVE_ITER,
    NEAR,
    REFINED,
    ROUGH,
    ROUNDING,
    SINGULAR,
    SOFTENING,
    SOLVED,
)
from ..penalties._functions import Absolute, Barrier, Square
from ._quadratic import PenalizedError, PenaltyProblem


@dataclass(frozen=True)
class NonquadraticError(PenalizedError):
    """Half the mean squared error plus ``sum_j alpha_j phi(w_j)``, and a barrier at zero."""

    function: Any = field(default_factory=Square)  # phi, `Absolute` or `Square`
    barrier: Barrier = field(default_factory=Barrier)

    def _alpha(self, hyper):
        return self.weights(hyper).alpha[:, :, None]

    def value(self, hyper, params):
        return self.loss.value(params) + self._penalty(hyper, params).sum(1)

    def by_fold(self, hyper, params):
        """Value of each fold, but for a constant; shape (n_candidates, n_folds)."""
        return self.loss.by_fold(params) + self._penalty(hyper, params)

    def _penalty(self, hyper, params):
        penalty = self._alpha(hyper) * self.function.value(params)
        return (penalty + self.barrier.value(params)).sum((2, 3))

    def gradients(self, hyper, params, *, differentiable=False):
        by_hyper = self.weights(hyper).vjp(self.function.value(params).sum(2))
        return Gradients(by_hyper, self.params_gradient(hyper, params))

    def params_gradient(self, hyper, params):
        penalty = self._alpha(hyper) * self.function.gradient(params)
        return self.loss.gradient(params) + penalty + self.barrier.gradient(params)

    def curvature(self, hyper, params):
        """Second derivative of the penalty, elementwise."""
        penalty = self._alpha(hyper) * self.function.curvature(params)
        return penalty + self.barrier.curvature(params)

    def dual_curvature(self, hyper, params, dual):
        """Curvature of the penalty where its gradient is taken to be `dual`."""
        ratio = self.function.majorizer(params)
        curved = ratio * (1 - dual * self.function.stretch(params))
        curved = curved.maximum(DUAL_FLOOR * ratio)
        return self._alpha(hyper) * curved + self.barrier.curvature(params)

    def next_dual(self, params, dual, direction, step):
        """The dual variable after its own Newton step, within the gradients that there are."""
        ratio = self.function.majorizer(params)
        change = ratio * (direction * (1 - dual * self.function.stretch(params)) + params) - dual
        bound = self.function.largest_gradient
        return (dual + step[..., None, None] * change).clamp(-bound, bound)

    def majorizer(self, hyper, params):
        """Weights of the quadratic penalty that touches this one from above at `params`."""
        weight = self._alpha(hyper) * self.function.majorizer(params)
        return weight + self.barrier.curvature(params)

    def hessian_product(self, hyper, params, vector):
        return self.loss.product(vector) + self.curvature(hyper, params) * vector

    def mixed_product(self, hyper, params, vector):
        return self.weights(hyper).vjp((self.function.gradient(params) * vector).sum(2))

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(
            self.hessian_product(hyper, params, vector),
            self.mixed_product(hyper, params, vector),
        )


@dataclass(frozen=True)
class NonquadraticProblem(PenaltyProblem):
    """Builds the `BilevelProblem` of a penalty that is not a square, from a `NonquadraticError`."""

    lower: NonquadraticError

    @property
    def accuracy(self):
        """The lower level is solved when its gradient is this small relative to the one at zero."""
        return BARRIER_ACCURACY if isinstance(self.lower.function, Square) else ACCURACY

    def problem(self, initial_hyper, lower_bound, upper_bound, params=None):
        problem = super().problem(initial_hyper, lower_bound, upper_bound, params)
        return replace(problem, follows=True)

    def metric(self, hyper, params, averaging):
        """At the lower level's solution the inverse Hessian itself, elsewhere a safe one."""
        lower, loss = self.lower, self.lower.loss
        exact = not averaging and bool((self._relative_gradient(hyper, params) <= SOLVED).all())
        if averaging:
            loss = loss.combine(1 - averaging, self.upper.loss, 2 * averaging)
        floor = (SINGULAR if exact else CURVATURE_FLOOR) * lower.majorizer(hyper, params)
        curvature = lower.curvature(hyper, params).maximum(floor)
        weights = (1 - averaging) * curvature
        return PointMetric(loss.metric(weights), exact, loss, weights)

    def solve_lower(self, hyper, params):
        """The minimiser of the lower level, from `params` unless these are far from it."""
        far = (self._relative_gradient(hyper, params) > NEAR) | ~params.flatten(1).any(1)
        if bool(far.any()):
            params = self._from_ridge(hyper, params).where(far[:, None, None, None], params)
        return self._descend(self.lower, hyper, params, self.accuracy)

    def _relative_gradient(self, hyper, params):
        """Its norm relative to the one at zero, shape (n_candidates,)."""
        size = self.lower.loss.gradient(torch.zeros_like(params)).flatten(1).norm(dim=1)
        return self.lower.params_gradient(hyper, params).flatten(1).norm(dim=1) / size

    def _from_ridge(self, hyper, params):
        """Ridge with the weights of coefficients of usual size, then smoother penalties."""
        loss, function = self.lower.loss, self.lower.function
        factors = () if isinstance(function, Square) else SOFTENING
        smoothings = [function.smoothing * factor for factor in factors]
        usual = torch.full_like(params[..., :1, :], max(smoothings, default=1.0))
        weights = self.lower.majorizer(hyper, usual)[:, :, 0]
        params = loss.metric(weights).minimizer(loss, params)
        for smoothing in smoothings:
            softer = replace(self.lower, function=Absolute(smoothing))
            params = self._descend(softer, hyper, params, ROUGH)
        return params

    def _descend(self, lower, hyper, params, accuracy):
        """Primal-dual Newton steps where they descend, else the majorizer's, which always do.

        The gradient of the penalty is a variable of its own, which tames the curvature near zero
        (Chan, Golub, Mulet, "A nonlinear primal-dual method for total variation-based image
        restoration", 1999).
        """
        size = lower.loss.gradient(torch.zeros_like(params)).square().sum((2, 3)).sqrt()
        value = lower.by_fold(hyper, params)
        dual = lower.function.gradient(params)
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
            dual = lower.next_dual(params, dual, direction, step)
            if bool(failed.any()):
                weights = lower.majorizer(hyper, params) + lower.barrier.holding(params, gradient)
                safe = -lower.loss.metric(weights).solve(gradient)
                direction = safe.where(failed[..., None, None], direction)
                fraction, safe_value = _backtrack(lower, hyper, params, safe, value, gradient)
                step = step.where(~failed, fraction)
                new_value = new_value.where(~failed, safe_value)
                arrived = lower.barrier.step(params, step[..., None, None] * direction)
                dual = dual.where(~failed[..., None, None], lower.function.gradient(arrived))
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
class PointMetric:
    """An inverse of a Hessian that changes with params."""

    inverse: Metric
    exact: bool
    loss: Any
    weights: torch.Tensor

    def solve(self, vector):
        solution = self.inverse.solve(vector)
        # Kernels of rows lose digits to weights near zero, of which there are many far from zero.
        # A wrong digit of a hypergradient is a large one of the run: there are several minima.
        for _ in range(REFINED if self.exact else 0):
            product = self.loss.product(solution) + self.weights * solution
            solution = solution + self.inverse.solve(vector - product)
        return solution
