"""A tensor, a nesting of tensors and modules, or a module, as one vector and back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch

from ._module_copy import ModuleCopy


@dataclass(frozen=True)
class _Leaf:
    """A tensor or a module in a nesting."""

    given: Any
    shape: torch.Size | None = None  # of a tensor
    module: ModuleCopy | None = None  # as it was when the structure was made

    @classmethod
    def of(cls, given):
        if isinstance(given, torch.nn.Module):
            return cls(given, module=ModuleCopy(given))
        return cls(given.detach(), shape=given.shape)

    @property
    def tensors(self):
        return [self.given] if self.module is None else list(self.module.trainable.values())

    @property
    def size(self):
        return self.given.numel() if self.module is None else self.module.size

    def unflatten(self, piece):
        return piece.view(self.shape) if self.module is None else self.module.unflatten(piece)

    def bound(self, piece):
        if self.module is None:
            return contextlib.nullcontext(piece.view(self.shape))
        return self.module.bound(piece)

    def tensors_of(self, part):
        """The same of another value; None where one is missing."""
        if self.module is None or not isinstance(part, torch.nn.Module):
            return [part]
        named = dict(part.named_parameters())
        return [named.get(name) for name in self.module.trainable]

    def load(self, piece):
        if self.module is None:
            return piece.detach().clone().view(self.shape)
        with torch.no_grad():
            for name, tensor in self.module.named_params(piece).items():
                self.given.get_parameter(name).copy_(tensor)
        return self.given


@dataclass(frozen=True)
class Structure:
    """How a variable that users see in their own form is one tensor for solvers.

    A form is a tensor, an `nn.Module` (its trainable parameters), or a tuple, list or dict of
    these, in any nesting. A lone tensor keeps its shape; all else is a vector. Frozen parameters
    and buffers of modules stay what they were.
    """

    nesting: Any  # with the number of a leaf in its place
    leaves: tuple[_Leaf, ...]
    is_tensor: bool

    @classmethod
    def of(cls, value, name="value") -> tuple[Structure, torch.Tensor]:
        """The structure of a value, and the value as a tensor; messages call it by `name`."""
        found: list[tuple[str, Any]] = []
        nesting = _number(value, name, found)
        if not found:
            raise ValueError(f"{name} must have a tensor or a module in it: got {value!r}.")
        with torch.inference_mode(False), torch.no_grad():
            leaves = tuple(_Leaf.of(given) for _, given in found)
            _check([(path, leaf) for (path, _), leaf in zip(found, leaves, strict=True)])
            if isinstance(value, torch.Tensor):
                return cls(nesting, leaves, True), value.detach()
            vector = torch.cat([tensor.flatten() for leaf in leaves for tensor in leaf.tensors])
        return cls(nesting, leaves, False), vector

    @property
    def draws(self):
        """Whether one of the modules may draw random numbers."""
        return any(leaf.module is not None and leaf.module.draws for leaf in self.leaves)

    def unflatten(self, vector) -> Any:
        """The value, of differentiable views; modules are copies of their own."""
        return self._nest([leaf.unflatten(piece) for leaf, piece in self._pieces(vector)])

    @contextlib.contextmanager
    def bound(self, vector):
        """As `unflatten`, for the length of a block, and quick: modules serve again afterwards."""
        with contextlib.ExitStack() as stack:
            bound = [leaf.bound(piece) for leaf, piece in self._pieces(vector)]
            yield self._nest([stack.enter_context(one) for one in bound])

    def flatten(self, value, name="value") -> torch.Tensor:
        """Another value of the same form as a tensor; messages call it by `name`."""
        found: list[tuple[str, Any]] = []
        same = _number(value, name, found) == self.nesting
        pairs = list(zip(self.leaves, (part for _, part in found), strict=same))
        tensors = [tensor for leaf, part in pairs for tensor in leaf.tensors_of(part)]
        shapes = [tensor.shape for leaf in self.leaves for tensor in leaf.tensors]
        if not same or [getattr(tensor, "shape", None) for tensor in tensors] != shapes:
            raise ValueError(
                f"{name} must have the form, the shapes and the order that were given: got "
                f"{value!r}."
            )
        return value if self.is_tensor else torch.cat([tensor.flatten() for tensor in tensors])

    def spread(self, value, missing, name) -> torch.Tensor:
        """Numbers for every entry, from a number or tensor for all, or a nesting of these.

        Dicts may leave keys out, whose entries get the number `missing`.
        """
        like = self.leaves[0].tensors[0]
        found = [like.new_full((leaf.size,), missing) for leaf in self.leaves]
        self._spread(self.nesting, value, name, found)
        return found[0].reshape(self.leaves[0].given.shape) if self.is_tensor else torch.cat(found)

    def _spread(self, nesting, value, path, found):
        if isinstance(value, Mapping) and isinstance(nesting, dict):
            unknown = sorted(map(repr, value.keys() - nesting.keys()))
            if unknown:
                raise ValueError(f"{path} has no {unknown[0]}: its keys are {list(nesting)}.")
            parts = [(nesting[key], part, f"{path}[{key!r}]") for key, part in value.items()]
        elif isinstance(value, tuple | list) and isinstance(nesting, tuple | list):
            if len(value) != len(nesting):
                raise ValueError(f"{path} must have {len(nesting)} parts: got {len(value)}.")
            numbered = enumerate(zip(nesting, value, strict=True))
            parts = [(inner, part, f"{path}[{n}]") for n, (inner, part) in numbered]
        elif isinstance(nesting, int):
            self._spread_on_leaf(nesting, value, path, found)
            parts = []
        elif isinstance(value, Real):
            inner = nesting.values() if isinstance(nesting, dict) else nesting
            parts = [(one, value, path) for one in inner]
        else:
            raise TypeError(
                f"{path} must be a number, or have the form of initial_hyper (a dict may leave "
                f"keys out): got {type(value).__name__}."
            )
        for part in parts:
            self._spread(*part, found)

    def _spread_on_leaf(self, number, value, path, found):
        leaf = self.leaves[number]
        shape = (leaf.size,) if leaf.module is not None else leaf.shape
        like = found[number]
        if isinstance(value, torch.Tensor):
            tensor = value.to(like)
        elif isinstance(value, Real) and not isinstance(value, bool):
            tensor = like.new_tensor(value)
        else:
            raise TypeError(f"{path} must be a number or a tensor: got {type(value).__name__}.")
        if bool(tensor.isnan().any()):
            raise ValueError(f"{path} must not be NaN.")
        try:
            found[number] = tensor.expand(shape).flatten()
        except RuntimeError:
            raise ValueError(
                f"{path} must be a number or broadcast to the shape {tuple(shape)}: got "
                f"{tuple(tensor.shape)}."
            ) from None

    def load(self, vector) -> Any:
        """The value without a graph; the vector is written into the modules that were given."""
        return self._nest([leaf.load(piece) for leaf, piece in self._pieces(vector)])

    def _pieces(self, vector):
        if self.is_tensor:
            return [(self.leaves[0], vector)]
        pieces = vector.split([leaf.size for leaf in self.leaves])
        return zip(self.leaves, pieces, strict=True)

    def _nest(self, values):
        return _fill(self.nesting, values)


def forms_of(*structures):
    """Those of users, for copies of a problem that have tensors; None for a lone tensor."""
    return tuple(None if one.is_tensor else one for one in structures)


def _number(value, path, found):
    """The same nesting with numbers in the place of tensors and modules, which `found` gets."""
    if isinstance(value, torch.Tensor | torch.nn.Module):
        found.append((path, value))
        return len(found) - 1
    if isinstance(value, Mapping):
        return {key: _number(part, f"{path}[{key!r}]", found) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return _like(value, [_number(part, f"{path}[{n}]", found) for n, part in enumerate(value)])
    raise TypeError(
        f"{path} must be a tensor, a torch.nn.Module, or a tuple, list or dict of these: got "
        f"{type(value).__name__}."
    )


def _fill(nesting, values):
    if isinstance(nesting, int):
        return values[nesting]
    if isinstance(nesting, dict):
        return {key: _fill(part, values) for key, part in nesting.items()}
    return _like(nesting, [_fill(part, values) for part in nesting])


def _like(sequence, parts):
    """A list, a tuple or a named tuple of other parts."""
    return type(sequence)(*parts) if hasattr(sequence, "_fields") else type(sequence)(parts)


def _check(leaves):
    """Raise where the leaves cannot be one tensor."""
    for path, leaf in leaves:
        if not leaf.tensors:
            raise ValueError(
                f"{path} must have parameters with requires_grad: "
                f"{type(leaf.given).__name__} has none."
            )
        for tensor in leaf.tensors:
            # Half precision has no digits for differences of nearly equal values.
            if tensor.dtype not in (torch.float32, torch.float64):
                what = "be a tensor" if leaf.module is None else "have parameters"
                raise TypeError(f"{path} must {what} of float32 or float64: got {tensor.dtype}.")
    for kind in ("dtype", "device"):
        kinds = {str(getattr(tensor, kind)) for _, leaf in leaves for tensor in leaf.tensors}
        if len(kinds) > 1:
            paths = ", ".join(path for path, _ in leaves)
            raise ValueError(f"All tensors of {paths} must have one {kind}: got {sorted(kinds)}.")
