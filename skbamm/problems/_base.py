"""What a bilevel problem is: two objectives, a start, a feasible set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch

from ._nonsmooth import NonSmooth


class Gradients(NamedTuple):
    """First derivatives of an objective."""

    hyper: torch.Tensor
    params: torch.Tensor


class CurvatureProducts(NamedTuple):
    """Second derivatives of an objective times a vector of the shape of `params`."""

    hessian: torch.Tensor  # (params, params) derivative @ vector, shape of params
    mixed: torch.Tensor  # (hyper, params) derivative @ vector, shape of hyper


class Objective:
    """A scalar function of ``(hyper, params)``.

    Write `value`; the derivatives come from autograd. A subclass overrides
    `gradients` and `curvature_products` where it knows a faster way (and the short
    cuts to one half of each, where that is cheaper still), and promises the same answers.

    `value` returns a scalar, or one value for each candidate when the problem
    stacks independent candidates along the first axis of `hyper` and `params`.
    """

    def value(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Value at a point; a scalar, or of shape (n_candidates,)."""
        raise NotImplementedError

    def gradients(
        self, hyper: torch.Tensor, params: torch.Tensor, *, differentiable: bool = False
    ) -> Gradients:
        """Gradients at a point.

        With ``differentiable=True`` they carry an autograd graph back to the
        arguments, which must then require a gradient themselves.
        """
        with torch.inference_mode(False), torch.enable_grad():
            if not differentiable:
                hyper = hyper.detach().requires_grad_()
                params = params.detach().requires_grad_()
            return Gradients(
                *_grad(self.value(hyper, params).sum(), (hyper, params), differentiable)
            )

    def params_gradient(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """The second of the gradients alone."""
        return self.gradients(hyper, params).params

    def hessian_product(
        self, hyper: torch.Tensor, params: torch.Tensor, vector: torch.Tensor
    ) -> torch.Tensor:
        """The first of the curvature products alone."""
        return self.curvature_products(hyper, params, vector).hessian

    def mixed_product(
        self, hyper: torch.Tensor, params: torch.Tensor, vector: torch.Tensor
    ) -> torch.Tensor:
        """The second of the curvature products alone."""
        return self.curvature_products(hyper, params, vector).mixed

    def curvature_products(
        self, hyper: torch.Tensor, params: torch.Tensor, vector: torch.Tensor
    ) -> CurvatureProducts:
        """Hessian-vector and mixed-derivative-vector products; no matrix is formed."""
        with torch.inference_mode(False), torch.enable_grad():
            hyper = hyper.detach().requires_grad_()
            params = params.detach().requires_grad_()
            gradients = self.gradients(hyper, params, differentiable=True)
            directional = (gradients.params * vector.detach()).sum()
            mixed, hessian = _grad(directional, (hyper, params), False)
        return CurvatureProducts(hessian, mixed)


def _grad(output, inputs, differentiable):
    """Gradients that are zero, not missing, where the output does not depend on an input."""
    if not output.requires_grad:
        return tuple(torch.zeros_like(tensor) for tensor in inputs)
    found = torch.autograd.grad(output, inputs, create_graph=differentiable, allow_unused=True)
    return tuple(
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(inputs, found, strict=True)
    )


@dataclass(frozen=True)
class FunctionObjective(Objective):
    """An objective from a plain function of ``(hyper, params)``."""

    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def value(self, hyper, params):
        return self.function(hyper, params)


class Metric(Protocol):
    """An approximate inverse Hessian of the averaged objective.

    Attributes
    ----------
    exact : bool
        Whether it is the inverse itself.
    """

    exact: bool

    def solve(self, vector: torch.Tensor) -> torch.Tensor:
        """Approximate inverse Hessian times a vector of the shape of `params`."""


@dataclass(frozen=True)
class BilevelProblem:
    """min over hyper of upper(hyper, params), params minimising lower(hyper, .).

    Parameters
    ----------
    upper, lower : Objective
        Or plain functions of two tensors, which autograd then differentiates.

    initial_hyper, initial_params : Tensor
        The start. Their dtype and device are those of the run. One unit of `hyper`
        should be a natural first move (log regularisation weights are: it
        multiplies a weight by e).

    lower_bound, upper_bound : Tensor or float, default=-inf, inf
        Box that `hyper` is kept in; broadcast against it.

    strongly_convex : bool, default=False
        Whether `lower` is strongly convex in `params` for every feasible `hyper`.
        Then no averaging is needed, and solvers leave it off by default.

    n_candidates : int or None, default=None
        With a number, the first axis of `hyper` and `params` runs over that many
        independent problems; values, steps and stopping are then one for each.

    metric : callable or None, default=None
        ``metric(hyper, params, averaging)`` returns a `Metric` at that point; a diagonal one
        where there is a non-smooth term.

    solve_lower : callable or None, default=None
        ``solve_lower(hyper, params)`` returns the minimiser of `lower`. With it the
        criterion of a run is the value of `upper` there; without it, at the
        current `params`.

    nonsmooth : NonSmooth or None, default=None
        A term without gradient that the lower level adds to `lower`: a lasso penalty, or
        bounds of params. Solvers that cannot take one refuse the problem.
    """

    upper: Any
    lower: Any
    initial_hyper: torch.Tensor
    initial_params: torch.Tensor
    lower_bound: torch.Tensor | float = -torch.inf
    upper_bound: torch.Tensor | float = torch.inf
    strongly_convex: bool = False
    n_candidates: int | None = None
    metric: Callable[[torch.Tensor, torch.Tensor, float], Metric] | None = field(
        default=None, repr=False
    )
    solve_lower: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = field(
        default=None, repr=False
    )
    nonsmooth: NonSmooth | None = field(default=None, repr=False)

    def __post_init__(self):
        for name in ("upper", "lower"):
            objective = getattr(self, name)
            if not isinstance(objective, Objective):
                if not callable(objective):
                    raise TypeError(
                        f"{name} must be an Objective or a function of (hyper, params): "
                        f"got {type(objective).__name__}."
                    )
                object.__setattr__(self, name, FunctionObjective(objective))

    def project_hyper(self, hyper: torch.Tensor) -> torch.Tensor:
        """Nearest feasible point."""
        if not isinstance(self.lower_bound, torch.Tensor) and not isinstance(
            self.upper_bound, torch.Tensor
        ):
            return hyper.clamp(self.lower_bound, self.upper_bound)
        lower = torch.as_tensor(self.lower_bound, dtype=hyper.dtype, device=hyper.device)
        upper = torch.as_tensor(self.upper_bound, dtype=hyper.dtype, device=hyper.device)
        return torch.minimum(torch.maximum(hyper, lower), upper)

    def project_params(self, params: torch.Tensor) -> torch.Tensor:
        """Nearest point where the non-smooth term is finite."""
        return params if self.nonsmooth is None else self.nonsmooth.project(params)

    def inner(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Inner product; one for each candidate where candidates are stacked."""
        product = first * second
        return product.sum() if self.n_candidates is None else product.flatten(1).sum(1)

    def norm(self, vector: torch.Tensor) -> torch.Tensor:
        """Euclidean norm; one for each candidate where candidates are stacked."""
        return self.inner(vector, vector).sqrt()

    def criterion(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Upper objective at the lower level's solution, if that can be computed."""
        if self.solve_lower is not None:
            params = self.solve_lower(hyper, params)
        return self.upper.value(hyper, params)

    def levels(
        self, hyper: torch.Tensor, params: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The criterion, and the lower objective at the same params."""
        if self.solve_lower is not None:
            params = self.solve_lower(hyper, params)
        lower = self.lower.value(hyper, params)
        if self.nonsmooth is not None:
            lower = lower + self.nonsmooth.value(hyper, params)
        return self.upper.value(hyper, params), lower
