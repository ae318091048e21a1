"""The pieces of MEHA's iteration: both levels at a point, a proximal step, curvature, errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from ._steps import N_POWER_ITER, eps_of, norm_of, random_direction, unit
from .lower._dynamics import Preconditioner

# Rounding of a gradient or value, in units of the last place.
ROUNDING = 4.0
# Points closer than this, in the same units, tell nothing about what lies between them.
RESOLVED = 16.0


class Steps(NamedTuple):
    """Lengths of an iteration's steps, along a metric; `proximity` is one over gamma."""

    metric: Any
    proximity: float
    params: float
    proximal: float


@dataclass(frozen=True)
class EnvelopeLevels:
    """Both levels at params, and the lower one at the proximal params, as `Point`s."""

    problem: Any
    hyper: Any
    params: Any
    proximal_params: Any
    upper: Any
    lower: Any
    proximal: Any
    gap: Any  # of the gradients of f + g in hyper, at params and at the proximal params
    size: Any  # of what the gap is the difference of, in absolute values
    difference: Any  # of params and proximal params
    displacement: float  # its norm: how far the upper objective draws params
    resolution: float  # what rounding leaves of it

    @classmethod
    def at(cls, problem, hyper, params, proximal_params, *, asks_both=True):
        """With both gradients at params at once, where they will be asked for."""
        upper = problem.upper.point(hyper, params)
        lower = problem.lower.point(hyper, params)
        proximal = problem.lower.point(hyper, proximal_params)
        if asks_both:
            _ = upper.gradients, lower.gradients
            there = proximal.hyper_gradient
        else:
            there = problem.lower.hyper_gradient(hyper, proximal_params)
        gap = lower.hyper_gradient - there
        size = lower.hyper_gradient.abs() + there.abs()
        if problem.nonsmooth is not None:
            for sign, point in ((1, params), (-1, proximal_params)):
                gradient = problem.nonsmooth.hyper_gradient(hyper, point)
                gap, size = gap + sign * gradient, size + gradient.abs()
        points = upper, lower, proximal
        difference = params - proximal_params
        norms = norm_of(difference), eps_of(params) * norm_of(params)
        return cls(problem, hyper, params, proximal_params, *points, gap, size, difference, *norms)

    def hypergradient(self, weight):
        """That of x in the penalized objective, divided by the weight."""
        return self.upper.hyper_gradient + 1 / weight * self.gap

    @property
    def is_resolved(self):
        return self.displacement > RESOLVED * self.resolution

    def mixed(self, known):
        """How much a displacement may change the gradient in hyper: the most that was seen."""
        if not self.is_resolved:
            return known
        return max(norm_of(self.gap) / self.displacement, known)

    def rounding(self, weight, mixed):
        """What rounding makes of each entry of the hypergradient.

        Gradients are rounded, and so are the two points that they are taken at, which a small
        weight brings close together.
        """
        rounded = ROUNDING * eps_of(self.params) * self.size
        if self.is_resolved:
            return (rounded + self.resolution / self.displacement * self.gap.abs()) / weight
        return (rounded + self.resolution * mixed) / weight

    def value_and_rounding(self, weight, proximity):
        """The penalized objective divided by the weight, and how far rounding reaches in it."""
        problem, hyper, params, proximal = (
            self.problem,
            self.hyper,
            self.params,
            self.proximal_params,
        )
        lower, least = (float(problem.lower.point(hyper, p).value) for p in (params, proximal))
        gap, size = lower - least, abs(lower) + abs(least)
        if problem.metric is None or problem.nonsmooth is not None:
            gap -= proximity * float(self.difference.square().sum()) / 2
        else:
            # The same in the norm of the metric: the proximal params are stationary.
            gap -= float((self.difference * self.proximal.params_gradient).sum()) / 2
        if problem.nonsmooth is not None:
            for sign, point in ((1, params), (-1, proximal)):
                value = float(problem.nonsmooth.value(hyper, point))
                gap, size = gap + sign * value, size + abs(value)
        value = float(problem.upper.point(hyper, params).value) + gap / weight
        return value, ROUNDING * eps_of(params) * size / weight


def is_resolved(change, params):
    """Whether a change of params is more than rounding."""
    return norm_of(change) > RESOLVED * eps_of(params) * norm_of(params)


def proximal_step(problem, hyper, params, gradient, proximal_term, precondition):
    """A proximal gradient step; the gradient of the proximal term is in the metric's units."""
    target = params - precondition(gradient) - precondition.step * proximal_term
    if problem.nonsmooth is None:
        return target
    return problem.nonsmooth.prox(hyper, target, precondition.step)


def measured_curvature(level, metric, hyper, params, direction=None, n_iter=N_POWER_ITER) -> float:
    """Largest curvature, from differences of gradients: power iteration without Hessians."""

    plain = Preconditioner(1.0, metric)
    vector = random_direction(params) if direction is None else unit(direction)
    length = eps_of(params) ** 0.5 * max(norm_of(params), 1.0)
    gradient = level.point(hyper, params).params_gradient
    curvature = 0.0
    for _ in range(n_iter):
        displaced = level.params_gradient(hyper, params + length * vector)
        product = 1 / length * plain(displaced - gradient)
        curvature, vector = norm_of(product), unit(product)
    return curvature


def remainder(change, last_change, rounding):
    """What is to come of changes that shrink like a geometric series."""
    if not change > rounding:
        return change
    if math.isinf(change) or math.isinf(last_change):
        return math.inf
    ratio = min(change / last_change, 0.999) if last_change > 0 else 0.999
    return change * ratio / (1 - ratio)


def worst_norm(problem, hyper, gradient, error):
    """The largest projected norm of a gradient whose entries are known to an error."""
    steps = [
        (hyper - problem.project_hyper(hyper - other)).abs()
        for other in (gradient - error, gradient + error)
    ]
    return norm_of(steps[0].maximum(steps[1]))
