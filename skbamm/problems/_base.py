"""What a bilevel problem is: two objectives, an initial point, a feasible set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import torch

from ._nonsmooth import NonSmooth


class Gradients(NamedTuple):
    """First derivatives of an objective.

    Attributes
    ----------
    hyper : Tensor
        In the upper-level variable.
    params : Tensor
        In the lower-level variable.
    """

    hyper: torch.Tensor
    params: torch.Tensor


class CurvatureProducts(NamedTuple):
    """Second derivatives of an objective times a vector of the shape of `params`.

    Attributes
    ----------
    hessian : Tensor
        (params, params) derivative times the vector, of the shape of `params`.
    mixed : Tensor
        (hyper, params) derivative times the vector, of the shape of `hyper`.
    """

    hessian: torch.Tensor
    mixed: torch.Tensor


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
        with torch.inference_mode(False), torch.enable_grad():
            if not differentiable:
                hyper = hyper.detach().requires_grad_()
                params = params.detach().requires_grad_()
            return Gradients(
                *_grad(self.value(hyper, params).sum(), (hyper, params), differentiable)
            )

    def params_gradient(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Differentiate in `params` alone.

        Returns
        -------
        gradient : Tensor
            Of the shape of `params`.
        """
        return self.gradients(hyper, params).params

    def hessian_product(
        self, hyper: torch.Tensor, params: torch.Tensor, vector: torch.Tensor
    ) -> torch.Tensor:
        """Multiply by the Hessian in `params` alone.

        Returns
        -------
        product : Tensor
            Of the shape of `params`.
        """
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
            f"an objective must return a tensor: {name} returned a {type(found).__name__}."
        )
    return found


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
    """Two objectives, an initial point and a feasible set.

    Sought is the minimum over hyper of upper(hyper, params), params minimising
    lower(hyper, .). Methods take the upper-level variable `hyper` and the lower-level one
    `params`.

    Parameters
    ----------
    upper, lower : Objective
        Or plain functions of two tensors, which autograd then differentiates.

    initial_hyper, initial_params : Tensor
        The initial point, of any shapes. Their dtype and device are those of the run. One unit of
        `hyper` should be a natural first step (log regularisation weights are: it
        multiplies a weight by e).

    lower_bound, upper_bound : Tensor or float, default=-inf, inf
        Box that `hyper` is kept in; broadcast against it.

    strongly_convex : bool, default=False
        Whether `lower` is strongly convex in `params` for every feasible `hyper`.
        Then no averaging is needed, and solvers leave it off by default.

    averaging : float, callable or None, default=None
        What `SlBamm` shall use where its own `averaging` is None; a callable gets the iteration.
        None: nothing is known of the problem but `strongly_convex`.

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

    follows : bool, default=False
        Whether `SlBamm`, having moved hyper by its own step, shall take params from `solve_lower`:
        where the lower level is far from a quadratic, Newton's steps of a metric are slow, and
        what they leave in params decides where the run goes.
    """

    upper: Any
    lower: Any
    initial_hyper: torch.Tensor
    initial_params: torch.Tensor
    lower_bound: torch.Tensor | float = -torch.inf
    upper_bound: torch.Tensor | float = torch.inf
    strongly_convex: bool = False
    averaging: float | Callable[[int], float] | None = None
    metric: Callable[[torch.Tensor, torch.Tensor, float], Metric] | None = field(
        default=None, repr=False
    )
    solve_lower: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = field(
        default=None, repr=False
    )
    nonsmooth: NonSmooth | None = field(default=None, repr=False)
    follows: bool = False

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
        self._check_initial_point()

    def _check_initial_point(self):
        for name in ("initial_hyper", "initial_params"):
            value = getattr(self, name)
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            # Half precision has no digits for differences of nearly equal values.
            if kind not in (torch.float32, torch.float64):
                raise TypeError(f"{name} must be a tensor of float32 or float64: got {kind}.")
            # Leaves of the user's own graphs stay out of ours.
            object.__setattr__(self, name, value.detach())
        for kind in ("dtype", "device"):
            of_hyper, of_params = (
                getattr(value, kind) for value in (self.initial_hyper, self.initial_params)
            )
            if of_hyper != of_params:
                raise TypeError(
                    f"initial_hyper and initial_params must have one {kind}: got {of_hyper} and "
                    f"{of_params}."
                )
        lower, upper = (
            torch.as_tensor(bound, dtype=self.initial_hyper.dtype, device=self.initial_hyper.device)
            for bound in (self.lower_bound, self.upper_bound)
        )
        if bool((lower > upper).any()):
            raise ValueError(
                "lower_bound must not be above upper_bound: got "
                f"{float(lower.max())} and {float(upper.min())} somewhere."
            )

    def project_hyper(self, hyper: torch.Tensor) -> torch.Tensor:
        """Project on the box of `hyper`.

        Returns
        -------
        hyper : Tensor
            The nearest feasible point.
        """
        if not isinstance(self.lower_bound, torch.Tensor) and not isinstance(
            self.upper_bound, torch.Tensor
        ):
            return hyper.clamp(self.lower_bound, self.upper_bound)
        lower = torch.as_tensor(self.lower_bound, dtype=hyper.dtype, device=hyper.device)
        upper = torch.as_tensor(self.upper_bound, dtype=hyper.dtype, device=hyper.device)
        return torch.minimum(torch.maximum(hyper, lower), upper)

    def project_params(self, params: torch.Tensor) -> torch.Tensor:
        """Project on where the non-smooth term is finite.

        Returns
        -------
        params : Tensor
            The nearest such point.
        """
        return params if self.nonsmooth is None else self.nonsmooth.project(params)

    def norm(self, vector: torch.Tensor) -> float:
        """Measure a vector of the shape of `hyper` or of `params`.

        Parameters
        ----------
        vector : Tensor
            Of any shape.

        Returns
        -------
        norm : float
            Euclidean.
        """
        return math.sqrt(float((vector * vector).sum()))

    def criterion(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """Evaluate the upper objective at the lower level's solution.

        The solution is searched from `params`; where it cannot be computed, these take its place.

        Returns
        -------
        criterion : Tensor
            As the upper objective returns it.
        """
        if self.solve_lower is not None:
            params = self.solve_lower(hyper, params)
        return self.upper.value(hyper, params)

    def levels(
        self, hyper: torch.Tensor, params: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate both objectives at the lower level's solution, as in `criterion`.

        Returns
        -------
        upper : Tensor
            The criterion.
        lower : Tensor
            The lower objective at the same params, its non-smooth term included.
        """
        if self.solve_lower is not None:
            params = self.solve_lower(hyper, params)
        lower = self.lower.value(hyper, params)
        if self.nonsmooth is not None:
            lower = lower + self.nonsmooth.value(hyper, params)
        return self.upper.value(hyper, params), lower
