"""The three directions of single-loop methods, on one batch of each level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from .._base import Need
from ._base import StochasticSolver, StochasticState, kinds_of, observed


@dataclass(frozen=True)
class SingleLoopState(StochasticState):
    """State of a single-loop method."""

    multiplier: Any = None


class Directions(NamedTuple):
    """Gradients of an iteration, all at the point before it."""

    params: Any
    multiplier: Any
    hyper: Any
    hessian: Any  # product with the multiplier
    observed: dict  # fields of the next state

    @property
    def gradients(self):
        return {"params": self.params, "multiplier": self.multiplier, "hyper": self.hyper}


@dataclass(kw_only=True, eq=False, repr=False)
class SingleLoop(StochasticSolver):
    """Base of methods that move params, multiplier and hyper at once."""

    needs = frozenset({Need.SMOOTH_LOWER_LEVEL, Need.CURVATURE_PRODUCTS})
    kinds = kinds_of("params", "multiplier", "hyper")

    def init(self, problem):
        return self._begin(problem, SingleLoopState, "multiplier")


def directions(problem, state, averaging=0.0):
    """Of sl-BAMM: with averaging 0 those of SOBA.

    One batch of each level serves all three: each direction is linear in what is drawn, and
    unbiased at the point before the step.
    """
    hyper, params, multiplier = state.hyper, state.params, state.multiplier
    lower_batch = problem.lower_level.batch(state.iteration)
    upper_batch = problem.upper_level.batch(state.iteration)
    lower = lower_batch.evaluate(hyper, params, multiplier, with_hyper=False)
    upper = upper_batch.evaluate(hyper, params, multiplier if averaging else None)
    gradient, hessian, mixed = lower.params, lower.hessian, lower.mixed
    if averaging:
        gradient = averaging * upper.params + (1 - averaging) * gradient
        hessian = averaging * upper.hessian + (1 - averaging) * hessian
        mixed = averaging * upper.mixed + (1 - averaging) * mixed
    hypergradient = upper.hyper - mixed
    n_rows = lower_batch.n_rows + upper_batch.n_rows
    seen = observed(state, hypergradient, upper.value, lower.value, n_rows)
    return Directions(gradient, hessian - upper.params, hypergradient, hessian, seen)
