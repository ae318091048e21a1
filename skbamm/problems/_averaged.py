"""The averaged objective of sl-BAMM."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Objective


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

    def hessian_product(self, hyper, params, vector):
        return self._average(lambda level: level.hessian_product(hyper, params, vector))

    def mixed_product(self, hyper, params, vector):
        return self._average(lambda level: level.mixed_product(hyper, params, vector))

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
