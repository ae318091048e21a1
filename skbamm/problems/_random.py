"""Random numbers of torch: the same ones again, and the user's own ones left alone."""

from __future__ import annotations

import contextlib
import threading

import torch

# torch has one generator for all threads.
_lock = threading.RLock()


@contextlib.contextmanager
def random_numbers(seed, device=None):
    """Other random numbers of torch for the length of a block; the global ones come back after."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with _lock, torch.random.fork_rng(devices):
        # `torch.manual_seed` looks for all devices, which takes longer than a small module.
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


def borrowed(generators, seed):
    """A context, to be entered again and again, in which users' generators go on from a seed."""
    states = [
        torch.Generator(generator.device).manual_seed(seed + place).get_state()
        for place, generator in enumerate(generators)
    ]

    def exchanged(others):
        """The states that they had."""
        before = [generator.get_state() for generator in generators]
        for generator, state in zip(generators, others, strict=True):
            generator.set_state(state)
        return before

    @contextlib.contextmanager
    def borrow():
        nonlocal states
        before = exchanged(states)
        try:
            yield
        finally:
            states = exchanged(before)

    return borrow


class SameNumbers:
    """Random numbers that are the same at each evaluation: else there is nothing to minimise."""

    def __init__(self, draws: bool):
        self.draws = draws  # whether something is known to draw
        self._seen: dict = {}  # whether a loss drew when it was first evaluated

    @contextlib.contextmanager
    def again(self, seed, device, asked=None):
        """Those of a seed, for the length of a block; `asked` tells losses apart."""
        seen = True if self.draws else self._seen.get(asked)
        if seen is False:
            yield
            return
        with random_numbers(seed, device):
            before = None if seen else _states(device)
            yield
            if before is not None:
                # Any part may draw, by `torch.nn.functional.dropout` or in the loss itself.
                self._seen[asked] = not all(map(torch.equal, before, _states(device)))

    def __getstate__(self):
        return {"draws": self.draws, "_seen": {}}  # which may hold addresses


def _states(device):
    """Of the generators that may be drawn from."""
    of_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *of_device]
