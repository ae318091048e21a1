"""The loop on whole objectives: when a run ends, and what it is said to have found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ...linalg._session import torch_session
from .._history import History, Recorder, Snapshot, Status, as_callback
from .._implicit import Implicit
from ..lower._level import LowerGap
from ._checks import check_initial_point, check_run, first_state, solver_for
from ._run import Run
from ._verification import Finishing, FinishingState

# How often a run is finished anew, and how far below `tol` a method's own residual is driven.
MAX_FINISHED = 3
# How often it goes on where the method has converged at a point that is not the best.
MAX_ELSEWHERE = 20
LEAST_ASKED = 1e-2
# Iterations, beyond as many as it took so far, for a method to get there.
PATIENCE = 50


@dataclass(frozen=True)
class Solution:
    """What `solve` found.

    Attributes
    ----------
    hyper, params : Tensor
        The best point by the criterion among those that the run knows, and the lower level's
        solution there: that of `problem.solve_lower`, else of a descent from the run's own params.

    criterion : Tensor
        The upper objective there, a scalar.

    initial_criterion : Tensor
        The same for the initial point, whose lower level is solved as well.

    status : Status
        Why the run ended. *converged* is said of the returned point, after it was verified.

    n_iter : int
        Number of solver steps.

    residual, hypergradient_norm : float or None
        Certificate of stationarity of the returned point: the norm of its projected hypergradient
        by implicit differentiation, without and with an estimate of its error, roundings
        included. Infinite where the lower level is not solved; None where no step was made.

    lower_gap : LowerGap or None
        How far the lower level is from solved at the returned point.

    history : History
        One row for each step.

    state : object
        The solver's last state: ``solve(..., state=solution.state)`` continues.
    """

    hyper: Any
    params: Any = field(repr=False)
    criterion: Any
    initial_criterion: Any
    status: Status
    n_iter: int
    residual: Any
    hypergradient_norm: Any
    lower_gap: LowerGap | None
    history: History
    state: Any = field(repr=False)


def solve(
    problem,
    solver=None,
    *,
    max_iter=1000,
    tol=1e-6,
    callback=None,
    state=None,
    verify=True,
    history=None,
    max_history=None,
):
    """Run a solver on a bilevel problem.

    Parameters
    ----------
    problem : BilevelProblem or StochasticProblem
        What to minimise, and from where.

    solver : str, Solver or None, default=None
        A name in `skbamm.solvers.SOLVERS`, or an instance; for a `StochasticProblem` a name in
        `STOCHASTIC_SOLVERS`. None: "sl-bamm", and "stochastic-sl-bamm".

    max_iter : int, default=1000
        Number of steps; 0 evaluates the initial point. With `state`, of further steps.

    tol : float, default=1e-6
        The run has converged when the stationarity residual (in units of the upper
        objective for each unit of `hyper`) is not above `tol`; never where that is negative.

    callback : callable or Callback, default=None
        ``callback(state, row)`` after every step, `row` being the record that goes into
        the history, but for its criterion, which is the latest known: that of the point that
        `hyper` left last. The run stops when it returns True. A `Callback` is told more.

    state : object, default=None
        State to continue from; the default is the solver's first.

    verify : bool, default=True
        Whether the answer is verified: its lower level solved, and its hypergradient taken there.
        A run that stands still where this refutes it goes on along verified hypergradients (with
        given `hyper_step`: as it is, to a smaller residual). Otherwise the solution is what the
        method says, the point of its smallest residual, and costs nothing more; where the problem
        has `solve_lower`, that is trusted and the hypergradient is taken there, so that
        *converged* is true of the returned point, which is then the last row of the history.
        On batches: whether criterion and residual are taken on all data, at the end.

    history : History, default=None
        Of the run that `state` is from, to be continued; see `load_checkpoint`.

    max_history : int or None, default=None
        How many of the last rows the history keeps; None for all. With a number the memory of a run
        does not grow with its length.

    Returns
    -------
    solution : Solution
        The best point, always a finite one. A step to where an objective is not finite is taken
        back and shortened; one of given length ends the run as diverged.

    Raises
    ------
    ValueError
        For options that make no sense, a state of another solver or problem, and where an objective
        is not finite at the initial point or autograd cannot differentiate it (a loss that was
        detached).

    Warns
    -----
    UserWarning
        Where values of an objective change otherwise than autograd's derivatives say: part of it
        was detached.
    """
    from ...problems._point import remembered_points

    solver = solver_for(problem, solver)
    check_run(max_iter, tol, history, max_history)
    recorder = Recorder(history, max_history)
    if solver.is_stochastic:
        from ..stochastic import solve_on_batches

        return solve_on_batches(problem, solver, max_iter, tol, callback, state, verify, recorder)
    if max_iter and problem.initial_hyper.numel() == 0:
        raise ValueError("initial_hyper must have an entry: there is nothing to learn.")
    # Autograd works on no tensor that was made in a caller's inference mode.
    with torch_session(), remembered_points():
        state = first_state(problem, solver, state, check_initial_point)
        run = Run(problem, state, verify, recorder)
        ending = _Ending(solver, run, tol)
        callback = None if callback is None else as_callback(callback)
        n_iter, status = 0, Status.MAX_ITER if max_iter else Status.FROZEN
        for n_iter in range(1, max_iter + 1):
            if callback is not None:
                callback.begin(n_iter)
            previous, state = state, ending.method(state).step(problem, state)
            row = run.record(previous, state)
            if not run.is_finite:
                status = Status.DIVERGED
                break
            ended, following = ending.end(state)
            if ended is not None or n_iter == max_iter:
                row |= run.close(state)
            stop = False
            if callback is not None:
                so_far = partial(_so_far, run, state, n_iter, tol)
                stop = callback.end(Snapshot(state, row, run.recorder.live(), so_far))
            state = following
            ended = ended or (Status.STOPPED if stop else None)
            if ended is not None:
                status = ended
                break
        return _solution(run, state, status, n_iter, tol)


def _so_far(run, state, n_iter, tol):
    """The solution if the run ended here; the run itself does not notice."""
    return _solution(run.copy(), state, Status.STOPPED, n_iter, tol)


def _solution(run, state, status, n_iter, tol):
    if n_iter > 0:
        run.close(state)
    answer = run.answer(state, verify=n_iter > 0)
    may_be = status in (Status.MAX_ITER, Status.STALLED) and (run.verifies or run.exact)
    if may_be and answer.is_converged(tol):
        status = Status.CONVERGED
    if not math.isfinite(answer.criterion):
        status = Status.DIVERGED
    elif not answer.is_solved and status is not Status.DIVERGED:
        status = Status.UNSOLVED
    criterion, initial = answer.hyper.new_tensor([answer.criterion, run.initial_value()])
    return Solution(
        hyper=answer.hyper,
        params=answer.params,
        criterion=criterion,
        initial_criterion=initial,
        status=status,
        n_iter=n_iter,
        residual=answer.residual,
        hypergradient_norm=answer.hypergradient_norm,
        lower_gap=answer.lower_gap,
        history=run.recorder.history(),
        state=state,
    )


class _Ending:
    """Whether a run ends where its method says so, and how it goes on where that is not true."""

    def __init__(self, solver, run, tol):
        self.solver = solver
        self.run = run
        self.tol = self.asked = tol  # `asked`: of the method's own residual
        memory, max_move = getattr(solver, "memory", 10), getattr(solver, "max_move", 1.0)
        self.finishing = Finishing(tol, memory, max_move)
        self.n_finished, self.finished = 0, None  # how often, and from where
        self.n_elsewhere = 0
        self.last = math.inf  # iteration in which the method has to have got there

    def method(self, state):
        """Whose step is next."""
        return self.finishing if isinstance(state, FinishingState) else self.solver

    def end(self, state):
        """Status, None to go on, and the state to go on from."""
        ended = self.method(state).terminate(state, self.asked)
        if ended is None and state.iteration >= self.last:
            ended = Status.STALLED
        if ended not in (Status.CONVERGED, Status.STALLED):
            return ended, state
        if not self.run.verifies:
            is_open = self.run.exact and ended is Status.CONVERGED
            return (self._confirmed(state) if is_open else ended), state
        answer = self.run.answer(state)
        if answer.is_converged(self.tol):
            return Status.CONVERGED, state
        if not math.isfinite(answer.criterion):
            return Status.DIVERGED, state
        if not answer.is_solved:
            return Status.UNSOLVED, state
        if ended is Status.CONVERGED and self._is_elsewhere(state, answer):
            # It is the next step's to tell, from there or back towards it.
            self.n_elsewhere += 1
            return None, state
        if self._can_finish(answer):
            self.n_finished, self.finished, self.last = self.n_finished + 1, answer, math.inf
            return None, self.finishing.begin(self.run.problem, state.iteration, answer)
        if ended is Status.CONVERGED and self._asks_more(state):
            return None, state
        return Status.STALLED, state

    def _asks_more(self, state):
        """Whether the method shall make its own residual smaller, which may not be the true one."""
        asks = self.asked > LEAST_ASKED * self.tol
        if asks:
            self.asked, self.last = self.asked / 10, 2 * state.iteration + PATIENCE
        return asks

    def _confirmed(self, state):
        """As `end` where the method has converged, and the problem solves the lower level."""
        status = self.run.confirm(state, self.tol)
        if status is not None:
            return status
        if bool((state.hyper != self.run.measured).any()) and self.n_elsewhere < MAX_ELSEWHERE:
            self.n_elsewhere += 1
            return None
        return None if self._asks_more(state) else Status.STALLED

    def _is_elsewhere(self, state, answer):
        """Whether the answer is not where the method has converged."""
        is_elsewhere = bool((answer.hyper != self.run.measured).any())
        is_able = self.run.exact or isinstance(state, FinishingState)
        return is_able and is_elsewhere and self.n_elsewhere < MAX_ELSEWHERE

    def _can_finish(self, answer):
        # With steps of given lengths the method is to be as published.
        is_automatic = getattr(self.solver, "hyper_step", None) == "auto"
        is_able = is_automatic or isinstance(self.solver, Implicit)
        # Of a smaller norm nothing is left but the error.
        is_worth = answer.hypergradient_norm > self.tol and not answer.undetermined
        is_new = self.finished is None or self.finished.criterion != answer.criterion
        return is_able and is_worth and is_new and self.n_finished < MAX_FINISHED
