"""Implicit against SciPy itself, closed forms, and as the oracle of the default solver."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skbamm.problems import BilevelProblem, strongly_convex_problem
from skbamm.solvers import Implicit, SlBamm, Status, solve
from tests.conftest import EXAMPLE_PROBLEMS

double = torch.float64


def criterion_and_gradient(problem):
    """Of a problem that solves its lower level and has an exact metric, for SciPy."""
    shape = problem.initial_hyper.shape

    def function(x):
        hyper = torch.from_numpy(x).reshape(shape)
        params = problem.solve_lower(hyper, problem.initial_params)
        upper = problem.upper.gradients(hyper, params)
        multiplier = problem.metric(hyper, params, 0.0).solve(upper.params)
        gradient = upper.hyper - problem.lower.mixed_product(hyper, params, multiplier)
        return float(problem.upper.value(hyper, params)), gradient.flatten().numpy()

    return function


@pytest.mark.parametrize("example", ["group penalty", "adaptive penalty"])
def test_steps_are_the_iterations_of_one_run_of_scipy(example):
    problem = EXAMPLE_PROBLEMS[example]()
    expected, function = [], criterion_and_gradient(problem)
    value, gradient = function(problem.initial_hyper.flatten().numpy())
    # Which makes the first step Polyak's, or one in its largest entry.
    unit = max(gradient @ gradient / abs(value), abs(gradient).max())
    minimize(
        lambda x: tuple(found / unit for found in function(x)),
        problem.initial_hyper.flatten().numpy(),
        jac=True,
        method="L-BFGS-B",
        bounds=np.c_[problem.lower_bound[0], problem.upper_bound[0]],
        options={"maxiter": 6, "ftol": 0.0, "gtol": 0.0},
        callback=lambda x: expected.append(x.copy()),
    )
    found = solve(problem, Implicit(), max_iter=6, tol=-1.0).history["hyper"]
    np.testing.assert_allclose(found[: len(expected), 0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_evaluations", [1, 5])
def test_a_point_is_evaluated_once(n_evaluations):
    points = []

    def upper(hyper, params):
        points.append(hyper.clone())
        return (params - 1).square().sum() + hyper.pow(4).sum()

    problem = BilevelProblem(
        upper,
        lambda hyper, params: (params - hyper).square().sum() / 2,
        torch.full((2,), 3.0, dtype=double),
        torch.zeros(2, dtype=double),
        strongly_convex=True,
        solve_lower=lambda hyper, params: hyper,
    )
    state = Implicit().init(problem)
    for _ in range(n_evaluations):
        state = Implicit().step(problem, state)
    # Its value and its gradient together.
    assert len(points) == len({tuple(point.tolist()) for point in points})
    assert len(points) == len(state.evaluations)


@pytest.mark.parametrize("identity", [True, False])
def test_the_optimum_is_found_without_a_solver_of_the_lower_level(identity):
    problem, optimum = strongly_convex_problem(10, identity=identity)
    solution = solve(problem, "implicit", tol=1e-7)
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(solution.hyper, optimum, rtol=0, atol=1e-4)


def test_params_minimise_a_lower_level_that_is_not_quadratic():
    def lower(hyper, params):
        return params.pow(4).sum() / 4 + params.exp().sum() - hyper @ params

    initial = torch.full((3,), 2.0, dtype=double)
    problem = BilevelProblem(
        lambda hyper, params: (params - 0.5).square().sum(),
        lower,
        initial,
        initial * 0,
        strongly_convex=True,
    )
    solution = solve(problem, "implicit", tol=1e-9)
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(solution.params, 0 * initial + 0.5)
    torch.testing.assert_close(solution.hyper, 0 * initial + 0.5**3 + float(np.exp(0.5)))


def test_a_lower_level_that_is_not_solved_is_no_convergence():
    # Without a minimum: params run away, and gradients vanish on the way.
    initial = torch.ones(1, dtype=double)
    problem = BilevelProblem(
        lambda hyper, params: hyper.square().sum(),
        lambda hyper, params: (-params).exp().sum(),
        initial,
        initial,
    )
    solution = solve(problem, "implicit", max_iter=5)
    assert solution.status is not Status.CONVERGED and solution.residual == np.inf


def test_the_default_solver_ends_where_this_one_does():
    problem = EXAMPLE_PROBLEMS["group penalty"]()
    expected = solve(problem, "implicit", tol=1e-8)
    found = solve(problem, SlBamm(), tol=1e-8)
    torch.testing.assert_close(found.criterion, expected.criterion, rtol=1e-9, atol=0)


@pytest.mark.parametrize("example", ["group penalty", "adaptive penalty"])
def test_nothing_is_left_to_gain_where_the_default_solver_ends(example):
    # From one initial point the two may find different local solutions.
    problem = EXAMPLE_PROBLEMS[example]()
    found = solve(problem, SlBamm(), tol=1e-8)
    after = solve(replace(problem, initial_hyper=found.hyper), "implicit", tol=1e-8)
    torch.testing.assert_close(found.criterion, after.criterion, rtol=1e-9, atol=0)


def test_entries_on_their_bounds_stay_there():
    problem = replace(EXAMPLE_PROBLEMS["group penalty"](), upper_bound=torch.full((1,), 0.5))
    solution = solve(problem, "implicit", tol=1e-8)
    assert solution.status is Status.CONVERGED
    assert (solution.hyper <= 0.5).all() and (solution.hyper == 0.5).any()


def test_bounds_may_leave_one_point():
    problem = replace(strongly_convex_problem(3)[0], lower_bound=0.1, upper_bound=0.1)
    solution = solve(problem, "implicit")
    assert solution.status is Status.CONVERGED
    assert (solution.hyper == 0.1).all()


def test_a_first_step_is_a_unit_of_hyper_at_most_however_small_the_gradient():
    problem = BilevelProblem(
        lambda hyper, params: 1e-3 * (params - 5).square().sum(),
        lambda hyper, params: (params - hyper).square().sum() / 2,
        torch.zeros(2, dtype=double),
        torch.zeros(2, dtype=double),
        lower_bound=-10.0,
        upper_bound=10.0,
        strongly_convex=True,
    )
    state = Implicit().step(problem, Implicit().init(problem))
    torch.testing.assert_close(state.hyper, torch.ones(2, dtype=double))


def test_a_point_is_evaluated_again_where_the_lower_level_has_left_its_solution():
    """A double well whose left well vanishes within a step of the initial hyper."""

    def lower(hyper, params):
        return (params.pow(4) / 4 - params.square() / 2 - hyper * params).sum()

    problem = BilevelProblem(
        lambda hyper, params: (
            (params - 1.1).square().sum() / 10 + 0.01 * (hyper - 1).square().sum()
        ),
        lower,
        torch.full((1,), 0.3, dtype=double),
        torch.full((1,), -1.0, dtype=double),
        solve_lower="lbfgs",
    )
    solution = solve(problem, "implicit", tol=1e-8)
    assert solution.status is Status.CONVERGED
    assert float(solution.params) > 1.0 and float(solution.hyper) > 0.2
