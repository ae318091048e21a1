"""Penalties of one coefficient that are not squares: a learned power, and a sign.

All work elementwise on coefficients of shape (n_candidates, n_folds, n_targets, n_features) and
powers that broadcast against them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Bridge:
    r"""The smoothed bridge penalty.

    .. math:: \phi_q(w) = ((w^2 + \epsilon^2)^{q/2} - \epsilon^q) / q

    Power 2 is ridge, 1 the lasso, less is sparser and not convex.
    """

    smoothing: float  # epsilon, small relative to the coefficients

    def value(self, params, power):
        floor = params.new_tensor(self.smoothing).pow(power)
        return (self._square(params).pow(power / 2) - floor) / power

    def gradient(self, params, power):
        return params * self.majorizer(params, power)

    def curvature(self, params, power):
        square = self._square(params)
        curved = self.smoothing**2 + (power - 1) * params.square()
        return square.pow(power / 2 - 2) * curved

    def majorizer(self, params, power):
        """Curvature of the parabola around zero that touches the penalty from above."""
        return self._square(params).pow(power / 2 - 1)

    def stretch(self, params, power):
        """Derivative of ``1 / majorizer``."""
        return (2 - power) * params * self._square(params).pow(-power / 2)

    def largest_gradient(self, params, power):
        """Least upper bound of the gradient; infinite for powers above 1."""
        concave = (1 - power).clamp_min(1e-12)
        top = self.smoothing / concave.sqrt()
        return self.gradient(top, power).where(power <= 1, torch.full_like(power, torch.inf))

    def value_by_power(self, params, power):
        """Derivative of the value in the power."""
        square = self._square(params)
        log_floor = params.new_tensor(self.smoothing).log()
        grown = square.log() / 2 * square.pow(power / 2) - log_floor * (log_floor * power).exp()
        return (grown - self.value(params, power)) / power

    def gradient_by_power(self, params, power):
        return self.gradient(params, power) * self._square(params).log() / 2

    def _square(self, params):
        return params.square() + self.smoothing**2


@dataclass(frozen=True)
class Square:
    """Half the square: the power is always 2."""

    def value(self, params, power):
        return params.square() / 2

    def gradient(self, params, power):
        return params

    def curvature(self, params, power):
        return torch.ones_like(params)

    majorizer = curvature

    def stretch(self, params, power):
        return torch.zeros_like(params)

    def largest_gradient(self, params, power):
        return torch.full_like(power, torch.inf)


@dataclass(frozen=True)
class Barrier:
    """Half the square of the negative part, times a stiffness that makes it all but forbidden."""

    stiffness: float = 0.0

    def value(self, params):
        return self.stiffness * params.clamp_max(0).square() / 2

    def gradient(self, params):
        return self.stiffness * params.clamp_max(0)

    def curvature(self, params):
        return self.stiffness * (params < 0).to(params)

    def holding(self, params, gradient):
        """Curvature that holds a coefficient at zero which its gradient would make negative."""
        return self.stiffness * ((params == 0) & (gradient > 0)).to(params)

    def step(self, params, change):
        """`params` and a change; what would become negative stops at zero."""
        new = params + change
        if not self.stiffness:
            return new
        return new.where((params <= 0) | (new > 0), torch.zeros_like(new))
