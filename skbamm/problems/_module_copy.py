"""A copy of an `nn.Module`, to be evaluated at any parameters."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import torch

from ._random import SameNumbers

_RANDOM = (
    torch.nn.Dropout,
    torch.nn.Dropout1d,
    torch.nn.Dropout2d,
    torch.nn.Dropout3d,
    torch.nn.AlphaDropout,
    torch.nn.FeatureAlphaDropout,
    torch.nn.RReLU,
)


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
        self.numbers = SameNumbers(self.draws)
        self._idle = []

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
        # A part's mode tells whether it draws.
        asked = id(function), self.module.training
        with self.bound(params) as model, self.numbers.again(self.seed, params.device, asked):
            return function(hyper, model)

    def __getstate__(self):
        return {**vars(self), "_idle": []}


def _draws(part):
    """Whether a module may draw random numbers."""
    return isinstance(part, _RANDOM) or bool(getattr(part, "dropout", False))
