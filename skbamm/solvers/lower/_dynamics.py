"""Descent on a lower level, step by step, and reverse mode through its steps.

Where objectives have derivatives of their own, no autograd graph runs through the steps: the points
are stored, and every step backwards is one curvature product of the lower objective.
"""

from __future__ import annotations

import contextlib
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
        """All points, the initial one included, and what a reverse mode through the steps needs.

        That is the graph of the steps, a `Chain`, where all derivatives come from autograd; else
        where the gradients were taken, as `Point`s, which keep their graphs. Both only as long as
        graphs fit in a budget.
        """
        points: list = [initial]
        first = 0 if self.n_kept is None else max(0, self.n_steps - self.n_kept)
        steps = list(enumerate(self.momenta()))
        for t, momentum in steps[:first]:
            objective, base = self.objective(t), _ahead(points, momentum)
            if t == 0:  # which the run may know
                gradient = objective.point(self.hyper, base).params_gradient
            else:
                gradient = objective.params_gradient(self.hyper, base)
            points.append(self._prox(base - self.precondition(gradient)))
            if t > 0:
                points[t - 1] = None
        found = self._chain(points, steps[first:]) if self._is_by_autograd else None
        return found or self._bases(points, steps[first:])

    @property
    def _is_by_autograd(self):
        levels = self.problem.lower, self.problem.upper
        is_plain = self.precondition.metric is None and self.problem.nonsmooth is None
        return is_plain and all(level._is_by_autograd for level in levels)

    def _chain(self, points, steps):
        """The same for the last steps by one graph; None where it is too large."""
        from ...problems._point import differentiating

        chain, found = Chain(self.hyper, points), list(points)
        sizes: dict = {}
        with differentiating():
            for number, (t, momentum) in enumerate(steps):
                with measured(sizes) if number == 0 else contextlib.nullcontext():
                    found.append(chain.step(self.objective(t), self.precondition.step, momentum))
                if number == 0 and sum(sizes.values()) * len(steps) > GRAPH_BUDGET:
                    return None
        return found, chain

    def _bases(self, points, steps):
        """The same by the points that gradients are taken at."""
        bases: list = [None] * (len(points) - 1)
        keeps = False
        for number, (t, momentum) in enumerate(steps):
            base = _ahead(points, momentum)
            point = self.objective(t).point(self.hyper, base)
            if number == 0:
                with measured({}) as sizes:
                    point.prepare()
                keeps = sum(sizes.values()) * len(steps) <= GRAPH_BUDGET
            elif keeps:
                point.prepare()
            points.append(self._prox(base - self.precondition(point.params_gradient)))
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
        first = 0 if self.n_kept is None else max(0, self.n_steps - self.n_kept)
        if isinstance(bases, Chain):
            return bases.vjp(n_used - first, cotangent)
        momenta = self.momenta()
        by_hyper, by_point, by_previous = self.hyper * 0, cotangent, 0.0
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


class Chain:
    """The graph of a descent's last steps, from leaves for hyper and the first of their points."""

    def __init__(self, hyper, points):
        self.leaves = tuple(tensor.detach().requires_grad_() for tensor in (hyper, points[-1]))
        self.before = points[-2:-1]
        self.arrived = [self.leaves[1]]

    def step(self, objective, length, momentum):
        """One step more, with its graph; where it arrives, without."""
        from ...problems._point import derivatives

        base = _ahead([*self.before, *self.arrived[-2:]], momentum)
        value = objective.value(self.leaves[0], base)
        gradient = derivatives(value, (base,), create_graph=True)[0]
        self.arrived.append(base - length * gradient)
        return self.arrived[-1].detach()

    def vjp(self, n_used, cotangent):
        """Gradients in hyper and in the first point, from that after `n_used` of the steps."""
        from ...problems._point import derivatives

        return derivatives(self.arrived[n_used], self.leaves, cotangent)


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


@contextlib.contextmanager
def measured(sizes):
    """Note the bytes that graphs made in this block keep, by where they lie."""
    import torch

    def note(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield sizes


def _ahead(points, momentum):
    """The point from which the next step is taken."""
    return points[-1] + momentum * (points[-1] - points[-2]) if momentum else points[-1]


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
