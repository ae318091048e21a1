"""SciPy's L-BFGS-B on the exact hypergradient: a reference for all other solvers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..linalg._tensors import as_tensor
from ._base import Need, Solver, State
from ._linear_system import conjugate_gradient
from ._options import COUNT
from ._outer import Hypergradient
from ._steps import norm_of, projected_norm
from .lower._dynamics import Preconditioner
from .lower._level import solve_lower


class Evaluation(NamedTuple):
    """What is known at a point, in NumPy."""

    x: Any
    value: float
    gradient: Any
    error: float  # of the gradient: infinite where the lower level could not be solved
    undetermined: bool


@dataclass(frozen=True)
class ImplicitState(State):
    """State of `Implicit`; `x` is `hyper` in SciPy's precision.

    `evaluations` are those of the run of L-BFGS-B, whose iterations `depth` counts.
    """

    multiplier: Any = None
    x: Any = None
    evaluations: tuple = ()
    depth: int = 0


class _NotFiniteError(Exception):
    """Ends SciPy's loop."""


@dataclass(kw_only=True, eq=False, repr=False)
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

    kinds = {"n_linear": (COUNT,), "memory": (COUNT,)}

    n_linear: int = 200
    memory: int = 10

    def init(self, problem):
        hyper, params = problem.project_hyper(problem.initial_hyper), problem.initial_params
        x = hyper.double().flatten().cpu().numpy()
        return ImplicitState(0, hyper, params, multiplier=params * 0, x=x)

    def step(self, problem, state):
        run = _Evaluations(self, problem, state)
        following = replace(state, iteration=state.iteration + 1)
        try:
            x, depth = self._minimize(run, state.depth + 1)
            if depth == state.depth == 0 and run.has_rejected:
                # Is there nothing finite any more, or only nothing further?
                run.forget(state.x)
        except _NotFiniteError:
            return replace(following, residual=math.nan, hypergradient_norm=math.nan)
        here, (hyper, params, multiplier) = run.known[state.x.tobytes()], run.at(x)
        hypergradient_norm = projected_norm(problem, state.hyper, run.tensor(here.gradient))
        # Without progress it begins afresh where it is; once more, and it has stalled. A lower
        # level with several solutions may have left the one that the value there is of: then it is
        # evaluated again.
        ended = depth == state.depth or x.tobytes() == state.x.tobytes()
        is_afresh = state.depth == 0 and (problem.strongly_convex or state.iteration > 0)
        stalled = ended and is_afresh and hypergradient_norm > 0
        remembers = problem.strongly_convex or not ended or stalled
        kept = (run.known[x.tobytes()],) if ended else tuple(run.known.values())
        return replace(
            following,
            hyper=hyper,
            params=params if remembers else run.params,
            multiplier=multiplier,
            residual=hypergradient_norm + here.error,
            hypergradient_norm=hypergradient_norm,
            undetermined=here.undetermined,
            stalled=stalled,
            x=x,
            evaluations=kept if remembers else (),
            depth=0 if ended else depth,
        )

    def _minimize(self, run, max_iter):
        """Where SciPy is after so many iterations from the first point, and how many it did."""
        from scipy.optimize import minimize

        options = {"maxcor": self.memory, "maxiter": max_iter, "maxfun": 10**9}
        options |= {"ftol": 0.0, "gtol": 0.0}
        initial = next(iter(run.known.values())).x if run.known else run.state.x
        found: Any = minimize(
            run, initial, jac=True, method="L-BFGS-B", bounds=run.bounds(), options=options
        )
        return found.x, found.get("nit", 0)  # without where all bounds are equal

    def _evaluate(self, problem, hyper, params, multiplier):
        """Value, hypergradient, the estimate of its error; params and multiplier."""
        params, is_solved = solve_lower(problem, hyper, params)
        lower, point = problem.lower.point(hyper, params), problem.upper.point(hyper, params)
        upper = point.gradients
        metric = None if problem.metric is None else problem.metric(hyper, params, 0.0)
        left, flat = upper.params * 0, False
        if metric is not None and metric.exact:
            multiplier = metric.solve(upper.params)
        else:
            multiplier, left, flat = conjugate_gradient(
                lower.hessian_product,
                upper.params,
                multiplier,
                Preconditioner(1.0, metric),
                self.n_linear,
            )
        gradient = upper.hyper - lower.mixed_product(multiplier)
        error = norm_of(lower.mixed_product(left)) if is_solved else math.inf
        found = Hypergradient.of(gradient, error, left, flat, upper.params, multiplier)
        return float(point.value), found, params


class _Evaluations:
    """The function that SciPy minimises; it remembers what is known."""

    def __init__(self, solver, problem, state):
        self.solver, self.problem, self.state = solver, problem, state
        self.known = {found.x.tobytes(): found for found in state.evaluations}
        self.latest = {}
        self.params, self.multiplier = state.params, state.multiplier
        self.has_rejected = False

    def tensor(self, x):
        hyper = self.state.hyper
        return as_tensor(x.copy(), hyper).reshape(hyper.shape)  # SciPy may reuse its array

    def bounds(self):
        def entries(bound):  # a number or a tensor
            return (0 * self.state.hyper + bound).flatten().tolist()

        lower, upper = self.problem.lower_bound, self.problem.upper_bound
        return list(zip(entries(lower), entries(upper), strict=True))

    def __call__(self, x):
        if x.tobytes() not in self.known:
            self._evaluate(x.copy())
        found, unit = self.known[x.tobytes()], self._unit()
        return found.value / unit, found.gradient / unit

    def _unit(self):
        """Of the value, which makes the first step that of `SecantSearch`: Polyak's, one at most.

        SciPy's own, in a box, is the gradient in the value's unit: next to nothing for a small one.
        """
        first = next(iter(self.known.values()))
        value, gradient = max(abs(first.value), 1e-300), abs(first.gradient)
        return max(gradient @ gradient / value, gradient.max()) or 1.0

    def _evaluate(self, x):
        hyper = self.problem.project_hyper(self.tensor(x))
        value, found, self.params = self.solver._evaluate(
            self.problem, hyper, self.params, self.multiplier
        )
        self.multiplier = found.multiplier
        gradient = found.gradient.double().flatten().cpu().numpy()
        key = x.tobytes()
        if not math.isfinite(value + abs(gradient).sum()):
            self.known[key] = self._rejected(x)
            self.params, self.multiplier = self.state.params, self.state.multiplier
            return
        self.known[key] = Evaluation(x, value, gradient, found.error, found.undetermined)
        self.latest[key] = hyper, self.params, self.multiplier

    def _rejected(self, x):
        """As if the value rose as steeply as it fell, so that the line search shortens its step."""
        here = self.known.get(self.state.x.tobytes())
        if here is None:
            raise _NotFiniteError
        self.has_rejected = True
        rise = max(abs(here.gradient @ (x - here.x)), 1e-8 * abs(here.value), 1e-300)
        return Evaluation(x, here.value + rise, 0 * here.gradient, math.inf, False)

    def forget(self, x):
        """Evaluate a point again."""
        known = self.known.pop(x.tobytes())
        self._evaluate(x)
        self.known[x.tobytes()] = known

    def at(self, x):
        """Hyper, params and multiplier at a point that was evaluated, now or last."""
        old = self.state.hyper, self.state.params, self.state.multiplier
        return self.latest.get(x.tobytes(), old)
