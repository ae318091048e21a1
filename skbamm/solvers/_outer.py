"""What the methods share that solve the lower level anew for every hypergradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ._base import Need, Solver, State
from ._options import COUNT, PARAMS_STEP, SEARCH
from ._steps import Schedule, at, begin, is_finite, move_hyper, norm_of, projected_norm, retreat
from .lower._dynamics import Dynamics, Preconditioner, descend, unit_preconditioner

# What the lower level leaves of the upper gradient, relative to it, when flatness matters.
UNSOLVED = 1e-3


@dataclass(frozen=True)
class OuterState(State):
    """`params` are where the descent ended under the hyper before this one."""

    multiplier: Any = None  # in the methods that solve a linear system for it
    averaging: float = 0.0


class Hypergradient(NamedTuple):
    """A hypergradient, an estimate of its error, and whether the lower level determines it."""

    gradient: Any
    error: float
    undetermined: bool
    multiplier: Any = None

    @classmethod
    def of(cls, gradient, error, left, flat, target, multiplier=None):
        """From what is `left` of a target, where the lower level is flat or not solved."""
        undetermined = flat and norm_of(left) > UNSOLVED * norm_of(target)
        return cls(
            gradient,
            max(error, norm_of(left)) if undetermined else error,
            undetermined,
            multiplier,
        )


@dataclass(kw_only=True, eq=False, repr=False)
class OuterSolver(Solver):
    """Descend on the lower level, differentiate through it, move hyper.

    Parameters
    ----------
    n_steps, params_step, hyper_step, memory, max_move : int, float, callable or str
        As in `Unrolling`.
    """

    kinds = {"n_steps": (COUNT,), "params_step": PARAMS_STEP, **SEARCH}

    n_steps: int = 100
    params_step: Schedule | str = "auto"
    hyper_step: Schedule | str = "auto"
    memory: int = 10
    max_move: float = 1.0

    def init(self, problem):
        return begin(self, problem, OuterState)

    def step(self, problem, state):
        dynamics, points, bases = self._descend(problem, state)
        found = self._differentiate(problem, state, dynamics, points, bases)
        hyper, params = state.hyper, points[-1]
        value = problem.upper.point(hyper, params).value if self.hyper_step == "auto" else None
        if not is_finite(found.gradient, found.error, params, value, found.multiplier):
            return retreat(self, problem, state)
        hypergradient_norm = projected_norm(problem, hyper, found.gradient)
        return OuterState(
            iteration=state.iteration + 1,
            params=params,
            multiplier=found.multiplier,
            averaging=self._averaging(problem, self.n_steps - 1),
            residual=hypergradient_norm + found.error,
            hypergradient_norm=hypergradient_norm,
            undetermined=found.undetermined and Need.ONE_LOWER_SOLUTION in self.needs,
            **move_hyper(self, problem, state, found.gradient, lambda: value),
        )

    def _descend(self, problem, state):
        """What `descend` returns, with as many points as the hypergradient needs."""
        initial, objective = self._initial(problem, state), self._objective(problem)
        automatic = self.params_step == "auto"
        if automatic:
            precondition = unit_preconditioner(problem, objective(0), state.hyper, initial)
        else:
            precondition = Preconditioner(at(self.params_step, state.iteration))
        dynamics = Dynamics(
            problem, objective, state.hyper, precondition, self.n_steps, n_kept=self._n_kept
        )
        return descend(dynamics, initial, safe=automatic)

    @property
    def _n_kept(self):
        return None

    def _initial(self, problem, state):
        """Always that of the problem."""
        return problem.project_params(problem.initial_params)

    def _averaging(self, problem, t):
        """Weight of the upper objective in what step t descends on."""
        return 0.0

    def _objective(self, problem):
        """The objective that step t of the descent decreases."""
        return lambda t: problem.lower

    def _differentiate(self, problem, state, dynamics, points, bases) -> Hypergradient:
        raise NotImplementedError


def last_step_error(problem, objective, dynamics, points) -> float:
    """What the last step of params changes in the hypergradient."""
    hyper, params = dynamics.hyper, points[-1]
    changed = problem.upper.point(hyper, params).curvature_products(params - points[-2])
    mixed = objective.point(hyper, params).mixed_product(dynamics.precondition(changed.hessian))
    return norm_of(changed.mixed) + norm_of(mixed)
