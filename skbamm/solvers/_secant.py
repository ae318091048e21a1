"""Projected limited-memory BFGS for stacked candidates, with nothing to tune.

It moves `hyper` in every solver whose step for it is "auto".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

# An Armijo test below the rounding of the values it compares would reject good steps.
_ROUNDING = 1e-12
_SUFFICIENT_DECREASE = 1e-4
_SMALLEST_FRACTION = 1e-5
_GROWTH = 4.0


@dataclass(frozen=True)
class SecantSearch:
    """Projected limited-memory BFGS with backtracking, one run for each candidate.

    Works on matrices of shape (n_candidates, n_hyper). A point is *tried* until the
    lower level has settled there, then accepted or shortened towards the last
    accepted one (the anchor). Unless a scale is given, the first step is Polyak's,
    ``value / |gradient|^2``, which is safe for values that are bounded below by zero, at any
    scale.

    Attributes
    ----------
    anchor, anchor_gradient, direction : Tensor of shape (n_candidates, n_hyper)
    anchor_value, fraction, scale : Tensor of shape (n_candidates,)
        `fraction` of `direction` is being tried; `scale` is the step length where
        nothing is known about the curvature yet.
    started : Tensor of bool of shape (n_candidates,)
    fresh, stalled : Tensor of bool of shape (n_candidates,)
        When no fraction of a direction decreases the value, the search forgets its
        secants and starts afresh at the anchor; failing again, it has stalled: the
        precision of the values is reached.
    moves, changes : Tensor of shape (n_candidates, n_kept, n_hyper) or None
        The last steps and the differences of gradients along them.
    """

    anchor: Any
    anchor_value: Any
    anchor_gradient: Any
    direction: Any
    fraction: Any
    scale: Any
    started: Any
    fresh: Any
    stalled: Any
    moves: Any = None
    changes: Any = None
    polyak: bool = True

    @classmethod
    def begin(cls, hyper, scale=None):
        zero = hyper.new_zeros(len(hyper))
        never = zero > 0
        nothing = hyper.new_zeros(hyper.shape)
        return cls(
            anchor=hyper,
            anchor_value=zero,
            anchor_gradient=nothing,
            direction=nothing,
            fraction=zero + 1,
            scale=zero + (1 if scale is None else scale),
            started=never,
            fresh=never,
            stalled=never,
            polyak=scale is None,
        )

    def propose(self, project, settled, hyper, value, gradient, *, memory, max_move):
        """Where to go from `hyper`, and the search's next state.

        Candidates that are not `settled` stay where they are.
        """
        if not bool(settled.any()):
            return hyper, self
        predicted = (self.anchor_gradient * (hyper - self.anchor)).sum(1)
        slack = max(_ROUNDING, 10 * _precision(value).eps) * self.anchor_value.abs()
        enough = value <= self.anchor_value + _SUFFICIENT_DECREASE * predicted + slack
        accepted = settled & (enough | ~self.started)
        rejected = settled & ~accepted
        search = self._accept(accepted, project, hyper, value, gradient, memory, max_move)
        if bool(rejected.any()):
            search = search._shorten(rejected, value, predicted)
        target = _snapped(project, search.anchor + search.fraction[:, None] * search.direction)
        return target.where((accepted | rejected)[:, None], hyper), search

    def _accept(self, accepted, project, hyper, value, gradient, memory, max_move):
        column = accepted[:, None]
        search = self._learn(accepted & self.started, hyper, gradient, memory)
        precision = _precision(hyper)
        if self.polyak:
            projected = hyper - project(hyper - gradient)
            polyak = value.abs() / projected.square().sum(1).clamp_min(precision.tiny)
            search = replace(search, scale=polyak.where(accepted & ~self.started, search.scale))
        # A coordinate that sits on its bound with the gradient pointing out is fixed.
        step = _nudge(hyper)
        moved = project(hyper - step * gradient.sign()) != hyper
        free = gradient.where(moved, gradient * 0)
        direction = search._direction(free).where(moved, free * 0)
        largest = direction.abs().amax(1, keepdim=True).clamp_min(precision.tiny)
        direction = direction * (max_move / largest).clamp_max(1)
        return replace(
            search,
            anchor=hyper.where(column, self.anchor),
            anchor_value=value.where(accepted, self.anchor_value),
            anchor_gradient=gradient.where(column, self.anchor_gradient),
            direction=direction.where(column, self.direction),
            fraction=(self.fraction * 0 + 1).where(accepted, self.fraction),
            started=self.started | accepted,
            fresh=(self.fresh | accepted) & ~(accepted & self.started),
        )

    def _shorten(self, rejected, value, predicted):
        """Minimiser of the parabola through both values and the slope, safeguarded."""
        rise = value - self.anchor_value - predicted
        shrink = (-predicted / (2 * rise).clamp_min(_precision(rise).tiny)).clamp(0.1, 0.5)
        shrink = shrink.where(value.isfinite(), shrink * 0 + 0.1)
        fraction = (self.fraction * shrink).where(rejected, self.fraction)
        failed = rejected & (fraction < _SMALLEST_FRACTION)
        return replace(
            self._forget(failed),
            fraction=fraction.where(~failed, fraction * 0),
            started=self.started & ~failed,
            stalled=self.stalled | (failed & self.fresh),
        )

    def _learn(self, learned, hyper, gradient, memory):
        """Keep the secant of an accepted step, if the curvature along it is positive.

        Candidates that learned nothing forget nothing. Empty places of the memory are zero.
        """
        move, change = hyper - self.anchor, gradient - self.anchor_gradient
        curvature = (move * change).sum(1)
        length, steepness = move.square().sum(1), change.square().sum(1)
        convex = curvature > 1e-10 * (length * steepness).sqrt()
        search = self._grow(learned & ~convex, length.sqrt(), gradient)
        learned = learned & convex
        if not bool(learned.any()):
            return search

        def remember(kept, latest):
            latest = latest[:, None]
            empty = latest.new_zeros(len(latest), 1, latest.shape[2])
            kept = empty[:, :0] if kept is None else kept
            if kept.shape[1] < memory:
                kept = _stack([empty, kept])
            return _stack([kept[:, 1:], latest]).where(learned[:, None, None], kept)

        ratio = curvature / steepness.clamp_min(_precision(move).tiny)
        return replace(
            search,
            moves=remember(search.moves, move),
            changes=remember(search.changes, change),
            scale=ratio.where(learned, search.scale),
        )

    def _grow(self, concave, length, gradient):
        """Where the value bends down along a step: longer steps along the plain gradient."""
        if not bool(concave.any()):
            return self
        step = _GROWTH * length / gradient.norm(dim=1).clamp_min(_precision(length).tiny)
        return replace(self._forget(concave), scale=step.where(concave, self.scale))

    def _forget(self, mask):
        """Empty the memory of some candidates."""
        if self.moves is None:
            return self
        kept = ~mask[:, None, None]
        return replace(self, moves=self.moves * kept, changes=self.changes * kept)

    def _direction(self, gradient):
        """Minus the BFGS inverse Hessian times the gradient, in compact form.

        Byrd, Nocedal, Schnabel, "Representations of quasi-Newton matrices", 1994, eq. 3.13.
        """
        scale = self.scale[:, None]
        if self.moves is None:
            return -scale * gradient
        import torch

        products = self.moves @ self.changes.mT
        curvature = products.diagonal(dim1=1, dim2=2)
        upper = products.triu() + torch.diag_embed((curvature == 0).to(products))
        along = torch.linalg.solve_triangular(upper, self.moves @ gradient[..., None], upper=True)
        changed = self.changes.mT @ along
        right = self.changes @ (changed - gradient[..., None]) * scale[..., None]
        right = right + curvature[..., None] * along
        back = torch.linalg.solve_triangular(upper.mT, right, upper=False)
        vector = scale * gradient + (self.moves.mT @ back)[..., 0] - scale * changed[..., 0]
        descent = (vector * gradient).sum(1, keepdim=True) > 0
        return -vector.where(descent, gradient * scale)


def _nudge(hyper):
    """A step that outlasts rounding in any dtype."""
    return hyper.abs().clamp_min(1) * (4 * _precision(hyper).eps)


def _snapped(project, target):
    """The projection; on a bound also what is beside it by no more than rounding.

    Steps of a round length often end at a bound. There rounding must not decide whether a
    coordinate is fixed.
    """
    step = _nudge(target)
    below, above = target - step, target + step
    target, at_lower, at_upper = project(target), project(below), project(above)
    target = at_lower.where(at_lower > below, target)
    return at_upper.where(at_upper < above, target)


def _stack(parts):
    import torch

    return torch.cat(parts, dim=1)


def _precision(tensor):
    """Rounding and smallest positive number of a tensor's dtype."""
    import torch

    return torch.finfo(tensor.dtype)
