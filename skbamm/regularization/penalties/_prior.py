"""A pull of learned numbers towards each other, added to an upper objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...problems._base import Gradients, Objective


@dataclass(frozen=True)
class Pulled(Objective):
    """``upper + strength / 2 * hyper' form hyper``, the strength one for each candidate.

    Attributes
    ----------
    upper : Objective
    form : Tensor of shape (n_hyper, n_hyper)
        Symmetric, not indefinite.
    strength : Tensor of shape (n_candidates,) or ()
    """

    upper: Any
    form: torch.Tensor
    strength: torch.Tensor

    @property
    def loss(self):
        return self.upper.loss

    def value(self, hyper, params):
        pull = (hyper * (hyper @ self.form)).sum(1) / 2
        return self.upper.value(hyper, params) + self.strength * pull

    def gradients(self, hyper, params, *, differentiable=False):
        found = self.upper.gradients(hyper, params, differentiable=differentiable)
        strength = self.strength.reshape(-1, 1)
        return Gradients(found.hyper + strength * (hyper @ self.form), found.params)

    def curvature_products(self, hyper, params, vector):
        return self.upper.curvature_products(hyper, params, vector)
