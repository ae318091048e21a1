"""SciPy's L-BFGS-B on the exact hypergradient: a reference for all other solvers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ._bamm import backtrack
from ._base import Need, Solver, State
from ._dynamics import Preconditioner
from ._implicit import UNSOLVED, conjugate_gradient
from ._steps import inner, norm, projected_norm

# Newton steps on a lower level that the problem cannot solve itself.
MAX_NEWTON = 50
# Of a Newton step relative to params, in units of rounding, when the lower level is solved.
SOLVED = 1e3


class Evaluation(NamedTuple):
    """What is known at a point, in NumPy."""

    x: Any
    value: float
    gradient: Any
    error: float  # of the gradient: infinite where the lower level could not be solved
    undetermined: bool


@dataclass(frozen=True)
class ImplicitState(State):
    """State of `Implicit`.

    Attributes
    ----------
    multiplier : Tensor
    x : ndarray or None
        `hyper` in SciPy's precision.
    evaluations : tuple of Evaluation
        Of the run of L-BFGS-B, whose iterations `depth` counts.
    """

    multiplier: Any = None
    x: Any = None
    evaluations: tuple = ()
    depth: int = 0


class _NotFinite(Exception):
    """Tells SciPy's loop to end."""


class Implicit(Solver):
    r"""L-BFGS-B on the exact hypergradient.

    .. math:: \nabla_x F - \nabla^2_{xy} f \, v, \qquad \nabla^2_{yy} f \, v = \nabla_y F,

    at a solved lower level (by the problem's `solve_lower`, else by Newton's method), with the
    multiplier from the problem's metric where that is exact, else by conjugate gradients. No
    method of the papers, but the plain answer to compare them with.

    Parameters
    ----------
    n_linear : int, default=200
        Largest number of conjugate gradient steps for one linear system.
    memory : int, default=10
        How many secants L-BFGS-B keeps.

    Notes
    -----
    SciPy's loop cannot be entered in its middle. Every step runs it anew from the first point
    and answers what was asked before from memory, which repeats its own arithmetic alone: some
    20 microseconds for each earlier evaluation.

    References
    ----------
    .. [1] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, "A Limited Memory Algorithm for Bound
           Constrained Optimization", SIAM Journal on Scientific Computing, 1995.
    """

    needs = frozenset(Need)

    def __init__(self, *, n_linear=200, memory=10):
        self.n_linear = n_linear
        self.memory = memory

    def init(self, problem):
        hyper, params = problem.project_hyper(problem.initial_hyper), problem.initial_params
        return ImplicitState(0, hyper, params, multiplier=params * 0)

    def step(self, problem, state):
        run = _Evaluations(self, problem, state)
        x = run.start if state.x is None else state.x
        state = replace(state, iteration=state.iteration + 1)
        try:
            found, n_iter = self._minimize(run, state.depth + 1)
        except _NotFinite:
            return replace(state, residual=math.nan, hypergradient_norm=math.nan)
        here = run.known[x.tobytes()]
        gradient = run.tensor(here.gradient)
        hypergradient_norm = projected_norm(problem, state.hyper, gradient)
        # Without progress it starts afresh where it is; once more, and it has stalled.
        ended = n_iter <= state.depth
        hyper, params, multiplier = run.at(found)
        return replace(
            state,
            hyper=hyper,
            params=params,
            multiplier=multiplier,
            residual=hypergradient_norm + here.error,
            hypergradient_norm=hypergradient_norm,
            undetermined=here.undetermined,
            stalled=ended and state.depth == 0 and hypergradient_norm > 0,
            x=found,
            evaluations=(run.known[found.tobytes()],) if ended else tuple(run.known.values()),
            depth=0 if ended else n_iter,
        )

    def _minimize(self, run, max_iter):
        """Where SciPy is after so many iterations from the first point, and how many it did."""
        from scipy.optimize import minimize

        found = minimize(
            run,
            run.start,
            jac=True,
            method="L-BFGS-B",
            bounds=run.bounds(),
            options={
                "maxcor": self.memory,
                "maxiter": max_iter,
                "maxfun": 10**9,
                "ftol": 0.0,
                "gtol": 0.0,
            },
        )
        return found.x, found.nit

    def evaluate(self, problem, hyper, params, multiplier):
        """Value and hypergradient, the error that is left in it, and whether it is determined."""
        params, is_solved = solve_lower(problem, hyper, params, self.n_linear)
        upper = problem.upper.gradients(hyper, params)
        metric = None if problem.metric is None else problem.metric(hyper, params, 0.0)
        left, flat = upper.params * 0, False
        if metric is not None and metric.exact:
            multiplier = metric.solve(upper.params)
        else:
            multiplier, left, flat = conjugate_gradient(
                lambda vector: problem.lower.hessian_product(hyper, params, vector),
                upper.params,
                multiplier,
                Preconditioner(1.0, metric),
                self.n_linear,
            )
        gradient = upper.hyper - problem.lower.mixed_product(hyper, params, multiplier)
        value = float(problem.upper.value(hyper, params))
        undetermined = flat and norm(left) > UNSOLVED * norm(upper.params)
        error = (
            norm(left) if undetermined else norm(problem.lower.mixed_product(hyper, params, left))
        )
        return value, gradient, error if is_solved else math.inf, undetermined, params, multiplier


class _Evaluations:
    """The function that SciPy minimises; it remembers what is known."""

    def __init__(self, solver, problem, state):
        self.solver, self.problem, self.state = solver, problem, state
        self.known = {found.x.tobytes(): found for found in state.evaluations}
        self.latest = {}
        self.start = next((found.x for found in state.evaluations), None)
        if self.start is None:
            self.start = state.hyper.double().flatten().cpu().numpy()
        self.params, self.multiplier = state.params, state.multiplier

    def tensor(self, x):
        import torch

        hyper = self.state.hyper
        return torch.as_tensor(x, dtype=hyper.dtype, device=hyper.device).reshape(hyper.shape)

    def bounds(self):
        import torch

        hyper = self.state.hyper
        return [
            pair
            for pair in zip(
                *(
                    torch.as_tensor(bound, dtype=torch.float64)
                    .expand(hyper.shape)
                    .flatten()
                    .tolist()
                    for bound in (self.problem.lower_bound, self.problem.upper_bound)
                ),
                strict=True,
            )
        ]

    def __call__(self, x):
        key = x.tobytes()
        if key not in self.known:
            hyper = self.problem.project_hyper(self.tensor(x.copy()))
            value, gradient, error, undetermined, self.params, self.multiplier = (
                self.solver.evaluate(self.problem, hyper, self.params, self.multiplier)
            )
            gradient = gradient.double().flatten().cpu().numpy()
            if not math.isfinite(value + gradient.sum()):
                raise _NotFinite
            self.known[key] = Evaluation(x.copy(), value, gradient, error, undetermined)
            self.latest[key] = hyper, self.params, self.multiplier
        return self.known[key].value, self.known[key].gradient

    def at(self, x):
        """Hyper, params and multiplier at a point that was evaluated, now or last."""
        old = self.state.hyper, self.state.params, self.state.multiplier
        return self.latest.get(x.tobytes(), old)


def solve_lower(problem, hyper, params, n_linear):
    """The lower level's solution near params, and whether it has been found."""
    if problem.solve_lower is not None:
        return problem.solve_lower(hyper, params), True
    import torch

    lower = problem.lower
    small = SOLVED * torch.finfo(params.dtype).eps
    for _ in range(MAX_NEWTON):
        gradient = lower.params_gradient(hyper, params)
        point = params
        move, _, _ = conjugate_gradient(
            lambda vector, at=point: lower.hessian_product(hyper, at, vector),
            gradient,
            gradient * 0,
            Preconditioner(1.0),
            n_linear,
        )
        if not inner(move, gradient) > 0:
            # Flat, or bent down: nothing left to descend, or along the gradient alone.
            move = gradient
        move, params = backtrack(lower, hyper, params, move)
        if norm(move) <= small * max(norm(params), small):
            return params, True
    return params, False
