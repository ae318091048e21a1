"""Descent on a lower level, step by step, and reverse mode through its steps.

No autograd graph runs through the steps: the points are stored, and every step backwards is
one curvature product of the lower objective, fast where the objective's is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ._moves import largest_curvature, scale

# Halvings of a step under which a descent does not end below its start.
MAX_HALVINGS = 5


@dataclass(frozen=True)
class Preconditioner:
    """Steps on params: the problem's metric if there is one, and a length for each candidate."""

    step: Any
    metric: Any = None

    def __call__(self, vector):
        return scale(self.step, vector if self.metric is None else self.metric.solve(vector))

    def lengths(self, params):
        """The step of every entry, where the metric (if any) is diagonal."""
        return self(params * 0 + 1)

    def times(self, factor):
        return Preconditioner(factor * self.step, self.metric)


def unit_preconditioner(problem, objective, hyper, params):
    """Steps along the problem's metric, or of one over the largest curvature at a point."""
    metric = None if problem.metric is None else problem.metric(hyper, params, 0.0)
    if metric is not None and metric.exact and objective is problem.lower:
        return Preconditioner(1.0, metric)
    plain = Preconditioner(1.0, metric)
    curvature = largest_curvature(
        problem, lambda vector: plain(objective.hessian_product(hyper, params, vector)), params
    )
    # Without any curvature there is no scale but one; and a metric may bound it from above.
    least = 1.0 if metric is not None else 0.0
    safe = curvature.clamp_min(least)
    return Preconditioner(1 / safe.where(safe > 0, safe * 0 + 1), metric)


@dataclass(frozen=True)
class Dynamics:
    """Descent of `n_steps` on the lower level, and on its non-smooth term by its proximal map.

    Attributes
    ----------
    problem : BilevelProblem
    objective : callable
        The objective of step t; the lower one in most methods.
    hyper : Tensor
    precondition : Preconditioner
    n_steps : int
    accelerated : bool
        Nesterov's momentum.
    n_kept : int or None
        How many of the last steps a reverse mode will ask for; None for all. Points before
        are let go, but for the last two.
    """

    problem: Any
    objective: Any
    hyper: Any
    precondition: Preconditioner
    n_steps: int
    accelerated: bool = False
    n_kept: int | None = None

    def momenta(self):
        """Weight of the last move in the point from which the next step starts."""
        if not self.accelerated:
            return [0.0] * self.n_steps
        found, t = [], 1.0
        for _ in range(self.n_steps):
            following = (1 + (1 + 4 * t * t) ** 0.5) / 2
            found.append((t - 1) / following)
            t = following
        # The first step has no move behind it.
        return [0.0, *found[1:]]

    def run(self, start):
        """All points, the start included; and the points that the gradients were taken at."""
        points, bases = [start], []
        for t, momentum in enumerate(self.momenta()):
            base = points[-1]
            if momentum:
                base = base + momentum * (points[-1] - points[-2])
            gradient = self.objective(t).params_gradient(self.hyper, base)
            points.append(self._prox(base - self.precondition(gradient)))
            bases.append(base)
            if self.n_kept is not None and t < self.n_steps - self.n_kept:
                bases[t] = None
                if t > 0:
                    points[t - 1] = None
        return points, bases

    def _prox(self, params):
        nonsmooth = self.problem.nonsmooth
        if nonsmooth is None:
            return params
        return nonsmooth.prox(self.hyper, params, self.precondition.lengths(params))

    def pull_back(self, bases, cotangents):
        """Gradients in hyper and in the start, from those in the points.

        Parameters
        ----------
        bases : list of Tensor
            As `run` returned them.
        cotangents : dict of int to Tensor
            Gradient of a function of the points in each point that it depends on. Steps before
            the last `n_kept` are not gone back through.

        Returns
        -------
        by_hyper, by_start : Tensor
        """
        momenta = self.momenta()
        by_hyper = self.hyper * 0
        ahead = behind = 0.0  # cotangents of the points t + 1 and t, as far as they are known
        first = 0 if self.n_kept is None else max(0, self.n_steps - self.n_kept)
        for t in range(self.n_steps - 1, first - 1, -1):
            ahead = ahead + cotangents.get(t + 1, 0.0)
            if isinstance(ahead, float):
                continue
            if self.problem.nonsmooth is not None:
                part, ahead = self._pull_back_prox(t, bases[t], ahead)
                by_hyper = by_hyper + part
            products = self.objective(t).curvature_products(
                self.hyper, bases[t], self.precondition(ahead)
            )
            by_hyper = by_hyper - products.mixed
            by_base = ahead - products.hessian
            ahead = behind + (1 + momenta[t]) * by_base
            behind = -momenta[t] * by_base
        return by_hyper, ahead + cotangents.get(first, 0.0)

    def _pull_back_prox(self, t, base, cotangent):
        arrived = base - self.precondition(self.objective(t).params_gradient(self.hyper, base))
        return self.problem.nonsmooth.pull_back(
            self.hyper, arrived, self.precondition.lengths(arrived), cotangent
        )


def safe_run(dynamics, start):
    """Run, with the steps halved for candidates that do not end below their start.

    The curvature further on may be larger than where it was measured.
    """
    objective, problem = dynamics.objective(dynamics.n_steps - 1), dynamics.problem
    before = objective.value(dynamics.hyper, start)
    points, bases = dynamics.run(start)
    for _ in range(MAX_HALVINGS):
        after = objective.value(dynamics.hyper, points[-1])
        risen = ~(after <= before + 1e-12 * before.abs())  # NaN counts as risen
        if problem.nonsmooth is not None or not bool(risen.any()):
            break
        factor = before.new_ones(risen.shape).where(~risen, before.new_full(risen.shape, 0.5))
        dynamics = replace(dynamics, precondition=dynamics.precondition.times(factor))
        points, bases = dynamics.run(start)
    return dynamics, points, bases
