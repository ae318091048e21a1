"""A scalar function of hyper and params, and its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from ._point import (
    AutogradPoint,
    CurvatureProducts,
    Gradients,
    Point,
    derivatives,
    differentiating,
    remembered,
)

_DERIVATIVES = (
    "gradients",
    "hyper_gradient",
    "params_gradient",
    "curvature_products",
    "hessian_product",
    "mixed_product",
)


class Objective:
    """A scalar function of ``(hyper, params)``.

    Write `value`; the derivatives come from autograd. A subclass overrides
    `gradients` and `curvature_products` where it knows a faster way (and the short
    cuts to one half of each, where that is cheaper still), and promises the same answers.

    All methods take tensors: `hyper`, the upper-level variable, `params`, the lower-level one,
    and products a `vector` of the shape of `params`.

    Attributes
    ----------
    twice_differentiable : bool
        Solvers that need curvature products refuse an objective that has none.
    """

    twice_differentiable: ClassVar[bool] = True
    _is_by_autograd: ClassVar[bool] = True  # nothing but the value is the subclass's own

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        own = (getattr(cls, name) is not getattr(Objective, name) for name in _DERIVATIVES)
        cls._is_by_autograd = not any(own)

    def value(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Evaluate at a point.

        Returns
        -------
        value : Tensor
            Of one element.
        """
        raise NotImplementedError

    def gradients(
        self, hyper: torch.Tensor, params: torch.Tensor, *, differentiable: bool = False
    ) -> Gradients:
        """Differentiate at a point.

        Parameters
        ----------
        hyper, params : Tensor
            The point.
        differentiable : bool, default=False
            Whether the gradients carry an autograd graph back to the arguments, which must then
            require a gradient themselves.

        Returns
        -------
        gradients : Gradients
            In `hyper` and in `params`.
        """
        with differentiating():
            if not differentiable:
                hyper = hyper.detach().requires_grad_()
                params = params.detach().requires_grad_()
            value = self.value(hyper, params)
            return Gradients(*derivatives(value, (hyper, params), create_graph=differentiable))

    def params_gradient(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Differentiate in `params` alone.

        Returns
        -------
        gradient : Tensor
            Of the shape of `params`.
        """
        if self._is_by_autograd:
            return self._params_gradient(hyper, params)
        return self.gradients(hyper, params).params

    def hyper_gradient(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Differentiate in `hyper` alone.

        Returns
        -------
        gradient : Tensor
            Of the shape of `hyper`.
        """
        if not self._is_by_autograd:
            return self.gradients(hyper, params).hyper
        with differentiating():
            hyper = hyper.detach().requires_grad_()
            return derivatives(self.value(hyper, params.detach()), (hyper,))[0]

    def _params_gradient(self, hyper, params):
        """By autograd, without a graph to hyper."""
        with differentiating():
            params = params.detach().requires_grad_()
            return derivatives(self.value(hyper.detach(), params), (params,))[0]

    def hessian_product(
        self, hyper: torch.Tensor, params: torch.Tensor, vector: torch.Tensor
    ) -> torch.Tensor:
        """Multiply by the Hessian in `params` alone.

        Returns
        -------
        product : Tensor
            Of the shape of `params`.
        """
        if self._is_by_autograd:
            with differentiating():
                return AutogradPoint(self, hyper, params).hessian_product(vector)
        return self.curvature_products(hyper, params, vector).hessian

    def mixed_product(
        self, hyper: torch.Tensor, params: torch.Tensor, vector: torch.Tensor
    ) -> torch.Tensor:
        """Multiply by the mixed derivative alone.

        Returns
        -------
        product : Tensor
            Of the shape of `hyper`.
        """
        if self._is_by_autograd:
            with differentiating():
                return AutogradPoint(self, hyper, params).mixed_product(vector)
        return self.curvature_products(hyper, params, vector).mixed

    def curvature_products(
        self, hyper: torch.Tensor, params: torch.Tensor, vector: torch.Tensor
    ) -> CurvatureProducts:
        """Multiply by the Hessian and the mixed derivative; no matrix is formed.

        Returns
        -------
        products : CurvatureProducts
            Of the shapes of `params` and of `hyper`.
        """
        with differentiating():
            if self._is_by_autograd:
                return AutogradPoint(self, hyper, params).curvature_products(vector)
            hyper = hyper.detach().requires_grad_()
            params = params.detach().requires_grad_()
            gradient = self.gradients(hyper, params, differentiable=True).params
            mixed, hessian = derivatives(gradient, (hyper, params), vector.detach())
        return CurvatureProducts(hessian, mixed)

    def point(self, hyper: torch.Tensor, params: torch.Tensor) -> Point:
        """Ask several questions about one point.

        Returns
        -------
        point : Point
            Has `value`, `gradients` and `params_gradient` as attributes and takes the vector of
            `curvature_products`, `hessian_product` and `mixed_product`. Where all derivatives come
            from autograd, these share one evaluation, whose graph lives as long as the point.
        """
        kind = AutogradPoint if self._is_by_autograd else Point
        return remembered(kind, self, hyper, params)


@dataclass(frozen=True)
class FunctionObjective(Objective):
    """An objective from a plain function of ``(hyper, params)``.

    Attributes
    ----------
    function : callable
        Two tensors in, a tensor of one element out.
    """

    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def value(self, hyper, params):
        return tensor_of(self.function, self.function(hyper, params))


def tensor_of(function, found):
    """What a user's function has returned, which must be a tensor."""
    if not isinstance(found, torch.Tensor):
        name = getattr(function, "__name__", repr(function))
        raise TypeError(
            f"an objective must return a tensor: {name} returned a {type(found).__name__}; "
            "autograd differentiates tensors, so leave out float(), .item() and NumPy."
        )
    # Under autocast; derivatives and sums of losses are to have the digits of single precision.
    return found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
