"""Penalties with a power and a barrier: derivatives, solves and the hypergradient."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skbamm.problems import FunctionObjective
from skbamm.regularization.losses._nonquadratic_problem import (
    NonquadraticError,
    NonquadraticProblem,
)
from skbamm.regularization.losses._quadratic import HeldOutError, PenalizedError
from skbamm.regularization.penalties._functions import Barrier, Bridge, Square
from skbamm.regularization.penalties._specs import LinearPenalty
from tests.reference.regression import GROUPS, KINDS, losses, make_data

SMOOTHING = 0.1
ACCURACY = 1e-12
# Autograd cannot pass through products with SciPy's sparse matrices.
DENSE = ("gram", "rows")
STIFFNESS = 50.0

#: Strengths of the three groups, then the powers of the first two together and of the third.
POWERED = [[-1.5, -2.0, -0.7, 0.6, 1.4], [-2.2, -1.1, -1.9, 1.0, 2.0]]
STRENGTHS = [row[:3] for row in POWERED]


def tensor(values):
    return torch.tensor(np.array(values, dtype=float))


def power_penalty(n_folds):
    """Log strengths of three groups, and the powers of two sets of them."""
    strengths = np.vstack([np.arange(3)[:, None] == GROUPS, np.zeros((2, 5), dtype=bool)])
    powers = np.vstack([np.zeros((3, 5), dtype=bool), GROUPS < 2, GROUPS == 2])
    zeros = tensor(np.zeros(5))
    return LinearPenalty(tensor(strengths), zeros, n_folds, tensor(powers), zeros)


def lasso_penalty(n_folds):
    strengths = tensor(np.arange(3)[:, None] == GROUPS)
    zeros = tensor(np.zeros(5))
    return LinearPenalty(strengths, zeros, n_folds, 0 * strengths, zeros + 1)


def square_penalty(n_folds):
    return LinearPenalty(tensor(np.arange(3)[:, None] == GROUPS), tensor(np.zeros(5)), n_folds)


#: Penalty, penalty function, stiffness of the barrier and learned numbers of two candidates.
CASES = {
    "bridge": (power_penalty, Bridge(SMOOTHING), 0.0, POWERED),
    "lasso": (lasso_penalty, Bridge(SMOOTHING), 0.0, STRENGTHS),
    "positive square": (square_penalty, Square(), STIFFNESS, STRENGTHS),
    "positive bridge": (power_penalty, Bridge(SMOOTHING), STIFFNESS, POWERED),
}


class ExactProblem(NonquadraticProblem):
    """Solved far more accurately than in fits: derivatives of a solution need its digits."""

    accuracy = ACCURACY


def make_problem(kind, case):
    penalty, function, stiffness, _ = CASES[case]
    train, test = losses(kind, make_data())
    lower = NonquadraticError(train, penalty(train.n_folds), function, Barrier(stiffness))
    return ExactProblem(lower, HeldOutError(test))


def random_params(seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 2, 5, generator=generator, dtype=torch.float64)


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture
def hyper(case):
    return tensor(CASES[case][3])


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


def test_a_square_without_barrier_is_the_quadratic_penalty():
    train, _ = losses("gram", make_data())
    penalty, params = square_penalty(train.n_folds), random_params()
    found = NonquadraticError(train, penalty).value(tensor(STRENGTHS), params)
    expected = PenalizedError(train, penalty).value(tensor(STRENGTHS), params)
    torch.testing.assert_close(found, expected)


def test_curvature_at_the_gradient_itself_is_that_of_the_penalty():
    """Where the floor of the primal-dual curvature does not bind: a convex power."""
    objective, params = make_problem("gram", "bridge").lower, random_params()
    hyper = tensor([[-1.5, -2.0, -0.7, 1.3, 1.4], [-2.2, -1.1, -1.9, 1.6, 2.0]])
    found = objective.dual_curvature(hyper, params, objective.penalty_gradient(hyper, params))
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


@pytest.mark.parametrize("case", ["lasso", "positive square"])
def test_solution_of_a_convex_penalty_does_not_depend_on_the_start(case):
    problem, hyper = make_problem("gram", case), tensor(STRENGTHS)
    found = [problem.solve_lower(hyper, start) for start in (random_params(), random_params(9))]
    # Two runs that end at gradients of ACCURACY.
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("case", ["lasso", "positive square"])
def test_solution_of_a_convex_penalty_equals_that_of_a_general_optimizer(case):
    problem, hyper = make_problem("gram", case), tensor(STRENGTHS)[:1]
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


@pytest.mark.parametrize("kind", KINDS)
def test_solution_of_power_two_is_ridge(kind):
    problem, params = make_problem(kind, "bridge"), random_params()
    hyper = tensor([[*row, 2.0, 2.0] for row in STRENGTHS])
    ridge = PenalizedError(problem.lower.loss, square_penalty(3)).weights(tensor(STRENGTHS)).alpha
    expected = problem.lower.loss.metric(ridge).minimizer(problem.lower.loss, params)
    torch.testing.assert_close(problem.solve_lower(hyper, params), expected, rtol=1e-7, atol=1e-9)


def test_stiffness_holds_coefficients_at_zero():
    train, test = losses("gram", make_data())
    lower = NonquadraticError(train, square_penalty(3), Square(), Barrier(1e6))
    params = NonquadraticProblem(lower, HeldOutError(test)).solve_lower(
        tensor(STRENGTHS), torch.zeros_like(random_params())
    )
    free = PenalizedError(train, square_penalty(3))
    unconstrained = train.metric(free.weights(tensor(STRENGTHS)).alpha).minimizer(train, params)
    assert (unconstrained < -0.01).any()
    # Cross-products of size 1 against a barrier of stiffness 1e6.
    assert params.min() > -1e-5


@pytest.mark.parametrize("kind", DENSE)
def test_metric_inverts_the_hessian_where_the_penalty_is_convex(kind):
    problem, hyper = make_problem(kind, "positive square"), tensor(STRENGTHS)
    params, vector = random_params(), random_params(3)
    product = problem.lower.hessian_product(hyper, params, vector)
    found = problem.metric(hyper, params, 0.0).solve(product)
    torch.testing.assert_close(found, vector)


def test_metric_of_a_concave_penalty_is_positive():
    problem, hyper = make_problem("gram", "bridge"), tensor(POWERED)
    vector = random_params(3)
    found = problem.metric(hyper, 0.2 + 0 * vector, 0.0).solve(vector)
    assert ((found * vector).sum((2, 3)) > 0).all()


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
