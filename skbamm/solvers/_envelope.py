"""The pieces of MEHA's iteration: both levels at a point, a proximal step, curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._dynamics import Preconditioner
from ._steps import N_POWER_ITER, random_direction, unit


@dataclass(frozen=True)
class EnvelopeLevels:
    """Gradients of both levels at params, and of the lower one at the proximal params."""

    problem: Any
    hyper: Any
    params: Any
    proximal_params: Any
    upper: Any
    lower: Any
    proximal: Any

    @classmethod
    def at(cls, problem, hyper, params, proximal_params):
        upper = problem.upper.gradients(hyper, params)
        lower = problem.lower.gradients(hyper, params)
        proximal = problem.lower.gradients(hyper, proximal_params)
        return cls(problem, hyper, params, proximal_params, upper, lower, proximal)

    def hypergradient(self, weight):
        """That of x in the penalized objective, divided by the weight."""
        gap = self.lower.hyper - self.proximal.hyper
        nonsmooth = self.problem.nonsmooth
        if nonsmooth is not None:
            gap = gap + nonsmooth.hyper_gradient(self.hyper, self.params)
            gap = gap - nonsmooth.hyper_gradient(self.hyper, self.proximal_params)
        return self.upper.hyper + 1 / weight * gap

    def rounding(self, weight):
        """What rounding makes of the hypergradient."""
        import torch

        eps = torch.finfo(self.params.dtype).eps
        return (
            10 * eps * (float(self.lower.hyper.norm()) + float(self.proximal.hyper.norm())) / weight
        )

    def value(self, weight, proximity):
        """The penalized objective divided by the weight."""
        problem, hyper, params, proximal = (
            self.problem,
            self.hyper,
            self.params,
            self.proximal_params,
        )
        gap = float(problem.lower.value(hyper, params)) - float(
            problem.lower.value(hyper, proximal)
        )
        difference = params - proximal
        if problem.metric is None or problem.nonsmooth is not None:
            gap -= proximity * float(difference.square().sum()) / 2
        else:
            # The same in the norm of the metric: the proximal params are stationary.
            gap -= float((difference * self.proximal.params).sum()) / 2
        if problem.nonsmooth is not None:
            gap += float(problem.nonsmooth.value(hyper, params))
            gap -= float(problem.nonsmooth.value(hyper, proximal))
        return float(problem.upper.value(hyper, params)) + gap / weight


def proximal_step(problem, hyper, params, gradient, proximal_term, precondition):
    """A proximal gradient step; the gradient of the proximal term is in the metric's units."""
    target = params - precondition(gradient) - precondition.step * proximal_term
    if problem.nonsmooth is None:
        return target
    return problem.nonsmooth.prox(hyper, target, precondition.step)


def measured_curvature(level, metric, hyper, params, direction=None, n_iter=N_POWER_ITER) -> float:
    """Largest curvature, from differences of gradients: power iteration without Hessians."""
    import torch

    plain = Preconditioner(1.0, metric)
    vector = random_direction(params) if direction is None else unit(direction)
    length = torch.finfo(params.dtype).eps ** 0.5 * max(float(params.norm()), 1.0)
    gradient = level.params_gradient(hyper, params)
    curvature = 0.0
    for _ in range(n_iter):
        displaced = level.params_gradient(hyper, params + length * vector)
        product = 1 / length * plain(displaced - gradient)
        curvature, vector = float(product.norm()), unit(product)
    return curvature
