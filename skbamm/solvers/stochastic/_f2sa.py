"""F2SA: a penalty method on batches, with first derivatives only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .._base import Need
from .._options import COUNT, FUNCTION, POSITIVE
from .._steps import PowerLaw, Schedule, at
from ._base import StochasticSolver, StochasticState, kinds_of, observed

# The paper's powers where both levels are stochastic and an iteration has one inner step.
PARAMS, PENALIZED, PENALTY = PowerLaw(0.1, 4 / 7), PowerLaw(0.05, 5 / 7), PowerLaw(1.0, -1 / 7)
HYPER = PowerLaw(0.1, 5 / 7)


@dataclass(frozen=True)
class F2saState(StochasticState):
    """State of `F2sa`; `params` solve the lower level, `penalized_params` both together."""

    penalized_params: Any = None
    multiplier: Any = None  # penalty times the difference of both


@dataclass(kw_only=True, eq=False, repr=False)
class F2sa(StochasticSolver):
    r"""F2SA: fully first-order stochastic approximation.

    With params z of the lower level alone, params y of :math:`F + \lambda f`, and the penalty
    :math:`\lambda_k` growing,

    .. math::

        z &\leftarrow z - \gamma \, \nabla_y f_i(x, z), \quad T \text{ times, as is} \\
        y &\leftarrow y - \alpha \, (\nabla_y F_j + \lambda \nabla_y f_i)(x, y) \\
        x &\leftarrow P(x - \beta \, (\nabla_x F_j(x, y)
            + \lambda \, (\nabla_x f_i(x, y) - \nabla_x f_i(x, z))))

    No second derivatives. The step of x takes batches of its own, as y and z depend on those that
    came before; within a line y and z share a batch, so that its noise cancels in the difference.

    Parameters
    ----------
    n_steps : int, default=1
        T.

    penalty : float or callable, default=PowerLaw(1, -1/7)
        :math:`\lambda`; a callable gets the iteration, counted from 0.

    params_step : float or callable, default=PowerLaw(0.1, 4/7)
        :math:`\gamma`.

    penalized_params_step : float or callable, default=PowerLaw(0.05, 5/7)
        :math:`\alpha`; times the penalty it should stay below one over the largest curvature.

    hyper_step : float or callable, default=PowerLaw(0.1, 5/7)
        :math:`\beta`.

    params_optimizer, penalized_params_optimizer, hyper_optimizer : callable or None, default=None
        As in `Soba`.

    params_scheduler, penalized_params_scheduler, hyper_scheduler : callable or None, default=None
        As in `Soba`.

    References
    ----------
    .. [1] J. Kwon, D. Kwon, S. Wright, R. Nowak, "A Fully First-Order Method for Stochastic Bilevel
           Optimization", ICML 2023, arXiv:2301.10945. Algorithm 1, powers of its Corollary 4.2.
    """

    needs = frozenset({Need.SMOOTH_LOWER_LEVEL, Need.ONE_LOWER_SOLUTION})
    kinds = kinds_of(
        *("params", "penalized_params", "hyper"), n_steps=(COUNT,), penalty=(POSITIVE, FUNCTION)
    )

    n_steps: int = 1
    penalty: Schedule = PENALTY
    params_step: Schedule = PARAMS
    penalized_params_step: Schedule = PENALIZED
    hyper_step: Schedule = HYPER
    params_optimizer: Any = None
    penalized_params_optimizer: Any = None
    hyper_optimizer: Any = None
    params_scheduler: Any = None
    penalized_params_scheduler: Any = None
    hyper_scheduler: Any = None

    def init(self, problem):
        _, params = problem.first_point()
        state = self._begin(problem, F2saState, "penalized_params", penalized_params=params)
        zero = 0 * params
        return replace(state, multiplier=zero, means=state.means | {"multiplier": zero})

    def step(self, problem, state):
        penalty = at(self.penalty, state.iteration)
        first = state.iteration * (self.n_steps + 1)
        n_rows = 0
        for number in range(first, first + self.n_steps):
            lower, upper = problem.lower_level.batch(number), problem.upper_level.batch(number)
            state = self._descend(state, penalty, lower, upper)
            n_rows += lower.n_rows + upper.n_rows
        last = first + self.n_steps
        lower, upper = problem.lower_level.batch(last), problem.upper_level.batch(last)
        n_rows += lower.n_rows + upper.n_rows
        hyper, params, penalized = state.hyper, state.params, state.penalized_params
        above = upper.evaluate(hyper, penalized)
        below = lower.evaluate(hyper, params)
        difference = lower.evaluate(hyper, penalized).hyper - below.hyper
        hypergradient = above.hyper + penalty * difference
        seen = observed(state, hypergradient, above.value, below.value, n_rows)
        multiplier = penalty * (params - penalized)
        return self._advance(
            problem, state, {"hyper": hypergradient}, multiplier=multiplier, **seen
        )

    def _descend(self, state, penalty, lower, upper):
        """The state after a step of both params, on one batch of each level."""
        hyper, penalized = state.hyper, state.penalized_params
        gradient = upper.params_gradient(hyper, penalized)
        gradient = gradient + penalty * lower.params_gradient(hyper, penalized)
        gradients = {
            "params": lower.params_gradient(hyper, state.params),
            "penalized_params": gradient,
        }
        moves, moved = dict(state.moves), {}
        for name, gradient in gradients.items():
            move, tensor = self._move_of(name), getattr(state, name)
            moved[name], moves[name] = move.move(tensor, gradient, state.iteration, moves[name])
        return replace(state, moves=moves, **moved)
