"""A lower level that is an `nn.Module`: its trainable parameters are the params, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ._base import BilevelProblem
from ._module_copy import ModuleCopy
from ._objective import Objective, tensor_of


@dataclass(frozen=True)
class ModuleObjective(Objective):
    """A function of ``(hyper, bound module)`` as a function of ``(hyper, params)``."""

    module: ModuleCopy
    function: Callable[[torch.Tensor, torch.nn.Module], torch.Tensor]

    def value(self, hyper, params):
        asked = torch.is_grad_enabled() and (hyper.requires_grad or params.requires_grad)
        with torch.set_grad_enabled(asked):
            return tensor_of(self.function, self.module.evaluate(self.function, hyper, params))


@dataclass(frozen=True)
class ModuleProblem(BilevelProblem):
    """A `BilevelProblem` whose params are the trainable parameters of a module.

    Made by `module_problem`; its other fields are those of `BilevelProblem`.

    Attributes
    ----------
    module : torch.nn.Module
        Whose parameters they are.
    """

    module: Any = field(default=None, repr=False)

    def named_params(self, params):
        """Cut params into the trainable parameters of the module.

        Parameters
        ----------
        params : Tensor
            A vector of all of them.

        Returns
        -------
        named : dict of str to Tensor
            By the names of the module's parameters, in their shapes.
        """
        return self.lower.module.named_params(params)

    def load(self, params):
        """Write params into the module; all else in it, buffers included, stays as it is.

        Running statistics (BatchNorm) are those of before: let the module see the training rows in
        ``train()`` mode where ``eval()`` shall use them.

        Parameters
        ----------
        params : Tensor
            A vector of all of them, such as ``solution.params``.

        Returns
        -------
        module : torch.nn.Module
            The module itself.
        """
        with torch.no_grad():
            for name, tensor in self.named_params(params).items():
                self.module.get_parameter(name).copy_(tensor)
        return self.module

    def params_of(self, params):
        return self.lower.module.unflatten(params)

    def load_params(self, params):
        return self.load(params)


def module_problem(module, upper, lower, initial_hyper, **options):
    """A bilevel problem with an `nn.Module` below.

    Parameters
    ----------
    module : torch.nn.Module
        Its trainable parameters (those with `requires_grad`), all of one dtype and on one device,
        are the initial point; the others stay as they are. The problem works on a copy, and the
        module is not changed before `load`.
    upper, lower : callable
        ``function(hyper, model)`` returns a scalar loss. `model` is a module like the given one
        under the params of the moment: ``model(X)``, ``model.parameters()``, ``model.eval()``,
        ``model.linear(X)``; besides, ``model["linear.weight"]`` is one of its tensors. Each
        evaluation begins with the mode and the buffers that the module had, and with the same
        random numbers (Dropout); what it changes in these is dropped.
    initial_hyper : Tensor
        Of the dtype and on the device of the module's parameters.
    **options
        Further fields of `BilevelProblem`.

    Returns
    -------
    problem : ModuleProblem
        Its `load` writes ``solution.params`` back into the module.

    Raises
    ------
    TypeError
        If `module` is none.
    ValueError
        If the module has no trainable parameters, or these and `initial_hyper` differ in dtype or
        device.
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            "module_problem takes (module, upper, lower, initial_hyper), and module must be a "
            f"torch.nn.Module: got {type(module).__name__}."
        )
    with torch.inference_mode(False), torch.no_grad():
        copied = ModuleCopy(module)
        parameters = list(copied.trainable.values())
        if not parameters:
            frozen = sum(1 for _ in module.parameters())
            raise ValueError(
                f"module must have parameters: {type(module).__name__} has none"
                + (f" to train, as requires_grad is False for all {frozen}." if frozen else ".")
            )
        # What is no tensor `BilevelProblem` refuses.
        tensors = [t for t in (*parameters, initial_hyper) if isinstance(t, torch.Tensor)]
        for kind in ("dtype", "device"):
            found = {str(getattr(tensor, kind)) for tensor in tensors}
            if len(found) > 1:
                raise ValueError(
                    f"The module's parameters and initial_hyper must have one {kind}: got "
                    f"{sorted(found)}; module.to(...) or initial_hyper.to(...) changes it."
                )
        initial_params = torch.cat([parameter.flatten() for parameter in parameters])
    return ModuleProblem(
        ModuleObjective(copied, upper),
        ModuleObjective(copied, lower),
        initial_hyper,
        initial_params,
        module=module,
        **options,
    )
