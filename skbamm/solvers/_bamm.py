"""sl-BAMM: the single-loop Bi-level Averaged Method of Multipliers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ._base import Need, Solver, State
from ._linear_system import conjugate_gradient
from ._options import FRACTION, FUNCTION, NOTHING, PARAMS_STEP, POSITIVE, SEARCH, word
from ._steps import (
    PowerLaw,
    Schedule,
    at,
    begin,
    divide,
    is_finite,
    move_hyper,
    norm_of,
    projected_norm,
    retreat,
)

# Without strong convexity of the lower level, averaging is high at first and fades.
FADING = PowerLaw(0.9, 0.5)
# An inexact metric is given this many steps before it may be replaced.
METRIC_AGE = 3
# Of the linear system for the multiplier, where params come from a descent.
N_LINEAR, ACCURACY = 100, 1e-4
# How much of the value what such a descent leaves may change, and how many of them there are.
CORRECTION, MAX_DESCENTS = 0.05, 4


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
    lengths: tuple = ()  # of params and multiplier; none where a step was taken back
    anchored: tuple = ()  # params and multiplier at the search's anchor, where a descent solves


class Directions(NamedTuple):
    """Gradients of an iteration, all at the point before it."""

    averaged: Any  # the averaged objective (the lower one where nothing is averaged) at the point
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
            state = self._follow(problem, state)
        averaging = self._averaging(problem, state.iteration)
        metric, metric_age = self._metric(problem, state, averaging)
        directions = self._directions(problem, state, metric, averaging)
        params_update, params = self._move_params(state, directions)
        multiplier_update, mixed = self._move_multiplier(state, directions)
        multiplier = state.multiplier - multiplier_update
        before = state.lengths or (norm_of(state.params), norm_of(state.multiplier))
        lengths = norm_of(params), norm_of(multiplier)
        displacement = _relative(params_update, before[0], lengths[0])
        displacement += _relative(multiplier_update, before[1], lengths[1])
        error = self._error(state, directions, displacement, multiplier_update, mixed)
        hypergradient_norm = projected_norm(problem, state.hyper, directions.hyper)
        converged = error <= self._accuracy(metric) * hypergradient_norm
        hyper = {"hyper": state.hyper, "search": state.search, "stalled": state.stalled}
        if converged or self.hyper_step != "auto":  # else it waits for params and multiplier
            hyper = self._move_hyper(problem, state, directions)
        found = params, multiplier, state.anchored
        if problem.descends and hyper["search"] is not state.search:
            found = self._of_basin(state, hyper["search"], params, multiplier)
        params, multiplier, anchored = found
        last = state.displacement
        following = BammState(
            iteration=state.iteration + 1,
            params=params,
            multiplier=multiplier,
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
            moved=self._has_moved(problem, state, hyper["hyper"]),
            lengths=lengths,
            anchored=anchored,
            **hyper,
        )
        sizes = lengths if math.isfinite(sum(lengths)) else (params, multiplier)
        if is_finite(directions.hyper, following.hyper, *sizes):
            return following
        following = retreat(self, problem, state, ("params", "multiplier"))
        unknown: dict = {"params_converged": False, "hypergradient": None, "lengths": ()}
        return replace(following, moved=self._has_moved(problem, state, following.hyper), **unknown)

    def _follow(self, problem, state):
        """Params from the problem, and where that is by a descent the multiplier by another one."""
        params, multiplier = problem.solve_lower(state.hyper, state.params), state.multiplier
        for _ in range(MAX_DESCENTS if problem.descends else 0):
            lower = problem.lower.point(state.hyper, params)
            upper = problem.upper.point(state.hyper, params)
            system = lower.hessian_product, upper.gradients.params
            options = multiplier, lambda left: left, N_LINEAR, ACCURACY
            multiplier = conjugate_gradient(*system, *options)[0]
            # A larger correction of the value by the multiplier is none: the descent goes on.
            correction = abs(float((multiplier * lower.params_gradient).sum()))
            if not correction > CORRECTION * abs(float(upper.value)):
                break
            params = problem.solve_lower(state.hyper, params)
        return replace(state, params=params, multiplier=multiplier, lengths=())

    def _of_basin(self, state, search, params, multiplier):
        """Params and multiplier to go on from, and those at the search's anchor.

        After a rejected point they are the anchor's: a descent may have left its basin there, and
        no shorter step from the other one would lead back.
        """
        here = state.params, state.multiplier
        if search is None or search.anchor is state.hyper or not state.anchored:
            return params, multiplier, here
        return *state.anchored, state.anchored

    def _directions(self, problem, state, metric, averaging):
        from ..problems import AveragedObjective

        averaged = problem.lower
        if averaging:
            averaged = AveragedObjective(problem.lower, problem.upper, averaging)
        averaged = averaged.point(state.hyper, state.params)
        # The products come first: what they need of gradients is then known.
        products = averaged.curvature_products(state.multiplier)
        upper = problem.upper.point(state.hyper, state.params).gradients
        # All three directions use the multiplier of the *previous* step. Using the fresh
        # one would be another (Gauss-Seidel) method, without this one's analysis.
        return Directions(
            averaged,
            metric,
            params=averaged.params_gradient,
            multiplier=products.hessian - upper.params,
            hyper=upper.hyper - products.mixed,
        )

    def _move_params(self, state, directions):
        """What params lose in this step, and where they arrive."""
        averaged, metric, gradient = directions.averaged, directions.metric, directions.params
        params = state.params
        update = gradient if metric is None else metric.solve(gradient)
        if not _searches(self.params_step):
            update = at(self.params_step, state.iteration) * update
        elif metric is None or not metric.exact:
            product = averaged.hessian_product(update)
            step = _cauchy(gradient, update, product)
            if self.params_step != "auto":
                return step * update, params - step * update
            if step == 0:
                # Bent down: as far as if it were bent up as much as the gradient turns there.
                derivative = float((gradient * update).sum())
                step = divide(derivative, norm_of(update) * norm_of(product))
            return backtrack(averaged, step * update)
        return update, params - update

    def _move_multiplier(self, state, directions):
        """What the multiplier loses in this step, and its mixed product where that is known."""
        averaged, metric, gradient = directions.averaged, directions.metric, directions.multiplier
        update = gradient if metric is None else metric.solve(gradient)
        if not _searches(self.multiplier_step):
            update = at(self.multiplier_step, state.iteration) * update
        elif metric is None or not metric.exact:
            products = averaged.curvature_products(update)
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
        change = norm_of(directions.hyper - state.hypergradient)
        error = divide(change * displacement, state.displacement)
        if mixed is None and self.hyper_step == "auto":
            # Not for steps of given length, which wait for nothing: a product takes its time.
            mixed = directions.averaged.mixed_product(multiplier_update)
        return error if mixed is None else max(norm_of(mixed), error)

    def _move_hyper(self, problem, state, directions):
        """Fields of the next state."""

        def value():
            # At the params that the lower level is converging to: the multiplier tells what a
            # gradient that is left there does to the upper objective, to second order in both.
            found = float(problem.upper.point(state.hyper, state.params).value)
            return found - float((state.multiplier * directions.params).sum())

        return move_hyper(self, problem, state, directions.hyper, value)

    def _has_moved(self, problem, state, hyper):
        if self.hyper_step != "auto" and problem.metric is None:
            return True  # nobody asks
        return hyper is not state.hyper and bool((hyper != state.hyper).any())

    def _accuracy(self, metric):
        if self.accuracy is not None:
            return self.accuracy
        return 0.01 if metric is None or metric.exact else 0.1

    def _averaging(self, problem, iteration):
        schedule = problem.averaging if self.averaging is None else self.averaging
        if schedule is None:
            schedule = 0.0 if problem.strongly_convex or problem.descends else FADING
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


def backtrack(averaged, update):
    """The update, halved where the objective rises, and where it arrives.

    Beyond quadratics a line search can overshoot. From where the objective is not finite no step
    is known to descend: then both are NaN.
    """
    objective, hyper, params = averaged.objective, averaged.hyper, averaged.params
    value = float(averaged.value)
    if not math.isfinite(value):
        return math.nan * update, math.nan * params
    allowed = value + 1e-12 * abs(value)
    arrived = params - update
    for _ in range(20):
        # The next step begins here as a rule.
        if float(objective.point(hyper, arrived).value) <= allowed:  # NaN counts as risen
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


def _relative(update, *lengths) -> float:
    """Length of an update relative to the longer of the vectors before and after it."""
    moved, size = norm_of(update), max(lengths)
    return moved / size if size > 0 else moved
