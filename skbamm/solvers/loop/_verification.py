"""What is true at a point, whatever a method says.

The criterion at solved params, how well they solve the lower level, and the hypergradient there
by implicit differentiation with an estimate of its error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from .._base import Solver, State
from .._outer import Hypergradient
from .._secant import SecantSearch
from .._steps import SecantStep, eps_of, norm_of, projected_norm
from ..lower._level import LowerGap, lower_level

# What is left of the lower level may change so much in the criterion, relative to it.
CRITERION_ACCURACY = 1e-3
# What the problem's own solution leaves is not looked at again below this, relatively.
NEGLIGIBLE = 1e-6
# Roundings of a sum of products, in the hypergradient.
ROUNDINGS = 10.0
# Of the largest entry of hyper in the first step of finishing.
FIRST_MOVE = 1e-3


@dataclass(frozen=True)
class Answer:
    """A hyper and what is true there; `residual` is None where nobody has asked for it."""

    hyper: Any
    params: Any  # solved
    criterion: float
    lower_gap: LowerGap | None = None
    is_solved: bool = False
    update: Any = None  # the Newton step that params would lose next
    upper: Any = None  # gradients of the upper objective
    gradient: Any = None
    residual: float | None = None
    hypergradient_norm: float | None = None
    undetermined: bool = False
    multiplier: Any = None

    @property
    def roughness(self):
        """What is left of the lower level may change so much in the criterion."""
        return abs(float((self.upper.params * self.update).sum()))

    def is_converged(self, tol):
        """Whether it is stationary in all variables."""
        return self.is_solved and self.residual is not None and self.residual <= tol


def solved(problem, hyper, params, is_solution=False, level=None) -> Answer:
    """The criterion at the lower level's solution near params, which may be that solution."""
    level = level or lower_level(problem, hyper)
    if problem.solve_lower is None:
        found = level.solve(params)
    else:
        params = params if is_solution else problem.solve_lower(hyper, params)
        # A descent leaves something, which Newton's method takes off in a few steps.
        found = level.solve(params) if problem.descends else level.measure(params)
    point = problem.upper.point(hyper, found.params)
    upper, criterion = point.gradients, float(point.value)
    left = abs(float((upper.params * found.update).sum()))
    is_near = left <= CRITERION_ACCURACY * abs(criterion) or left <= eps_of(params)
    # The problem's own solution is as accurate as it likes; what it leaves is what counts.
    is_solved = is_near and (found.is_solved or problem.solve_lower is not None)
    return Answer(hyper, found.params, criterion, found.gap, bool(is_solved), found.update, upper)


def certified(problem, candidate) -> Answer:
    """The residual at params that the problem has solved for, as well as it does."""
    hyper, params = candidate.hyper, candidate.params
    level = lower_level(problem, hyper)
    # Another one might serve the run's next steps, which are not to notice.
    level.metric = candidate.metric
    answer = solved(problem, hyper, params, is_solution=True, level=level)
    return verified(problem, replace(answer, is_solved=True), candidate.multiplier, level)


def verified(problem, answer, multiplier=None, level=None) -> Answer:
    """The same with the hypergradient, and the residual: its norm and its error."""
    hyper, params, upper = answer.hyper, answer.params, answer.upper
    level = level or lower_level(problem, hyper)
    is_given = problem.solve_lower is not None
    accuracy = 1e-4 if is_given else 1e-10
    adjoint = level.adjoint(params, upper.params, multiplier, accuracy)
    gradient = upper.hyper + adjoint.by_hyper
    error = level.correction(params, adjoint.left) if is_given else 0.0
    if not is_given or answer.roughness > NEGLIGIBLE * abs(answer.criterion):
        # Once more, a Newton step further and from this multiplier: whatever is inexact moves.
        params = params - answer.update
        upper = problem.upper.point(hyper, params).gradients
        again = level.adjoint(params, upper.params, adjoint.multiplier, accuracy)
        change = norm_of(upper.hyper + again.by_hyper - gradient)
        if not is_given and norm_of(again.left) > 1e-8 * _size(upper):
            # The linear system converges like a geometric series, if it does.
            ratio = min(norm_of(again.left) / max(norm_of(adjoint.left), 1e-300), 0.99)
            change = change / (1 - ratio)
        error += change
    # Rounding does not matter in entries that are held by a bound.
    rounding = ROUNDINGS * eps_of(hyper) * (upper.hyper.abs() + adjoint.by_hyper.abs())
    high, low = (problem.project_hyper(hyper - gradient + sign * rounding) for sign in (1, -1))
    error += norm_of(high - low) / 2
    found = Hypergradient.of(
        gradient, error, adjoint.left, adjoint.flat, answer.upper.params, adjoint.multiplier
    )
    error = found.error
    if adjoint.flat:
        # What the lower level leaves free is to be stationary for the upper one.
        error = max(error, norm_of(adjoint.left))
    norm = projected_norm(problem, hyper, gradient)
    is_known = answer.is_solved and math.isfinite(norm + error)
    return replace(
        answer,
        gradient=gradient,
        residual=norm + error if is_known else math.inf,
        hypergradient_norm=norm,
        undetermined=found.undetermined,
        multiplier=adjoint.multiplier,
    )


@dataclass(frozen=True)
class FinishingState(State):
    """State of `Finishing`; `answer` is what was verified at the hyper before this one."""

    multiplier: Any = None
    answer: Any = None


class Finishing(Solver):
    """Secant steps along the verified hypergradient.

    Where a method stands still though the verified residual is above `tol`, its own gradient is
    not accurate enough, and the run goes on with this one.
    """

    def __init__(self, tol=0.0, memory=10, max_move=1.0):
        self.tol = tol
        self.memory = memory
        self.max_move = max_move

    def begin(self, problem, iteration, answer):
        """A state a short step from an answer: what that changes tells how long others may be."""
        hyper, gradient = answer.hyper, answer.gradient
        length = FIRST_MOVE * max(1.0, float(hyper.abs().max()))
        length = min(length, self.max_move) / float(gradient.abs().max())
        moved = problem.project_hyper(hyper - length * gradient)
        search = SecantSearch(
            hyper, gradient, moved - hyper, answer.criterion, started=True, fresh=True
        )
        return FinishingState(
            iteration, moved, answer.params, search=search, multiplier=answer.multiplier
        )

    def step(self, problem, state):
        answer = verified(problem, solved(problem, state.hyper, state.params), state.multiplier)
        hyper, search = SecantStep.of(problem, self.memory, self.max_move).move(
            problem.project_hyper, state, state.hyper, answer.gradient, lambda: answer.criterion
        )
        return FinishingState(
            iteration=state.iteration + 1,
            hyper=hyper,
            params=answer.params,
            residual=answer.residual,
            hypergradient_norm=answer.hypergradient_norm,
            # Nothing is left but the error.
            stalled=search.stalled or answer.hypergradient_norm <= self.tol,
            undetermined=answer.undetermined,
            search=search,
            multiplier=answer.multiplier,
            answer=answer,
        )


def _size(gradients):
    return norm_of(gradients.params)
