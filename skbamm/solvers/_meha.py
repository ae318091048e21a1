"""MEHA: Moreau envelope based, Hessian-free, single loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ._base import Solver
from ._dynamics import Preconditioner
from ._envelope import EnvelopeLevels, measured_curvature, proximal_step
from ._moves import begin_search, divide, projected_norm, scale, search_hyper, spread
from ._schedules import at
from ._secant import SecantSearch

# One over the envelope's gamma, beside the curvature of the lower level: above its weak convexity
# (in theory above twice it) where it may not be convex; anything where it is.
PROXIMITY, CONVEX_PROXIMITY = 3.0, 0.1
# The upper objective leads at first, beside the lower one's curvature, where the valley of the
# lower level has still to be chosen.
FIRST_WEIGHT, CONVEX_FIRST_WEIGHT = 1.0, 1e-2
# The weight shrinks by this, when the hypergradient has by the next, or is below its bias.
WEIGHT_SHRINK = 0.25
NORM_SHRINK = 0.1
LEAST_WEIGHT = 1e-9
# How much of a measured curvature counts an iteration later.
FADING = 0.99
# An error of the hypergradient that never matters, beside itself.
SMALL = 1e-6


@dataclass(frozen=True)
class MehaState:
    """State of `Meha`; ``()`` or ``(n_candidates,)`` where not said otherwise.

    Attributes
    ----------
    iteration : int
    hyper, params, proximal_params : Tensor
    upper_weight : Tensor
        Weight of the upper objective beside the lower one's 1.
    residual : Tensor
        Projected hypergradient, plus estimates of what unsettled params and the weight of the
        upper objective (its bias) leave in it; infinite while one of them is not known.
    hypergradient_norm : Tensor
    settled, stalled : Tensor of bool
        As in `SlBamm`.
    lower_curvature, upper_curvature : Tensor
        Largest ones seen, in the problem's metric.
    hypergradient, change : Tensor
        The last hypergradient, and how much it differed from the one before.
    before : Tensor
        Hypergradient before the weight was changed last; NaN where it is not needed.
    bias, stage_norm : Tensor
        Estimated error that the weight makes; first norm under this weight.
    """

    iteration: int
    hyper: Any
    params: Any
    proximal_params: Any
    upper_weight: Any
    residual: Any = None
    hypergradient_norm: Any = None
    settled: Any = None
    stalled: Any = None
    lower_curvature: Any = None
    upper_curvature: Any = None
    hypergradient: Any = None
    change: Any = None
    before: Any = None
    calm: Any = None
    bias: Any = None
    stage_norm: Any = None
    search: SecantSearch | None = None

    @property
    def averaging(self):
        """The weight, beside both."""
        return self.upper_weight / (1 + self.upper_weight)


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
        ``PowerLaw(1 / c0, p)`` with p < 1/2. "auto" starts at the ratio of the curvatures of
        both levels (a hundredth of it where the lower level is strongly convex) and is divided
        by 4 whenever x has converged as far as the bias of this weight deserves.

    proximity : float or "auto", default="auto"
        One over gamma; "auto" is three times the lower level's curvature (a tenth of it where
        the lower level is strongly convex).

    params_step, proximal_step : float, callable or "auto", default="auto"
        :math:`\beta` and :math:`\eta`; "auto" is one over the curvature of what they descend on.

    hyper_step : float, callable or "auto", default="auto"
        :math:`\alpha`; "auto" moves x along secants of the penalized objective divided by w,
        with backtracking, when params have settled.

    memory : int, default=10
        How many secants the search on `hyper` keeps, as in `SlBamm`.

    max_move : float, default=1.0
        Largest change of one entry of `hyper` in one step of that search.

    accuracy : float, default=0.1
        Error of the hypergradient beside itself below which params count as settled.

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

    handles_nonsmooth = True

    def __init__(
        self,
        *,
        upper_weight="auto",
        proximity="auto",
        params_step="auto",
        proximal_step="auto",
        hyper_step="auto",
        memory=10,
        max_move=1.0,
        accuracy=0.1,
    ):
        self.upper_weight = upper_weight
        self.proximity = proximity
        self.params_step = params_step
        self.proximal_step = proximal_step
        self.hyper_step = hyper_step
        self.memory = memory
        self.max_move = max_move
        self.accuracy = accuracy

    def init(self, problem):
        hyper = problem.project_hyper(problem.initial_hyper)
        params = problem.project_params(problem.initial_params)
        metric = self._metric(problem, hyper, params)
        lower, upper = (
            measured_curvature(problem, level, metric, hyper, params)
            for level in (problem.lower, problem.upper)
        )
        weight = lower * 0 + (1 if self.upper_weight == "auto" else at(self.upper_weight, 0))
        if self.upper_weight == "auto":
            ratio = divide(lower, upper)
            # A linear upper objective has no curvature to compare.
            ratio = ratio.where(ratio > 0, ratio * 0 + 1)
            weight = ratio * (CONVEX_FIRST_WEIGHT if problem.strongly_convex else FIRST_WEIGHT)
        unknown = weight * 0 + float("inf")
        return MehaState(
            iteration=0,
            hyper=hyper,
            params=params,
            proximal_params=params,
            upper_weight=weight,
            lower_curvature=lower,
            upper_curvature=upper,
            hypergradient=hyper * 0 + float("nan"),
            change=unknown,
            before=hyper * 0 + float("nan"),
            calm=weight < 0,
            bias=unknown,
            stage_norm=weight * 0,
            search=begin_search(problem, hyper) if self.hyper_step == "auto" else None,
        )

    def step(self, problem, state):
        hyper, params = state.hyper, state.params
        weight = self._weight(state)
        metric = self._metric(problem, hyper, params)
        proximity, params_step, theta_step = self._steps(problem, state, weight)
        theta = state.proximal_params
        pull = scale(proximity, theta - params)
        theta = proximal_step(
            problem,
            hyper,
            theta,
            problem.lower.params_gradient(hyper, theta),
            pull,
            Preconditioner(theta_step, metric),
        )
        levels = EnvelopeLevels.at(problem, hyper, params, theta)
        hypergradient = levels.hypergradient(weight)
        following = self._judge(problem, state, levels, weight, hypergradient)
        following = self._move(problem, state, following, levels, proximity)
        new_hyper = following.hyper
        if bool((new_hyper != hyper).any()):
            upper = problem.upper.gradients(new_hyper, params).params
            lower = problem.lower.params_gradient(new_hyper, params)
        else:
            upper, lower = levels.upper.params, levels.lower.params
        moved = proximal_step(
            problem,
            new_hyper,
            params,
            scale(weight, upper) + lower,
            -scale(proximity, params - theta),
            Preconditioner(params_step, metric),
        )
        lower_curvature, upper_curvature = self._curvatures(
            problem, state, metric, new_hyper, moved
        )
        return replace(
            following,
            params=moved,
            proximal_params=theta,
            lower_curvature=lower_curvature,
            upper_curvature=upper_curvature,
        )

    def _weight(self, state):
        if self.upper_weight == "auto":
            return state.upper_weight
        return state.upper_weight * 0 + at(self.upper_weight, state.iteration)

    def _metric(self, problem, hyper, params):
        # A metric and a non-smooth term do not go together: its proximal map would be another.
        if problem.metric is None or problem.nonsmooth is not None:
            return None
        return problem.metric(hyper, params, 0.0)

    def _steps(self, problem, state, weight):
        """One over gamma, and the steps of params and proximal params."""
        lower = state.lower_curvature
        lower = lower.where(lower > 0, lower * 0 + 1)
        proximity = self.proximity
        if proximity == "auto":
            proximity = lower * (CONVEX_PROXIMITY if problem.strongly_convex else PROXIMITY)
        params_step, theta_step = self.params_step, self.proximal_step
        if params_step == "auto":
            params_step = 1 / (lower + weight * state.upper_curvature)
        else:
            params_step = at(params_step, state.iteration)
        if theta_step == "auto":
            theta_step = 1 / (lower + proximity)
        else:
            theta_step = at(theta_step, state.iteration)
        return proximity, params_step, theta_step

    def _curvatures(self, problem, state, metric, hyper, params):
        """The largest curvatures of late, by one gradient more along the last move of params."""
        known = state.lower_curvature, state.upper_curvature
        if "auto" not in (self.params_step, self.proximal_step, self.proximity):
            return known
        move = params - state.params
        lower, upper = (
            # What was seen long ago, or was rounding, is forgotten in time.
            (FADING * before).maximum(
                measured_curvature(problem, level, metric, hyper, params, move, n_iter=1)
            )
            for level, before in zip((problem.lower, problem.upper), known, strict=True)
        )
        if metric is not None and metric.exact:
            lower = known[0] * 0 + 1
        return lower, upper

    def _judge(self, problem, state, levels, weight, hypergradient):
        """Residual, and whether params have settled."""
        hyper = state.hyper
        norm = projected_norm(problem, hyper, hypergradient)
        change = problem.norm(hypergradient - state.hypergradient)
        change = change.nan_to_num(float("inf"), posinf=float("inf"))
        # Changes that shrink like a geometric series leave this much to come.
        ratio = (change / state.change).clamp(max=0.999).nan_to_num(0.999)
        error = change * ratio / (1 - ratio)
        error = error.nan_to_num(float("inf"), posinf=float("inf"))
        error = error.where(state.change.isfinite(), state.change)
        error = error.where(change > levels.rounding(weight), change)
        # Where all entries rest on their bounds the projected norm is zero, and no scale.
        enough = (self.accuracy * norm).maximum(SMALL * problem.norm(hypergradient))
        calm = error <= enough
        settled = calm & state.calm
        if self.hyper_step != "auto":
            error = change
        bias = state.bias
        if self.upper_weight == "auto":
            known = _shift(problem, hyper, hypergradient, state.before) * (
                WEIGHT_SHRINK / (1 - WEIGHT_SHRINK)
            )
            bias = known.where(settled & ~known.isnan(), bias)
        else:
            bias = bias * 0 if bool(bias.isfinite().all()) else norm * 0
        return replace(
            state,
            iteration=state.iteration + 1,
            upper_weight=weight,
            residual=norm + error + bias,
            hypergradient_norm=norm,
            settled=settled,
            calm=calm,
            hypergradient=hypergradient,
            change=change,
            bias=bias,
            stage_norm=norm.where(settled & (state.stage_norm == 0), state.stage_norm),
        )

    def _move(self, problem, state, following, levels, proximity):
        """Next hyper and weight."""
        hyper, norm = state.hyper, following.hypergradient_norm
        weight, hypergradient = following.upper_weight, following.hypergradient
        grown = self._ripe(problem, state, following)
        if state.search is None:
            step = at(self.hyper_step, state.iteration)
            # The published step is along the gradient that the weight has not been taken from.
            hyper = problem.project_hyper(hyper - step * scale(weight, hypergradient))
            search, stalled, changed = None, None, grown
        else:
            hyper, search = search_hyper(
                problem,
                state.search,
                following.settled & ~grown,
                hyper,
                levels.value(weight, proximity),
                hypergradient,
                memory=self.memory,
                max_move=self.max_move,
            )
            search = _restarted(search, grown.reshape(-1))
            stalled = search.stalled.reshape(norm.shape)
            changed = grown | (problem.norm(hyper - state.hyper) > 0)
        unknown = hypergradient * float("nan")
        before = unknown.where(spread(following.settled, hyper), state.before)
        return replace(
            following,
            hyper=hyper,
            upper_weight=(WEIGHT_SHRINK * weight).where(grown, weight),
            stalled=stalled,
            search=search,
            # After a change nothing is known about how params settle.
            calm=following.calm & ~changed,
            change=(norm * 0 + float("inf")).where(changed, following.change),
            hypergradient=unknown.where(spread(changed, hyper), hypergradient),
            before=hypergradient.where(spread(grown, hyper), before),
            stage_norm=(norm * 0).where(grown, following.stage_norm),
        )

    def _ripe(self, problem, state, following):
        """Whether the weight is to shrink: x has converged as far as it is worth."""
        norm, settled = following.hypergradient_norm, following.settled
        if self.upper_weight != "auto":
            return settled & False
        ripe = norm <= NORM_SHRINK * following.stage_norm
        ripe = ripe | (following.bias.isfinite() & (norm <= following.bias))
        if problem.strongly_convex:
            # Nothing is to be chosen by a large weight: its bias comes first.
            ripe = ripe | following.bias.isinf()
        if state.search is not None:
            ripe = ripe | state.search.stalled.reshape(norm.shape)
        # No faster than 1 / k where the valley of the lower level may still be a wrong one.
        least = LEAST_WEIGHT if problem.strongly_convex else FIRST_WEIGHT / following.iteration
        return settled & ripe & (following.upper_weight > least)


def _restarted(search, mask):
    """A search that keeps what it knows of curvature, but compares no values, for some."""
    return replace(
        search,
        started=search.started & ~mask,
        stalled=search.stalled & ~mask,
        fresh=search.fresh & ~mask,
    )


def _shift(problem, hyper, first, second):
    """Distance of two projected steps."""
    return problem.norm(
        problem.project_hyper(hyper - first) - problem.project_hyper(hyper - second)
    )
