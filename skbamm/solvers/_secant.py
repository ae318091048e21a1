"""Projected limited-memory BFGS, with nothing to tune.

It moves `hyper` in every solver whose step for it is "auto".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

# An Armijo test below the rounding of the values it compares would reject good steps.
_ROUNDING = 1e-12
_SUFFICIENT_DECREASE = 1e-4
_SMALLEST_FRACTION = 1e-5
_GROWTH = 4.0
# Steps to the minimiser of a parabola over a set, and how much of the first one may be left.
_N_INNER = 100
_INNER_ACCURACY = 1e-4
# A value in units of the gradient shall be finite too.
_LEAST_UNIT = 2.0**-500


@dataclass(frozen=True)
class SecantSearch:
    """Projected limited-memory BFGS with backtracking.

    A point is *tried* until the lower level has been solved there, then accepted or shortened
    towards the last accepted one (the anchor). The first step is Polyak's,
    ``value / |gradient|^2``, which is safe for values that are bounded below by zero, at any
    scale. When no fraction of a direction decreases the value, the search forgets its secants and
    begins afresh at the anchor; failing again, it has stalled: the precision of the values is
    reached. A point where value or gradient is not finite counts as one that does not decrease.

    Values and gradients are kept in a unit, a power of two near the first gradient, so that their
    squares stay finite at any scale.
    """

    anchor: Any
    gradient: Any = None  # at the anchor
    direction: Any = None
    value: float = 0.0  # at the anchor
    fraction: float = 1.0  # of the direction, which is being tried
    scale: float = 1.0  # step length where nothing is known about the curvature yet
    started: bool = False
    fresh: bool = False
    stalled: bool = False
    differences: Any = None  # the last steps, (n_kept, n)
    changes: Any = None  # of the gradient along them, (n_kept, n)
    unit: float = 1.0  # of values and gradients
    retreated: bool = False  # whether the last direction led to nothing finite

    def propose(
        self, project, hyper, value, gradient, *, memory, max_move, rounding=0.0, is_box=True
    ):
        """Where to go from `hyper`, and the search's next state.

        `rounding` is how far it reaches in the values, beyond what it is relative to them. `is_box`
        is whether `project` treats each entry by itself.
        """
        search = self
        if not self.started and self.differences is None:
            search = replace(self, unit=_unit(gradient))
        value, gradient = value / search.unit, gradient / search.unit
        if not (math.isfinite(value) and bool(gradient.isfinite().all())):
            # From a point that was to be the first there is nowhere to go.
            return self.retreat(project) if self.started else (math.nan * hyper, self)
        if self.started:
            predicted = float((self.gradient * (hyper - self.anchor)).sum())
            slack = max(_ROUNDING, 10 * _precision(hyper).eps) * abs(self.value)
            slack += rounding / self.unit
            if value <= self.value + _SUFFICIENT_DECREASE * predicted + slack:
                search = replace(self._learn(hyper, gradient, memory), retreated=False)
            else:
                search = self._shorten(value, predicted)
                return _snapped(project, search.anchor + search.fraction * search.direction), search
        search = search._accept(project, hyper, value, gradient, max_move, is_box)
        return _snapped(project, hyper + search.direction), search

    @property
    def tries(self):
        """Whether the point after the anchor is on trial."""
        return self.started and self.fraction > 0

    def retreat(self, project):
        """A shorter step, from where nothing can be evaluated, and the search's next state."""
        search = self._shorten(math.nan, 0.0)
        if not search.started:
            # Back at the anchor, which is evaluated again before the search gives up.
            search = replace(search, stalled=self.retreated, retreated=True)
        return _snapped(project, search.anchor + search.fraction * search.direction), search

    def _accept(self, project, hyper, value, gradient, max_move, is_box):
        """Take a point as the anchor of a new direction."""
        search, precision = self, _precision(hyper)
        if not self.started:
            step = (hyper - project(hyper - self.unit * gradient)) / self.unit
            square = float(step.square().sum())
            scale = min(abs(value) / max(square, precision.tiny), precision.max**0.5)
            search = replace(self, scale=scale)
        if is_box:
            # A coordinate that sits on its bound with the gradient pointing out is fixed.
            is_free = project(hyper - _nudge(hyper) * gradient.sign()) != hyper
            free = gradient.where(is_free, 0)
            direction = search._direction(free).where(is_free, 0)
        else:
            direction = search._direction_in_set(project, hyper, gradient)
        largest = max(float(direction.abs().max()), precision.tiny)
        return replace(
            search,
            anchor=hyper,
            gradient=gradient,
            direction=direction * min(max_move / largest, 1.0),
            value=value,
            fraction=1.0,
            started=True,
            fresh=not self.started,
        )

    def _shorten(self, value, predicted):
        """Minimiser of the parabola through both values and the derivative, safeguarded."""
        rise = value - self.value - predicted
        shrink = 0.1
        if math.isfinite(value):
            tiny = _precision(self.anchor).tiny
            shrink = min(max(-predicted / max(2 * rise, tiny), 0.1), 0.5)
        fraction = self.fraction * shrink
        if fraction >= _SMALLEST_FRACTION:
            return replace(self, fraction=fraction)
        return replace(
            self._forget(), fraction=0.0, started=False, stalled=self.stalled or self.fresh
        )

    def _learn(self, hyper, gradient, memory):
        """Keep the secant of an accepted step, if the curvature along it is positive."""
        difference, change = (hyper - self.anchor).flatten(), (gradient - self.gradient).flatten()
        curvature = float((difference * change).sum())
        length, steepness = float(difference.square().sum()), float(change.square().sum())
        tiny = _precision(difference).tiny
        if length == 0:
            # The step was below rounding: longer ones, until they are not.
            return replace(self._forget(), scale=_GROWTH * max(self.scale, tiny))
        if not curvature > 1e-10 * math.sqrt(length * steepness):
            # The curvature is not positive: longer steps along the plain gradient.
            step = _GROWTH * math.sqrt(length) / max(float(gradient.norm()), tiny)
            return replace(self._forget(), scale=step)
        return replace(
            self,
            differences=_remember(self.differences, difference, memory),
            changes=_remember(self.changes, change, memory),
            scale=curvature / max(steepness, tiny),
        )

    def _forget(self):
        return replace(self, differences=None, changes=None)

    def _direction(self, gradient):
        """Minus the BFGS inverse Hessian times the gradient, in compact form.

        Byrd, Nocedal, Schnabel, "Representations of quasi-Newton matrices", 1994, eq. 3.13.
        """
        if self.differences is None:
            return -self.scale * gradient
        import torch

        flat = gradient.flatten()
        upper = (self.differences @ self.changes.T).triu()
        along = _solve(torch, upper, self.differences @ flat, upper=True)
        changed = self.changes.T @ along
        right = self.changes @ (changed - flat) * self.scale + upper.diagonal() * along
        back = _solve(torch, upper.T, right, upper=False)
        vector = self.scale * flat + self.differences.T @ back - self.scale * changed
        if not float((vector * flat).sum()) > 0:
            vector = flat * self.scale
        return -vector.reshape(gradient.shape)

    def _direction_in_set(self, project, hyper, gradient):
        """To the minimiser of the secants' parabola over any convex set.

        Schmidt, van den Berg, Friedlander, Murphy, "Optimizing costly functions with simple
        constraints: a limited-memory projected quasi-Newton algorithm", 2009; the inner steps are
        spectral projected gradients (Birgin, Martinez, Raydan, 2000).
        """
        first = direction = project(hyper - self.scale * gradient) - hyper
        if self.differences is None:
            return first
        product, length = self._hessian(), self.scale
        left = gradient + product(direction)  # gradient of the parabola
        enough = _INNER_ACCURACY * float(first.norm())
        for _ in range(_N_INNER):
            step = project(hyper + direction - length * left) - hyper - direction
            curved = product(step)
            curvature, decrease = float((step * curved).sum()), -float((step * left).sum())
            if not (float(step.norm()) > enough and curvature > 0 and decrease > 0):
                break
            fraction = min(decrease / curvature, 1.0)
            direction, left = direction + fraction * step, left + fraction * curved
            length = float(step.square().sum()) / curvature
        return direction if float((direction * gradient).sum()) < 0 else first

    def _hessian(self):
        """The product of the BFGS Hessian with a vector; Byrd, Nocedal, Schnabel, eq. 2.17."""
        import torch

        steps, changes, diagonal = self.differences, self.changes, 1 / self.scale
        along = steps @ changes.T
        below = along.tril(-1)
        middle = torch.cat(
            [
                torch.cat([diagonal * (steps @ steps.T), below], 1),
                torch.cat([below.T, -along.diagonal().diag()], 1),
            ]
        )
        both, inverse = torch.cat([diagonal * steps, changes]), torch.linalg.pinv(middle)

        def product(vector):
            flat = vector.flatten()
            return (diagonal * flat - both.T @ (inverse @ (both @ flat))).reshape(vector.shape)

        return product


def _nudge(hyper):
    """A step that outlasts rounding in any dtype."""
    return hyper.abs().clamp_min(1) * (4 * _precision(hyper).eps)


def _snapped(project, target):
    """The projection; on a bound also what is off it by no more than rounding.

    Steps of a round length often end at a bound. There rounding must not decide whether a
    coordinate is fixed.
    """
    step = _nudge(target)
    below, above = target - step, target + step
    target, at_lower, at_upper = project(target), project(below), project(above)
    target = at_lower.where(at_lower > below, target)
    return at_upper.where(at_upper < above, target)


def _unit(gradient):
    """The power of two next to the largest entry."""
    largest = float(gradient.abs().max())
    if not 0 < largest < math.inf:
        return 1.0
    return max(math.ldexp(0.5, math.frexp(largest)[1]), _precision(gradient).tiny, _LEAST_UNIT)


def _remember(kept, latest, memory):
    """The latest rows, as many as the memory holds."""
    import torch

    if kept is None:
        return latest[None]
    return torch.cat([kept, latest[None]])[-max(memory, 1) :]


def _solve(torch, triangle, vector, *, upper):
    return torch.linalg.solve_triangular(triangle, vector[:, None], upper=upper)[:, 0]


def _precision(tensor):
    """Rounding and smallest positive number of a tensor's dtype."""
    import torch

    return torch.finfo(tensor.dtype)
