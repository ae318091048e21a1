"""Steps to where an objective is not finite are taken back."""

import dataclasses

import numpy as np
import pytest
import torch

from skbamm.problems import BilevelProblem
from skbamm.solvers import SOLVERS, IapttGm, Status, solve

every_solver = pytest.mark.parametrize("name", SOLVERS)
double = torch.float64


def barrier_problem(barrier, level, initial=0.6):
    """The optimum, hyper = 1/4, is next to where an objective is not finite.

    A natural first step, Polyak's, leads there: the least upper value is far above zero.
    """

    def objective(name, value, hyper, params):
        return value + 0 * barrier(hyper) if name == level else value

    def upper(hyper, params):
        return objective("upper", 9 + (params - 0.25).square().sum() / 2, hyper, params)

    def lower(hyper, params):
        return objective("lower", (params - hyper).square().sum() / 2, hyper, params)

    initial = torch.full((2,), initial, dtype=double)
    return BilevelProblem(upper, lower, initial, initial.clone(), strongly_convex=True)


BARRIERS = {
    "log of a negative number": lambda hyper: hyper.log().sum(),
    "root of a negative number": lambda hyper: (hyper - 1e-3).sqrt().sum(),
    "overflow": lambda hyper: (-999 * (hyper - 0.1)).exp().exp().sum(),
}


@every_solver
@pytest.mark.parametrize("level", ["upper", "lower"])
@pytest.mark.parametrize("barrier", BARRIERS)
def test_a_run_goes_around_what_is_not_finite(name, level, barrier):
    problem = barrier_problem(BARRIERS[barrier], level)
    solution = solve(problem, name, tol=1e-5)
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(
        solution.hyper, torch.full((2,), 0.25, dtype=double), rtol=0, atol=1e-4
    )
    assert solution.criterion <= solution.initial_criterion


def test_a_natural_step_leads_to_where_the_objective_is_not_finite():
    problem = barrier_problem(BARRIERS["overflow"], "upper")
    visited = torch.from_numpy(solve(problem, "unrolling", tol=1e-5).history["hyper"])
    assert not np.isfinite([problem.upper.value(x, x).item() for x in visited]).all()


def test_steps_that_follow_the_sign_of_gradients_are_taken_back_too():
    # The first step changes hyper by 0.3.
    problem = barrier_problem(BARRIERS["log of a negative number"], "upper", initial=0.28)
    problem = dataclasses.replace(problem, strongly_convex=False)
    solution = solve(problem, IapttGm(n_steps=2), max_iter=60, tol=-1.0)
    assert solution.status is not Status.DIVERGED
    assert (solution.history["hyper"] < 0).any() and (solution.hyper > 0).all()
    assert solution.criterion <= solution.initial_criterion


def test_a_run_with_given_steps_ends_as_diverged_at_its_best_finite_point():
    problem = barrier_problem(BARRIERS["log of a negative number"], "upper")
    solution = solve(problem, SOLVERS["unrolling"](hyper_step=20.0, n_steps=3), tol=1e-5)
    assert solution.status is Status.DIVERGED
    assert solution.criterion.isfinite() and (solution.hyper > 0).all()


@pytest.mark.parametrize("level", ["upper", "lower"])
@pytest.mark.parametrize("value", [-0.5, 0.0])
@every_solver
def test_an_initial_point_that_is_not_finite_is_an_error(name, value, level):
    problem = barrier_problem(BARRIERS["log of a negative number"], level, initial=value)
    with pytest.raises(ValueError, match=f"{level} must be finite at the initial point"):
        solve(problem, name)


@every_solver
def test_minus_infinity_is_no_lowest_value(name):
    def upper(hyper, params):
        value = (params - 1).square().sum()
        return value.where(params.max() < 0.9, -torch.inf)

    initial = torch.zeros(2, dtype=double)
    problem = BilevelProblem(
        upper, lambda h, p: (p - h).square().sum(), initial, initial.clone(), strongly_convex=True
    )
    solution = solve(problem, name, max_iter=20)
    assert solution.criterion.isfinite() and solution.criterion < 1.9
    assert solution.hyper.max() < 0.9
