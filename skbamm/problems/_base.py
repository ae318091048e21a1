"""What a bilevel problem is: two objectives, an initial point, a feasible set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ._minimizer import LowerMinimizer
from ._nonsmooth import NonSmooth
from ._objective import FunctionObjective, Objective
from ._structure import Structure
from ._structured import StructuredObjective
from ._variables import Variables, check_is_function, describe


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
class BilevelProblem(Variables):
    """Two objectives, an initial point and a feasible set.

    Sought is the minimum over hyper of upper(hyper, params), params minimising
    lower(hyper, .). Methods take the upper-level variable `hyper` and the lower-level one
    `params`.

    Parameters
    ----------
    upper, lower : Objective
        Or plain functions of two tensors, which autograd then differentiates.

    initial_hyper, initial_params : Tensor, Module, tuple, list or dict
        The initial point: tensors of any shapes, `nn.Module`s, or nestings of these, and what plain
        functions then get. For objectives and solvers each is one tensor; `hyper_of` and
        `params_of` give it the form back. Their dtype and device are those of the run. One unit
        of `hyper` should be a natural first step (log regularisation weights are: it multiplies a
        weight by e).

    lower_bound, upper_bound : float, Tensor, tuple, list or dict, default=-inf, inf
        Box that `hyper` is kept in: for all numbers, or in the form of `initial_hyper`. A dict may
        leave out keys, whose entries are free.

    strongly_convex : bool, default=False
        Whether `lower` is strongly convex in `params` for every feasible `hyper`.
        Then no averaging is needed, and solvers leave it off by default.

    averaging : float, callable or None, default=None
        What `SlBamm` shall use where its own `averaging` is None; a callable gets the iteration.
        None: nothing is known of the problem but `strongly_convex`.

    metric : callable or None, default=None
        ``metric(hyper, params, averaging)`` returns a `Metric` at that point; a diagonal one
        where there is a non-smooth term.

    solve_lower : callable, {"lbfgs", "adam"} or None, default=None
        ``solve_lower(hyper, params)`` returns the minimiser of `lower`. With it the
        criterion of a run is the value of `upper` there; without it, at the
        current `params`. The two words are descents from `params`, for lower levels that are far
        from a quadratic, such as networks; with them `follows` is on, and nothing is averaged.

    nonsmooth : NonSmooth or None, default=None
        A term without gradient that the lower level adds to `lower`: a lasso penalty, or
        bounds of params. Solvers that cannot take one refuse the problem.

    follows : bool, default=False
        Whether `SlBamm`, having moved hyper by its own step, shall take params from `solve_lower`:
        where the lower level is far from a quadratic, Newton's steps of a metric are slow, and
        what they leave in params decides where the run goes.

    project : callable, dict or None, default=None
        ``project(hyper)`` returns the nearest point of another convex set, in the form of
        `initial_hyper`: a `Simplex`, a `Ball`, or your own; a dict has one for some keys of
        `initial_hyper`. The box is applied after it.
    """

    upper: Any
    lower: Any
    initial_hyper: torch.Tensor
    initial_params: torch.Tensor
    lower_bound: Any = -torch.inf
    upper_bound: Any = torch.inf
    project: Any = field(default=None, repr=False, kw_only=True)
    strongly_convex: bool = False
    averaging: float | Callable[[int], float] | None = None
    metric: Callable[[torch.Tensor, torch.Tensor, float], Metric] | None = field(
        default=None, repr=False
    )
    solve_lower: Any = field(default=None, repr=False)
    nonsmooth: NonSmooth | None = field(default=None, repr=False)
    follows: bool = False
    _structures: tuple = field(default=(), init=False, repr=False)

    def __post_init__(self):
        self._flatten()
        for name in ("upper", "lower"):
            objective = getattr(self, name)
            if not isinstance(objective, Objective):
                if not callable(objective) or isinstance(objective, type):
                    raise TypeError(
                        f"{name} must be an Objective or a function of (hyper, params): "
                        f"got {describe(objective)}."
                    )
                object.__setattr__(self, name, self._objective(objective))
        self._check_variables(self.initial_hyper, self.initial_params)
        is_term = hasattr(self.nonsmooth, "value") and not isinstance(self.nonsmooth, type)
        if self.nonsmooth is not None and not is_term:
            raise TypeError(
                "nonsmooth must be an instance of NonSmooth, such as Box(0, 1) or "
                f"WeightedL1(weights): got {self.nonsmooth!r}."
            )
        if self.metric is not None:
            check_is_function("metric", self.metric, "a function of (hyper, params, averaging)")
        if not isinstance(self.solve_lower, str | LowerMinimizer | type(None)):
            words = "a function of (hyper, params), 'lbfgs', 'adam'"
            check_is_function("solve_lower", self.solve_lower, words)
        if isinstance(self.solve_lower, str | LowerMinimizer):
            method: Any = getattr(self.solve_lower, "method", self.solve_lower)
            minimizer = LowerMinimizer(method, self.lower, self.nonsmooth)
            object.__setattr__(self, "solve_lower", minimizer)
            object.__setattr__(self, "follows", True)

    def _flatten(self):
        """Make hyper and params tensors, whatever their form is."""
        # A copy with other fields (`dataclasses.replace`) has tensors already.
        known = [getattr(level, "forms", (None, None)) for level in (self.upper, self.lower)]
        structures: list = []
        for number, name in enumerate(("initial_hyper", "initial_params")):
            given = getattr(self, name)
            structure = next((forms[number] for forms in known if forms[number]), None)
            of_given, tensor = Structure.of(given, name)
            object.__setattr__(self, name, tensor)
            is_copy = structure is not None and isinstance(given, torch.Tensor)
            structures.append(structure if is_copy else of_given)
        object.__setattr__(self, "_structures", tuple(structures))

    def _objective(self, function):
        if all(structure.is_tensor for structure in self._structures):
            return FunctionObjective(function)
        return StructuredObjective(function, *self._structures)

    @property
    def descends(self) -> bool:
        """Whether the lower level is solved by a descent of ours, from the params of the moment."""
        return isinstance(self.solve_lower, LowerMinimizer)

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
