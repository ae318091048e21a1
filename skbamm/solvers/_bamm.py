"""sl-BAMM: the single-loop Bi-level Averaged Method of Multipliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._base import Solver
from ._moves import begin_search, scale, search_hyper, spread
from ._schedules import PowerLaw, at
from ._secant import SecantSearch

# Without strong convexity of the lower level, averaging starts high and fades.
FADING = PowerLaw(0.9, 0.5)
# An inexact metric is given this many steps before it may be replaced.
METRIC_AGE = 3


@dataclass(frozen=True)
class BammState:
    """State of `SlBamm`; ``()`` or ``(n_candidates,)`` where not said otherwise.

    Attributes
    ----------
    iteration : int
    hyper, params, multiplier : Tensor
    averaging : float
        Used in the step that led here.
    residual : Tensor
        Projected hypergradient plus the estimated error that unsettled `params` and
        `multiplier` leave in it, at the point that the step started from.
    hypergradient_norm : Tensor
        Of the projected hypergradient, at the same point.
    settled : Tensor of bool
        Whether that error was small beside the hypergradient.
    stalled : Tensor of bool
        Whether the search on `hyper` has reached rounding.
    """

    iteration: int
    hyper: Any
    params: Any
    multiplier: Any
    averaging: float = 0.0
    residual: Any = None
    hypergradient_norm: Any = None
    settled: Any = None
    stalled: Any = None
    hypergradient: Any = None
    displacement: Any = None
    moved: Any = True
    metric: Any = None
    metric_age: int = 0
    slow: bool = False
    search: SecantSearch | None = None


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
        iteration, counted from 0. None: 0 where the problem says that its lower level
        is strongly convex (a fixed value would bias the answer), else
        ``PowerLaw(0.9, 0.5)``.

    params_step : float, callable or "auto", default="auto"
        :math:`\beta`. "auto" is the exact line search along the gradient
        (or along its preconditioned direction, where the problem offers a metric).

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
        many steps for each move there), else 0.01.

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

    def __init__(
        self,
        *,
        averaging=None,
        params_step="auto",
        multiplier_step="cauchy",
        hyper_step="auto",
        memory=10,
        max_move=1.0,
        accuracy=None,
    ):
        self.averaging = averaging
        self.params_step = params_step
        self.multiplier_step = multiplier_step
        self.hyper_step = hyper_step
        self.memory = memory
        self.max_move = max_move
        self.accuracy = accuracy

    def init(self, problem):
        hyper = problem.project_hyper(problem.initial_hyper)
        search = None
        if self.hyper_step == "auto":
            search = begin_search(problem, hyper)
        params = problem.initial_params
        return BammState(0, hyper, params, params * 0, self._averaging(problem, 0), search=search)

    def step(self, problem, state):
        from ..problems import AveragedObjective

        averaging = self._averaging(problem, state.iteration)
        averaged = AveragedObjective(problem.lower, problem.upper, averaging)
        hyper, params, multiplier = state.hyper, state.params, state.multiplier
        metric, metric_age = self._metric(problem, state, averaging)
        upper = problem.upper.gradients(hyper, params)
        products = averaged.curvature_products(hyper, params, multiplier)

        params_gradient = problem.lower.params_gradient(hyper, params)
        if averaging:
            params_gradient = averaging * upper.params + (1 - averaging) * params_gradient
        multiplier_gradient = products.hessian - upper.params
        # All three directions use the multiplier of the *previous* step. Using the fresh
        # one would be another (Gauss-Seidel) method, without this one's analysis.
        hypergradient = upper.hyper - products.mixed

        params_move, arrived = self._params_move(problem, averaged, state, metric, params_gradient)
        multiplier_move, ahead = self._multiplier_move(
            problem, averaged, state, metric, multiplier_gradient
        )
        projected = hyper - problem.project_hyper(hyper - hypergradient)
        norm = problem.norm(projected)
        displacement, error = self._settling(
            problem, state, hypergradient, ahead, params_move, multiplier_move
        )
        settled = error <= self._accuracy(metric) * norm
        new_hyper, search = self._hyper_move(
            problem, state, settled, params_gradient, hypergradient
        )
        return BammState(
            iteration=state.iteration + 1,
            hyper=new_hyper,
            params=arrived,
            multiplier=multiplier - multiplier_move,
            averaging=averaging,
            residual=norm + error,
            hypergradient_norm=norm,
            settled=settled,
            stalled=None if search is None else search.stalled.reshape(norm.shape),
            hypergradient=hypergradient,
            displacement=displacement,
            moved=problem.norm(new_hyper - hyper) > 0,
            metric=metric,
            metric_age=metric_age,
            slow=state.displacement is None
            or bool(((displacement > 0.5 * state.displacement) & ~state.moved).any()),
            search=search,
        )

    def _hyper_move(self, problem, state, settled, params_gradient, hypergradient):
        """Next hyper, and the state of the search for it."""
        hyper, params = state.hyper, state.params
        if self.hyper_step != "auto":
            step = at(self.hyper_step, state.iteration)
            return problem.project_hyper(hyper - step * hypergradient), None
        if not bool(settled.any()):
            return hyper, state.search
        # Value at the params that the lower level is settling to: the multiplier tells what a
        # gradient that is left there does to the upper objective, to second order in both.
        value = problem.upper.value(hyper, params)
        value = value - problem.inner(state.multiplier, params_gradient)
        return search_hyper(
            problem,
            state.search,
            settled,
            hyper,
            value,
            hypergradient,
            memory=self.memory,
            max_move=self.max_move,
        )

    def _accuracy(self, metric):
        if self.accuracy is not None:
            return self.accuracy
        return 0.01 if metric is None or metric.exact else 0.1

    def _averaging(self, problem, iteration):
        if self.averaging is None:
            return 0.0 if problem.strongly_convex else at(FADING, iteration)
        return at(self.averaging, iteration)

    def _metric(self, problem, state, averaging):
        """The problem's metric, and its age in steps.

        An exact one is made anew at every new point. Others serve as long as they make
        params and multiplier settle quickly.
        """
        if problem.metric is None:
            return None, 0
        metric = state.metric
        changed = abs(averaging - state.averaging) > 0.1 * state.averaging
        if metric is not None and not changed:
            expired = (
                bool(state.moved.any())
                if metric.exact
                else (state.slow and state.metric_age >= METRIC_AGE)
            )
            if not expired:
                return metric, state.metric_age + 1
        return problem.metric(state.hyper, state.params, averaging), 0

    def _params_move(self, problem, averaged, state, metric, gradient):
        """What params lose in this step, and where they arrive."""
        hyper, params = state.hyper, state.params
        direction = gradient if metric is None else metric.solve(gradient)
        if not _searches(self.params_step):
            direction = at(self.params_step, state.iteration) * direction
        elif metric is None or not metric.exact:
            bend = averaged.hessian_product(hyper, params, direction)
            direction = scale(_cauchy(problem, gradient, direction, bend), direction)
            if self.params_step == "auto":
                return _descend(averaged, hyper, params, direction)
        return direction, params - direction

    def _multiplier_move(self, problem, averaged, state, metric, gradient):
        """What the multiplier loses in this step, and what that changes in the mixed product."""
        hyper, params = state.hyper, state.params
        direction = gradient if metric is None else metric.solve(gradient)
        if not _searches(self.multiplier_step):
            direction = at(self.multiplier_step, state.iteration) * direction
        elif metric is None or not metric.exact:
            products = averaged.curvature_products(hyper, params, direction)
            step = _cauchy(problem, gradient, direction, products.hessian)
            return scale(step, direction), scale(step, products.mixed)
        return direction, averaged.mixed_product(hyper, params, direction)

    def _settling(self, problem, state, hypergradient, ahead, params_move, multiplier_move):
        """How far params and multiplier still move, and what that does to the hypergradient.

        Two estimates, the larger counts: the change that the multiplier's coming move makes
        (`ahead`), and what the last displacement changed, extrapolated to the next one. The
        second is unknown where `hyper` moved in between.
        """
        displacement = _relative(problem, params_move, state.params) + _relative(
            problem, multiplier_move, state.multiplier
        )
        unknown = displacement * 0 + float("inf")
        if state.hypergradient is None:
            return displacement, unknown
        change = problem.norm(hypergradient - state.hypergradient)
        last = state.displacement.where(state.displacement > 0, unknown)
        error = (change * displacement / last).maximum(problem.norm(ahead))
        if self.hyper_step == "auto":
            error = error.where(~state.moved, unknown)
        return displacement, error


def _descend(objective, hyper, params, move):
    """The move, halved where the objective rises, and where it arrives.

    Beyond quadratics a line search can overshoot.
    """
    value = objective.value(hyper, params)
    allowed = value + 1e-12 * value.abs()
    arrived = params - move
    for _ in range(20):
        risen = ~(objective.value(hyper, arrived) <= allowed)  # NaN counts as risen
        if not bool(risen.any()):
            break
        move = move.where(~spread(risen, move), move / 2)
        arrived = params - move
    return move, arrived


def _searches(option):
    """Whether a step size is left to the line search."""
    return isinstance(option, str) and option in ("auto", "cauchy")


def _cauchy(problem, gradient, direction, bend):
    """Exact line search on the local parabola, `bend` being the Hessian times the direction."""
    slope = problem.inner(gradient, direction)
    bend = problem.inner(direction, bend)
    # A direction without curvature (or none left to go) gets no step.
    return (slope / bend.where(bend > 0, bend * 0 + 1)).where(bend > 0, bend * 0)


def _relative(problem, move, vector):
    """Length of a move beside the longer of the vectors before and after it."""
    length = problem.norm(move)
    size = problem.norm(vector).maximum(problem.norm(vector - move))
    return length / size.where(size > 0, size * 0 + 1)
