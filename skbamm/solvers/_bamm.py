"""sl-BAMM: the single-loop Bi-level Averaged Method of Multipliers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ._base import Need, Solver, State
from ._options import FRACTION, FUNCTION, NOTHING, PARAMS_STEP, POSITIVE, SEARCH, word
from ._steps import (
    PowerLaw,
    Schedule,
    at,
    begin,
    divide,
    is_finite,
    move_hyper,
    projected_norm,
    retreat,
)

# Without strong convexity of the lower level, averaging is high at first and fades.
FADING = PowerLaw(0.9, 0.5)
# An inexact metric is given this many steps before it may be replaced.
METRIC_AGE = 3


@dataclass(frozen=True)
class BammState(State):
    """State of `SlBamm`.

    `residual` is the projected hypergradient plus the estimated error that unconverged `params`
    and `multiplier` leave in it, at the point before the step.
    """

    multiplier: Any = None
    averaging: float = 0.0  # used in the step that led here
    params_converged: bool = False  # whether that error was small relative to the hypergradient
    hypergradient: Any = None
    displacement: float | None = None  # relative length of the last updates
    moved: bool = True  # whether the last step has moved hyper
    metric: Any = None  # the problem's
    metric_age: int = 0  # how many steps it has served
    slow: bool = False  # whether params and multiplier converge slowly under it
    origin: tuple = ()  # params and multiplier that the last step began from


class Directions(NamedTuple):
    """Gradients of an iteration, all at the point before it."""

    averaged: Any  # the AveragedObjective, or the lower one where nothing is averaged
    metric: Any
    params: Any
    multiplier: Any
    hyper: Any


@dataclass(kw_only=True, eq=False, repr=False)
class SlBamm(Solver):
    r"""Single-loop Bi-level Averaged Method of Multipliers.

    With the averaged objective :math:`\psi_\mu = \mu F + (1 - \mu) f`, every iteration
    moves all three variables from the same point :math:`(x, y, v)`:

    .. math::

        y &\leftarrow y - \beta \, \nabla_y \psi_\mu \\
        v &\leftarrow v - \eta \, (\nabla^2_{yy} \psi_\mu \, v - \nabla_y F) \\
        x &\leftarrow P(x - \alpha \, (\nabla_x F - \nabla^2_{xy} \psi_\mu \, v))

    No inner loop, no linear solve, no unrolled graph: two second-order products an
    iteration, and memory that does not grow with the number of iterations.

    Parameters
    ----------
    averaging : float, callable or None, default=None
        Weight :math:`\mu` of the upper objective, in [0, 1); a callable gets the
        iteration, counted from 0. None: what the problem says; else 0 where its lower level
        is strongly convex (a fixed value would bias the answer), else
        ``PowerLaw(0.9, 0.5)``.

    params_step : float, callable or "auto", default="auto"
        :math:`\beta`. "auto" is the exact line search along the gradient
        (or along its preconditioned direction, where the problem offers a metric); where the
        objective is bent down, as far as if it were bent up as much.

    multiplier_step : float, callable or "cauchy", default="cauchy"
        :math:`\eta`; "cauchy" is the exact line search
        :math:`\|r\|^2 / r^T \nabla^2_{yy} \psi_\mu r` of the authors' code.

    hyper_step : float, callable or "auto", default="auto"
        :math:`\alpha`. A number or a schedule moves `hyper` in every iteration, as
        published. "auto" moves it only when `params` and `multiplier` have caught up
        (its step is zero in between), along secant directions and with backtracking on
        the upper objective: nothing to tune, at any scale.

    memory : int, default=10
        How many secants ``hyper_step="auto"`` keeps.

    max_move : float, default=1.0
        Largest change of one entry of `hyper` in one step of ``hyper_step="auto"``.

    accuracy : float or None, default=None
        ``hyper_step="auto"`` moves when the error of the hypergradient is below this
        fraction of it. None: 0.1 where the problem offers an inexact metric (more would take
        many iterations for each step of hyper there), else 0.01.

    Notes
    -----
    Where the problem offers a metric M (an approximate inverse Hessian), the directions
    of `params` and `multiplier` are multiplied by it. That is the same method in other
    coordinates; an exact metric has unit steps.

    References
    ----------
    .. [1] R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang, "Averaged Method of Multipliers
           for Bi-Level Optimization without Lower-Level Strong Convexity", ICML 2023,
           arXiv:2302.03407. Algorithm 1; schedules from its Theorems (strategies s1-s3).
    """

    needs = frozenset({Need.SMOOTH_LOWER_LEVEL, Need.CURVATURE_PRODUCTS})
    kinds = {
        "averaging": (FRACTION, FUNCTION, NOTHING),
        "params_step": PARAMS_STEP,
        "multiplier_step": (POSITIVE, FUNCTION, word("cauchy")),
        "accuracy": (POSITIVE, NOTHING),
        **SEARCH,
    }

    averaging: Schedule | None = None
    params_step: Schedule | str = "auto"
    multiplier_step: Schedule | str = "cauchy"
    hyper_step: Schedule | str = "auto"
    memory: int = 10
    max_move: float = 1.0
    accuracy: float | None = None

    def init(self, problem):
        multiplier = problem.initial_params * 0
        averaging = self._averaging(problem, 0)
        return begin(self, problem, BammState, multiplier=multiplier, averaging=averaging)

    def step(self, problem, state):
        if problem.follows and state.moved and self.hyper_step == "auto":
            params = problem.solve_lower(state.hyper, state.params)
            state = replace(state, params=params)
        averaging = self._averaging(problem, state.iteration)
        metric, metric_age = self._metric(problem, state, averaging)
        directions = self._directions(problem, state, metric, averaging)
        params_update, params = self._move_params(state, directions)
        multiplier_update, mixed = self._move_multiplier(state, directions)
        displacement = _relative(params_update, state.params)
        displacement += _relative(multiplier_update, state.multiplier)
        error = self._error(state, directions, displacement, multiplier_update, mixed)
        hypergradient_norm = projected_norm(problem, state.hyper, directions.hyper)
        converged = error <= self._accuracy(metric) * hypergradient_norm
        hyper = self._move_hyper(problem, state, directions, converged)
        last = state.displacement
        following = replace(
            state,
            iteration=state.iteration + 1,
            params=params,
            multiplier=state.multiplier - multiplier_update,
            averaging=averaging,
            residual=hypergradient_norm + error,
            hypergradient_norm=hypergradient_norm,
            params_converged=converged,
            hypergradient=directions.hyper,
            displacement=displacement,
            metric=metric,
            metric_age=metric_age,
            origin=(state.params, state.multiplier),
            slow=last is None or (displacement > 0.5 * last and not state.moved),
            **hyper,
        )
        if not is_finite(directions.hyper, following.hyper, params, following.multiplier):
            following = retreat(self, problem, state, ("params", "multiplier"))
            following = replace(following, params_converged=False, hypergradient=None)
        return replace(following, moved=bool((following.hyper != state.hyper).any()))

    def _directions(self, problem, state, metric, averaging):
        from ..problems import AveragedObjective

        hyper, params, multiplier = state.hyper, state.params, state.multiplier
        averaged = problem.lower
        if averaging:
            averaged = AveragedObjective(problem.lower, problem.upper, averaging)
        upper = problem.upper.gradients(hyper, params)
        products = averaged.curvature_products(hyper, params, multiplier)
        params_gradient = problem.lower.params_gradient(hyper, params)
        if averaging:
            params_gradient = averaging * upper.params + (1 - averaging) * params_gradient
        # All three directions use the multiplier of the *previous* step. Using the fresh
        # one would be another (Gauss-Seidel) method, without this one's analysis.
        return Directions(
            averaged,
            metric,
            params=params_gradient,
            multiplier=products.hessian - upper.params,
            hyper=upper.hyper - products.mixed,
        )

    def _move_params(self, state, directions):
        """What params lose in this step, and where they arrive."""
        averaged, metric, gradient = directions.averaged, directions.metric, directions.params
        hyper, params = state.hyper, state.params
        update = gradient if metric is None else metric.solve(gradient)
        if not _searches(self.params_step):
            update = at(self.params_step, state.iteration) * update
        elif metric is None or not metric.exact:
            product = averaged.hessian_product(hyper, params, update)
            step = _cauchy(gradient, update, product)
            if self.params_step != "auto":
                return step * update, params - step * update
            if step == 0:
                # Bent down: as far as if it were bent up as much as the gradient turns there.
                derivative = float((gradient * update).sum())
                step = divide(derivative, float(update.norm()) * float(product.norm()))
            return backtrack(averaged, hyper, params, step * update)
        return update, params - update

    def _move_multiplier(self, state, directions):
        """What the multiplier loses in this step, and its mixed product where that is known."""
        averaged, metric, gradient = directions.averaged, directions.metric, directions.multiplier
        hyper, params = state.hyper, state.params
        update = gradient if metric is None else metric.solve(gradient)
        if not _searches(self.multiplier_step):
            update = at(self.multiplier_step, state.iteration) * update
        elif metric is None or not metric.exact:
            products = averaged.curvature_products(hyper, params, update)
            step = _cauchy(gradient, update, products.hessian)
            return step * update, step * products.mixed
        return update, None

    def _error(self, state, directions, displacement, multiplier_update, mixed):
        """What the updates to come of params and multiplier will change in the hypergradient.

        Two estimates, the larger counts: the change that the multiplier's coming update makes,
        and what the last displacement changed, extrapolated to the next one. The second is
        unknown where `hyper` moved in between.
        """
        if state.hypergradient is None or (self.hyper_step == "auto" and state.moved):
            return math.inf
        if mixed is None:
            mixed = directions.averaged.mixed_product(state.hyper, state.params, multiplier_update)
        change = float((directions.hyper - state.hypergradient).norm())
        return max(float(mixed.norm()), divide(change * displacement, state.displacement))

    def _move_hyper(self, problem, state, directions, converged):
        """Fields of the next state; with "auto" hyper waits for params and multiplier."""
        if self.hyper_step == "auto" and not converged:
            return {}

        def value():
            # At the params that the lower level is converging to: the multiplier tells what a
            # gradient that is left there does to the upper objective, to second order in both.
            found = float(problem.upper.value(state.hyper, state.params))
            return found - float((state.multiplier * directions.params).sum())

        return move_hyper(self, problem, state, directions.hyper, value)

    def _accuracy(self, metric):
        if self.accuracy is not None:
            return self.accuracy
        return 0.01 if metric is None or metric.exact else 0.1

    def _averaging(self, problem, iteration):
        schedule = problem.averaging if self.averaging is None else self.averaging
        if schedule is None:
            schedule = 0.0 if problem.strongly_convex else FADING
        return at(schedule, iteration)

    def _metric(self, problem, state, averaging):
        """The problem's metric, and its age in steps.

        An exact one is made anew at every new point. Others serve as long as they make
        params and multiplier converge quickly.
        """
        if problem.metric is None:
            return None, 0
        metric = state.metric
        changed = abs(averaging - state.averaging) > 0.1 * state.averaging
        if metric is not None and not changed:
            outlived = state.slow and state.metric_age >= METRIC_AGE
            if not (state.moved if metric.exact else outlived):
                return metric, state.metric_age + 1
        return problem.metric(state.hyper, state.params, averaging), 0


def backtrack(objective, hyper, params, update):
    """The update, halved where the objective rises, and where it arrives.

    Beyond quadratics a line search can overshoot. From where the objective is not finite no step
    is known to descend: then both are NaN.
    """
    value = float(objective.value(hyper, params))
    if not math.isfinite(value):
        return math.nan * update, math.nan * params
    allowed = value + 1e-12 * abs(value)
    arrived = params - update
    for _ in range(20):
        if float(objective.value(hyper, arrived)) <= allowed:  # NaN counts as risen
            break
        update = update / 2
        arrived = params - update
    return update, arrived


def _searches(option):
    """Whether a step size is left to the line search."""
    return isinstance(option, str) and option in ("auto", "cauchy")


def _cauchy(gradient, direction, product) -> float:
    """Exact line search on the local parabola; `product` is the Hessian times the direction."""
    derivative, curvature = float((gradient * direction).sum()), float((direction * product).sum())
    # A direction without curvature (or none left to go) gets no step.
    return derivative / curvature if curvature > 0 else 0.0


def _relative(update, vector) -> float:
    """Length of an update relative to the longer of the vectors before and after it."""
    length, size = float(update.norm()), max(float(vector.norm()), float((vector - update).norm()))
    return length / size if size > 0 else length
