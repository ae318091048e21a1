"""IAPTT-GM: unrolling with a learned initialization and pessimistic truncation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ._base import Need, Solver, State
from ._options import (
    AUTO,
    COUNT,
    FUNCTION,
    NOT_NEGATIVE,
    NOTHING,
    PARAMS_STEP,
    SEARCH,
    SWITCH,
    word,
)
from ._steps import Schedule, SecantStep, at, begin, divide, is_finite, norm_of, projected_norm
from .lower._dynamics import Dynamics, Preconditioner, descend, unit_preconditioner

# How far all steps of one trajectory go together, in units of one over the curvature, where the
# lower level has several basins: a trajectory that ends in one of them forgets its
# initialization, and nothing is left to learn in it.
HORIZON = 2.0
# Of the rule for hyper's step: longer while gradients agree, half as long when they turn.
LARGEST_CHANGE = 0.3
# The same of the initialization where params are in a box, in widths of it.
BOX_CHANGE = 0.25
GROWTH = 1.1
SHRINK = 0.5
# A derivative in the initialization that is rounding, relative to that in the last params.
FORGOTTEN = 1e-10
# Steps this small have been halved at the same kink for long.
COLLAPSED = 1e-10


@dataclass(frozen=True)
class IapttState(State):
    """State of `IapttGm`; `params` is the point at which the last trajectory was cut."""

    initialization: Any = None  # z, of the next trajectory
    n_used: int | None = None  # how many steps of the last trajectory counted
    gradient: Any = None  # of the last step, in hyper and initialization joined
    length: float | None = None  # of the last step of hyper; in a box, in units of the largest
    origin: Any = None  # from where it was made, joined


@dataclass(kw_only=True, eq=False, repr=False)
class IapttGm(Solver):
    r"""Initialization Auxiliary and Pessimistic Trajectory Truncated Gradient Method.

    Every iteration descends on the lower level from a *learned* initialization z,

    .. math:: y_0 = z, \quad y_{t+1} = P(y_t - s \nabla_y f(x, y_t)), \quad t < T,
              \qquad t^* = \arg\max_{1 \le t \le T} F(x, y_t),

    and moves x and z along minus the gradient of :math:`\varphi(x, z) = F(x, y_{t^*}(x, z))`,
    by reverse mode through :math:`t^*` steps. Made for lower levels that are not convex. Cost
    of an iteration: T gradients, T upper values and :math:`t^*` curvature products; memory:
    T + 1 copies of params.

    Parameters
    ----------
    n_steps : int, default=40
        T.

    params_step : float, callable or "auto", default="auto"
        The step s; a callable gets the iteration. "auto" is one over the curvature (the
        problem's metric where it has one) where the lower level is strongly convex, and
        ``2 / n_steps`` of that elsewhere.

    hyper_step : float, callable or "auto", default="auto"
        Step of x. "auto" moves x and z along secants where the lower level is strongly convex;
        elsewhere no step changes an entry of x or z by more than 0.3, the step grows by a tenth
        while gradients agree and is halved when they turn (after Kesten's rule), as
        :math:`\varphi` has kinks. Where params are in a `Box`, which tells their unit, x and z move
        by fractions of 0.3 and of a quarter of its width, however long their gradients are.

    initialization_step : float, callable or None, default=None
        Step of z; None for that of x.

    truncation : bool or "auto", default="auto"
        Whether to cut the trajectory at :math:`t^*`; otherwise at T. "auto": not where the
        lower level is strongly convex, since every trajectory ends at its one solution.

    dynamics : {"gradient", "nesterov"}, default="gradient"
        Plain descent, or Nesterov's accelerated one for a convex lower level.

    memory : int, default=10
        How many secants the search on `hyper` keeps, as in `SlBamm`.

    max_move : float, default=1.0
        Largest change of one entry of `hyper` in one step of that search.

    References
    ----------
    .. [1] R. Liu, Y. Liu, S. Zeng, J. Zhang, "Towards Gradient-based Bilevel Optimization
           with Non-convex Followers and Beyond", NeurIPS 2021, arXiv:2110.00455. Algorithm 1.
    .. [2] H. Kesten, "Accelerated Stochastic Approximation", Annals of Mathematical
           Statistics, 1958.
    """

    needs = frozenset({Need.CURVATURE_PRODUCTS})
    kinds = {
        "n_steps": (COUNT,),
        "params_step": PARAMS_STEP,
        "initialization_step": (NOT_NEGATIVE, FUNCTION, NOTHING),
        "truncation": (SWITCH, AUTO),
        "dynamics": (word("gradient"), word("nesterov")),
        **SEARCH,
    }

    n_steps: int = 40
    params_step: Schedule | str = "auto"
    hyper_step: Schedule | str = "auto"
    initialization_step: Schedule | None = None
    truncation: bool | str = "auto"
    dynamics: str = "gradient"
    memory: int = 10
    max_move: float = 1.0

    def init(self, problem):
        state = begin(self, problem, IapttState)
        search = None
        if self._searches(problem):
            search = self._secant_step(problem).begin(_joined(state.hyper, state.params))
        return replace(state, initialization=state.params, search=search)

    def step(self, problem, state):
        dynamics, points, bases = self._descend(problem, state)
        value, n_used = self._truncate(problem, state.hyper, points)
        params = points[n_used]
        upper = problem.upper.point(state.hyper, params).gradients
        by_trajectory, by_initialization = dynamics.vjp(bases, n_used, upper.params)
        if not norm_of(by_initialization) > FORGOTTEN * norm_of(upper.params):
            # Below rounding, the trajectory has forgotten its initialization.
            by_initialization = by_initialization * 0
        by_hyper = upper.hyper + by_trajectory
        if not is_finite(value, by_hyper, by_initialization, params):
            return self._retreat(problem, state)
        hyper_norm = projected_norm(problem, state.hyper, by_hyper)
        initialization_norm = float(
            (
                state.initialization
                - problem.project_params(state.initialization - by_initialization)
            ).norm()
        )
        following = replace(
            state,
            iteration=state.iteration + 1,
            params=params,
            # The initialization counts too: z = 0 can make the gradient in x vanish.
            residual=math.hypot(hyper_norm, initialization_norm),
            hypergradient_norm=hyper_norm,
            n_used=n_used,
            gradient=_joined(by_hyper, by_initialization),
        )
        if state.search is None:
            return self._move_along_gradients(
                problem, state, following, by_hyper, by_initialization
            )
        return self._move_along_secants(problem, state, following, value)

    def _searches(self, problem):
        return self.hyper_step == "auto" and problem.strongly_convex and problem.nonsmooth is None

    def _secant_step(self, problem):
        return SecantStep.of(problem, self.memory, self.max_move)

    def _descend(self, problem, state):
        """The trajectory from the learned initialization."""
        automatic = self.params_step == "auto"
        if automatic:
            precondition = unit_preconditioner(
                problem, problem.lower, state.hyper, state.initialization
            )
            if not problem.strongly_convex:
                precondition = precondition.times(HORIZON / self.n_steps)
        else:
            precondition = Preconditioner(at(self.params_step, state.iteration))
        dynamics = Dynamics(
            problem,
            lambda t: problem.lower,
            state.hyper,
            precondition,
            self.n_steps,
            accelerated=self.dynamics == "nesterov",
        )
        return descend(dynamics, state.initialization, safe=automatic)

    def _truncate(self, problem, hyper, points):
        """Upper value where the trajectory is cut, and after how many steps."""
        import torch

        truncates = self.truncation
        if truncates == "auto":
            truncates = not problem.strongly_convex
        if not truncates:
            return problem.upper.point(hyper, points[-1]).value, self.n_steps
        values = torch.stack([problem.upper.value(hyper, point).sum() for point in points[1:]])
        values = values.where(values.isfinite(), -math.inf)  # what can be evaluated counts
        n_used = int(values.argmax()) + 1  # the first of several
        return values[n_used - 1], n_used

    def _move_along_secants(self, problem, state, following, value):
        """One step of hyper and initialization together."""
        joined, search = self._secant_step(problem).move(
            lambda joined: _joined(*_split(problem, joined)),
            state,
            _joined(state.hyper, state.initialization),
            following.gradient,
            lambda: value,
        )
        hyper, initialization = _split(problem, joined)
        return replace(
            following,
            hyper=hyper,
            initialization=initialization,
            stalled=search.stalled,
            search=search,
        )

    def _move_along_gradients(self, problem, state, following, by_hyper, by_initialization):
        """Steps of two lengths."""
        length, stalled = None, False
        if self.hyper_step == "auto":
            first = state.length is None
            agrees = first or bool((following.gradient * state.gradient).sum() > 0)
            hyper_step, initialization_step, length = _kesten_steps(
                state.length, agrees, by_hyper, by_initialization, _box_width(problem)
            )
            size = length * (norm_of(by_hyper) + norm_of(by_initialization))
            stalled = state.length is not None and size <= COLLAPSED * (1 + norm_of(state.hyper))
        else:
            hyper_step = initialization_step = at(self.hyper_step, state.iteration)
        if self.initialization_step is not None:
            initialization_step = at(self.initialization_step, state.iteration)
        return replace(
            following,
            hyper=problem.project_hyper(state.hyper - hyper_step * by_hyper),
            initialization=problem.project_params(
                state.initialization - initialization_step * by_initialization
            ),
            length=length,
            stalled=stalled,
            origin=_joined(state.hyper, state.initialization),
        )

    def _retreat(self, problem, state):
        """As `retreat`, with hyper and initialization joined."""
        following = replace(state, iteration=state.iteration + 1, residual=math.inf)
        joined, search = _joined(state.hyper, state.initialization), state.search
        if search is not None and search.tries and bool((joined != search.anchor).any()):
            joined, search = search.retreat(lambda joined: _joined(*_split(problem, joined)))
            hyper, initialization = _split(problem, joined)
            return replace(
                following,
                hyper=hyper,
                initialization=initialization,
                search=search,
                stalled=search.stalled,
            )
        if state.length is not None and norm_of(joined - state.origin) > COLLAPSED:
            hyper, initialization = _split(problem, (joined + state.origin) / 2)
            length = SHRINK * state.length
            return replace(following, hyper=hyper, initialization=initialization, length=length)
        return replace(following, residual=math.nan, hypergradient_norm=math.nan)


def _kesten_steps(last, agrees, by_hyper, by_initialization, width):
    """Steps of hyper and initialization, and the length that the next ones follow.

    Longer than the last ones while gradients agree, half as long when they turn.
    """
    factor = GROWTH if agrees else SHRINK
    cap = _cap(by_hyper)
    if width is None:
        length = cap if last is None else min(last * factor, cap)
        return length, min(length, _cap(by_initialization)), length
    # Along gradients alone hyper would wait for an initialization whose gradient is longer, or
    # run ahead of one that a bound of its change holds back.
    fraction = 1.0 if last is None else min(last * factor, 1.0)
    return fraction * cap, fraction * _cap(by_initialization, BOX_CHANGE * width), fraction


def _box_width(problem):
    """How far params can go, where two bounds tell it."""
    from ..problems import Box

    if not isinstance(problem.nonsmooth, Box):
        return None
    width = problem.nonsmooth.upper - problem.nonsmooth.lower
    return width if 0 < width < math.inf else None


def _cap(gradient, change=LARGEST_CHANGE):
    """The step along a gradient that changes its largest entry by as much as is allowed."""
    # Along nothing any step will do.
    return divide(change, float(gradient.abs().max())) or 1.0


def _split(problem, joined):
    """Hyper and initialization, both feasible."""
    hyper, initialization = problem.initial_hyper, problem.initial_params
    n_hyper = hyper.numel()
    return (
        problem.project_hyper(joined[:n_hyper].reshape(hyper.shape)),
        problem.project_params(joined[n_hyper:].reshape(initialization.shape)),
    )


def _joined(hyper, initialization):
    import torch

    return torch.cat([hyper.flatten(), initialization.flatten()])
