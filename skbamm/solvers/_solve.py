"""The only loop: stopping, best so far, divergence check, history."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import Any

from ..linalg._session import torch_session
from ._base import Need, Solver
from ._history import History, Recorder, Snapshot, Status, as_callback
from ._options import COUNT, check_options
from ._steps import is_finite


@dataclass(frozen=True)
class Solution:
    """What `solve` found.

    Attributes
    ----------
    hyper, params : Tensor
        The best iterate by the criterion, and the lower level's solution there where
        the problem can compute it.

    criterion : Tensor
        Its value, a scalar.

    initial_criterion : Tensor
        The value at the initial point.

    status : Status
        Why the run ended.

    n_iter : int
        Number of solver steps.

    residual, hypergradient_norm : float or None
        Certificate of stationarity when the run ended: the last residual that was known, and
        the norm of the projected hypergradient. None where no step was made.

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
    history: History
    state: Any = field(repr=False)


def solve(problem, solver="sl-bamm", *, max_iter=1000, tol=1e-6, callback=None, state=None):
    """Run a solver on a bilevel problem.

    Parameters
    ----------
    problem : BilevelProblem
        What to minimise, and from where.

    solver : str or Solver, default="sl-bamm"
        A name in `skbamm.solvers.SOLVERS`, or an instance.

    max_iter : int, default=1000
        Number of steps; 0 evaluates the initial point.

    tol : float, default=1e-6
        The run has converged when the stationarity residual (in units of the upper
        objective for each unit of `hyper`) is not above `tol`; never where that is negative.

    callback : callable or Callback, default=None
        ``callback(state, row)`` after every step, `row` being the record that goes into
        the history, but for its criterion, which is the latest known: that of the point that
        `hyper` left last. The run stops when it returns True. A `Callback` is told more.

    state : object, default=None
        State to continue from; the default is the solver's first.

    Returns
    -------
    solution : Solution
        The best iterate, always a finite one. A step to where an objective is not finite is taken
        back and shortened; one of given length ends the run as diverged.

    Raises
    ------
    ValueError
        For options that make no sense, and where an objective is not finite at the initial point.
    """
    solver = get_solver(solver)
    if isinstance(solver, type):
        raise TypeError(f"solver must be an instance: got the class {solver.__name__}.")
    if not isinstance(solver, Solver):
        raise TypeError(f"solver must be a name or a Solver: got {type(solver).__name__}.")
    check_options(solver)
    if not COUNT.holds(max_iter) and max_iter != 0:
        raise ValueError(f"max_iter must be a whole number not below 0: got {max_iter!r}.")
    if not isinstance(tol, Real) or math.isnan(tol):
        raise ValueError(f"tol must be a number: got {tol!r}.")
    _check_needs(problem, solver)
    # Autograd works on no tensor that was made in a caller's inference mode.
    with torch_session():
        if state is None:
            _check_initial_point(problem)
            state = solver.init(problem)
        run = _Run(problem, state)
        callback = None if callback is None else as_callback(callback)
        n_iter, status = 0, Status.MAX_ITER if max_iter else Status.FROZEN
        for n_iter in range(1, max_iter + 1):
            if callback is not None:
                callback.begin(n_iter)
            previous, state = state, solver.step(problem, state)
            row = run.record(previous, state)
            if not run.is_finite:
                status = Status.DIVERGED
                break
            stop = False
            if callback is not None:
                so_far = partial(run.so_far, state, n_iter)
                stop = callback.end(Snapshot(state, row, run.recorder.live(), so_far))
            ended = solver.terminate(state, tol) or (Status.STOPPED if stop else None)
            if ended is not None:
                status = ended
                break
        return run.solution(state, status, n_iter)


def get_solver(solver):
    """Look a solver up by its name.

    Parameters
    ----------
    solver : str or Solver
        A name in `SOLVERS`, or an instance.

    Returns
    -------
    solver : Solver
        With its default options; an instance is returned as it is.
    """
    from . import SOLVERS

    if isinstance(solver, str):
        try:
            return SOLVERS[solver]()
        except KeyError:
            raise ValueError(
                f"solver must be one of {sorted(SOLVERS)} or an instance: got {solver!r}."
            ) from None
    return solver


def _check_initial_point(problem):
    """Raise where an objective is not finite at the initial point."""
    hyper = problem.project_hyper(problem.initial_hyper)
    params = problem.project_params(problem.initial_params)
    levels = {"upper": problem.upper, "lower": problem.lower}
    values = {name: level.value(hyper, params) for name, level in levels.items()}
    if not is_finite(*values.values()) and problem.solve_lower is not None:
        values = dict(zip(levels, problem.levels(hyper, params), strict=True))
    for name, value in values.items():
        if not is_finite(value):
            raise ValueError(
                f"{name} must be finite at the initial point: got {value.tolist()}; choose another "
                "initial_hyper or initial_params."
            )


def _check_needs(problem, solver):
    """Raise where a problem lacks what a solver needs, and name the solvers that do without."""
    from . import SOLVERS

    levels = problem.upper, problem.lower
    lacks = {}
    if problem.nonsmooth is not None:
        lacks[Need.SMOOTH_LOWER_LEVEL] = "this problem has a nonsmooth term"
    if not all(level.twice_differentiable for level in levels):
        lacks[Need.CURVATURE_PRODUCTS] = "an objective of this problem is not twice_differentiable"
    for need in Need:
        if need in lacks and need in solver.needs:
            able = sorted(name for name, kind in SOLVERS.items() if not kind.needs & lacks.keys())
            raise ValueError(
                f"{type(solver).__name__} needs {need}, and {lacks[need]}: use one of {able}."
            )


class _Run:
    """Best iterate and records of one run.

    The best iterate has the lowest criterion. Where the problem cannot compute that (it
    has no `solve_lower`), the upper objective at unfinished params says nothing, and the
    best iterate is the one with the smallest residual.

    A point is evaluated when the run leaves it: only then are its params nearly solved for,
    which makes solving them cheap. Rows of the history get its criterion after the fact.
    """

    def __init__(self, problem, state):
        self.problem = problem
        self.recorder = Recorder()
        self.hyper, self.params = state.hyper, state.params
        self.residual = state.residual
        self.latest, self.lower = self._levels(state)
        self.initial_criterion = self.criterion = self.latest
        self.recorder.begin(criterion=self.latest, lower=self.lower, hyper=state.hyper)
        self.exact = problem.solve_lower is not None
        self.score = self.latest if self.exact else math.inf
        self.is_finite = _is_finite(state)
        self.is_evaluated, self.arrived = True, 0

    def _levels(self, state):
        values = self.problem.levels(state.hyper, state.params)
        for name, value in zip(("upper", "lower"), values, strict=True):
            if value.numel() != 1:
                raise ValueError(
                    f"{name} must return one value: got a tensor of shape {tuple(value.shape)}."
                )
        return map(float, values)

    def record(self, previous, state):
        was_finite, self.is_finite = self.is_finite, _is_finite(state)
        residual = float(state.residual)
        # Infinite where `hyper` has just moved and its error is not known yet.
        if self.residual is None or math.isfinite(residual):
            self.residual = residual
        if not self.exact:
            at_previous = self.latest
            self.latest, self.lower = self._levels(state)
            # A residual is that of the point that the step was taken from.
            self._keep_best(previous, residual, at_previous, was_finite)
        elif bool((state.hyper != previous.hyper).any()):
            self._evaluate(previous, was_finite)
            self.is_evaluated, self.arrived = False, len(self.recorder)
        row = {
            "criterion": self.latest,
            "lower": self.lower,
            "residual": residual,
            "hypergradient_norm": float(state.hypergradient_norm),
            "averaging": getattr(state, "averaging", 0.0),
            "hyper": state.hyper,
        }
        multiplier = getattr(state, "multiplier", None)
        if multiplier is not None:
            row["multiplier_norm"] = float(multiplier.norm())
        self.recorder.add(**row)
        return row

    def _evaluate(self, state, finite):
        """Criterion at a state's hyper, once."""
        if self.is_evaluated:
            return
        self.is_evaluated = True
        self.latest, self.lower = self._levels(state)
        self._keep_best(state, self.latest, self.latest, finite)
        self.recorder.amend(self.arrived, criterion=self.latest, lower=self.lower)

    def _keep_best(self, state, score, criterion, finite):
        if finite and math.isfinite(criterion) and score < self.score:
            self.score, self.criterion = score, criterion
            self.hyper, self.params = state.hyper, state.params

    def so_far(self, state, n_iter):
        """The solution if the run ended here; the run itself does not notice."""
        ended = copy.copy(self)
        ended.recorder = self.recorder.copy()
        return ended.solution(state, Status.STOPPED, n_iter)

    def solution(self, state, status, n_iter):
        self._evaluate(state, self.is_finite)
        params = self.params
        if self.exact:
            params = self.problem.solve_lower(self.hyper, params)
        criterion, initial = self.hyper.new_tensor([self.criterion, self.initial_criterion])
        return Solution(
            hyper=self.hyper,
            params=params,
            criterion=criterion,
            initial_criterion=initial,
            status=status,
            n_iter=n_iter,
            residual=self.residual,
            hypergradient_norm=state.hypergradient_norm,
            history=self.recorder.history(),
            state=state,
        )


def _is_finite(state):
    # An infinite residual is one that is not known yet; NaN comes from the derivatives.
    unusable = state.residual is not None and math.isnan(state.residual)
    return not unusable and math.isfinite(float(state.hyper.norm()) + float(state.params.norm()))
