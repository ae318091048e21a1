"""Batches by number: the same one whenever it is asked for, so that a run can be repeated."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from ._random import borrowed, random_numbers

# Rows of a chunk where all of them are gone through.
CHUNK = 2048


class Batch(NamedTuple):
    """A part of the data, and the seed of what random numbers a loss draws on it."""

    contents: Any
    n_rows: int
    seed: int


class Batches:
    """Batches of data that are numbered through all epochs."""

    def batch(self, number: int) -> Batch:
        """One of them: equal numbers give equal batches."""
        raise NotImplementedError

    def all(self) -> Iterator[Batch]:
        """Every row once."""
        raise NotImplementedError

    @property
    def n_batches(self) -> int:
        """How many an epoch has."""
        raise NotImplementedError


def batches_of(data, batch_size, seed, device, name) -> Batches:
    """`Batches` of what a user passes: a tuple of tensors, or an iterable of batches."""
    if isinstance(data, torch.Tensor) or (
        isinstance(data, tuple) and data and all(isinstance(x, torch.Tensor) for x in data)
    ):
        return TensorBatches(data, batch_size, seed, device, name)
    return LoadedBatches(data, seed, device, name)


class TensorBatches(Batches):
    """Rows of tensors, in a new order in each epoch; what is left over is in the next one."""

    def __init__(self, data, batch_size, seed, device, name):
        self.is_tensor = isinstance(data, torch.Tensor)
        self.tensors = tuple(
            tensor.detach().to(device) for tensor in ((data,) if self.is_tensor else data)
        )
        numbers = {len(tensor) if tensor.ndim else 0 for tensor in self.tensors}
        if len(numbers) > 1 or not all(numbers):
            raise ValueError(
                f"Tensors of {name} must have one number of rows, above 0: got {sorted(numbers)}."
            )
        [self.n_rows] = numbers
        self.size = min(batch_size, self.n_rows)
        self.seed = seed
        self._order: tuple = (None, None)  # of the latest epoch

    @property
    def n_batches(self):
        return self.n_rows // self.size

    def batch(self, number):
        seed = _mixed(self.seed, number)
        if self.size == self.n_rows:
            return Batch(self._contents(self.tensors), self.n_rows, seed)
        epoch, index = divmod(number, self.n_batches)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(_mixed(self.seed, epoch, "order"))
            order = torch.randperm(self.n_rows, generator=generator)
            self._order = epoch, order.to(self.tensors[0].device)
        rows = self._order[1][index * self.size : (index + 1) * self.size]
        contents = self._contents([tensor[rows] for tensor in self.tensors])
        return Batch(contents, self.size, seed)

    def all(self):
        for first in range(0, self.n_rows, CHUNK):
            parts = [tensor[first : first + CHUNK] for tensor in self.tensors]
            yield Batch(self._contents(parts), len(parts[0]), _mixed(self.seed, first, "all"))

    def _contents(self, tensors):
        return tensors[0] if self.is_tensor else tuple(tensors)


class LoadedBatches(Batches):
    """Batches of an iterable, such as a `DataLoader`: one pass through it is an epoch.

    Random numbers of torch that it draws, generators of its own and of its samplers included, are
    seeded by the number of the batch, so that a run that is resumed goes through the batches of its
    epoch once more and comes to the same one.
    """

    def __init__(self, data, seed, device, name):
        if isinstance(data, Iterator) or not hasattr(data, "__iter__"):
            raise TypeError(
                f"{name} must be a tuple of tensors, or an iterable of batches that can be gone "
                f"through again (a DataLoader, a list): got {type(data).__name__}."
            )
        if getattr(data, "persistent_workers", False):
            # Such a loader has one iterator: a pass would break off the open one, and what workers
            # draw would depend on the epochs before.
            data = copy.copy(data)
            vars(data)["persistent_workers"] = False
        self.data = data
        self.seed = seed
        self.device = device
        self.name = name
        self._n_batches: int | None = None
        self._pass: Any = None  # the open one, its epoch and its next number
        self._latest: tuple = (None, None)

    @property
    def n_batches(self):
        if self._n_batches is None:
            try:
                self._n_batches = len(self.data)
            except TypeError:
                self._n_batches = sum(1 for _ in self._begin(0))
            if not self._n_batches:
                raise ValueError(f"{self.name} must have a batch in it.")
        return self._n_batches

    def batch(self, number):
        if self._latest[0] != number:
            self._latest = number, self._read(number)
        return self._latest[1]

    def all(self):
        for index, contents in enumerate(self._begin(-1)):
            yield self._batch(contents, _mixed(self.seed, index, "all"))

    def _read(self, number):
        epoch, index = divmod(number, self.n_batches)
        if self._pass is None or self._pass[1] != epoch or self._pass[2] > index:
            self._pass = [self._begin(epoch), epoch, 0]
        for contents in self._pass[0]:
            self._pass[2] += 1
            if self._pass[2] > index:
                return self._batch(contents, _mixed(self.seed, number))
        raise ValueError(
            f"{self.name} has fewer batches in a later pass: {self._pass[2]} instead of "
            f"{self.n_batches}."
        )

    def _begin(self, epoch):
        """One pass, whose random numbers depend on seed, epoch and place alone."""
        seed = _mixed(self.seed, epoch, "pass")
        borrow = borrowed(_generators(self.data), seed)
        with random_numbers(seed), borrow():
            iterator = iter(self.data)
        number = 0
        while True:
            with random_numbers(_mixed(self.seed, epoch, number, "place")), borrow():
                try:
                    contents = next(iterator)
                except StopIteration:
                    return
            yield contents
            number += 1

    def _batch(self, contents, seed):
        contents = _moved(contents, self.device)
        return Batch(contents, _n_rows(contents), seed)


def _generators(data):
    """Those of torch that a loader and its samplers show as `generator`."""
    batch_sampler = getattr(data, "batch_sampler", None)
    samplers = [getattr(one, "sampler", None) for one in (data, batch_sampler)]
    shown = [getattr(one, "generator", None) for one in (data, batch_sampler, *samplers)]
    # A loader hands its own to its sampler.
    return list({id(one): one for one in shown if isinstance(one, torch.Generator)}.values())


def _moved(contents, device):
    """A nesting with its tensors on a device."""
    if isinstance(contents, torch.Tensor):
        return contents.to(device, non_blocking=True)
    if isinstance(contents, Mapping):
        return {key: _moved(part, device) for key, part in contents.items()}
    if isinstance(contents, list | tuple):
        parts = [_moved(part, device) for part in contents]
        return type(contents)(*parts) if hasattr(contents, "_fields") else type(contents)(parts)
    return contents


def _n_rows(contents):
    """Rows of the first tensor in a nesting; 1 where there is none."""
    if isinstance(contents, Mapping):
        contents = list(contents.values())
    if isinstance(contents, list | tuple):
        return _n_rows(contents[0]) if contents else 1
    return len(contents) if isinstance(contents, torch.Tensor) and contents.ndim else 1


def _mixed(*numbers):
    """A seed made of numbers and words."""
    words = [
        int.from_bytes(x.encode(), "big") if isinstance(x, str) else x % 2**63 for x in numbers
    ]
    return int(np.random.SeedSequence(words).generate_state(1)[0])
