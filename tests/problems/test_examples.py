"""Hand-written derivatives of the papers' problems against autograd."""

import pytest
import torch

from skbamm.problems import Objective, merely_convex_problem, strongly_convex_problem

PROBLEMS = {
    "merely convex": lambda: merely_convex_problem(4),
    "strongly convex": lambda: strongly_convex_problem(4)[0],
    "stiff": lambda: strongly_convex_problem(4, identity=False)[0],
}


@pytest.fixture
def point():
    generator = torch.Generator().manual_seed(0)

    def draw(like):
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    return draw


@pytest.mark.parametrize("level", ["upper", "lower"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_fast_gradients_agree_with_autograd(name, level, point):
    problem = PROBLEMS[name]()
    objective = getattr(problem, level)
    hyper, params = point(problem.initial_hyper), point(problem.initial_params)
    slow = Objective.gradients(objective, hyper, params)
    for fast, correct in zip(objective.gradients(hyper, params), slow, strict=True):
        torch.testing.assert_close(fast, correct)
    torch.testing.assert_close(objective.params_gradient(hyper, params), slow.params)


class Plain(Objective):
    """Another objective's value alone."""

    def __init__(self, objective):
        self.value = objective.value


@pytest.mark.parametrize("level", ["upper", "lower"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_fast_curvature_products_agree_with_autograd(name, level, point):
    problem = PROBLEMS[name]()
    objective = getattr(problem, level)
    hyper, params = point(problem.initial_hyper), point(problem.initial_params)
    vector = point(params)
    slow = Plain(objective).curvature_products(hyper, params, vector)
    fast = objective.curvature_products(hyper, params, vector)
    for found, correct in zip(fast, slow, strict=True):
        torch.testing.assert_close(found, correct)
    torch.testing.assert_close(objective.hessian_product(hyper, params, vector), slow.hessian)


@pytest.mark.parametrize("identity", [True, False])
def test_the_optimum_of_the_strongly_convex_problem_is_stationary(identity):
    problem, optimum = strongly_convex_problem(4, identity=identity)
    eye = torch.eye(4, dtype=optimum.dtype)
    zero = torch.zeros_like(optimum)
    A = torch.stack([problem.lower.hessian_product(zero, zero, column) for column in eye])
    b = -problem.lower.params_gradient(optimum, zero)
    params = torch.linalg.solve(A, b)
    upper = problem.upper.gradients(optimum, params)
    multiplier = torch.linalg.solve(A, upper.params)
    mixed = problem.lower.mixed_product(optimum, params, multiplier)
    torch.testing.assert_close(upper.hyper - mixed, zero, rtol=0, atol=1e-10)
