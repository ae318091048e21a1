"""A lower level that is an `nn.Module`: its parameters are the params, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ._base import BilevelProblem, Objective


@dataclass(frozen=True)
class BoundModule:
    """A module with other parameters than its own.

    ``bound(X)`` calls it, ``bound["linear.weight"]`` is one parameter.
    """

    module: torch.nn.Module
    parameters: dict[str, torch.Tensor]

    def __call__(self, *args, **kwargs):
        return torch.func.functional_call(self.module, self.parameters, args, kwargs)

    def __getitem__(self, name):
        return self.parameters[name]


def named_params(module, params):
    """A vector of params cut into the module's named parameters, in their shapes."""
    named, begin = {}, 0
    for name, parameter in module.named_parameters():
        end = begin + parameter.numel()
        named[name] = params[begin:end].reshape(parameter.shape)
        begin = end
    return named


@dataclass(frozen=True)
class ModuleObjective(Objective):
    """A function of ``(hyper, bound module)`` as a function of ``(hyper, params)``."""

    module: torch.nn.Module
    function: Callable[[torch.Tensor, BoundModule], torch.Tensor]

    def value(self, hyper, params):
        return self.function(hyper, BoundModule(self.module, named_params(self.module, params)))


@dataclass(frozen=True)
class ModuleProblem(BilevelProblem):
    """A `BilevelProblem` whose params are the parameters of a module.

    Made by `module_problem`; its other fields are those of `BilevelProblem`.

    Attributes
    ----------
    module : torch.nn.Module
        Whose parameters they are.
    """

    module: Any = field(default=None, repr=False)

    def named_params(self, params):
        """Cut params into the parameters of the module.

        Parameters
        ----------
        params : Tensor
            A vector of all of them.

        Returns
        -------
        named : dict of str to Tensor
            By the names of the module's parameters, in their shapes.
        """
        return named_params(self.module, params)

    def load(self, params):
        """Write params into the module.

        Parameters
        ----------
        params : Tensor
            A vector of all of them, such as ``solution.params``.

        Returns
        -------
        module : torch.nn.Module
            The module itself.
        """
        self.module.load_state_dict(self.named_params(params), strict=False)
        return self.module


def module_problem(module, upper, lower, initial_hyper, **options):
    """A bilevel problem with an `nn.Module` below.

    Parameters
    ----------
    module : torch.nn.Module
        Its parameters, all of one dtype, are the initial point. It is not changed before `load`.
    upper, lower : callable
        ``function(hyper, model)`` returns a scalar loss; ``model(X)`` is the module under the
        params of the moment, ``model["linear.weight"]`` one of its parameters.
    initial_hyper : Tensor
        Of the dtype of the module's parameters.
    **options
        Further fields of `BilevelProblem`.

    Returns
    -------
    problem : ModuleProblem
        Its `load` writes ``solution.params`` back into the module.

    Raises
    ------
    ValueError
        If the module has no parameters, or these and `initial_hyper` differ in dtype.
    """
    parameters = [parameter.detach() for parameter in module.parameters()]
    if not parameters:
        raise ValueError(f"module must have parameters: {type(module).__name__} has none.")
    kinds = {tensor.dtype for tensor in (*parameters, initial_hyper)}
    if len(kinds) > 1:
        raise ValueError(
            "The module's parameters and initial_hyper must have one dtype: got "
            f"{sorted(map(str, kinds))}; module.double() or initial_hyper.to(...) changes it."
        )
    return ModuleProblem(
        ModuleObjective(module, upper),
        ModuleObjective(module, lower),
        initial_hyper,
        torch.cat([parameter.flatten() for parameter in parameters]),
        module=module,
        **options,
    )
