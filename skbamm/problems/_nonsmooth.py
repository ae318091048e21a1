"""Terms of a lower level that have no gradient, but a cheap proximal map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


class NonSmooth:
    """A convex function of params, and of hyper where it has weights, added to a lower level.

    Write `value` and `prox`; the derivatives in hyper and of the proximal map come from
    autograd. All methods take tensors: `hyper`, the upper-level variable, `params`, the
    lower-level one, a positive `step` (or a float), and a `cotangent` of the shape of `params`.
    """

    def value(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Value at a feasible point.

        Returns
        -------
        value : Tensor
            Of one element.
        """
        raise NotImplementedError

    def prox(
        self, hyper: torch.Tensor, params: torch.Tensor, step: torch.Tensor | float
    ) -> torch.Tensor:
        """Minimise ``value(hyper, y) + |y - params|^2 / (2 step)`` over y.

        Returns
        -------
        y : Tensor
            Differentiable by autograd in `hyper` and `params`.
        """
        raise NotImplementedError

    def project(self, params: torch.Tensor) -> torch.Tensor:
        """Project on where the value is finite.

        Returns
        -------
        params : Tensor
            The nearest such point.
        """
        return params

    def hyper_gradient(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Differentiate the value in `hyper`.

        Returns
        -------
        gradient : Tensor
            Of the shape of `hyper`.
        """
        with torch.inference_mode(False), torch.enable_grad():
            hyper = hyper.detach().requires_grad_()
            value = self.value(hyper, params.detach()).sum()
            if not value.requires_grad:
                return torch.zeros_like(hyper)
            return torch.autograd.grad(value, hyper)[0]

    def prox_vjp(
        self,
        hyper: torch.Tensor,
        params: torch.Tensor,
        step: torch.Tensor | float,
        cotangent: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vector-Jacobian products of `prox`.

        Returns
        -------
        by_hyper : Tensor
            `cotangent` times the Jacobian in `hyper`.
        by_params : Tensor
            The same in `params`.
        """
        with torch.inference_mode(False), torch.enable_grad():
            hyper = hyper.detach().requires_grad_()
            params = params.detach().requires_grad_()
            product = (self.prox(hyper, params, step) * cotangent.detach()).sum()
            found = torch.autograd.grad(product, (hyper, params), allow_unused=True)
        by_hyper, by_params = found
        return torch.zeros_like(hyper) if by_hyper is None else by_hyper, by_params


@dataclass(frozen=True)
class WeightedL1(NonSmooth):
    """``sum(weights(hyper) * abs(params))``; its proximal map sets params to exactly zero.

    Attributes
    ----------
    weights : callable
        A differentiable map from `hyper` to non-negative weights that broadcast against params.
    """

    weights: Callable[[torch.Tensor], torch.Tensor]

    def value(self, hyper, params):
        return (self.weights(hyper) * params.abs()).sum()

    def prox(self, hyper, params, step):
        return params.sign() * (params.abs() - step * self.weights(hyper)).clamp_min(0)


@dataclass(frozen=True)
class Box(NonSmooth):
    """Zero between two bounds and infinite outside: the proximal map is the projection.

    Attributes
    ----------
    lower : float
        Smallest value of an entry of params.
    upper : float
        Largest.

    Raises
    ------
    ValueError
        If `lower` is above `upper`, or one of them is NaN.
    """

    lower: float
    upper: float

    def __post_init__(self):
        if not self.lower <= self.upper:
            raise ValueError(f"Box needs lower <= upper: got {self.lower} and {self.upper}.")

    def value(self, hyper, params):
        return params.new_zeros(())

    def prox(self, hyper, params, step):
        return params.clamp(self.lower, self.upper)

    def project(self, params):
        return params.clamp(self.lower, self.upper)
