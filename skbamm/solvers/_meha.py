"""MEHA: Moreau envelope based, Hessian-free, single loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ._base import Solver, State
from ._envelope import (
    EnvelopeLevels,
    Steps,
    is_resolved,
    measured_curvature,
    proximal_step,
    remainder,
    worst_norm,
)
from ._options import AUTO, PARAMS_STEP, POSITIVE, SEARCH
from ._steps import (
    Schedule,
    at,
    begin,
    changed,
    divide,
    is_finite,
    move_hyper,
    norm_of,
    projected_norm,
    retreat,
)
from .lower._dynamics import Preconditioner

# One over the envelope's gamma, relative to the curvature of the lower level: above its weak
# convexity (in theory above twice it) where it may not be convex. Where it is, anything will do,
# and least is best: along a curvature c, params converge at a rate of c^2 / (c + 1 / gamma).
PROXIMITY, CONVEX_PROXIMITY = 3.0, 1e-3
# The upper objective leads at first, relative to the lower one's curvature, where a basin has
# still to be chosen.
FIRST_WEIGHT, CONVEX_FIRST_WEIGHT = 1.0, 1e-2
# The weight shrinks by this, when the hypergradient has by the next, or is below its bias.
WEIGHT_SHRINK = 0.25
NORM_SHRINK = 0.1
# It shrinks no more where rounding would be above this share of the hypergradient.
ROUNDED = 1e-2
# With a non-smooth term, what the upper objective changes in params, relative to these, when no
# kinks are left between them and the solution of the lower level.
DISPLACED = 1e-3
# How much of a measured curvature counts an iteration later.
FADING = 0.99
# An error of the hypergradient that never matters, relative to itself.
SMALL = 1e-6


@dataclass(frozen=True)
class MehaState(State):
    """State of `Meha`; curvatures are the largest ones seen, in the problem's metric."""

    proximal_params: Any = None
    upper_weight: float = 1.0  # of the upper objective, relative to the lower one's 1
    upper_leads: bool = False  # whether there is something to choose by a large weight
    lower_curvature: float = 1.0
    upper_curvature: float = 1.0
    # In how many iterations, up to this one, unsolved params left a small error in the
    # hypergradient. Two of them count as converged.
    n_close: int = 0
    hypergradient: Any = None
    change: float = math.inf  # of the hypergradient, in the last iteration
    before: Any = None  # hypergradient before the weight was changed last, while it is needed
    bias: Any = None  # estimated error that the weight makes, of each entry; None if unknown
    uncertainty: float = math.inf  # what bias and rounding may add to the norm
    mixed: float = 0.0  # how much displaced params change the gradient in hyper
    stage_norm: float = 0.0  # the first norm under this weight
    # Whether the weight is small enough to tell a solution, and whether a smaller one would tell
    # more, in the precision that there is.
    acts: bool = True
    may_shrink: bool = False
    origin: tuple = ()  # params and proximal params that the last step began from

    @property
    def averaging(self):
        """The weight relative to both."""
        return self.upper_weight / (1 + self.upper_weight)

    @property
    def params_converged(self):
        return self.n_close >= 2


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
        both levels (a hundredth of it where the lower level is strongly convex, unless a non-smooth
        term may hide what a linear upper objective wants) and is divided by 4 whenever x has
        converged as far as the bias of this weight deserves, as long as rounding permits.

    proximity : float or "auto", default="auto"
        One over gamma; "auto" is three times the lower level's curvature (a thousandth of it where
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
    "auto" departs from the published schedules in when x and w move, as `SlBamm`'s does. Its
    residual counts what bias and rounding may add, entry by entry, and is infinite while w is so
    large that the penalty has not been seen to act. Numbers or schedules leave the bias of w out.

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
        # A linear upper objective has no curvature to compare, and may not change at all where
        # the non-smooth term holds params: there a large weight looks further.
        leads = not problem.strongly_convex or (problem.nonsmooth is not None and upper == 0)
        if self.upper_weight == "auto":
            weight = divide(lower, upper) or 1.0
            weight *= FIRST_WEIGHT if leads else CONVEX_FIRST_WEIGHT
        else:
            weight = at(self.upper_weight, 0)
        return changed(
            state,
            proximal_params=params,
            upper_weight=weight,
            upper_leads=leads,
            lower_curvature=lower,
            upper_curvature=upper,
        )

    def step(self, problem, state):
        weight = state.upper_weight
        if self.upper_weight != "auto":
            weight = at(self.upper_weight, state.iteration)
        steps = self._steps(problem, state, weight)
        proximal_params = self._move_proximal_params(problem, state, steps)
        # Steps of given length move hyper, and gradients in params are those after that.
        both = self.hyper_step == "auto"
        point = state.hyper, state.params, proximal_params
        levels = EnvelopeLevels.at(problem, *point, asks_both=both)
        following = self._measure(problem, state, levels, weight)
        moved = self._move_hyper(problem, state, following, levels, steps)
        hyper = moved.get("hyper", state.hyper)
        params = self._move_params(problem, hyper, levels, weight, steps)
        lower, upper = self._curvatures(problem, state, steps.metric, hyper, params)
        moved |= {"params": params, "proximal_params": proximal_params}
        moved |= {"lower_curvature": lower, "upper_curvature": upper}
        following = changed(following, **moved, origin=(state.params, state.proximal_params))
        if is_finite(following.hypergradient_norm, lower, upper, params, proximal_params):
            return following
        following = retreat(self, problem, state, ("params", "proximal_params"))
        return changed(following, n_close=0, change=math.inf, hypergradient=None)

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
        if self.hyper_step == "auto":  # where hyper has not moved, the last step knows it
            gradient = problem.lower.point(hyper, proximal_params).params_gradient
        else:
            gradient = problem.lower.params_gradient(hyper, proximal_params)
        proximal_term = steps.proximity * (proximal_params - state.params)
        precondition = Preconditioner(steps.proximal, steps.metric)
        return proximal_step(problem, hyper, proximal_params, gradient, proximal_term, precondition)

    def _move_params(self, problem, hyper, levels, weight, steps):
        """At the new hyper and with the new proximal params."""
        from ..problems import AveragedObjective

        params = levels.params
        if bool((hyper != levels.hyper).any()):
            both = AveragedObjective(problem.lower, problem.upper, weight / (1 + weight))
            gradient = (1 + weight) * both.params_gradient(hyper, params)
        else:
            gradient = weight * levels.upper.params_gradient + levels.lower.params_gradient
        proximal_term = -(steps.proximity * levels.difference)
        precondition = Preconditioner(steps.params, steps.metric)
        return proximal_step(problem, hyper, params, gradient, proximal_term, precondition)

    def _curvatures(self, problem, state, metric, hyper, params):
        """The largest curvatures of late, by one gradient more along the last step of params."""
        known = state.lower_curvature, state.upper_curvature
        if "auto" not in (self.params_step, self.proximal_step, self.proximity):
            return known
        change = params - state.params
        if not is_resolved(change, params):
            # Curvature along rounding says nothing, and numbers that fade would move params on.
            return known
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
            change = norm_of(hypergradient - state.hypergradient)
        mixed = levels.mixed(FADING * state.mixed)
        rounding = levels.rounding(weight, mixed)
        error = remainder(change, state.change, norm_of(rounding))
        # The projected norm is zero, and no scale, where all entries are on their bounds.
        enough = max(self.accuracy * norm_, SMALL * norm_of(hypergradient))
        found = {
            "iteration": state.iteration + 1,
            "upper_weight": weight,
            "hypergradient_norm": norm_,
            "n_close": state.n_close + 1 if error <= enough else 0,
            "hypergradient": hypergradient,
            "change": change,
            "mixed": mixed,
        }
        if self.hyper_step != "auto":
            error = change
        if self.upper_weight == "auto":
            found |= self._weigh(problem, state, changed(state, **found), levels, rounding)
            error += math.inf if found["bias"] is None or not found["acts"] else 0
            rounding = rounding + (0 if found["bias"] is None else found["bias"])
        reached = worst_norm(problem, state.hyper, hypergradient, rounding)
        return changed(state, **found, residual=reached + error, uncertainty=reached - norm_)

    def _weigh(self, problem, state, following, levels, rounding):
        """What this weight leaves open, and whether a smaller one would tell more."""
        bias, hypergradient = state.bias, following.hypergradient
        if following.params_converged and state.before is not None:
            bias = WEIGHT_SHRINK / (1 - WEIGHT_SHRINK) * (hypergradient - state.before).abs()
        acts = problem.nonsmooth is None or (
            levels.displacement <= DISPLACED * norm_of(levels.proximal_params)
        )
        rounded = norm_of(rounding) / WEIGHT_SHRINK
        may_shrink = bias is not None and rounded < norm_of(bias)
        if bias is None or not acts:
            size = following.mixed * levels.displacement / following.upper_weight
            may_shrink |= rounded <= ROUNDED * (size + norm_of(levels.upper.hyper_gradient))
        stage_norm = state.stage_norm
        if following.params_converged and stage_norm == 0:
            stage_norm = following.hypergradient_norm
        return {"bias": bias, "acts": acts, "may_shrink": may_shrink, "stage_norm": stage_norm}

    def _move_hyper(self, problem, state, following, levels, steps):
        """Fields of the next state: hyper and weight."""
        weight, hypergradient = following.upper_weight, following.hypergradient
        shrinks = self._weight_is_done(problem, following)
        moved: dict = {}
        if self.hyper_step != "auto":
            # The published step is along the gradient that the weight has not been taken from.
            moved = move_hyper(self, problem, state, weight * hypergradient, None)
        elif following.params_converged and not shrinks:
            moved = self._search(problem, state, following, levels, steps)
            shrinks = moved["stalled"] and self._may_shrink(problem, following)
        if shrinks and self.hyper_step == "auto":
            # It keeps what it knows of curvature, but compares no values.
            search = changed(state.search, started=False, stalled=False, fresh=False)
            moved |= {"search": search, "stalled": False}
        moved["before"] = None if following.params_converged else state.before
        has_moved = "hyper" in moved and bool((moved["hyper"] != state.hyper).any())
        if shrinks:
            before = None if has_moved and self.hyper_step == "auto" else hypergradient
            moved |= {"upper_weight": WEIGHT_SHRINK * weight, "before": before, "stage_norm": 0.0}
        if shrinks or (has_moved and self.hyper_step == "auto"):
            # Nothing is known about how params converge under the new numbers.
            moved |= {"n_close": 0, "change": math.inf, "hypergradient": None}
        return moved

    def _search(self, problem, state, following, levels, steps):
        """Along secants, unless all that is left is less than what is not known of it."""
        waits = following.upper_weight <= self._least_weight(problem, following)
        if following.hypergradient_norm <= following.uncertainty and not waits:
            # Where it may shrink no more, either.
            return {"stalled": True}
        value, rounding = levels.value_and_rounding(following.upper_weight, steps.proximity)
        moved = move_hyper(
            self, problem, state, following.hypergradient, lambda: value, rounding=rounding
        )
        stands = moved["stalled"] or bool((moved["hyper"] == state.hyper).all())
        # The weight will shrink when there have been more iterations.
        return {**moved, "stalled": stands and not waits}

    def _weight_is_done(self, problem, following):
        """Whether the weight is to shrink: x has converged as far as it is worth."""
        if not following.params_converged or not self._may_shrink(problem, following):
            return False
        norm_, bias = following.hypergradient_norm, following.bias
        if norm_ <= NORM_SHRINK * following.stage_norm:
            return True
        if bias is None:
            # Nothing is to be chosen by a large weight: its bias comes first.
            return not following.upper_leads
        hyper, hypergradient = following.hyper, following.hypergradient
        return norm_ <= worst_norm(problem, hyper, hypergradient, bias) - norm_

    def _may_shrink(self, problem, following):
        return (
            self.upper_weight == "auto"
            and following.may_shrink
            and following.upper_weight > self._least_weight(problem, following)
        )

    def _least_weight(self, problem, following):
        """No faster than 1 / k where the basin of the lower level may still be a wrong one."""
        return 0.0 if problem.strongly_convex else FIRST_WEIGHT / following.iteration
