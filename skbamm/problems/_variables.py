"""The variables of a problem: tensors for solvers, forms for users, and the set of hyper."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch

from ._projections import PartwiseProjection
from ._structure import Structure

# How far a projected point may move when it is projected again: roundings of single precision.
UNMOVED = 1e-3


def describe(value):
    """What an argument is, for a message."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_is_function(name, value, words):
    """Raise where an option is no function, or the class of one."""
    if isinstance(value, type):
        raise TypeError(
            f"{name} must be an instance: got the class {value.__name__}, so write "
            f"{value.__name__}(...)."
        )
    if not callable(value):
        raise TypeError(f"{name} must be {words}, or None: got {value!r}.")


class Variables:
    """What problems with batches and without know of hyper and params."""

    project: Any
    lower_bound: Any
    upper_bound: Any
    _structures: tuple[Structure, Structure]

    def _check_variables(self, hyper, params):
        """Raise where tensors of both do not go together, or bounds are crossed."""
        for kind in ("dtype", "device"):
            of_hyper, of_params = getattr(hyper, kind), getattr(params, kind)
            if of_hyper != of_params:
                raise TypeError(
                    f"initial_hyper and initial_params must have one {kind}: got {of_hyper} and "
                    f"{of_params}."
                )
        values = {"initial_hyper": hyper, "initial_params": params}
        for name, tensor in values.items():
            n_wrong = int((~tensor.isfinite()).sum())
            if n_wrong:
                raise ValueError(
                    f"{name} must be finite: got NaN or infinity in {n_wrong} of {tensor.numel()} "
                    "numbers."
                )
        self._check_bounds(hyper)
        self._check_project(hyper)

    def _check_bounds(self, hyper):
        """Make bounds numbers or tensors like hyper, whatever their form is."""
        for name, missing in (("lower_bound", -math.inf), ("upper_bound", math.inf)):
            given = getattr(self, name)
            if isinstance(given, Real) and not math.isnan(given):
                continue
            # A copy with other fields (`dataclasses.replace`) has one for every number already.
            is_spread = isinstance(given, torch.Tensor) and given.shape == hyper.shape
            if not is_spread or bool(given.isnan().any()):
                given = self._structures[0].spread(given, missing, name)
            object.__setattr__(self, name, given)
        lower, upper = self._bounds(hyper)
        if bool((lower > upper).any()):
            raise ValueError(
                "lower_bound must not be above upper_bound: got "
                f"{float(lower.max())} and {float(upper.min())} somewhere."
            )

    def _check_project(self, hyper):
        """Raise where a projection cannot be used; make one of those of parts."""
        project = self.project
        if project is None:
            return
        if isinstance(project, Mapping):
            project = PartwiseProjection(dict(project))
            project.check(self._structures[0].nesting)
            object.__setattr__(self, "project", project)
        check_is_function("project", project, "a Simplex(), a Ball(), a function of hyper")
        try:
            found = self.project_hyper(hyper)
            again = self._in_set(found)
        except Exception as error:
            raise ValueError(
                "project must map hyper, in the form of initial_hyper, to the nearest point of its "
                f"set: on initial_hyper it raises {type(error).__name__}: {error}"
            ) from error
        # Bounds are applied after it, which may lead out of its set.
        moved = (again - found).abs().nan_to_num()
        if bool((moved > UNMOVED * (1 + found.abs())).any()):
            raise ValueError(
                "project must leave what it has projected where it is: projected again, an entry "
                f"of initial_hyper moves by {float(moved.max()):.2g}. Bounds of entries that it "
                "moves belong into the function, as one set."
            )

    def _bounds(self, hyper):
        return (
            torch.as_tensor(bound, dtype=hyper.dtype, device=hyper.device)
            for bound in (self.lower_bound, self.upper_bound)
        )

    def project_hyper(self, hyper: torch.Tensor) -> torch.Tensor:
        """Project on the feasible set of `hyper`.

        Parameters
        ----------
        hyper : Tensor
            As solvers have it.

        Returns
        -------
        hyper : Tensor
            The nearest feasible point.
        """
        if self.project is not None:
            hyper = self._in_set(hyper)
        if not isinstance(self.lower_bound, torch.Tensor) and not isinstance(
            self.upper_bound, torch.Tensor
        ):
            if math.isinf(self.lower_bound) and math.isinf(self.upper_bound):
                return hyper
            return hyper.clamp(self.lower_bound, self.upper_bound)
        lower, upper = self._bounds(hyper)
        return torch.minimum(torch.maximum(hyper, lower), upper)

    def _in_set(self, hyper):
        """What `project` makes of it, whatever bounds say."""
        structure = self._structures[0]
        with torch.no_grad():
            # A copy, which it may change in place.
            projected = self.project(structure.unflatten(hyper.clone()))
            return structure.flatten(projected, "what project returns").detach()

    def hyper_of(self, hyper: torch.Tensor) -> Any:
        """Give a tensor of a solver the form of `initial_hyper`.

        Parameters
        ----------
        hyper : Tensor
            Such as ``solution.hyper``.

        Returns
        -------
        hyper : Tensor, Module, tuple, list or dict
            Modules are copies.
        """
        return self._structures[0].unflatten(hyper)

    def params_of(self, params: torch.Tensor) -> Any:
        """Give a tensor of a solver the form of `initial_params`.

        Parameters
        ----------
        params : Tensor
            Such as ``solution.params``.

        Returns
        -------
        params : Tensor, Module, tuple, list or dict
            Modules are copies.
        """
        return self._structures[1].unflatten(params)

    def load_hyper(self, hyper: torch.Tensor) -> Any:
        """Write a tensor of a solver into the modules of `initial_hyper`.

        Parameters
        ----------
        hyper : Tensor
            Such as ``solution.hyper``.

        Returns
        -------
        hyper : Tensor, Module, tuple, list or dict
            In the form of `initial_hyper`, with the given modules themselves.
        """
        return self._structures[0].load(hyper)

    def load_params(self, params: torch.Tensor) -> Any:
        """Write a tensor of a solver into the modules of `initial_params`.

        Parameters
        ----------
        params : Tensor
            Such as ``solution.params``.

        Returns
        -------
        params : Tensor, Module, tuple, list or dict
            In the form of `initial_params`, with the given modules themselves.
        """
        return self._structures[1].load(params)
