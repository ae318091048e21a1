"""Non-smooth terms against definitions, and the papers' problems against their optima."""

import pytest
import torch
from scipy.optimize import minimize_scalar

from skbamm.problems import (
    Box,
    WeightedL1,
    sine_product_problem,
    sine_sum_problem,
    weighted_lasso_problem,
)

double = torch.float64
TERMS = {"lasso": WeightedL1(torch.exp), "box": Box(-0.5, 1.0)}


@pytest.mark.parametrize("y", [-2.0, -0.3, 0.0, 0.4, 3.0])
def test_prox_of_the_lasso_minimises_its_definition(y):
    hyper, params = torch.tensor([-1.0], dtype=double), torch.tensor([y], dtype=double)
    term, step = TERMS["lasso"], 0.7

    def envelope(point):
        point = torch.tensor([point], dtype=double)
        return float(term.value(hyper, point) + (point - params).square().sum() / (2 * step))

    found = float(term.prox(hyper, params, step))
    best = minimize_scalar(envelope, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    assert found == pytest.approx(best.x, abs=1e-6)


def test_prox_of_a_box_is_the_projection():
    params = torch.tensor([-3.0, 0.2, 5.0], dtype=double)
    expected = torch.tensor([-0.5, 0.2, 1.0], dtype=double)
    torch.testing.assert_close(TERMS["box"].prox(params, params, 0.1), expected)
    torch.testing.assert_close(TERMS["box"].project(params), expected)


@pytest.mark.parametrize("name", TERMS)
def test_vjp_is_the_transposed_derivative_of_prox(name):
    term = TERMS[name]
    hyper = torch.tensor([-1.0, -2.0, 0.1, 0.0], dtype=double)
    params = torch.tensor([0.9, -0.6, 0.2, 3.0], dtype=double)
    cotangent = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=double)
    found = term.prox_vjp(hyper, params, 0.3, cotangent)
    step = 1e-6
    for which, gradient in enumerate(found):
        for index in range(4):
            values = []
            for sign in (1, -1):
                point = [hyper.clone(), params.clone()]
                point[which][index] += sign * step
                values.append(float(term.prox(*point, 0.3) @ cotangent))
            assert float(gradient[index]) == pytest.approx(
                (values[0] - values[1]) / (2 * step), abs=1e-8
            )


def test_hyper_gradient_of_the_lasso_is_its_weights_derivative():
    hyper = torch.tensor([0.5, -1.0], dtype=double)
    params = torch.tensor([2.0, -3.0], dtype=double)
    torch.testing.assert_close(
        TERMS["lasso"].hyper_gradient(hyper, params), hyper.exp() * params.abs()
    )


def test_hyper_gradient_is_zero_where_hyper_does_not_matter():
    hyper = torch.ones(2, dtype=double)
    assert torch.equal(TERMS["box"].hyper_gradient(hyper, hyper), 0 * hyper)


@pytest.mark.parametrize("build", [sine_product_problem, sine_sum_problem])
def test_the_lower_level_is_stationary_at_the_optimum(build):
    problem, optimum = build(3)
    params = {sine_product_problem: optimum * 0 - 2, sine_sum_problem: optimum + 2}[build]
    gradient = problem.lower.params_gradient(optimum, params)
    torch.testing.assert_close(gradient, 0 * gradient, rtol=0, atol=1e-12)


def test_values_at_the_optima_are_those_of_the_papers():
    problem, optimum = sine_product_problem()
    assert float(problem.upper.value(optimum, optimum * 0 - 2)) == pytest.approx(-float(optimum))
    problem, optimum = sine_sum_problem(5)
    value = float(problem.upper.value(optimum, optimum + 2))
    assert value == pytest.approx(5 * 0.2537, rel=1e-3)


def test_the_value_of_the_lasso_problem_is_minus_one_half():
    problem = weighted_lasso_problem(10)
    best = torch.tensor([0.1] * 5 + [0.0] * 5, dtype=double)
    assert float(problem.criterion(best, best)) == pytest.approx(-0.5)


def test_the_lower_solution_of_the_lasso_problem_is_a_fixed_point():
    problem = weighted_lasso_problem(6)
    hyper = torch.linspace(0, 0.3, 6, dtype=double)
    params = problem.solve_lower(hyper, hyper)
    gradient = problem.lower.params_gradient(hyper, params)
    again = problem.nonsmooth.prox(hyper, params - 0.5 * gradient, 0.5)
    torch.testing.assert_close(again, params)


def test_an_odd_size_of_the_lasso_problem_is_an_error():
    with pytest.raises(ValueError, match="n_hyper must be even"):
        weighted_lasso_problem(5)
