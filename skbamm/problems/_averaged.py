"""The averaged objective of sl-BAMM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._objective import Objective
from ._point import AutogradPoint, Once, Point, differentiating


@dataclass(frozen=True)
class AveragedObjective(Objective):
    """``averaging * upper + (1 - averaging) * lower`` (psi_mu in the sl-BAMM paper).

    The upper objective lends its strong convexity to a lower level that is merely
    convex.

    Attributes
    ----------
    lower : Objective
        The training loss.
    upper : Objective
        The validation loss.
    averaging : float
        Weight of the *upper* objective.
    """

    lower: Objective
    upper: Objective
    averaging: float

    def value(self, hyper, params):
        return self._average(lambda level: level.value(hyper, params))

    def gradients(self, hyper, params, *, differentiable=False):
        return self._mix(
            lambda level: level.gradients(hyper, params, differentiable=differentiable)
        )

    def curvature_products(self, hyper, params, vector):
        return self._mix(lambda level: level.curvature_products(hyper, params, vector))

    def params_gradient(self, hyper, params):
        if self.averaging and self.lower._is_by_autograd and self.upper._is_by_autograd:
            return Objective._params_gradient(self, hyper, params)  # one backward pass
        return self._average(lambda level: level.params_gradient(hyper, params))

    def hessian_product(self, hyper, params, vector):
        return self._average(lambda level: level.hessian_product(hyper, params, vector))

    def mixed_product(self, hyper, params, vector):
        return self._average(lambda level: level.mixed_product(hyper, params, vector))

    def point(self, hyper, params):
        lower = self.lower.point(hyper, params)
        if self.averaging == 0:
            return lower
        upper = self.upper.point(hyper, params)
        kind: Any = _AveragedPoint
        if isinstance(lower, AutogradPoint) and isinstance(upper, AutogradPoint):
            upper.share_leaves(lower)
            kind = _AveragedGraph if upper.leaves is lower.leaves else kind
        point = kind(self, hyper, params)
        point.lower, point.upper = lower, upper
        return point

    def _average(self, part):
        """A tensor of both levels averaged; the upper one is not asked where it has no weight."""
        lower = part(self.lower)
        if self.averaging == 0:
            return lower
        return self.averaging * part(self.upper) + (1 - self.averaging) * lower

    def _mix(self, parts):
        """The same for a pair of tensors."""
        lower = parts(self.lower)
        if self.averaging == 0:
            return lower
        upper = parts(self.upper)
        return type(lower)(
            *(
                self.averaging * above + (1 - self.averaging) * below
                for below, above in zip(lower, upper, strict=True)
            )
        )


class _AveragedPoint(Point):
    """By what both levels answer at the point."""

    lower: Point
    upper: Point

    @property
    def value(self):
        return self._average(lambda point: point.value)

    @property
    def gradients(self):
        return self._mix(lambda point: point.gradients)

    @property
    def params_gradient(self):
        return self._average(lambda point: point.params_gradient)

    def curvature_products(self, vector):
        return self._mix(lambda point: point.curvature_products(vector))

    def hessian_product(self, vector):
        return self._average(lambda point: point.hessian_product(vector))

    def mixed_product(self, vector):
        return self._average(lambda point: point.mixed_product(vector))

    def _average(self, part):
        return self.objective._average(lambda level: part(self._point_of(level)))

    def _mix(self, parts):
        return self.objective._mix(lambda level: parts(self._point_of(level)))

    def _point_of(self, level):
        return self.lower if level is self.objective.lower else self.upper


class _AveragedGraph(AutogradPoint):
    """By one backward pass through the graphs of both."""

    lower: AutogradPoint
    upper: AutogradPoint

    @Once
    def leaves(self):
        return self.lower.leaves

    @Once
    def graph(self):
        with differentiating():
            return self.objective._average(lambda level: self._point_of(level).graph.sum())

    def _point_of(self, level):
        return self.lower if level is self.objective.lower else self.upper
