"""Implicit differentiation: a solved lower level, and a linear system for the multiplier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._base import Need
from ._options import COUNT
from ._outer import Hypergradient, OuterSolver, OuterState, last_step_error
from ._steps import at, begin, divide, norm_of
from .lower._dynamics import Dynamics, Preconditioner, unit_preconditioner

# A direction whose curvature is this small relative to the largest one counts as flat.
FLAT = 1e-8


@dataclass(kw_only=True, eq=False, repr=False)
class ImplicitDifferentiation(OuterSolver):
    """What the methods share that solve ``hess_yy f v = grad_y F`` at a solved lower level.

    Parameters
    ----------
    n_linear : int, default=50
        Largest number of steps on the linear system.
    """

    needs = frozenset(Need)

    kinds = {**OuterSolver.kinds, "n_linear": (COUNT,)}

    n_linear: int = 50

    def init(self, problem):
        return begin(self, problem, OuterState, multiplier=problem.initial_params * 0)

    @property
    def _n_kept(self):
        return 0

    def _initial(self, problem, state):
        """Where the last descent ended."""
        return state.params

    def _descend(self, problem, state):
        if not problem.descends:
            return super()._descend(problem, state)
        params = problem.solve_lower(state.hyper, state.params)
        step = self.params_step
        precondition: Any = (
            unit_preconditioner(problem, problem.lower, state.hyper, params)
            if step == "auto"
            else Preconditioner(at(step, state.iteration))
        )
        dynamics = Dynamics(problem, lambda t: problem.lower, state.hyper, precondition, 0)
        return dynamics, [params, params], []

    def _differentiate(self, problem, state, dynamics, points, bases):
        lower = problem.lower.point(state.hyper, points[-1])
        upper = problem.upper.point(state.hyper, points[-1]).gradients
        multiplier, left, flat = self._solve(
            lower.hessian_product,
            upper.params,
            state.multiplier,
            dynamics.precondition,
        )
        gradient = upper.hyper - lower.mixed_product(multiplier)
        # What one step more would change, in the linear system and in params.
        error = norm_of(lower.mixed_product(dynamics.precondition(left)))
        error += last_step_error(problem, problem.lower, dynamics, points)
        return Hypergradient.of(gradient, error, left, flat, upper.params, multiplier)

    def _solve(self, product, target, initial, precondition):
        """Multiplier, what is left of the target, and whether the rest lies where f is flat."""
        raise NotImplementedError


def conjugate_gradient(product, target, initial, precondition, n_iter, accuracy=1e-10, largest=0.0):
    """Solve a linear system; what `ImplicitDifferentiation` asks of `_solve`.

    `largest` is a curvature that is known, next to which others may be flat.
    """
    multiplier, left = initial, target - product(initial)
    direction, previous, largest = None, 0.0, 0.0
    enough = accuracy * norm_of(target)
    for _ in range(n_iter):
        if not norm_of(left) > enough:
            break
        preconditioned = precondition(left)
        latest = float((left * preconditioned).sum())
        if not latest > 0:
            break
        if direction is None:
            direction = preconditioned
        else:
            direction = preconditioned + divide(latest, previous) * direction
        previous = latest
        curved = product(direction)
        along = float((direction * curved).sum())
        curvature = divide(along, float(direction.square().sum()))
        largest = max(largest, curvature)
        if not curvature > FLAT * largest:
            return multiplier, left, True
        step = divide(latest, along)
        multiplier = multiplier + step * direction
        left = left - step * curved
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
    n_steps, params_step, hyper_step, memory, max_move : int, float, callable or str
        As in `Unrolling`; a metric preconditions both solves.
    n_linear : int, default=50
        Largest number of conjugate gradient steps.

    References
    ----------
    .. [1] F. Pedregosa, "Hyperparameter Optimization with Approximate Gradient", ICML 2016.
    """

    def _solve(self, product, target, initial, precondition):
        return conjugate_gradient(product, target, initial, precondition, self.n_linear)


class NeumannSeries(ImplicitDifferentiation):
    r"""Implicit differentiation with a Neumann series.

    The multiplier is :math:`\sum_j s (I - s \nabla^2_{yy} f)^j \nabla_y F`, summed on where the
    last iteration left it. Needs and costs are those of `ConjugateGradient`.

    Parameters
    ----------
    n_steps, params_step, hyper_step, memory, max_move : int, float, callable or str
        As in `Unrolling`; `params_step` is also the step of the series.
    n_linear : int, default=50
        Number of terms.

    References
    ----------
    .. [1] J. Lorraine, P. Vicol, D. Duvenaud, "Optimizing Millions of Hyperparameters by
           Implicit Differentiation", AISTATS 2020.
    """

    def _solve(self, product, target, initial, precondition):
        multiplier, left = initial, target - product(initial)
        change = left
        for _ in range(self.n_linear):
            term = precondition(left)
            multiplier = multiplier + term
            change = product(term)
            left = left - change
        return multiplier, left, norm_of(change) <= FLAT * norm_of(left)
