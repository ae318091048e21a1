"""Objectives from autograd, and what a problem offers around them."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from skbamm import problems
from skbamm.problems import (
    AveragedObjective,
    BilevelProblem,
    FunctionObjective,
    Objective,
    merely_convex_problem,
    strongly_convex_problem,
)
from skbamm.solvers import SOLVERS, SlBamm, solve

double = torch.float64
HYPER = torch.tensor([0.3, -0.7], dtype=double)
PARAMS = torch.tensor([0.5, 1.5, -1.0], dtype=double)
VECTOR = torch.tensor([1.0, -2.0, 0.5], dtype=double)


@dataclass(frozen=True)
class Cubic(Objective):
    """``h0 p0^2 p1 + h1 p2^3``: no derivative in use below vanishes."""

    def value(self, hyper, params):
        return hyper[0] * params[0] ** 2 * params[1] + hyper[1] * params[2] ** 3


def quartic(hyper, params):
    return (params.square().sum() + hyper.square().sum()).square()


def test_gradients_of_a_value_are_its_derivatives():
    found = Cubic().gradients(HYPER, PARAMS)
    (h0, h1), (p0, p1, p2) = HYPER, PARAMS
    torch.testing.assert_close(found.hyper, torch.stack([p0**2 * p1, p2**3]))
    torch.testing.assert_close(
        found.params, torch.stack([2 * h0 * p0 * p1, h0 * p0**2, 3 * h1 * p2**2])
    )


def test_curvature_products_of_a_value_are_its_second_derivatives():
    found = Cubic().curvature_products(HYPER, PARAMS, VECTOR)
    (h0, h1), (p0, p1, p2), (v0, v1, v2) = HYPER, PARAMS, VECTOR
    hessian = [2 * h0 * (p1 * v0 + p0 * v1), 2 * h0 * p0 * v0, 6 * h1 * p2 * v2]
    torch.testing.assert_close(found.hessian, torch.stack(hessian))
    mixed = [2 * p0 * p1 * v0 + p0**2 * v1, 3 * p2**2 * v2]
    torch.testing.assert_close(found.mixed, torch.stack(mixed))


@pytest.mark.parametrize(
    "function",
    [
        lambda hyper, params: params.sum() * 0 + 1.0,
        lambda hyper, params: hyper.sum(),
        lambda hyper, params: params.sum(),
        lambda hyper, params: torch.tensor(1.0, dtype=double),
    ],
    ids=["constant", "of hyper only", "linear", "no graph"],
)
def test_derivatives_that_vanish_are_zero_and_not_missing(function):
    found = FunctionObjective(function).curvature_products(HYPER, PARAMS, VECTOR)
    assert torch.equal(found.hessian, torch.zeros_like(PARAMS))
    assert torch.equal(found.mixed, torch.zeros_like(HYPER))


def test_gradients_leave_the_arguments_alone():
    hyper, params = HYPER.clone(), PARAMS.clone()
    Cubic().gradients(hyper, params)
    assert not hyper.requires_grad and not params.requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_derivatives_do_not_depend_on_the_grad_mode(mode):
    expected = Cubic().gradients(HYPER, PARAMS)
    with mode():
        found = Cubic().gradients(HYPER, PARAMS)
    torch.testing.assert_close(tuple(found), tuple(expected))


def test_differentiable_gradients_carry_a_graph():
    hyper, params = HYPER.clone().requires_grad_(), PARAMS.clone().requires_grad_()
    gradients = Cubic().gradients(hyper, params, differentiable=True)
    (found,) = torch.autograd.grad((gradients.params * VECTOR).sum(), params)
    torch.testing.assert_close(found, Cubic().curvature_products(HYPER, PARAMS, VECTOR).hessian)


@pytest.mark.parametrize("averaging", [0.0, 0.3])
class TestAveraging:
    upper = FunctionObjective(quartic)
    lower = Cubic()

    def pair(self, averaging):
        """The averaged objective, and the same from its formula by autograd."""
        mixture = FunctionObjective(
            lambda hyper, params: (
                averaging * self.upper.value(hyper, params)
                + (1 - averaging) * self.lower.value(hyper, params)
            )
        )
        return AveragedObjective(self.lower, self.upper, averaging), mixture

    def test_value_is_the_weighted_mean(self, averaging):
        averaged, mixture = self.pair(averaging)
        torch.testing.assert_close(averaged.value(HYPER, PARAMS), mixture.value(HYPER, PARAMS))

    def test_gradients_are_those_of_the_value(self, averaging):
        averaged, mixture = self.pair(averaging)
        torch.testing.assert_close(
            tuple(averaged.gradients(HYPER, PARAMS)), tuple(mixture.gradients(HYPER, PARAMS))
        )

    def test_curvature_products_are_those_of_the_value(self, averaging):
        averaged, mixture = self.pair(averaging)
        torch.testing.assert_close(
            tuple(averaged.curvature_products(HYPER, PARAMS, VECTOR)),
            tuple(mixture.curvature_products(HYPER, PARAMS, VECTOR)),
        )

    def test_differentiable_gradients_carry_a_graph(self, averaging):
        averaged, mixture = self.pair(averaging)
        torch.testing.assert_close(
            tuple(Objective.curvature_products(averaged, HYPER, PARAMS, VECTOR)),
            tuple(mixture.curvature_products(HYPER, PARAMS, VECTOR)),
        )


def make_problem(**options):
    start = torch.zeros(2, 3, dtype=double)
    return BilevelProblem(quartic, Cubic(), start, start, **options)


def test_a_plain_function_becomes_an_objective():
    assert make_problem().upper == FunctionObjective(quartic)


def test_a_value_may_have_an_axis_of_length_one():
    def squared_distance(first, second):
        return (first - second).square().sum(1)

    start = torch.zeros(1, 3, dtype=double)
    problem = BilevelProblem(
        lambda hyper, params: squared_distance(params, 1.0),
        squared_distance,
        start,
        start,
        strongly_convex=True,
    )
    solution = solve(problem, tol=1e-8)
    torch.testing.assert_close(solution.hyper, torch.ones(1, 3, dtype=double))
    assert solution.criterion.shape == ()


IMPORTS = """
import sys
import numpy as np
import skbamm.inspection
from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
X = np.random.default_rng(0).normal(size=(40, 3))
BilevelRegularizedRegressor().fit(X, X[:, 0] + 1)
HyperCleaningClassifier().fit(X, X[:, 0] > 0)
found = [name for name in sys.modules if name.startswith("skbamm") and name.endswith("examples")]
sys.exit(found + ["matplotlib"] * ("matplotlib" in sys.modules) or None)
"""


def test_a_fit_loads_neither_the_papers_examples_nor_what_draws():
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORTS], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr


def test_an_unknown_name_of_the_module_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_problem'"):
        problems.no_such_problem  # noqa: B018


def test_something_else_than_a_function_is_an_error():
    with pytest.raises(TypeError, match="lower must be an Objective or a function"):
        BilevelProblem(quartic, 3.0, HYPER, PARAMS)


def test_projection_is_onto_the_box():
    problem = make_problem(lower_bound=torch.tensor([-1.0, 0.0, 1.0]), upper_bound=2.0)
    found = problem.project_hyper(torch.tensor([[-5.0, -5.0, 0.5], [5.0, 1.0, 1.5]], dtype=double))
    expected = torch.tensor([[-1.0, 0.0, 1.0], [2.0, 1.0, 1.5]], dtype=double)
    assert torch.equal(found, expected)


def test_norm_is_over_all_entries():
    assert make_problem().norm(torch.full((2, 3), 2.0)) == pytest.approx(24**0.5)


def test_criterion_is_taken_at_the_lower_solution_where_it_is_known():
    problem = make_problem(solve_lower=lambda hyper, params: params + 1)
    params = torch.zeros(2, 3, dtype=double)
    assert problem.criterion(params, params) == quartic(params, params + 1)


def test_optimum_of_the_merely_convex_problem_is_stationary():
    problem = merely_convex_problem(3)
    hyper, params = torch.ones(3, dtype=double), torch.ones(6, dtype=double)
    assert problem.upper.value(hyper, params) == 0
    assert (problem.lower.gradients(hyper, params).params == 0).all()


@pytest.mark.parametrize("identity", [True, False])
def test_optimum_of_the_strongly_convex_problem_is_stationary(identity):
    problem, optimum = strongly_convex_problem(4, identity=identity)
    zero = torch.zeros(4, dtype=double)
    basis = torch.eye(4, dtype=double)
    # Both levels are quadratic: their derivatives at 0 give all matrices.
    products = [problem.lower.curvature_products(zero, zero, column) for column in basis]
    hessian = torch.stack([product.hessian for product in products])
    mixed = torch.stack([product.mixed for product in products], dim=1)
    params = -torch.linalg.solve(hessian, mixed.T @ optimum)
    upper = problem.upper.gradients(optimum, params)
    multiplier = torch.linalg.solve(hessian, upper.params)
    # Entries of the two terms are of size 10: rounding, not the optimum, is left.
    torch.testing.assert_close(mixed @ multiplier, upper.hyper, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("identity", [True, False])
def test_examples_depend_on_their_seed_alone(identity):
    torch.manual_seed(1)
    _, first = strongly_convex_problem(3, identity=identity, seed=5)
    torch.manual_seed(2)
    _, second = strongly_convex_problem(3, identity=identity, seed=5)
    assert torch.equal(first, second)


# What a problem is given


def scalar(hyper, params):
    return (params - hyper).square().sum()


def small_problem(**options):
    start = torch.zeros(2, dtype=torch.float64)
    return BilevelProblem(
        **{
            "upper": scalar,
            "lower": scalar,
            "initial_hyper": start,
            "initial_params": start,
            **options,
        }
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_hyper": np.zeros(2)}, "initial_hyper must be a tensor.* got ndarray"),
        ({"initial_params": torch.zeros(2, dtype=torch.int64)}, "initial_params .*torch.int64"),
        ({"initial_params": torch.zeros(2)}, "one dtype: got torch.float64 and torch.float32"),
        ({"initial_params": torch.zeros(2, dtype=torch.float64, device="meta")}, "one device: got"),
        ({"initial_hyper": torch.zeros(2, dtype=torch.float16)}, "float32 or float64: .*float16"),
        ({"initial_params": torch.zeros(2, dtype=torch.bfloat16)}, "float32 or float64: .*bfloat"),
        ({"upper": 3.0}, "upper must be an Objective or a function"),
    ],
)
def test_a_start_that_is_no_tensor_is_named(options, message):
    with pytest.raises(TypeError, match=message):
        small_problem(**options)


@pytest.mark.parametrize("name", SOLVERS)
def test_an_initial_point_may_be_a_leaf_of_the_user_s_graphs(name):
    start = torch.ones(2, dtype=torch.float64)
    leaf = start.clone().requires_grad_()
    expected = solve(small_problem(initial_hyper=start, initial_params=start), name, max_iter=2)
    found = solve(small_problem(initial_hyper=leaf, initial_params=leaf), name, max_iter=2)
    for kind in ("hyper", "params", "criterion"):
        assert not getattr(found, kind).requires_grad
        assert torch.equal(getattr(found, kind), getattr(expected, kind))
    assert leaf.grad is None


def test_of_an_empty_hyper_nothing_can_be_learned():
    problem = small_problem(
        upper=lambda h, p: (p - 1).square().sum(),
        lower=lambda h, p: (p - 2).square().sum(),
        initial_hyper=torch.zeros(0, dtype=double),
    )
    assert solve(problem, max_iter=0).criterion.isfinite()
    with pytest.raises(ValueError, match="initial_hyper must have an entry"):
        solve(problem)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upper": lambda h, p: (p.detach() - 1).square().sum()}, "upper .* hyper or params"),
        ({"upper": lambda h, p: torch.tensor(p.sum().item())}, "upper .* hyper or params"),
        ({"lower": lambda h, p: (p.detach() - h).square().sum()}, "lower must depend on params"),
        ({"lower": lambda h, p: torch.ones((), dtype=double)}, "lower must depend on params"),
    ],
)
def test_a_loss_that_autograd_cannot_differentiate_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        solve(small_problem(**options))


def test_crossed_bounds_are_refused():
    with pytest.raises(ValueError, match=r"lower_bound must not be above upper_bound: got 4.0"):
        small_problem(lower_bound=4.0, upper_bound=-4.0)


@pytest.mark.parametrize("level", ["upper", "lower"])
def test_an_objective_of_many_values_is_refused(level):
    problem = small_problem(**{level: lambda hyper, params: params - hyper})
    with pytest.raises(ValueError, match=rf"{level} must return one value: .* of shape \(2,\)"):
        solve(problem, max_iter=1)


def test_an_objective_that_returns_a_number_is_refused():
    def number(hyper, params):
        return 1.0

    with pytest.raises(TypeError, match="number returned a float"):
        solve(small_problem(lower=number), max_iter=1)


def test_a_solver_s_class_is_no_solver():
    with pytest.raises(TypeError, match="an instance: got the class SlBamm"):
        solve(small_problem(), SlBamm)


def test_a_negative_number_of_iterations_is_refused():
    with pytest.raises(ValueError, match="max_iter must be a whole number not below 0: got -5"):
        solve(small_problem(), max_iter=-5)
