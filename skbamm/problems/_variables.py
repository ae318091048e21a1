"""The variables of a problem: tensors for solvers, forms for users, and the set of hyper."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ._structure import Structure


class Variables:
    """What problems with batches and without know of hyper and params."""

    project: Callable[[Any], Any] | None
    lower_bound: torch.Tensor | float
    upper_bound: torch.Tensor | float
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
        lower, upper = self._bounds(hyper)
        if bool((lower > upper).any()):
            raise ValueError(
                "lower_bound must not be above upper_bound: got "
                f"{float(lower.max())} and {float(upper.min())} somewhere."
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
            structure = self._structures[0]
            with torch.no_grad():
                # A copy, which it may change in place.
                projected = self.project(structure.unflatten(hyper.clone()))
                hyper = structure.flatten(projected, "what project returns").detach()
        if not isinstance(self.lower_bound, torch.Tensor) and not isinstance(
            self.upper_bound, torch.Tensor
        ):
            if math.isinf(self.lower_bound) and math.isinf(self.upper_bound):
                return hyper
            return hyper.clamp(self.lower_bound, self.upper_bound)
        lower, upper = self._bounds(hyper)
        return torch.minimum(torch.maximum(hyper, lower), upper)

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
