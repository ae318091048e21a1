"""The pieces of MEHA's iteration: both levels at a point, a proximal step, curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._dynamics import Preconditioner
from ._moves import random_direction, scale, unit

N_POWER_ITER = 8


@dataclass(frozen=True)
class EnvelopeLevels:
    """Both levels at one point.

    Attributes
    ----------
    problem : BilevelProblem
    hyper, params, theta : Tensor
        `theta` are the proximal params.
    upper, lower, proximal : Gradients
        Of the upper and the lower level at params, and of the lower one at `theta`.
    """

    problem: Any
    hyper: Any
    params: Any
    theta: Any
    upper: Any
    lower: Any
    proximal: Any

    @classmethod
    def at(cls, problem, hyper, params, theta):
        upper = problem.upper.gradients(hyper, params)
        lower = problem.lower.gradients(hyper, params)
        proximal = problem.lower.gradients(hyper, theta)
        return cls(problem, hyper, params, theta, upper, lower, proximal)

    def hypergradient(self, weight):
        """That of x in the penalized objective, divided by the weight."""
        gap = self.lower.hyper - self.proximal.hyper
        nonsmooth = self.problem.nonsmooth
        if nonsmooth is not None:
            gap = gap + nonsmooth.hyper_gradient(self.hyper, self.params)
            gap = gap - nonsmooth.hyper_gradient(self.hyper, self.theta)
        return self.upper.hyper + scale(1 / weight, gap)

    def rounding(self, weight):
        """What rounding makes of the hypergradient."""
        import torch

        size = self.problem.norm(self.lower.hyper) + self.problem.norm(self.proximal.hyper)
        return 10 * torch.finfo(size.dtype).eps * size / weight

    def value(self, weight, proximity):
        """The penalized objective divided by the weight."""
        problem, hyper = self.problem, self.hyper
        gap = problem.lower.value(hyper, self.params) - problem.lower.value(hyper, self.theta)
        difference = self.params - self.theta
        if problem.metric is None or problem.nonsmooth is not None:
            gap = gap - proximity * problem.inner(difference, difference) / 2
        else:
            # The same in the norm of the metric, since theta is stationary in its envelope.
            gap = gap - problem.inner(difference, self.proximal.params) / 2
        if problem.nonsmooth is not None:
            gap = gap + problem.nonsmooth.value(hyper, self.params)
            gap = gap - problem.nonsmooth.value(hyper, self.theta)
        return problem.upper.value(hyper, self.params) + gap / weight


def proximal_step(problem, hyper, params, gradient, pull, precondition):
    """A proximal gradient step; the pull to another point is already in the metric's units."""
    moved = params - precondition(gradient) - scale(precondition.step, pull)
    if problem.nonsmooth is None:
        return moved
    return problem.nonsmooth.prox(hyper, moved, precondition.step)


def measured_curvature(problem, level, metric, hyper, params, direction=None, n_iter=N_POWER_ITER):
    """Largest curvature, from differences of gradients: power iteration without Hessians."""
    import torch

    plain = Preconditioner(1.0, metric)
    vector = random_direction(problem, params) if direction is None else unit(problem, direction)
    length = torch.finfo(params.dtype).eps ** 0.5 * problem.norm(params).clamp_min(1)
    gradient = level.params_gradient(hyper, params)
    for _ in range(n_iter):
        moved = level.params_gradient(hyper, params + scale(length, vector))
        bent = scale(1 / length, plain(moved - gradient))
        curvature = problem.norm(bent)
        vector = unit(problem, bent)
    return curvature
