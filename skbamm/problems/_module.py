"""A lower level that is an `nn.Module`: its trainable parameters are the params, by name."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ._base import BilevelProblem
from ._objective import Objective, tensor_of

# torch has one generator for all threads.
_generator_lock = threading.RLock()


class _ByName:
    """What a bound module can do besides being one: ``bound["linear.weight"]`` is a tensor."""

    named_parameters: Any
    named_buffers: Any

    def __getitem__(self, key):
        if isinstance(key, str):
            of_all = {"remove_duplicate": False}  # tied ones have several names
            named = dict(self.named_parameters(**of_all)) | dict(self.named_buffers(**of_all))
            if key in named:
                return named[key]
        try:
            return super().__getitem__(key)  # type: ignore[misc]  # Sequential, ModuleDict
        except (AttributeError, TypeError):
            raise KeyError(f"{key!r} names no parameter and no buffer of the module.") from None


class _BoundModule:
    """A copy of a module that takes any tensors for its own."""

    def __init__(self, module):
        model = self.model = copy.deepcopy(module)
        # A subclass of the model's own class: losses ask it whatever they ask a module.
        model.__class__ = type(f"Bound{type(model).__name__}", (_ByName, type(model)), {})
        self.parts = list(model.modules())
        self.places: dict = {}  # of each tensor by its first name, more than one where it is tied
        first: dict = {}
        for prefix, part in model.named_modules(remove_duplicate=False):
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        path = f"{prefix}.{name}" if prefix else name
                        places = self.places.setdefault(first.setdefault(id(tensor), path), [])
                        places.append((tensors, name))

    def place(self, tensors):
        for path, tensor in tensors.items():
            for owner, name in self.places[path]:
                owner[name] = tensor


class ModuleCopy:
    """A module as it was when copied, to be evaluated at other parameters."""

    def __init__(self, module):
        if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
            raise TypeError("module must not be scripted: torch cannot exchange its parameters.")
        # torch refuses to copy results of autograd, which older modules keep as attributes.
        memo = {
            id(value): value.detach().clone()
            for part in module.modules()
            for value in vars(part).values()
            if isinstance(value, torch.Tensor) and not value.is_leaf
        }
        self.module = copy.deepcopy(module, memo)
        parameters = dict(self.module.named_parameters())
        self.trainable = {name: p.detach() for name, p in parameters.items() if p.requires_grad}
        frozen = {name: p.detach() for name, p in parameters.items() if not p.requires_grad}
        self.fixed = frozen | dict(self.module.named_buffers())
        self.draws = any(map(_draws, self.module.modules()))
        self.seed = torch.initial_seed()
        self._idle = []
        self._drawless: set = set()  # functions that were seen to draw nothing

    @property
    def size(self):
        """How many numbers its trainable parameters are."""
        return sum(tensor.numel() for tensor in self.trainable.values())

    def named_params(self, params):
        """A vector of params cut into the trainable parameters, in their shapes."""
        pieces = params.split([tensor.numel() for tensor in self.trainable.values()])
        return {
            name: piece.reshape(tensor.shape)
            for (name, tensor), piece in zip(self.trainable.items(), pieces, strict=True)
        }

    def unflatten(self, params):
        """A module of its own under params, whose graph it keeps."""
        bound = _BoundModule(self.module)
        bound.place(self.named_params(params) | self.fixed)
        return bound.model

    @contextlib.contextmanager
    def bound(self, params):
        """The module under params, with the mode and the buffers it had; until the block ends."""
        try:
            bound = self._idle.pop()
        except IndexError:  # the first time, and where several threads evaluate at once
            bound = _BoundModule(self.module)
        for part, original in zip(bound.parts, self.module.modules(), strict=True):
            part.training = original.training
        # Losses tell trainable parameters by `requires_grad`, also where nobody differentiates.
        tensors = {
            name: tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            for name, tensor in self.named_params(params).items()
        }
        bound.place(tensors | {name: tensor.clone() for name, tensor in self.fixed.items()})
        yield bound.model
        bound.place(self.trainable | self.fixed)  # an idle one keeps no graph
        self._idle.append(bound)

    def evaluate(self, function, hyper, params):
        """``function(hyper, model)``, the same for the same arguments whatever came before."""
        with self.bound(params) as model, self._same_random_numbers(function, params.device):
            return function(hyper, model)

    @contextlib.contextmanager
    def _same_random_numbers(self, function, device):
        """A generator that is the same each time, without which there is nothing to minimise."""
        asked = id(function), self.module.training
        if asked in self._drawless:
            yield
            return
        devices = [device] if device.type == "cuda" else []
        with _generator_lock, torch.random.fork_rng(devices):
            # `torch.manual_seed` looks for all devices, which takes longer than a small module.
            torch.default_generator.manual_seed(self.seed)
            if devices:
                torch.cuda.manual_seed(self.seed)
            before = _generators(devices)
            yield
            # Any part may draw, by `torch.nn.functional.dropout` or in the function itself.
            if not self.draws and all(map(torch.equal, before, _generators(devices))):
                self._drawless.add(asked)

    def __getstate__(self):
        return {**vars(self), "_idle": [], "_drawless": set()}


def _generators(devices):
    """States of the generators that may be drawn from."""
    return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]


def _draws(part):
    """Whether a module may draw random numbers."""
    random = torch.nn.modules.dropout._DropoutNd, torch.nn.RReLU
    return isinstance(part, random) or bool(getattr(part, "dropout", False))


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
