"""Implicit differentiation: a solved lower level, and a linear system for the multiplier."""

from __future__ import annotations

from ._base import Need, Solver
from ._dynamics import Dynamics, OuterState, Preconditioner, descend, unit_preconditioner
from ._schedules import at
from ._steps import begin, divide, inner, move_hyper, norm, projected_norm

# A direction whose curvature is this small beside the largest one counts as flat.
FLAT = 1e-8
# A residual of the linear system beside its right-hand side that is no solution.
UNSOLVED = 1e-3


class ImplicitDifferentiation(Solver):
    """What the methods share that solve ``hess_yy f v = grad_y F`` at a solved lower level."""

    needs = frozenset(Need)

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
        return begin(self, problem, OuterState, multiplier=problem.initial_params * 0)

    def step(self, problem, state):
        precondition, points = self._descend(problem, state)
        hyper, params = state.hyper, points[-1]
        upper = problem.upper.gradients(hyper, params)

        def product(vector):
            return problem.lower.hessian_product(hyper, params, vector)

        multiplier, left, flat = self._solve(product, upper.params, state.multiplier, precondition)
        hypergradient = upper.hyper - problem.lower.mixed_product(hyper, params, multiplier)
        undetermined = flat and norm(left) > UNSOLVED * norm(upper.params)
        error = self._remainder(problem, hyper, points, precondition, left)
        hypergradient_norm = projected_norm(problem, hyper, hypergradient)
        return OuterState(
            iteration=state.iteration + 1,
            params=params,
            multiplier=multiplier,
            residual=hypergradient_norm + max(error, norm(left) * undetermined),
            hypergradient_norm=hypergradient_norm,
            undetermined=undetermined,
            **move_hyper(
                self, problem, state, hypergradient, lambda: problem.upper.value(hyper, params)
            ),
        )

    def _descend(self, problem, state):
        """From the last params; the last two points, and the preconditioner that was used."""
        automatic = self.params_step == "auto"
        if automatic:
            precondition = unit_preconditioner(problem, problem.lower, state.hyper, state.params)
        else:
            precondition = Preconditioner(at(self.params_step, state.iteration))
        dynamics = Dynamics(
            problem, lambda t: problem.lower, state.hyper, precondition, self.n_steps, n_kept=0
        )
        dynamics, points, _ = descend(dynamics, state.params, safe=automatic)
        return dynamics.precondition, points

    def _remainder(self, problem, hyper, points, precondition, left):
        """What one step more, in the linear system and in params, would change."""
        lower, params = problem.lower, points[-1]
        unsolved = lower.mixed_product(hyper, params, precondition(left))
        moved = problem.upper.curvature_products(hyper, params, params - points[-2])
        bent = lower.mixed_product(hyper, params, precondition(moved.hessian))
        return norm(unsolved) + norm(moved.mixed) + norm(bent)

    def _solve(self, product, target, start, precondition):
        """Multiplier, what is left of the target, and whether the rest lies where f is flat."""
        raise NotImplementedError


def conjugate_gradient(product, target, start, precondition, n_iter):
    """Solve a linear system; what `ImplicitDifferentiation` asks of `_solve`."""
    multiplier, left = start, target - product(start)
    direction, slope, largest = None, 0.0, 0.0
    enough = 1e-10 * norm(target)
    for _ in range(n_iter):
        if not norm(left) > enough:
            break
        ahead = precondition(left)
        latest = inner(left, ahead)
        if not latest > 0:
            break
        direction = ahead if direction is None else ahead + divide(latest, slope) * direction
        slope = latest
        bend_vector = product(direction)
        bend = inner(direction, bend_vector)
        curvature = divide(bend, inner(direction, direction))
        largest = max(largest, curvature)
        if not curvature > FLAT * largest:
            return multiplier, left, True
        step = divide(latest, bend)
        multiplier = multiplier + step * direction
        left = left - step * bend_vector
    return multiplier, left, False


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

    def _solve(self, product, target, start, precondition):
        return conjugate_gradient(product, target, start, precondition, self.n_linear)


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

    def _solve(self, product, target, start, precondition):
        multiplier, left = start, target - product(start)
        change = left
        for _ in range(self.n_linear):
            ahead = precondition(left)
            multiplier = multiplier + ahead
            change = product(ahead)
            left = left - change
        return multiplier, left, norm(change) <= FLAT * norm(left)
