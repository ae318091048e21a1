"""Descent on a lower level, step by step, and reverse mode through its steps.

No autograd graph runs through the steps: the points are stored, and every step backwards is
one curvature product of the lower objective, fast where the objective's is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .._steps import largest_curvature

# Bytes that graphs of a descent may take. With larger ones each step is evaluated twice.
GRAPH_BUDGET = 2**26
# Halvings of a step under which a descent does not end below its initial value.
MAX_HALVINGS = 5


@dataclass(frozen=True)
class Preconditioner:
    """Steps on params: a length, along the problem's metric if there is one."""

    step: float
    metric: Any = None

    def __call__(self, vector):
        return self.step * (vector if self.metric is None else self.metric.solve(vector))

    def lengths(self, params):
        """The step of every entry, where the metric (if any) is diagonal."""
        return self(params * 0 + 1)

    def times(self, factor):
        return Preconditioner(factor * self.step, self.metric)


def unit_preconditioner(problem, objective, hyper, params):
    """Steps along the problem's metric, or of one over the largest curvature at a point."""
    metric = None if problem.metric is None else problem.metric(hyper, params, 0.0)
    plain = Preconditioner(1.0, metric)
    if metric is not None and metric.exact and objective is problem.lower:
        return plain
    point = objective.point(hyper, params)
    curvature = largest_curvature(lambda vector: plain(point.hessian_product(vector)), params)
    if metric is not None:
        # It may bound the curvature from above.
        curvature = max(curvature, 1.0)
    # Without any curvature there is no scale but one.
    return Preconditioner(1 / curvature if curvature > 0 else 1.0, metric)


@dataclass(frozen=True)
class Dynamics:
    """Descent of `n_steps` on the lower level, and on its non-smooth term by its proximal map.

    ``objective(t)`` is what step t decreases; the lower level in most methods. `accelerated` adds
    Nesterov's momentum. `n_kept` is how many of the last steps a reverse mode will ask for (None:
    all); points before these are not kept, but for the last two.
    """

    problem: Any
    objective: Any
    hyper: Any
    precondition: Preconditioner
    n_steps: int
    accelerated: bool = False
    n_kept: int | None = None

    def momenta(self):
        """Weight of the last step in the point from which the next step is taken."""
        if not self.accelerated:
            return [0.0] * self.n_steps
        found, t = [], 1.0
        for _ in range(self.n_steps):
            following = (1 + (1 + 4 * t * t) ** 0.5) / 2
            found.append((t - 1) / following)
            t = following
        # There is no step before the first one.
        return [0.0, *found[1:]]

    def run(self, initial):
        """All points, the initial one included; and where the gradients were taken, as `Point`s.

        These keep their graphs, which makes a reverse mode cheap, as long as they fit in a budget.
        """
        points: list = [initial]
        bases: list = []
        first = 0 if self.n_kept is None else self.n_steps - self.n_kept
        keeps = False
        for t, momentum in enumerate(self.momenta()):
            base = points[-1]
            if momentum:
                base = base + momentum * (points[-1] - points[-2])
            point = self.objective(t).point(self.hyper, base)
            if t == first:
                keeps = graph_size(point) * (self.n_steps - first) <= GRAPH_BUDGET
            elif t > first and keeps:
                point.prepare()
            points.append(self._prox(base - self.precondition(point.params_gradient)))
            if t < first:
                bases.append(None)
                if t > 0:
                    points[t - 1] = None
            else:
                bases.append(point if keeps else _Asked(point.objective, self.hyper, base))
        return points, bases

    def _prox(self, params):
        nonsmooth = self.problem.nonsmooth
        if nonsmooth is None:
            return params
        return nonsmooth.prox(self.hyper, params, self.precondition.lengths(params))

    def vjp(self, bases, n_used, cotangent):
        """Gradients in hyper and in the initial point, from that in the point after `n_used` steps.

        Those before the last `n_kept` do not count.
        """
        momenta = self.momenta()
        by_hyper, by_point, by_previous = self.hyper * 0, cotangent, 0.0
        first = 0 if self.n_kept is None else max(0, self.n_steps - self.n_kept)
        for t in range(n_used - 1, first - 1, -1):
            if self.problem.nonsmooth is not None:
                of_prox, by_point = self._prox_vjp(bases[t], by_point)
                by_hyper = by_hyper + of_prox
            products = bases[t].curvature_products(self.precondition(by_point))
            by_hyper = by_hyper - products.mixed
            by_base = by_point - products.hessian
            if not self.accelerated:
                by_point = by_base
                continue
            by_point = by_previous + (1 + momenta[t]) * by_base
            by_previous = -momenta[t] * by_base
        return by_hyper, by_point

    def _prox_vjp(self, base, cotangent):
        arrived = base.params - self.precondition(base.params_gradient)
        return self.problem.nonsmooth.prox_vjp(
            self.hyper, arrived, self.precondition.lengths(arrived), cotangent
        )


class _Asked(NamedTuple):
    """What of a point is remembered where its graph is too large: it is evaluated again."""

    objective: Any
    hyper: Any
    params: Any

    @property
    def params_gradient(self):
        return self.objective.params_gradient(self.hyper, self.params)

    def curvature_products(self, vector):
        return self.objective.curvature_products(self.hyper, self.params, vector)


def graph_size(point):
    """Bytes that the graph of a point's gradient keeps; the graph is made."""
    import torch

    sizes: dict = {}

    def note(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        point.prepare()
    return sum(sizes.values())


def descend(dynamics, initial, *, safe):
    """The dynamics that were run, their points, and where their gradients were taken.

    With `safe`, steps are halved while the descent does not end below its initial value: the
    curvature further on may be larger than where it was measured.
    """
    points, bases = dynamics.run(initial)
    if not safe or dynamics.problem.nonsmooth is not None:
        return dynamics, points, bases
    objective, hyper = dynamics.objective(dynamics.n_steps - 1), dynamics.hyper
    before = float(objective.value(hyper, initial))
    allowed = before + 1e-12 * abs(before)
    for _ in range(MAX_HALVINGS):
        if float(objective.value(hyper, points[-1])) <= allowed:  # NaN counts as risen
            break
        dynamics = replace(dynamics, precondition=dynamics.precondition.times(0.5))
        points, bases = dynamics.run(initial)
    return dynamics, points, bases
