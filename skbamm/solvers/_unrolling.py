"""Reverse-mode unrolling of the lower level: whole, truncated, and averaged (BDA)."""

from __future__ import annotations

from dataclasses import dataclass

from ._base import Need
from ._options import COUNT, FRACTION, FUNCTION, NOTHING
from ._outer import Hypergradient, OuterSolver, last_step_error
from ._steps import PowerLaw, Schedule, at, norm_of

# A vector that a step shrinks by less than this lies along a flat direction of the lower level.
FLAT = 1e-8


@dataclass(kw_only=True, eq=False, repr=False)
class Unrolling(OuterSolver):
    r"""Hypergradient by reverse mode through a descent on the lower level.

    .. math:: y_{t+1} = y_t - s \nabla_y f(x, y_t), \quad t < T, \qquad
              x \leftarrow P(x - \alpha \nabla_x F(x, y_T(x))),

    always from the problem's initial params. Needs a strongly convex lower level: elsewhere
    :math:`y_T` depends on the initial params, which the gradient does not account for.
    The derivative of F in these, which reverse mode gives for nothing, tells. Cost of an
    iteration: T gradients and T curvature products; memory: T + 1 copies of params.

    Parameters
    ----------
    n_steps : int, default=100
        T, of the descent on the lower level.

    params_step : float, callable or "auto", default="auto"
        The step s; "auto" is one over the largest curvature there, or the problem's
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

    def _differentiate(self, problem, state, dynamics, points, bases):
        hyper, params = state.hyper, points[-1]
        upper = problem.upper.point(hyper, params).gradients
        by_hyper, left = dynamics.vjp(bases, self.n_steps, upper.params)
        # What one step more would add, and whether it would change what is left.
        objective = dynamics.objective(self.n_steps - 1)
        following = objective.point(hyper, params).curvature_products(dynamics.precondition(left))
        flat = norm_of(following.hessian) <= FLAT * norm_of(left)
        error = norm_of(following.mixed) + last_step_error(problem, objective, dynamics, points)
        return Hypergradient.of(upper.hyper + by_hyper, error, left, flat, upper.params)


@dataclass(kw_only=True, eq=False, repr=False)
class TruncatedUnrolling(Unrolling):
    """Reverse mode through the last steps of the descent only.

    Parameters
    ----------
    n_steps, params_step, hyper_step, memory, max_move : int, float, callable or str
        As in `Unrolling`.
    n_reverse : int, default=20
        How many of the last steps to go back: time and memory of the reverse mode.

    References
    ----------
    .. [1] A. Shaban, C.-A. Cheng, N. Hatch, B. Boots, "Truncated Back-propagation for Bilevel
           Optimization", AISTATS 2019.
    """

    kinds = {**Unrolling.kinds, "n_reverse": (COUNT,)}

    n_reverse: int = 20

    @property
    def _n_kept(self):
        return self.n_reverse


@dataclass(kw_only=True, eq=False, repr=False)
class Bda(Unrolling):
    r"""Bi-level Descent Aggregation: unrolling of a descent on the averaged objective.

    .. math:: y_{t+1} = y_t - s \, [\mu_t \nabla_y F(x, y_t) + (1 - \mu_t) \nabla_y f(x, y_t)],
              \qquad \mu_t \to 0.

    The upper objective decides where the lower one is flat, so that a merely convex lower
    level will do. Cost and memory as in `Unrolling`, with gradients of both objectives.

    Parameters
    ----------
    n_steps, params_step, hyper_step, memory, max_move : int, float, callable or str
        As in `Unrolling`.
    averaging : float, callable or None, default=None
        :math:`\mu_t`, the weight of the *upper* objective in step t, counted from 0. None: 0
        where the lower level is strongly convex, else ``PowerLaw(0.5, 0.5)``.

    References
    ----------
    .. [1] R. Liu, P. Mu, X. Yuan, S. Zeng, J. Zhang, "A Generic First-Order Algorithmic
           Framework for Bi-Level Programming Beyond Lower-Level Singleton", ICML 2020.
    """

    needs = frozenset({Need.CURVATURE_PRODUCTS, Need.SMOOTH_LOWER_LEVEL})

    kinds = {**Unrolling.kinds, "averaging": (FRACTION, FUNCTION, NOTHING)}

    averaging: Schedule | None = None

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
