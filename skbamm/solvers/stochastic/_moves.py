"""How one variable moves along a gradient: a scheduled step, or an optimizer of torch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._steps import Schedule, at, divide

# Longest move of one number in units of hyper, however rare: far enough for a weight to be decided
# by one visit of its row, not so far that no later visit can undo it.
LONGEST = 4.5


def share_met(gradient) -> float:
    """Share of entries of which a batch tells; those of rows that are not in it are zero."""
    return float((gradient != 0).double().mean()) or 1.0


@dataclass(frozen=True)
class StepMove:
    """A gradient step of a given or scheduled length; it remembers nothing."""

    length: Schedule

    def begin(self, tensor):
        return None

    def move(self, tensor, gradient, iteration, memory):
        """Where the tensor goes, and what the next move is to know."""
        return tensor - at(self.length, iteration) * gradient, memory


@dataclass(frozen=True)
class OptimizerMove:
    """A step of a `torch.optim` optimizer, with a learning rate scheduler or none.

    What it remembers are the state dictionaries of both, of which each step makes new ones:
    optimizers change tensors in place, and states of solvers are never changed.
    """

    optimizer: Callable[..., Any]
    scheduler: Callable[..., Any] | None = None

    def begin(self, tensor):
        return self._memory(*self._build(tensor.detach().clone()))

    def move(self, tensor, gradient, iteration, memory):
        leaf = tensor.detach().clone()
        optimizer, scheduler = self._build(leaf)
        # A scheduler that is made sets the learning rate anew, which the optimizer's state undoes.
        if scheduler is not None:
            scheduler.load_state_dict(copy.deepcopy(memory["scheduler"]))
        optimizer.load_state_dict(copy.deepcopy(memory["optimizer"]))
        leaf.grad = gradient.detach().clone()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        return leaf.detach(), self._memory(optimizer, scheduler)

    def _build(self, leaf):
        optimizer = self.optimizer([leaf.requires_grad_()])
        return optimizer, None if self.scheduler is None else self.scheduler(optimizer)

    def _memory(self, optimizer, scheduler):
        memory = {"optimizer": optimizer.state_dict()}
        return memory if scheduler is None else memory | {"scheduler": scheduler.state_dict()}


@dataclass(frozen=True)
class DistanceMove:
    """A gradient step whose length is the distance that was gone, over the norm of all gradients.

    It needs no scale: gradients may be in any unit. Ivgi, Hinder, Carmon, "DoG is SGD's best
    friend: a parameter-free dynamic step size schedule", ICML 2023, equation (1).

    Attributes
    ----------
    first : float
        Length of the first move in every number of the tensor, if all were equal.
    largest : float
        Change of one number in one move, where all of them move: early gradients are mostly noise.
    power : float
        How fast that falls with the moves that a number has had. The length itself may be a great
        one late, as gradients are small near a solution, and what it depends on would not keep up.
    """

    first: float
    largest: float
    power: float = 0.0

    def begin(self, tensor):
        """Where it begins, the largest distance from there, the sum of squares of gradients."""
        return tensor, self.first * math.sqrt(tensor.numel()), 0.0

    def move(self, tensor, gradient, iteration, memory):
        begun, distance, squares = memory
        distance = max(distance, float((tensor - begun).norm()))
        # What comes up every t-th time is to go as far in a run as what always does: the root of t
        # further each time.
        share = share_met(gradient)
        squares += share * float(gradient.square().sum())
        step = divide(distance, math.sqrt(squares)) * gradient
        largest = min(self.largest / math.sqrt(share), LONGEST)
        largest *= max(1.0, share * iteration) ** -self.power
        return tensor - step.clamp(-largest, largest), (begun, distance, squares)
