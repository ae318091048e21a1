"""stocBiO: steps of stochastic gradient descent, then a Neumann series on batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .._base import Need
from .._options import COUNT, POSITIVE
from .._steps import Schedule
from ._base import StochasticSolver, StochasticState, kinds_of, observed


@dataclass(frozen=True)
class StocBioState(StochasticState):
    """State of `StocBio`."""

    multiplier: Any = None  # of the last step


@dataclass(kw_only=True, eq=False, repr=False)
class StocBio(StochasticSolver):
    r"""Stochastic bilevel optimizer (stocBiO): inner steps, a Neumann series, a step of hyper.

    .. math::

        y &\leftarrow y - \alpha \, \nabla_y f_{S_t}, \quad t = 1, \dots, D \\
        v &= \eta \sum_{q=0}^{Q} r_q, \quad r_0 = \nabla_y F_j, \quad
            r_q = r_{q-1} - \eta \, \nabla^2_{yy} f_{B_q} \, r_{q-1} \\
        x &\leftarrow P(x - \beta \, (\nabla_x F_j - \nabla^2_{xy} f_i \, v))

    A product of Hessians is unbiased only where each is of a batch of its own: an iteration takes
    D + Q + 1 batches of the lower level and one of the upper level.

    Parameters
    ----------
    n_steps : int, default=10
        D.

    n_linear : int, default=10
        Q.

    params_step : float or callable, default=0.1
        :math:`\alpha`; a callable gets the iteration, counted from 0.

    multiplier_step : float, default=0.1
        :math:`\eta`, below one over the largest curvature.

    hyper_step : float or callable, default=0.1
        :math:`\beta`.

    params_optimizer, hyper_optimizer : callable or None, default=None
        As in `Soba`; that of params takes every inner step.

    params_scheduler, hyper_scheduler : callable or None, default=None
        As in `Soba`.

    References
    ----------
    .. [1] K. Ji, J. Yang, Y. Liang, "Bilevel Optimization: Convergence Analysis and Enhanced
           Design", ICML 2021, arXiv:2010.07962. Algorithm 2.
    """

    needs = frozenset({Need.SMOOTH_LOWER_LEVEL, Need.CURVATURE_PRODUCTS, Need.ONE_LOWER_SOLUTION})
    kinds = kinds_of(
        "params", "hyper", multiplier_step=(POSITIVE,), n_steps=(COUNT,), n_linear=(COUNT,)
    )

    n_steps: int = 10
    n_linear: int = 10
    params_step: Schedule = 0.1
    multiplier_step: float = 0.1
    hyper_step: Schedule = 0.1
    params_optimizer: Any = None
    hyper_optimizer: Any = None
    params_scheduler: Any = None
    hyper_scheduler: Any = None

    def init(self, problem):
        state = self._begin(problem, StocBioState)
        zero = 0 * state.params
        return replace(state, multiplier=zero, means=state.means | {"multiplier": zero})

    def step(self, problem, state):
        number = state.iteration * (self.n_steps + self.n_linear + 1)
        batches = (
            problem.lower_level.batch(number + taken)
            for taken in range(self.n_steps + self.n_linear + 1)
        )
        state, lower_value, n_rows = self._descend(state, batches)
        hyper, params = state.hyper, state.params
        upper_batch = problem.upper_level.batch(state.iteration)
        upper = upper_batch.evaluate(hyper, params)
        multiplier = term = self.multiplier_step * upper.params
        for _ in range(self.n_linear):
            batch = next(batches)
            product = batch.hessian_product(hyper, params, term)
            term = term - self.multiplier_step * product
            multiplier = multiplier + term
            n_rows += batch.n_rows
        last = next(batches)
        hypergradient = upper.hyper - last.mixed_product(hyper, params, multiplier)
        n_rows += last.n_rows + upper_batch.n_rows
        seen = observed(state, hypergradient, upper.value, lower_value, n_rows)
        return self._advance(
            problem, state, {"hyper": hypergradient}, multiplier=multiplier, **seen
        )

    def _descend(self, state, batches):
        """The state after the steps of params, the last batch value, and the number of rows."""
        move, memory, params = self._move_of("params"), state.moves["params"], state.params
        n_rows = 0
        for _ in range(self.n_steps):
            batch = next(batches)
            found = batch.evaluate(state.hyper, params, with_hyper=False)
            params, memory = move.move(params, found.params, state.iteration, memory)
            n_rows += batch.n_rows
        moves = state.moves | {"params": memory}
        return replace(state, params=params, moves=moves), found.value, n_rows
