"""Penalties of one coefficient: the absolute value, smoothed, the square, and a sign.

All work elementwise on coefficients of shape (n_candidates, n_folds, n_targets, n_features).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch


@dataclass(frozen=True)
class Absolute:
    r"""The smoothed absolute value: :math:`\phi(w) = (w^2 + \epsilon^2)^{1/2} - \epsilon`."""

    smoothing: float  # epsilon, small relative to the coefficients
    largest_gradient: ClassVar = 1.0

    def value(self, params):
        return self._size(params) - self.smoothing

    def gradient(self, params):
        return params / self._size(params)

    def curvature(self, params):
        return self.smoothing**2 / self._size(params).pow(3)

    def majorizer(self, params):
        """Curvature of the parabola around zero that touches the penalty from above."""
        return 1 / self._size(params)

    def stretch(self, params):
        """Derivative of ``1 / majorizer``."""
        return params / self._size(params)

    def _size(self, params):
        return (params.square() + self.smoothing**2).sqrt()


@dataclass(frozen=True)
class Square:
    """Half the square."""

    largest_gradient: ClassVar = torch.inf

    def value(self, params):
        return params.square() / 2

    def gradient(self, params):
        return params

    def curvature(self, params):
        return torch.ones_like(params)

    majorizer = curvature

    def stretch(self, params):
        return torch.zeros_like(params)


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
