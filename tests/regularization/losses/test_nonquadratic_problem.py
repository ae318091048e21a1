"""The lasso and a barrier: derivatives, solves and the hypergradient."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skbamm.problems import FunctionObjective
from skbamm.regularization._constants import CURVATURE_FLOOR
from skbamm.regularization.losses._nonquadratic_problem import (
    NonquadraticError,
    NonquadraticProblem,
)
from skbamm.regularization.losses._quadratic import HeldOutError, PenalizedError
from skbamm.regularization.penalties._functions import Absolute, Barrier, Square
from skbamm.regularization.penalties._specs import LinearPenalty
from tests.reference.regression import GROUPS, KINDS, losses, make_data

SMOOTHING = 0.1
ACCURACY = 1e-12
# Autograd cannot pass through products with SciPy's sparse matrices.
DENSE = ("gram", "rows")
STIFFNESS = 50.0

#: Log strengths of the three groups, of two candidates.
STRENGTHS = [[-1.5, -2.0, -0.7], [-2.2, -1.1, -1.9]]


def tensor(values):
    return torch.tensor(np.array(values, dtype=float))


def linear_penalty(n_folds):
    return LinearPenalty(tensor(np.arange(3)[:, None] == GROUPS), tensor(np.zeros(5)), n_folds)


#: Penalty function and stiffness of the barrier.
CASES = {
    "lasso": (Absolute(SMOOTHING), 0.0),
    "positive lasso": (Absolute(SMOOTHING), STIFFNESS),
    "positive square": (Square(), STIFFNESS),
}


class ExactProblem(NonquadraticProblem):
    """Solved far more accurately than in fits: derivatives of a solution need its digits."""

    accuracy = ACCURACY


def make_problem(kind, case):
    function, stiffness = CASES[case]
    train, test = losses(kind, make_data())
    lower = NonquadraticError(train, linear_penalty(train.n_folds), function, Barrier(stiffness))
    return ExactProblem(lower, HeldOutError(test))


def random_params(seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 2, 5, generator=generator, dtype=torch.float64)


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture
def hyper():
    return tensor(STRENGTHS)


@pytest.mark.parametrize("kind", DENSE)
def test_fast_gradients_agree_with_autograd(kind, case, hyper):
    objective, params = make_problem(kind, case).lower, random_params()
    slow = FunctionObjective(objective.value).gradients(hyper, params)
    torch.testing.assert_close(tuple(objective.gradients(hyper, params)), tuple(slow))


@pytest.mark.parametrize("kind", DENSE)
def test_fast_curvature_products_agree_with_autograd(kind, case, hyper):
    objective, params, vector = make_problem(kind, case).lower, random_params(), random_params(3)
    slow = FunctionObjective(objective.value).curvature_products(hyper, params, vector)
    fast = objective.curvature_products(hyper, params, vector)
    torch.testing.assert_close(tuple(fast), tuple(slow))


def test_parts_of_the_folds_sum_to_the_value_but_for_a_constant(case, hyper):
    objective = make_problem("gram", case).lower
    first, second = random_params(), random_params(3)
    parts = objective.by_fold(hyper, first) - objective.by_fold(hyper, second)
    expected = objective.value(hyper, first) - objective.value(hyper, second)
    torch.testing.assert_close(parts.sum(1), expected)


def test_values_of_candidates_are_separate(case, hyper):
    objective, params = make_problem("gram", case).lower, random_params()
    alone = torch.cat([objective.value(hyper[[i]], params[[i]]) for i in range(2)])
    torch.testing.assert_close(objective.value(hyper, params), alone)


def test_a_square_without_barrier_is_the_quadratic_penalty(hyper):
    train, _ = losses("gram", make_data())
    penalty, params = linear_penalty(train.n_folds), random_params()
    found = NonquadraticError(train, penalty).value(hyper, params)
    expected = PenalizedError(train, penalty).value(hyper, params)
    torch.testing.assert_close(found, expected)


def test_curvature_at_the_gradient_itself_is_that_of_the_penalty(hyper):
    """Where the floor of the primal-dual curvature does not bind: near the smoothing."""
    objective, params = make_problem("gram", "lasso").lower, 2 * SMOOTHING * random_params()
    found = objective.dual_curvature(hyper, params, objective.function.gradient(params))
    torch.testing.assert_close(found, objective.curvature(hyper, params))


# Solutions of the lower level


@pytest.mark.parametrize("kind", KINDS)
def test_lower_solution_is_stationary(kind, case, hyper):
    problem = make_problem(kind, case)
    params = problem.solve_lower(hyper, torch.zeros_like(random_params()))
    gradient = problem.lower.params_gradient(hyper, params)
    # ACCURACY relative to cross-products of size 1; the stiffness multiplies rounding.
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_lower_solution_is_a_minimum(kind, case, hyper):
    problem = make_problem(kind, case)
    params = problem.solve_lower(hyper, torch.zeros_like(random_params()))
    lowest = problem.lower.value(hyper, params)
    for seed in range(5):
        moved = params + 0.01 * random_params(seed)
        assert (problem.lower.value(hyper, moved) > lowest).all()


def test_solution_does_not_depend_on_the_initialization(case, hyper):
    problem = make_problem("gram", case)
    found = [problem.solve_lower(hyper, start) for start in (random_params(), random_params(9))]
    # Two runs that end at gradients of ACCURACY.
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-9)


def test_solution_equals_that_of_a_general_optimizer(case, hyper):
    problem, hyper = make_problem("gram", case), hyper[:1]
    shape = (1, *random_params().shape[1:])

    def value_and_gradient(flat):
        params = torch.tensor(flat).reshape(shape)
        gradient = problem.lower.params_gradient(hyper, params)
        return float(problem.lower.value(hyper, params)), gradient.numpy().ravel()

    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10000, "maxfun": 20000}
    start = np.zeros(np.prod(shape))
    run = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    found = problem.solve_lower(hyper, torch.zeros(shape, dtype=torch.float64))
    # As far as the other optimizer gets.
    np.testing.assert_allclose(found.numpy().ravel(), run.x, rtol=1e-4, atol=1e-5)


def test_stiffness_holds_coefficients_at_zero(hyper):
    train, test = losses("gram", make_data())
    lower = NonquadraticError(train, linear_penalty(3), Square(), Barrier(1e6))
    params = NonquadraticProblem(lower, HeldOutError(test)).solve_lower(
        hyper, torch.zeros_like(random_params())
    )
    free = PenalizedError(train, linear_penalty(3))
    unconstrained = train.metric(free.weights(hyper).alpha).minimizer(train, params)
    assert (unconstrained < -0.01).any()
    # Cross-products of size 1 against a barrier of stiffness 1e6.
    assert params.min() > -1e-5


@pytest.mark.parametrize("kind", DENSE)
def test_metric_of_positive_squares_inverts_the_hessian(kind, hyper):
    problem = make_problem(kind, "positive square")
    params, vector = random_params(), random_params(3)
    product = problem.lower.hessian_product(hyper, params, vector)
    found = problem.metric(hyper, params, 0.0).solve(product)
    torch.testing.assert_close(found, vector)


def test_metric_of_the_lasso_bounds_its_curvature_from_below(hyper):
    """Far from zero, where the penalty is all but flat."""
    problem = make_problem("gram", "lasso")
    vector, far = random_params(3), torch.full_like(random_params(), 100.0)
    found = problem.metric(hyper, far, 0.0).solve(vector)
    curvature = CURVATURE_FLOOR * problem.lower.majorizer(hyper, far)
    torch.testing.assert_close(problem.lower.loss.product(found) + curvature * found, vector)


# The hypergradient


def exact_hypergradient(problem, hyper, params):
    """Gradient of the upper objective along the lower solution, by a dense linear solve."""
    upper = problem.upper.gradients(hyper, params)
    flat = upper.params.flatten(1)
    columns = []
    for index in range(flat.shape[1]):
        unit = torch.zeros_like(flat)
        unit[:, index] = 1
        columns.append(
            problem.lower.hessian_product(hyper, params, unit.reshape(params.shape)).flatten(1)
        )
    multiplier = torch.linalg.solve(torch.stack(columns, dim=2), flat).reshape(params.shape)
    return upper.hyper - problem.lower.mixed_product(hyper, params, multiplier)


@pytest.mark.parametrize("kind", KINDS)
def test_hypergradient_equals_finite_differences_of_the_criterion(kind, case, hyper):
    problem, h = make_problem(kind, case), 1e-5
    params = problem.solve_lower(hyper, torch.zeros_like(random_params()))
    found = exact_hypergradient(problem, hyper, params)
    for index in range(hyper.shape[1]):
        step = torch.zeros_like(hyper)
        step[:, index] = h
        forward, backward = (
            problem.upper.value(
                hyper + sign * step, problem.solve_lower(hyper + sign * step, params)
            )
            for sign in (1, -1)
        )
        # Solutions are good to ACCURACY and divided by h.
        torch.testing.assert_close(
            found[:, index], (forward - backward) / (2 * h), rtol=1e-4, atol=1e-6
        )
