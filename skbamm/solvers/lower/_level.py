"""The lower level at a hyper: its solution near some params, and how that moves with hyper.

Newton's method with conjugate gradients where the level is smooth; proximal gradient steps and
Newton's method on their fixed point where it is not. Whoever solves a lower level that the
problem does not solve itself, or checks that it is solved, does it here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...linalg._tensors import as_tensor
from .._linear_system import conjugate_gradient
from .._steps import divide, eps_of, largest_curvature, norm_of
from ._differences import with_products
from ._dynamics import Preconditioner

MAX_NEWTON = 50
# Largest number of products for one linear system.
N_LINEAR = 500
# Of a Newton step relative to params, in units of rounding, when the lower level is solved.
SOLVED = 1e3
# The same where no value tells any more whether the step is a good one.
NEARLY = 1e-3
# Of a target that is left where no curvature is, relative to it.
FLAT = 1e-6
# Proximal steps between two tries of Newton's method, and how many times they are taken.
N_PROXIMAL, MAX_ROUNDS = 50, 40


@dataclass(frozen=True)
class LowerGap:
    """How far the lower level is from solved.

    Attributes
    ----------
    value : float
        What a Newton step would still take off the lower objective, in its units.
    gradient_norm : float
        Of its gradient; with a non-smooth term, of a proximal gradient step divided by its
        length.
    """

    value: float
    gradient_norm: float


class Solved(NamedTuple):
    """Params, the Newton step that they would lose next, and whether that is next to nothing."""

    params: Any
    update: Any
    gap: LowerGap
    is_solved: bool


class Adjoint(NamedTuple):
    """What moves with hyper: derivatives of a function of the solution, and its multiplier."""

    by_hyper: Any
    multiplier: Any
    left: Any  # of the function's gradient, where the linear system could not be solved
    flat: bool  # whether that is where the lower level has no curvature


def lower_level(problem, hyper):
    """The lower level of a problem at a hyper."""
    return (SmoothLevel if problem.nonsmooth is None else ProximalLevel)(problem, hyper)


def solve_lower(problem, hyper, params):
    """The lower level's solution near params, and whether it has been found."""
    if problem.solve_lower is not None:
        params = problem.solve_lower(hyper, params)
        if not problem.descends:
            return params, True
    # A descent leaves something, which Newton's method takes off in a few steps.
    solved = lower_level(problem, hyper).solve(params)
    return solved.params, solved.is_solved


class SmoothLevel:
    """A lower level with a gradient."""

    def __init__(self, problem, hyper):
        self.problem = problem
        self.hyper = hyper
        self.lower = with_products(problem.lower)
        self.metric = None

    def solve(self, params) -> Solved:
        """By damped Newton steps from params: the solution of their own basin."""
        begin, value = params, self._value(params)
        eps, first = eps_of(params), None
        scale, before = abs(value), math.inf
        gradient = self.gradient(params)
        for _ in range(MAX_NEWTON):
            norm = norm_of(gradient)
            first = norm if first is None else first
            if not math.isfinite(norm) or norm == 0:
                break
            update = self._newton(params, gradient, min(0.1, math.sqrt(divide(norm, first))))
            gap = float((gradient * update).sum()) / 2
            is_rounding = gap <= 10 * eps * scale
            if is_rounding and norm > before / 2:
                break
            if _is_small(update, params):
                last = self.measure(params - update, begin, scale, norm)
                if last.gap.gradient_norm <= norm:
                    return last
                break
            arrived, found = self._search(params, update, value, 2 * gap, eps * scale)
            if arrived is None:
                break
            params, value, before = arrived, found, norm
            scale = max(scale, abs(value))
            gradient = self.gradient(params)
        return self.measure(params, begin, scale, before, gradient)

    def measure(self, params, begin=None, scale=math.inf, before=0.0, gradient=None) -> Solved:
        """How well params solve it."""
        gradient = self.gradient(params) if gradient is None else gradient
        norm = norm_of(gradient)
        update = self._newton(params, gradient, 1e-2) if norm > 0 else gradient
        gap = float((gradient * update).sum()) / 2
        scale = abs(self._value(params)) if math.isinf(scale) else scale
        is_rounding = gap <= 10 * eps_of(params) * scale
        travelled = 0.0 if begin is None else norm_of(params - begin)
        is_solved = _is_small(update, params) or (
            is_rounding and (norm > before / 2 or norm_of(update) <= NEARLY * travelled)
        )
        return Solved(params, update, LowerGap(gap, norm), is_solved and math.isfinite(norm))

    def gradient(self, params):
        return self._at(params).params_gradient

    def _at(self, params):
        return self.lower.point(self.hyper, params)

    def adjoint(self, params, target, initial=None, accuracy=1e-10) -> Adjoint:
        """Of a function of the solution whose gradient in params is the target."""
        product, precondition = self._product(params), self._precondition(params)
        initial = target * 0 if initial is None else initial
        if self._has_inverse:
            multiplier, left, flat = precondition(target), target * 0, False
        elif self.problem.strongly_convex:
            multiplier, left, flat = conjugate_gradient(
                product, target, initial, precondition, N_LINEAR, accuracy
            )
        else:
            # Conjugate gradients would run away along what has no curvature.
            multiplier = _krylov("minres", product, target, initial, accuracy)
            left = target - product(multiplier)
            flat = norm_of(left) > FLAT * norm_of(target)
        by_hyper = -self._at(params).mixed_product(multiplier)
        return Adjoint(by_hyper, multiplier, left, flat)

    def correction(self, params, left):
        """About what a solved linear system would add to the derivative."""
        vector = self._precondition(params)(left)
        return norm_of(self._at(params).mixed_product(vector))

    def _value(self, params):
        return float(self._at(params).value)

    @property
    def _has_inverse(self):
        return self.metric is not None and self.metric.exact

    def _product(self, params):
        return self._at(params).hessian_product

    def _precondition(self, params):
        problem = self.problem
        if self.metric is None and problem.metric is not None:
            self.metric = problem.metric(self.hyper, params, 0.0)
        return Preconditioner(1.0, self.metric)

    def _newton(self, params, gradient, accuracy):
        product, precondition = self._product(params), self._precondition(params)
        if self._has_inverse:
            return precondition(gradient)
        update, _, _ = conjugate_gradient(
            product, gradient, gradient * 0, precondition, N_LINEAR, accuracy
        )
        if not float((update * gradient).sum()) > 0:
            # Flat, or bent down: nothing to descend but along the gradient.
            curvature = largest_curvature(lambda vector: precondition(product(vector)), params)
            update = (divide(1.0, curvature) or 1.0) * precondition(gradient)
        return update

    def _search(self, params, update, value, descent, slack):
        """Where the update, halved until the value falls, leads; None where it never does."""
        for _ in range(40):
            arrived = params - update
            found = self._value(arrived)
            if found <= value - 1e-4 * descent + 10 * slack:  # NaN counts as risen
                return arrived, found
            update, descent = update / 2, descent / 2
        return None, value


class ProximalLevel:
    """A lower level with a non-smooth term: a fixed point of a proximal gradient step.

    With ``w = y - s grad f(y)`` the solution is ``y = prox(w)``, and J, the derivative of the
    proximal map, says which directions of params are free.
    """

    def __init__(self, problem, hyper):
        self.problem = problem
        self.hyper = hyper
        self.lower = with_products(problem.lower)
        self.step = 0.0  # of a proximal gradient step; 0 before it is known

    def solve(self, params) -> Solved:
        """Accelerated proximal steps until the free directions are known, then Newton steps."""
        params = self.problem.project_params(params)
        self._begin(params)
        for _ in range(MAX_ROUNDS):
            solved = self._newton_steps(params)
            if solved.is_solved or not math.isfinite(solved.gap.gradient_norm):
                return solved
            params = self._proximal_steps(solved.params)
        return self._newton_steps(params)

    def measure(self, params) -> Solved:
        """How well params solve it."""
        self._begin(params)
        _, residual = self._fixed(params)
        update = self._newton(params, residual) if norm_of(residual) > 0 else residual
        norm = norm_of(residual) / self.step
        gap = abs(float((residual * update).sum())) / (2 * self.step)
        is_solved = _is_small(update, params) and _is_small(residual, params)
        return Solved(params, update, LowerGap(gap, norm), is_solved)

    def adjoint(self, params, target, initial=None, accuracy=1e-10) -> Adjoint:
        """As in `SmoothLevel`; the multiplier solves ``u - (I - s H) J u = target``."""
        self._begin(params)
        arrived = self._arrived(params)

        def product(vector):
            free = self._vjp(arrived, vector)[1]
            return vector - free + self.step * self._product(params, free)

        multiplier = _krylov("gmres", product, target, initial, accuracy)
        by_hyper, free = self._vjp(arrived, multiplier)
        by_hyper = by_hyper - self.step * self._at(params).mixed_product(free)
        left = target - product(multiplier)
        flat = norm_of(left) > FLAT * norm_of(target)
        return Adjoint(by_hyper, multiplier, left, flat)

    def correction(self, params, left):
        """As in `SmoothLevel`."""
        return norm_of(self._at(params).mixed_product(self.step * left))

    def _begin(self, params):
        if self.step == 0:
            curvature = largest_curvature(lambda vector: self._product(params, vector), params)
            # The power iteration ends above half of the largest curvature.
            self.step = divide(0.5, curvature) or 1.0

    def _at(self, params):
        return self.lower.point(self.hyper, params)

    def _product(self, params, vector):
        return self._at(params).hessian_product(vector)

    def _arrived(self, params):
        return params - self.step * self._at(params).params_gradient

    def _fixed(self, params):
        """After one proximal step, and what that took off."""
        fixed = self.problem.nonsmooth.prox(self.hyper, self._arrived(params), self.step)
        return fixed, params - fixed

    def _vjp(self, arrived, vector):
        return self.problem.nonsmooth.prox_vjp(self.hyper, arrived, self.step, vector)

    def _newton(self, params, residual):
        """Solve ``v - J (I - s H) v = residual``; J is symmetric, as the step is a number."""
        arrived = self._arrived(params)

        def product(vector):
            moved = vector - self.step * self._product(params, vector)
            return vector - self._vjp(arrived, moved)[1]

        return _krylov("gmres", product, residual, None, 1e-8)

    def _newton_steps(self, params) -> Solved:
        """As long as each halves what a proximal step would change."""
        solved = self.measure(self._fixed(params)[0])
        for _ in range(MAX_NEWTON):
            arrived = self.problem.project_params(solved.params - solved.update)
            following = self.measure(self._fixed(arrived)[0])
            if not following.gap.gradient_norm <= solved.gap.gradient_norm / 2:
                break
            solved = following
        # Rounding may be all that is left.
        rounding = 10 * eps_of(params) * norm_of(solved.params) / self.step
        is_rounding = solved.gap.gradient_norm <= rounding
        return solved._replace(is_solved=solved.is_solved or is_rounding)

    def _proximal_steps(self, params):
        """Nesterov's, begun anew where they turn; shorter ones where the value rises."""
        value, before = self._value(params), params
        momentum, t = params, 1.0
        for _ in range(N_PROXIMAL):
            arrived = self._fixed(momentum)[0]
            found = self._value(arrived)
            if not found <= value + 10 * eps_of(params) * abs(value):
                if momentum is before:
                    self.step /= 2
                momentum, t = before, 1.0
                continue
            following = (1 + math.sqrt(1 + 4 * t * t)) / 2
            momentum = arrived + (t - 1) / following * (arrived - before)
            before, value, t = arrived, found, following
        return before

    def _value(self, params):
        problem, hyper = self.problem, self.hyper
        return float(self._at(params).value + problem.nonsmooth.value(hyper, params))


def _krylov(method, product, target, initial, accuracy):
    """Solve a linear system that is not positive definite, or not symmetric, by SciPy."""
    from scipy.sparse import linalg

    def tensor(vector):
        return as_tensor(vector.copy(), target).reshape(target.shape)

    def array(vector):
        return vector.double().flatten().cpu().numpy()

    n = target.numel()
    options = {"maxiter": N_LINEAR}
    if method == "gmres":
        options = {"restart": min(n, N_LINEAR // 5), "maxiter": 5}
    operator = linalg.LinearOperator(
        (n, n), lambda vector: array(product(tensor(vector))), dtype=float
    )
    initial = None if initial is None else array(initial)
    rtol = max(accuracy, eps_of(target))
    return tensor(
        getattr(linalg, method)(operator, array(target), initial, rtol=rtol, **options)[0]
    )


def _is_small(update, params):
    """Whether a step moves params by next to nothing."""
    small = SOLVED * eps_of(params)
    return norm_of(update) <= small * max(norm_of(params), small)
