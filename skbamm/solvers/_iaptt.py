"""IAPTT-GM: unrolling with a learned initialization and pessimistic truncation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ._base import Solver
from ._dynamics import Dynamics, Preconditioner, safe_run, unit_preconditioner
from ._moves import divide, projected_norm, rows, scale, spread
from ._schedules import at
from ._secant import SecantSearch

# How far all steps of one trajectory go together, in units of one over the curvature, where the
# lower level has several valleys: a trajectory that ends in one of them forgets its start, and
# nothing is left to learn in the initialization.
HORIZON = 2.0
# Of the rule for hyper's step: longer while gradients agree, half as long when they turn.
LARGEST_MOVE = 0.3
GROWTH = 1.1
SHRINK = 0.5
# A derivative in the start that is rounding, beside that in the params at which it ended.
FORGOTTEN = 1e-10
# Moves this small have been halved at the same kink for long.
COLLAPSED = 1e-10


@dataclass(frozen=True)
class IapttState:
    """State of `IapttGm`; ``()`` or ``(n_candidates,)`` where not said otherwise.

    Attributes
    ----------
    iteration : int
    hyper : Tensor
    start : Tensor
        The initialization z of the next trajectory.
    params : Tensor
        The point of the last trajectory at which it was cut.
    residual, hypergradient_norm : Tensor
        Norm of the projected gradient in hyper and start, and in hyper alone, at the point
        that the step started from.
    n_used : Tensor of int
        How many steps of the last trajectory counted.
    stalled : Tensor of bool
        Whether a search along secants has reached rounding.
    """

    iteration: int
    hyper: Any
    params: Any
    start: Any
    residual: Any = None
    hypergradient_norm: Any = None
    n_used: Any = None
    stalled: Any = None
    gradient: Any = None
    length: Any = None
    search: SecantSearch | None = None


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
        elsewhere no move changes an entry of x or z by more than 0.3, the step grows by a tenth
        while gradients agree and is halved when they turn (after Kesten's rule), as
        :math:`\varphi` has kinks.

    start_step : float, callable or None, default=None
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

    handles_nonsmooth = True

    def __init__(
        self,
        *,
        n_steps=40,
        params_step="auto",
        hyper_step="auto",
        start_step=None,
        truncation="auto",
        dynamics="gradient",
        memory=10,
        max_move=1.0,
    ):
        self.n_steps = n_steps
        self.params_step = params_step
        self.hyper_step = hyper_step
        self.start_step = start_step
        self.truncation = truncation
        self.dynamics = dynamics
        self.memory = memory
        self.max_move = max_move

    def init(self, problem):
        hyper = problem.project_hyper(problem.initial_hyper)
        start = problem.project_params(problem.initial_params)
        search = None
        if self._searches(problem):
            search = SecantSearch.begin(_joined(problem, hyper, start))
        return IapttState(0, hyper, start, start, search=search)

    def step(self, problem, state):
        hyper, start = state.hyper, state.start
        dynamics = Dynamics(
            problem,
            lambda t: problem.lower,
            hyper,
            self._precondition(problem, state),
            self.n_steps,
            accelerated=self.dynamics == "nesterov",
        )
        if self.params_step == "auto":
            dynamics, points, bases = safe_run(dynamics, start)
        else:
            points, bases = dynamics.run(start)
        value, n_used, params = self._truncate(problem, hyper, points)
        upper = problem.upper.gradients(hyper, params)
        cotangents = {
            t: scale((n_used == t).to(params), upper.params) for t in set(n_used.flatten().tolist())
        }
        through, by_start = dynamics.pull_back(bases, cotangents)
        # Below rounding, the trajectory has forgotten where it started.
        remembered = problem.norm(by_start) > FORGOTTEN * problem.norm(upper.params)
        by_start = scale(remembered.to(by_start), by_start)
        by_hyper = upper.hyper + through
        norm = projected_norm(problem, hyper, by_hyper)
        start_norm = problem.norm(start - problem.project_params(start - by_start))
        following = IapttState(
            iteration=state.iteration + 1,
            hyper=hyper,
            start=start,
            params=params,
            # The initialization is watched too: z = 0 can make the gradient in x vanish.
            residual=(norm.square() + start_norm.square()).sqrt(),
            hypergradient_norm=norm,
            n_used=n_used,
        )
        return self._move(problem, state, following, value, by_hyper, by_start)

    def _searches(self, problem):
        return self.hyper_step == "auto" and problem.strongly_convex and problem.nonsmooth is None

    def _precondition(self, problem, state):
        if self.params_step != "auto":
            return Preconditioner(at(self.params_step, state.iteration))
        whole = unit_preconditioner(problem, problem.lower, state.hyper, state.start)
        return whole if problem.strongly_convex else whole.times(HORIZON / self.n_steps)

    def _truncate(self, problem, hyper, points):
        """Upper value, number of steps and point at which each trajectory is cut."""
        import torch

        truncates = self.truncation
        if truncates == "auto":
            truncates = not problem.strongly_convex
        if not truncates:
            value = problem.upper.value(hyper, points[-1])
            return value, torch.full_like(value, self.n_steps, dtype=torch.int64), points[-1]
        values = torch.stack([problem.upper.value(hyper, point) for point in points[1:]])
        n_used = values.argmax(0) + 1  # the first of several
        params = points[-1]
        for t in range(1, self.n_steps):
            here = n_used == t
            if bool(here.any()):
                params = points[t].where(spread(here, params), params)
        return values.amax(0), n_used, params

    def _move(self, problem, state, following, value, by_hyper, by_start):
        """Steps on x and z."""
        hyper, start = state.hyper, state.start
        if state.search is not None:
            joined = _joined(problem, hyper, start)
            target, search = state.search.propose(
                lambda points: _joined(problem, *_split(problem, points, hyper, start)),
                joined[:, 0] == joined[:, 0],
                joined,
                value.reshape(-1),
                _joined(problem, by_hyper, by_start),
                memory=self.memory,
                max_move=self.max_move,
            )
            hyper, start = _split(problem, target, hyper, start)
            stalled = search.stalled.reshape(value.shape)
            return replace(following, hyper=hyper, start=start, stalled=stalled, search=search)
        if self.hyper_step == "auto":
            length, stalled = self._length(problem, state, by_hyper, by_start)
        else:
            length, stalled = at(self.hyper_step, state.iteration), None
        if self.start_step is not None:
            other = at(self.start_step, state.iteration)
        elif self.hyper_step == "auto":
            other = length.minimum(_cap(problem, by_start))
        else:
            other = length
        return replace(
            following,
            hyper=problem.project_hyper(hyper - scale(length, by_hyper)),
            start=problem.project_params(start - scale(other, by_start)),
            gradient=(by_hyper, by_start),
            length=length if self.hyper_step == "auto" else None,
            stalled=stalled,
        )

    def _length(self, problem, state, by_hyper, by_start):
        """The step of Kesten's rule, and whether it has collapsed."""
        cap = _cap(problem, by_hyper)
        if state.length is None:
            return cap, cap <= 0
        agreement = problem.inner(by_hyper, state.gradient[0]) + problem.inner(
            by_start, state.gradient[1]
        )
        factor = (agreement * 0 + GROWTH).where(agreement > 0, agreement * 0 + SHRINK)
        length = (state.length * factor).minimum(cap)
        move = length * (problem.norm(by_hyper) + problem.norm(by_start))
        return length, move <= COLLAPSED * (1 + problem.norm(state.hyper))


def _cap(problem, gradient):
    """The step along a gradient that changes its largest entry by the largest move."""
    largest = rows(problem, gradient).abs().amax(1)
    cap = divide(largest * 0 + LARGEST_MOVE, largest).reshape(problem.norm(gradient).shape)
    # Along nothing any step will do.
    return cap.where(cap > 0, cap * 0 + 1)


def _joined(problem, hyper, start):
    import torch

    return torch.cat([rows(problem, hyper), rows(problem, start)], dim=1)


def _split(problem, joined, hyper, start):
    """Feasible x and z of rows that hold both."""
    n_hyper = rows(problem, hyper).shape[1]
    return (
        problem.project_hyper(joined[:, :n_hyper].reshape(hyper.shape)),
        problem.project_params(joined[:, n_hyper:].reshape(start.shape)),
    )
