"""Reverse-mode unrolling of the lower level: whole, truncated, and averaged (BDA)."""

from __future__ import annotations

from ._base import Need, Solver
from ._dynamics import Dynamics, OuterState, Preconditioner, descend, unit_preconditioner
from ._schedules import PowerLaw, at
from ._steps import begin, move_hyper, norm, projected_norm

# A vector that a step shrinks by less than this lies along a flat direction of the lower level.
FLAT = 1e-8
# What is left of the upper gradient, beside itself, when flatness begins to matter.
LEFT = 1e-3


class Unrolling(Solver):
    r"""Hypergradient by reverse mode through a descent on the lower level.

    .. math:: y_{t+1} = y_t - s \nabla_y f(x, y_t), \quad t < T, \qquad
              x \leftarrow P(x - \alpha \nabla_x F(x, y_T(x))),

    always from the problem's initial params. Needs a strongly convex lower level: elsewhere
    :math:`y_T` depends on where the descent starts, and the gradient knows nothing of that.
    The derivative of F in the start, which reverse mode gives for nothing, tells. Cost of an
    iteration: T gradients and T curvature products; memory: T + 1 copies of params.

    Parameters
    ----------
    n_steps : int, default=100
        T.

    params_step : float, callable or "auto", default="auto"
        The step s; "auto" is one over the largest curvature at the start, or the problem's
        metric, and is halved where the descent does not descend.

    hyper_step : float, callable or "auto", default="auto"
        :math:`\alpha`; "auto" moves along secants with backtracking.

    memory : int, default=10
        How many secants the search on `hyper` keeps, as in `SlBamm`.

    max_move : float, default=1.0
        Largest change of one entry of `hyper` in one step of that search.

    References
    ----------
    .. [1] L. Franceschi, M. Donini, P. Frasconi, M. Pontil, "Forward and Reverse
           Gradient-Based Hyperparameter Optimization", ICML 2017.
    """

    needs = frozenset({Need.CURVATURE_PRODUCTS, Need.ONE_LOWER_SOLUTION})
    n_reverse: int | None = None

    def __init__(
        self, *, n_steps=100, params_step="auto", hyper_step="auto", memory=10, max_move=1.0
    ):
        self.n_steps = n_steps
        self.params_step = params_step
        self.hyper_step = hyper_step
        self.memory = memory
        self.max_move = max_move

    def init(self, problem):
        return begin(self, problem, OuterState)

    def step(self, problem, state):
        dynamics, points, bases = self._descend(problem, state)
        hyper, params = state.hyper, points[-1]
        upper = problem.upper.gradients(hyper, params)
        through, left = dynamics.pull_back(bases, self.n_steps, upper.params)
        hypergradient = upper.hyper + through
        error, flat = self._remainder(problem, dynamics, points, left)
        undetermined = flat and norm(left) > LEFT * norm(upper.params)
        hypergradient_norm = projected_norm(problem, hyper, hypergradient)
        return OuterState(
            iteration=state.iteration + 1,
            params=params,
            averaging=self._averaging(problem, self.n_steps - 1),
            residual=hypergradient_norm + max(error, norm(left) * undetermined),
            hypergradient_norm=hypergradient_norm,
            undetermined=undetermined and Need.ONE_LOWER_SOLUTION in self.needs,
            **move_hyper(
                self, problem, state, hypergradient, lambda: problem.upper.value(hyper, params)
            ),
        )

    def _descend(self, problem, state):
        """Always from the problem's start."""
        start, objective = problem.project_params(problem.initial_params), self._objective(problem)
        automatic = self.params_step == "auto"
        if automatic:
            precondition = unit_preconditioner(problem, objective(0), state.hyper, start)
        else:
            precondition = Preconditioner(at(self.params_step, state.iteration))
        dynamics = Dynamics(
            problem, objective, state.hyper, precondition, self.n_steps, n_kept=self.n_reverse
        )
        return descend(dynamics, start, safe=automatic)

    def _averaging(self, problem, t):
        return 0.0

    def _objective(self, problem):
        """The objective that step t of the descent goes down."""
        return lambda t: problem.lower

    def _remainder(self, problem, dynamics, points, left):
        """What one step more would add to the hypergradient, and whether it would change `left`.

        And what the last move of params changes in it.
        """
        hyper, params = dynamics.hyper, points[-1]
        objective = dynamics.objective(self.n_steps - 1)
        ahead = dynamics.precondition(left)
        following = objective.curvature_products(hyper, params, ahead)
        flat = norm(following.hessian) <= FLAT * norm(left)
        moved = problem.upper.curvature_products(hyper, params, points[-1] - points[-2])
        bent = objective.mixed_product(hyper, params, dynamics.precondition(moved.hessian))
        return norm(following.mixed) + norm(moved.mixed) + norm(bent), flat


class TruncatedUnrolling(Unrolling):
    """Reverse mode through the last steps of the descent only.

    Parameters
    ----------
    n_steps : int, default=100
        Of the descent.
    n_reverse : int, default=20
        How many of the last steps to go back: time and memory of the reverse mode.
    params_step : float, callable or "auto", default="auto"
        As in `Unrolling`.
    hyper_step : float, callable or "auto", default="auto"
        As in `Unrolling`.
    memory : int, default=10
        As in `Unrolling`.
    max_move : float, default=1.0
        As in `Unrolling`.

    References
    ----------
    .. [1] A. Shaban, C.-A. Cheng, N. Hatch, B. Boots, "Truncated Back-propagation for Bilevel
           Optimization", AISTATS 2019.
    """

    def __init__(
        self,
        *,
        n_steps=100,
        n_reverse=20,
        params_step="auto",
        hyper_step="auto",
        memory=10,
        max_move=1.0,
    ):
        super().__init__(
            n_steps=n_steps,
            params_step=params_step,
            hyper_step=hyper_step,
            memory=memory,
            max_move=max_move,
        )
        self.n_reverse = n_reverse


class Bda(Unrolling):
    r"""Bi-level Descent Aggregation: unrolling of a descent on the averaged objective.

    .. math:: y_{t+1} = y_t - s \, [\mu_t \nabla_y F(x, y_t) + (1 - \mu_t) \nabla_y f(x, y_t)],
              \qquad \mu_t \to 0.

    The upper objective decides where the lower one is flat, so that a merely convex lower
    level will do. Cost and memory as in `Unrolling`, with gradients of both objectives.

    Parameters
    ----------
    averaging : float, callable or None, default=None
        :math:`\mu_t`, the weight of the *upper* objective in step t, counted from 0. None: 0
        where the lower level is strongly convex, else ``PowerLaw(0.5, 0.5)``.
    n_steps : int, default=100
        As in `Unrolling`.
    params_step : float, callable or "auto", default="auto"
        As in `Unrolling`.
    hyper_step : float, callable or "auto", default="auto"
        As in `Unrolling`.
    memory : int, default=10
        As in `Unrolling`.
    max_move : float, default=1.0
        As in `Unrolling`.

    References
    ----------
    .. [1] R. Liu, P. Mu, X. Yuan, S. Zeng, J. Zhang, "A Generic First-Order Algorithmic
           Framework for Bi-Level Programming Beyond Lower-Level Singleton", ICML 2020.
    """

    needs = frozenset({Need.CURVATURE_PRODUCTS, Need.SMOOTH_LOWER_LEVEL})

    def __init__(
        self,
        *,
        averaging=None,
        n_steps=100,
        params_step="auto",
        hyper_step="auto",
        memory=10,
        max_move=1.0,
    ):
        super().__init__(
            n_steps=n_steps,
            params_step=params_step,
            hyper_step=hyper_step,
            memory=memory,
            max_move=max_move,
        )
        self.averaging = averaging

    def _averaging(self, problem, t):
        if self.averaging is None:
            return 0.0 if problem.strongly_convex else at(PowerLaw(0.5, 0.5), t)
        return at(self.averaging, t)

    def _objective(self, problem):
        from ..problems import AveragedObjective

        def objective(t):
            averaging = self._averaging(problem, t)
            if averaging == 0:
                return problem.lower
            return AveragedObjective(problem.lower, problem.upper, averaging)

        return objective
