"""The only loop: stopping, best so far, divergence check, history."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

from ._base import Solver
from ._history import History, Recorder, Status
from ._moves import spread
from ._watch import as_watch


@dataclass(frozen=True)
class Solution:
    """What `solve` found.

    Attributes
    ----------
    hyper, params : Tensor
        The best iterate by the criterion, and the lower level's solution there where
        the problem can compute it.

    criterion : Tensor, scalar or of shape (n_candidates,)
        Its value.

    initial_criterion : Tensor
        The value at the start.

    status : Status
        Why the run ended.

    n_iter : int
        Number of solver steps.

    residual, hypergradient_norm : Tensor
        Certificate of stationarity when the run ended: the last residual that was known, and
        the norm of the projected hypergradient.

    history : History
        One row for each step.

    state : object
        The solver's last state: ``solve(..., state=solution.state)`` continues.
    """

    hyper: Any
    params: Any
    criterion: Any
    initial_criterion: Any
    status: Status
    n_iter: int
    residual: Any
    hypergradient_norm: Any
    history: History
    state: Any


def solve(problem, solver="sl-bamm", *, max_iter=1000, tol=1e-6, callback=None, state=None):
    """Run a solver on a bilevel problem.

    Parameters
    ----------
    problem : BilevelProblem
        What to minimise, and from where.

    solver : str or Solver, default="sl-bamm"
        A name in `skbamm.solvers.SOLVERS`, or an instance.

    max_iter : int, default=1000
        Number of steps; 0 evaluates the start.

    tol : float, default=1e-6
        The run has converged when the stationarity residual (in units of the upper
        objective for each unit of `hyper`) is not above `tol`, for every candidate.

    callback : callable or Watch, default=None
        ``callback(state, row)`` after every step, `row` being the record that goes into
        the history, but for its criterion, which is the latest known: that of the point that
        `hyper` left last. The run stops when it returns True. A `Watch` is told more.

    state : object, default=None
        State to continue from; the default is the solver's first.

    Returns
    -------
    solution : Solution
        The best iterate; never a non-finite one unless the start is.
    """
    import torch

    from . import SOLVERS, get_solver

    solver = get_solver(solver)
    if isinstance(solver, type):
        raise TypeError(f"solver must be an instance: got the class {solver.__name__}.")
    if not isinstance(solver, Solver):
        raise TypeError(f"solver must be a name or a Solver: got {type(solver).__name__}.")
    if max_iter < 0:
        raise ValueError(f"max_iter must not be negative: got {max_iter}.")
    if problem.nonsmooth is not None and not solver.handles_nonsmooth:
        able = sorted(name for name, kind in SOLVERS.items() if kind.handles_nonsmooth)
        raise ValueError(
            f"{type(solver).__name__} needs a smooth lower level, and this problem has a "
            f"nonsmooth term: use one of {able}."
        )
    # Autograd works on no tensor that was made in a caller's inference mode.
    with torch.inference_mode(False), torch.no_grad():
        _check_values(problem)
        state = solver.init(problem) if state is None else state
        run, watch = _Run(problem, state), as_watch(callback)
        status = Status.FROZEN if max_iter == 0 else Status.MAX_ITER
        n_iter = 0
        while n_iter < max_iter:
            n_iter += 1
            if watch is not None:
                watch.begin(n_iter)
            previous, state = state, solver.step(problem, state)
            row = run.record(previous, state)
            if not run.finite(state):
                status = Status.DIVERGED
                break
            stop = watch is not None and watch.end(
                state, row, run.recorder.live(), partial(run.so_far, state, n_iter)
            )
            if bool((state.residual <= tol).all()):
                status = Status.CONVERGED
                break
            if stop:
                status = Status.STOPPED
                break
            if _is_undetermined(state) and bool((state.hypergradient_norm <= tol).all()):
                status = Status.UNDETERMINED
                break
            if _is_stalled(state, tol):
                status = Status.STALLED
                break
        if status is Status.STALLED and _is_undetermined(state):
            status = Status.UNDETERMINED
        return run.solution(state, status, n_iter)


def _check_values(problem):
    """Raise unless plain functions have one value (for each candidate) at the start."""
    from ..problems import FunctionObjective

    expected = () if problem.n_candidates is None else (problem.n_candidates,)
    for name in ("upper", "lower"):
        objective = getattr(problem, name)
        if not isinstance(objective, FunctionObjective):
            continue
        shape = tuple(objective.value(problem.initial_hyper, problem.initial_params).shape)
        if shape != expected:
            raise ValueError(
                f"{name} must return a tensor of shape {expected}, one value"
                f"{' for each candidate' if expected else ''}: got shape {shape}."
            )


class _Run:
    """Best iterate and records of one run.

    The best iterate has the lowest criterion. Where the problem cannot compute that (it
    has no `solve_lower`), the upper objective at unfinished params says nothing, and the
    best iterate is the one with the smallest residual.

    A point is judged when the run leaves it: only then are its params nearly solved for,
    which makes solving them cheap. Rows of the history get its criterion after the fact.
    """

    def __init__(self, problem, state):
        self.problem = problem
        self.recorder = Recorder()
        self.hyper, self.params = state.hyper, state.params
        self.residual = state.residual
        self.latest, self.lower = problem.levels(state.hyper, state.params)
        self.initial_criterion = self.criterion = self.latest
        self.recorder.start(criterion=self.latest, lower=self.lower, hyper=state.hyper)
        self.exact = problem.solve_lower is not None
        self.score = self.latest if self.exact else self.latest * 0 + float("inf")
        self.is_finite = self._is_finite(state)
        self.is_judged, self.arrived = True, 0

    def record(self, previous, state):
        was_finite, self.is_finite = self.is_finite, self._is_finite(state)
        # Infinite where `hyper` has just moved and its error is not known yet.
        known = state.residual.isfinite()
        self.residual = state.residual.where(
            known, state.residual if self.residual is None else self.residual
        )
        if self.exact:
            if bool((state.hyper != previous.hyper).any()):
                self._judge(previous, was_finite)
                self.is_judged, self.arrived = False, len(self.recorder)
        else:
            at_start = self.latest
            self.latest, self.lower = self.problem.levels(state.hyper, state.params)
            # A residual is that of the point from which the step started.
            self._keep_best(previous, state.residual, at_start, was_finite)
        row = {
            "criterion": self.latest,
            "lower": self.lower,
            "residual": state.residual,
            "hypergradient_norm": state.hypergradient_norm,
            "averaging": getattr(state, "averaging", 0.0),
            "hyper": state.hyper,
        }
        multiplier = getattr(state, "multiplier", None)
        if multiplier is not None:
            row["multiplier_norm"] = self.problem.norm(multiplier)
        self.recorder.add(**row)
        return row

    def _judge(self, state, finite):
        """Criterion at a state's hyper, once."""
        if self.is_judged:
            return
        self.is_judged = True
        self.latest, self.lower = self.problem.levels(state.hyper, state.params)
        self._keep_best(state, self.latest, self.latest, finite)
        self.recorder.amend(self.arrived, criterion=self.latest, lower=self.lower)

    def _keep_best(self, state, score, criterion, finite):
        better = (score < self.score) & finite
        self.score = score.where(better, self.score)
        self.criterion = criterion.where(better, self.criterion)
        self.hyper = state.hyper.where(spread(better, state.hyper), self.hyper)
        self.params = state.params.where(spread(better, state.params), self.params)

    def finite(self, state):
        """Whether at least one candidate is still finite."""
        # An infinite residual is one that is not known yet; NaN comes from the derivatives.
        return bool((self.is_finite & ~state.residual.isnan()).any())

    def _is_finite(self, state):
        size = self.problem.norm(state.hyper) + self.problem.norm(state.params)
        return size.isfinite()

    def so_far(self, state, n_iter):
        """The solution if the run ended here; the run itself does not notice."""
        ended = copy.copy(self)
        ended.recorder = self.recorder.copy()
        return ended.solution(state, Status.STOPPED, n_iter)

    def solution(self, state, status, n_iter):
        self._judge(state, self.is_finite)
        params = self.params
        if self.problem.solve_lower is not None:
            params = self.problem.solve_lower(self.hyper, params)
        return Solution(
            hyper=self.hyper,
            params=params,
            criterion=self.criterion,
            initial_criterion=self.initial_criterion,
            status=status,
            n_iter=n_iter,
            residual=self.residual,
            hypergradient_norm=state.hypergradient_norm,
            history=self.recorder.history(),
            state=state,
        )


def _is_stalled(state, tol):
    stalled = getattr(state, "stalled", None)
    return stalled is not None and bool((stalled | (state.residual <= tol)).all())


def _is_undetermined(state):
    undetermined = getattr(state, "undetermined", None)
    return undetermined is not None and bool(undetermined.any())
