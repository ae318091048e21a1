"""MEHA: Moreau envelope based, Hessian-free, single loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ._base import Solver, State
from ._dynamics import Preconditioner
from ._envelope import EnvelopeLevels, measured_curvature, proximal_step
from ._options import AUTO, PARAMS_STEP, POSITIVE, SEARCH
from ._steps import Schedule, at, begin, divide, move_hyper, projected_norm

# One over the envelope's gamma, relative to the curvature of the lower level: above its weak
# convexity (in theory above twice it) where it may not be convex; anything where it is.
PROXIMITY, CONVEX_PROXIMITY = 3.0, 0.1
# The upper objective leads at first, relative to the lower one's curvature, where the basin of
# the lower level has still to be chosen.
FIRST_WEIGHT, CONVEX_FIRST_WEIGHT = 1.0, 1e-2
# The weight shrinks by this, when the hypergradient has by the next, or is below its bias.
WEIGHT_SHRINK = 0.25
NORM_SHRINK = 0.1
LEAST_WEIGHT = 1e-9
# How much of a measured curvature counts an iteration later.
FADING = 0.99
# An error of the hypergradient that never matters, relative to itself.
SMALL = 1e-6


@dataclass(frozen=True)
class MehaState(State):
    """State of `Meha`; curvatures are the largest ones seen, in the problem's metric."""

    proximal_params: Any = None
    upper_weight: float = 1.0  # of the upper objective, relative to the lower one's 1
    lower_curvature: float = 1.0
    upper_curvature: float = 1.0
    # In how many iterations, up to this one, unsolved params left a small error in the
    # hypergradient. Two of them count as converged.
    n_close: int = 0
    hypergradient: Any = None
    change: float = math.inf  # of the hypergradient, in the last iteration
    before: Any = None  # hypergradient before the weight was changed last, while it is needed
    bias: float = math.inf  # estimated error that the weight makes
    stage_norm: float = 0.0  # the first norm under this weight

    @property
    def averaging(self):
        """The weight relative to both."""
        return self.upper_weight / (1 + self.upper_weight)

    @property
    def params_converged(self):
        return self.n_close >= 2


class Steps(NamedTuple):
    """Lengths of an iteration's steps, along a metric; `proximity` is one over gamma."""

    metric: Any
    proximity: float
    params: float
    proximal: float


@dataclass(kw_only=True, eq=False, repr=False)
class Meha(Solver):
    r"""Moreau Envelope based Hessian-free Algorithm.

    For a lower level f + g, g non-smooth with a proximal map (or absent), that may be weakly
    convex. Its optimality is written as :math:`f + g - v_\gamma \le 0` with the Moreau envelope
    :math:`v_\gamma(x, y) = \min_\theta f(x, \theta) + g(x, \theta)
    + \|\theta - y\|^2 / 2\gamma`, and penalized: :math:`w F + f + g - v_\gamma` with a weight
    :math:`w = 1/c_k` that fades. One iteration:

    .. math::

        \theta &\leftarrow \mathrm{prox}_{\eta g}(\theta
            - \eta [\nabla_y f(x, \theta) + (\theta - y) / \gamma]) \\
        x &\leftarrow P(x - \alpha [w \nabla_x F(x, y) + \nabla_x (f + g)(x, y)
            - \nabla_x (f + g)(x, \theta)]) \\
        y &\leftarrow \mathrm{prox}_{\beta g}(y
            - \beta [w \nabla_y F(x, y) + \nabla_y f(x, y) - (y - \theta) / \gamma])

    First derivatives only: three gradients of f and one of F an iteration, one more of each where
    x has moved and two more of each to measure curvatures, which "auto" steps ask for.

    Parameters
    ----------
    upper_weight : float, callable or "auto", default="auto"
        The weight w; a callable gets the iteration. In theory it fades like
        ``PowerLaw(1 / c0, p)`` with p < 1/2. "auto" begins with the ratio of the curvatures of
        both levels (a hundredth of it where the lower level is strongly convex) and is divided
        by 4 whenever x has converged as far as the bias of this weight deserves.

    proximity : float or "auto", default="auto"
        One over gamma; "auto" is three times the lower level's curvature (a tenth of it where
        the lower level is strongly convex).

    params_step, proximal_step : float, callable or "auto", default="auto"
        :math:`\beta` and :math:`\eta`; "auto" is one over the curvature of what they descend on.

    hyper_step : float, callable or "auto", default="auto"
        :math:`\alpha`; "auto" moves x along secants of the penalized objective divided by w,
        with backtracking, when params have converged.

    memory : int, default=10
        How many secants the search on `hyper` keeps, as in `SlBamm`.

    max_move : float, default=1.0
        Largest change of one entry of `hyper` in one step of that search.

    accuracy : float, default=0.1
        Error of the hypergradient, relative to itself, below which params count as converged.

    Notes
    -----
    "auto" departs from the published schedules in when x and w move, as `SlBamm`'s does. With
    numbers or schedules the residual leaves the bias of w out.

    References
    ----------
    .. [1] R. Liu, Z. Liu, W. Yao, S. Zeng, J. Zhang, "Moreau Envelope for Nonconvex Bi-Level
           Optimization: A Single-loop and Hessian-free Solution Strategy", ICML 2024,
           arXiv:2405.09927. Algorithm 1.
    """

    kinds = {
        "upper_weight": PARAMS_STEP,
        "proximity": (POSITIVE, AUTO),
        "params_step": PARAMS_STEP,
        "proximal_step": PARAMS_STEP,
        "accuracy": (POSITIVE,),
        **SEARCH,
    }

    upper_weight: Schedule | str = "auto"
    proximity: float | str = "auto"
    params_step: Schedule | str = "auto"
    proximal_step: Schedule | str = "auto"
    hyper_step: Schedule | str = "auto"
    memory: int = 10
    max_move: float = 1.0
    accuracy: float = 0.1

    def init(self, problem):
        state = begin(self, problem, MehaState)
        hyper, params = state.hyper, state.params
        metric = self._metric(problem, hyper, params)
        lower, upper = (
            measured_curvature(level, metric, hyper, params)
            for level in (problem.lower, problem.upper)
        )
        if self.upper_weight == "auto":
            # A linear upper objective has no curvature to compare.
            weight = divide(lower, upper) or 1.0
            weight *= CONVEX_FIRST_WEIGHT if problem.strongly_convex else FIRST_WEIGHT
        else:
            weight = at(self.upper_weight, 0)
        return replace(
            state,
            proximal_params=params,
            upper_weight=weight,
            lower_curvature=lower,
            upper_curvature=upper,
        )

    def step(self, problem, state):
        weight = state.upper_weight
        if self.upper_weight != "auto":
            weight = at(self.upper_weight, state.iteration)
        steps = self._steps(problem, state, weight)
        proximal_params = self._move_proximal_params(problem, state, steps)
        levels = EnvelopeLevels.at(problem, state.hyper, state.params, proximal_params)
        following = self._measure(problem, state, levels, weight)
        following = self._move_hyper(problem, state, following, levels, steps)
        params = self._move_params(problem, following, levels, weight, steps)
        lower, upper = self._curvatures(problem, state, steps.metric, following.hyper, params)
        return replace(
            following,
            params=params,
            proximal_params=proximal_params,
            lower_curvature=lower,
            upper_curvature=upper,
        )

    def _steps(self, problem, state, weight):
        lower = state.lower_curvature if state.lower_curvature > 0 else 1.0
        proximity: Any = self.proximity
        params, proximal = self.params_step, self.proximal_step
        if proximity == "auto":
            proximity = lower * (CONVEX_PROXIMITY if problem.strongly_convex else PROXIMITY)
        if params == "auto":
            params = 1 / (lower + weight * state.upper_curvature)
        if proximal == "auto":
            proximal = 1 / (lower + proximity)
        return Steps(
            self._metric(problem, state.hyper, state.params),
            proximity,
            at(params, state.iteration),
            at(proximal, state.iteration),
        )

    def _metric(self, problem, hyper, params):
        # A metric and a non-smooth term do not go together: its proximal map would be another.
        if problem.metric is None or problem.nonsmooth is not None:
            return None
        return problem.metric(hyper, params, 0.0)

    def _move_proximal_params(self, problem, state, steps):
        hyper, proximal_params = state.hyper, state.proximal_params
        gradient = problem.lower.params_gradient(hyper, proximal_params)
        proximal_term = steps.proximity * (proximal_params - state.params)
        precondition = Preconditioner(steps.proximal, steps.metric)
        return proximal_step(problem, hyper, proximal_params, gradient, proximal_term, precondition)

    def _move_params(self, problem, following, levels, weight, steps):
        """At the new hyper and with the new proximal params."""
        hyper, params = following.hyper, levels.params
        if bool((hyper != levels.hyper).any()):
            upper = problem.upper.gradients(hyper, params).params
            lower = problem.lower.params_gradient(hyper, params)
        else:
            upper, lower = levels.upper.params, levels.lower.params
        proximal_term = -(steps.proximity * (params - levels.proximal_params))
        precondition = Preconditioner(steps.params, steps.metric)
        gradient = weight * upper + lower
        return proximal_step(problem, hyper, params, gradient, proximal_term, precondition)

    def _curvatures(self, problem, state, metric, hyper, params):
        """The largest curvatures of late, by one gradient more along the last step of params."""
        known = state.lower_curvature, state.upper_curvature
        if "auto" not in (self.params_step, self.proximal_step, self.proximity):
            return known
        change = params - state.params
        lower, upper = (
            # What was seen long ago, or was rounding, is forgotten in time.
            max(measured_curvature(level, metric, hyper, params, change, n_iter=1), FADING * before)
            for level, before in zip((problem.lower, problem.upper), known, strict=True)
        )
        return 1.0 if metric is not None and metric.exact else lower, upper

    def _measure(self, problem, state, levels, weight):
        """Hypergradient and residual, and whether params have converged."""
        hypergradient = levels.hypergradient(weight)
        norm_ = projected_norm(problem, state.hyper, hypergradient)
        change = math.inf
        if state.hypergradient is not None:
            change = float((hypergradient - state.hypergradient).norm())
        error = _remainder(change, state.change, levels.rounding(weight))
        # The projected norm is zero, and no scale, where all entries are on their bounds.
        enough = max(self.accuracy * norm_, SMALL * float(hypergradient.norm()))
        following = replace(
            state,
            iteration=state.iteration + 1,
            upper_weight=weight,
            hypergradient_norm=norm_,
            n_close=state.n_close + 1 if error <= enough else 0,
            hypergradient=hypergradient,
            change=change,
        )
        converged = following.params_converged
        bias, stage_norm = state.bias, state.stage_norm
        if self.upper_weight != "auto":
            bias = 0.0
        elif converged and state.before is not None:
            bias = _shift(problem, state.hyper, hypergradient, state.before) * (
                WEIGHT_SHRINK / (1 - WEIGHT_SHRINK)
            )
        if converged and stage_norm == 0:
            stage_norm = norm_
        if self.hyper_step != "auto":
            error = change
        residual = norm_ + error + bias
        return replace(following, residual=residual, bias=bias, stage_norm=stage_norm)

    def _move_hyper(self, problem, state, following, levels, steps):
        """Next hyper and weight."""
        weight, hypergradient = following.upper_weight, following.hypergradient
        shrinks = self._weight_is_done(problem, state, following)
        fields = {}
        if self.hyper_step != "auto":
            # The published step is along the gradient that the weight has not been taken from.
            fields = move_hyper(self, problem, state, weight * hypergradient, None)
        elif shrinks:
            # It keeps what it knows of curvature, but compares no values.
            search = replace(state.search, started=False, stalled=False, fresh=False)
            fields = {"search": search, "stalled": False}
        elif following.params_converged:
            fields = move_hyper(
                self,
                problem,
                state,
                hypergradient,
                lambda: levels.value(weight, steps.proximity),
            )
        before = None if following.params_converged else state.before
        following = replace(following, before=before, **fields)
        if shrinks:
            following = replace(
                following, upper_weight=WEIGHT_SHRINK * weight, before=hypergradient, stage_norm=0.0
            )
        if shrinks or (
            self.hyper_step == "auto" and float((following.hyper - state.hyper).norm()) > 0
        ):
            # Nothing is known about how params converge under the new numbers.
            following = replace(following, n_close=0, change=math.inf, hypergradient=None)
        return following

    def _weight_is_done(self, problem, state, following):
        """Whether the weight is to shrink: x has converged as far as it is worth."""
        if self.upper_weight != "auto" or not following.params_converged:
            return False
        norm_, bias = following.hypergradient_norm, following.bias
        is_done = (
            norm_ <= NORM_SHRINK * following.stage_norm
            # Nothing is to be chosen by a large weight: its bias comes first.
            or (problem.strongly_convex if math.isinf(bias) else norm_ <= bias)
            or state.stalled
        )
        # No faster than 1 / k where the basin of the lower level may still be a wrong one.
        least = LEAST_WEIGHT if problem.strongly_convex else FIRST_WEIGHT / following.iteration
        return is_done and following.upper_weight > least


def _remainder(change, last_change, rounding):
    """What is to come of changes that shrink like a geometric series."""
    if not change > rounding:
        return change
    if math.isinf(change) or math.isinf(last_change):
        return math.inf
    ratio = min(change / last_change, 0.999) if last_change > 0 else 0.999
    return change * ratio / (1 - ratio)


def _shift(problem, hyper, first, second):
    """Distance of two projected steps."""
    return float(
        (problem.project_hyper(hyper - first) - problem.project_hyper(hyper - second)).norm()
    )
