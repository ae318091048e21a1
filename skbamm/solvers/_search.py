"""Upper-level steps that nobody has to tune: secants of settled hypergradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

# An Armijo test below the rounding of the values it compares would reject good steps.
_ROUNDING = 1e-12
_SUFFICIENT_DECREASE = 1e-4
_SMALLEST_FRACTION = 1e-5


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
    moves, changes : tuple of Tensor of shape (n_candidates, n_hyper)
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
    moves: tuple = ()
    changes: tuple = ()
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
        target = project(search.anchor + search.fraction[:, None] * search.direction)
        return target.where((accepted | rejected)[:, None], hyper), search

    def _accept(self, accepted, project, hyper, value, gradient, memory, max_move):
        column = accepted[:, None]
        learned = column & self.started[:, None]
        search = replace(
            self,
            moves=_remember(self.moves, hyper - self.anchor, learned, memory),
            changes=_remember(self.changes, gradient - self.anchor_gradient, learned, memory),
        )
        precision = _precision(hyper)
        projected = hyper - project(hyper - gradient)
        length = projected.square().sum(1)
        polyak = value.abs() / length.clamp_min(precision.tiny)
        scale = polyak.where(accepted & ~self.started, search.scale)
        # A coordinate that sits on its bound with the gradient pointing out is fixed.
        # The step outlasts rounding in any dtype.
        step = hyper.abs().clamp_min(1) * (4 * precision.eps)
        moved = project(hyper - step * gradient.sign()) != hyper
        free = gradient.where(moved, gradient * 0)
        direction = replace(search, scale=scale)._direction(free).where(moved, free * 0)
        largest = direction.abs().amax(1, keepdim=True).clamp_min(precision.tiny)
        direction = direction * (max_move / largest).clamp_max(1)
        return replace(
            search,
            anchor=hyper.where(column, self.anchor),
            anchor_value=value.where(accepted, self.anchor_value),
            anchor_gradient=gradient.where(column, self.anchor_gradient),
            direction=direction.where(column, self.direction),
            fraction=(self.fraction * 0 + 1).where(accepted, self.fraction),
            scale=scale,
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
        kept = ~failed[:, None]
        return replace(
            self,
            fraction=fraction.where(~failed, fraction * 0),
            started=self.started & ~failed,
            stalled=self.stalled | (failed & self.fresh),
            moves=tuple(move * kept for move in self.moves),
            changes=tuple(change * kept for change in self.changes),
        )

    def _direction(self, gradient):
        """Two-loop recursion; pairs without positive curvature count nothing."""
        vector = gradient
        scale = self.scale
        pairs = []
        for move, change in zip(self.moves, self.changes, strict=True):
            curvature = (move * change).sum(1)
            steepness = change.square().sum(1)
            valid = curvature > 1e-10 * (move.square().sum(1) * steepness).sqrt()
            inverse = (1 / curvature.where(valid, curvature * 0 + 1)).where(valid, curvature * 0)
            scale = (curvature / steepness.clamp_min(_precision(vector).tiny)).where(valid, scale)
            pairs.append((move, change, inverse[:, None]))
        weights = []
        for move, change, inverse in reversed(pairs):
            weight = inverse * (move * vector).sum(1, keepdim=True)
            vector = vector - weight * change
            weights.append(weight)
        vector = vector * scale[:, None]
        for (move, change, inverse), weight in zip(pairs, reversed(weights), strict=True):
            vector = vector + (weight - inverse * (change * vector).sum(1, keepdim=True)) * move
        descent = (vector * gradient).sum(1, keepdim=True) > 0
        return -vector.where(descent, gradient * self.scale[:, None])


def _remember(kept, latest, learned, memory):
    """The last vectors of each candidate; those that learned nothing forget nothing."""
    if not bool(learned.any()):
        return kept
    if len(kept) < memory:
        kept = (latest * 0, *kept)
    return tuple(
        new.where(learned, old) for old, new in zip(kept, (*kept[1:], latest), strict=True)
    )


def _precision(tensor):
    """Rounding and smallest positive number of a tensor's dtype."""
    import torch

    return torch.finfo(tensor.dtype)
