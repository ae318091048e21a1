"""Implicit differentiation: a solved lower level, and a linear system for the multiplier."""

from __future__ import annotations

from ._base import Solver
from ._dynamics import Dynamics, Preconditioner, safe_run, unit_preconditioner
from ._moves import OuterState, divide, move_hyper, projected_norm, scale
from ._schedules import at

# A direction whose curvature is this small beside the largest one counts as flat.
FLAT = 1e-8
# A residual of the linear system beside its right-hand side that is no solution.
UNSOLVED = 1e-3


class ImplicitDifferentiation(Solver):
    """What the methods share that solve ``hess_yy f v = grad_y F`` at a solved lower level."""

    needs_strong_convexity = True

    def __init__(
        self,
        *,
        n_steps=100,
        n_linear=50,
        params_step="auto",
        hyper_step="auto",
        memory=10,
        max_move=1.0,
    ):
        self.n_steps = n_steps
        self.n_linear = n_linear
        self.params_step = params_step
        self.hyper_step = hyper_step
        self.memory = memory
        self.max_move = max_move

    def init(self, problem):
        hyper, params = problem.project_hyper(problem.initial_hyper), problem.initial_params
        return OuterState(0, hyper, params, multiplier=params * 0)

    def step(self, problem, state):
        hyper = state.hyper
        if self.params_step == "auto":
            precondition = unit_preconditioner(problem, problem.lower, hyper, state.params)
        else:
            precondition = Preconditioner(at(self.params_step, state.iteration))
        dynamics = Dynamics(
            problem, lambda t: problem.lower, hyper, precondition, self.n_steps, n_kept=0
        )
        if self.params_step == "auto":
            dynamics, points, _ = safe_run(dynamics, state.params)
        else:
            points, _ = dynamics.run(state.params)
        params, precondition = points[-1], dynamics.precondition
        upper = problem.upper.gradients(hyper, params)

        def product(vector):
            return problem.lower.hessian_product(hyper, params, vector)

        multiplier, left, flat = self._solve(
            problem, product, upper.params, state.multiplier, precondition
        )
        hypergradient = upper.hyper - problem.lower.mixed_product(hyper, params, multiplier)
        norm = projected_norm(problem, hyper, hypergradient)
        undetermined = flat & (problem.norm(left) > UNSOLVED * problem.norm(upper.params))
        # What one step more would change, in the linear system and in params.
        unsolved = problem.lower.mixed_product(hyper, params, precondition(left))
        moved = problem.upper.curvature_products(hyper, params, points[-1] - points[-2])
        bent = problem.lower.mixed_product(hyper, params, precondition(moved.hessian))
        error = problem.norm(unsolved) + problem.norm(moved.mixed) + problem.norm(bent)
        value = problem.upper.value(hyper, params)
        return OuterState(
            iteration=state.iteration + 1,
            params=params,
            multiplier=multiplier,
            residual=norm + error.maximum(problem.norm(left) * undetermined),
            hypergradient_norm=norm,
            undetermined=undetermined,
            **move_hyper(self, problem, state, value, hypergradient),
        )

    def _solve(self, problem, product, target, start, precondition):
        """Multiplier, what is left of the target, and whether the rest lies where f is flat."""
        raise NotImplementedError


class ConjugateGradient(ImplicitDifferentiation):
    r"""Implicit differentiation with conjugate gradients.

    .. math:: x \leftarrow P(x - \alpha (\nabla_x F - \nabla^2_{xy} f \, v)),
              \qquad \nabla^2_{yy} f \, v = \nabla_y F,

    at params that descend from their last ones. Needs a strongly convex lower level: where
    its Hessian is singular, the linear system has no solution in general. Cost of an
    iteration: `n_steps` gradients and up to `n_linear` Hessian products; memory: a few copies of
    params.

    Parameters
    ----------
    n_steps : int, default=100
        Of the descent on the lower level.
    n_linear : int, default=50
        Largest number of conjugate gradient steps.
    params_step : float, callable or "auto", default="auto"
        As in `Unrolling`; a metric preconditions both solves.
    hyper_step : float, callable or "auto", default="auto"
        As in `Unrolling`.
    memory : int, default=10
        As in `Unrolling`.
    max_move : float, default=1.0
        As in `Unrolling`.

    References
    ----------
    .. [1] F. Pedregosa, "Hyperparameter Optimization with Approximate Gradient", ICML 2016.
    """

    def _solve(self, problem, product, target, start, precondition):
        multiplier, left = start, target - product(start)
        direction = flat = None
        slope = largest = target.new_zeros(())
        enough = 1e-10 * problem.norm(target)
        for _ in range(self.n_linear):
            ahead = precondition(left)
            latest = problem.inner(left, ahead)
            # What is solved, for a candidate, stays as it is.
            latest = latest.where(problem.norm(left) > enough, latest * 0)
            if not bool((latest > 0).any()):
                break
            if direction is None:
                direction = ahead
            else:
                direction = ahead + scale(divide(latest, slope), direction)
            slope = latest
            bend_vector = product(direction)
            bend = problem.inner(direction, bend_vector)
            curvature = divide(bend, problem.inner(direction, direction))
            largest = largest.maximum(curvature)
            unsolvable = (latest > 0) & ~(curvature > FLAT * largest)
            flat = unsolvable if flat is None else flat | unsolvable
            step = divide(latest, bend).where(~flat, latest * 0)
            multiplier = multiplier + scale(step, direction)
            left = left - scale(step, bend_vector)
        if flat is None:
            flat = problem.norm(left) < 0
        return multiplier, left, flat


class NeumannSeries(ImplicitDifferentiation):
    r"""Implicit differentiation with a Neumann series.

    The multiplier is :math:`\sum_j s (I - s \nabla^2_{yy} f)^j \nabla_y F`, summed on where the
    last iteration left it. Needs, costs and parameters are those of `ConjugateGradient`, with
    `n_linear` terms.

    Parameters
    ----------
    n_steps : int, default=100
        Of the descent on the lower level.
    n_linear : int, default=50
        Number of terms.
    params_step : float, callable or "auto", default="auto"
        As in `Unrolling`; also the step of the series.
    hyper_step : float, callable or "auto", default="auto"
        As in `Unrolling`.
    memory : int, default=10
        As in `Unrolling`.
    max_move : float, default=1.0
        As in `Unrolling`.

    References
    ----------
    .. [1] J. Lorraine, P. Vicol, D. Duvenaud, "Optimizing Millions of Hyperparameters by
           Implicit Differentiation", AISTATS 2020.
    """

    def _solve(self, problem, product, target, start, precondition):
        multiplier, left = start, target - product(start)
        change = left
        for _ in range(self.n_linear):
            ahead = precondition(left)
            multiplier = multiplier + ahead
            change = product(ahead)
            left = left - change
        return multiplier, left, problem.norm(change) <= FLAT * problem.norm(left)
