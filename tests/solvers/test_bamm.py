"""SlBamm against answers known by other means."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skbamm.problems import BilevelProblem, merely_convex_problem, strongly_convex_problem
from skbamm.solvers import SlBamm, Status, solve
from tests.reference.regression import penalty_problem

double = torch.float64


def test_strongly_convex_optimum_is_found():
    problem, optimum = strongly_convex_problem(5)
    solution = solve(problem, tol=1e-9)
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(solution.hyper, optimum)


def test_merely_convex_optimum_is_approached():
    solution = solve(merely_convex_problem(5), tol=0.0, max_iter=500)
    # The averaging parameter, .9 / sqrt(500) at the end, is still a bias of its size.
    torch.testing.assert_close(solution.hyper, torch.ones(5, dtype=double), rtol=0, atol=0.04)


@pytest.mark.parametrize("averaging", [0.1, 0.5])
def test_fixed_averaging_has_its_known_bias(averaging):
    problem, _ = strongly_convex_problem(3)
    solver = SlBamm(averaging=averaging, params_step=0.5, hyper_step=0.1)
    state = solve(problem, solver, max_iter=200, tol=-1.0).state
    expected = torch.full((3,), 1 / (1 + (1 - averaging) ** 2), dtype=double)
    torch.testing.assert_close(state.hyper, expected)


def test_converged_hypergradient_is_that_of_the_reduced_problem():
    problem, _ = strongly_convex_problem(4)
    solver = SlBamm(params_step=0.5, multiplier_step=0.5, hyper_step=0.0)
    state = solve(problem, solver, max_iter=100, tol=-1.0).state
    # F(x, y*(x)) = 1/2 |x|^2 + 1/2 |x - e|^2
    torch.testing.assert_close(state.hypergradient, 2 * problem.initial_hyper - 1)


def test_residual_bounds_the_exact_hypergradient():
    problem, optimum = strongly_convex_problem(4)
    for tol in (1e-1, 1e-3, 1e-5):
        solution = solve(problem, SlBamm(params_step=0.5, hyper_step=0.1), tol=tol)
        exact = (4 * (solution.hyper - optimum) / 2).norm()
        # An estimate from one displacement, not a bound: a factor of 10 is its promise here.
        assert exact <= 10 * tol


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_defaults_find_the_optimum_in_both_precisions(dtype):
    problem, optimum = strongly_convex_problem(5, dtype=dtype)
    # float32 resolves the hypergradient to about 1e-6.
    solution = solve(problem, tol=1e-4)
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(solution.hyper, optimum, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["gram", "sparse"])
def test_learned_group_weights_minimise_the_criterion(kind):
    problem = penalty_problem(kind, "groups")
    solution = solve(problem, tol=1e-6, max_iter=100)

    def criterion(hyper):
        hyper = torch.from_numpy(hyper)[None]
        return float(problem.criterion(hyper, problem.initial_params))

    low, high = problem.lower_bound[0].numpy(), problem.upper_bound[0].numpy()
    initial = problem.initial_hyper[0].numpy()
    best = minimize(criterion, initial, bounds=np.c_[low, high], method="L-BFGS-B")
    # SciPy differentiates by finite differences and stops at 2e-9 relative to the value.
    assert float(solution.criterion) == pytest.approx(best.fun, rel=1e-7)


@pytest.mark.parametrize("penalty_name", ["groups", "adaptive", "adaptive with groups"])
def test_solution_of_a_regression_is_stationary(penalty_name):
    problem = penalty_problem("gram", penalty_name)
    hyper = solve(problem, tol=1e-6, max_iter=100).hyper
    params = problem.solve_lower(hyper, problem.initial_params)
    upper = problem.upper.gradients(hyper, params)
    multiplier = problem.metric(hyper, params, 0.0).solve(upper.params)
    hypergradient = -problem.lower.curvature_products(hyper, params, multiplier).mixed
    step = hyper - problem.project_hyper(hyper - hypergradient)
    # The residual is measured in the step before the best iterate.
    assert problem.norm(step) <= 1e-5


def test_params_of_a_solution_are_the_lower_solution_at_its_hyper():
    problem = penalty_problem("gram", "groups")
    solution = solve(problem, max_iter=5, tol=-1.0)
    torch.testing.assert_close(
        solution.params, problem.solve_lower(solution.hyper, problem.initial_params)
    )


@pytest.mark.parametrize("averaging", [None, 0.2])
def test_averaging_is_off_by_default_only_where_the_lower_level_is_strongly_convex(averaging):
    convex, _ = strongly_convex_problem(2)
    merely = merely_convex_problem(2)
    used = [
        solve(problem, SlBamm(averaging=averaging), max_iter=2, tol=-1.0).history["averaging"]
        for problem in (convex, merely)
    ]
    expected = [[0, 0], [0.9, 0.9 / 2**0.5]] if averaging is None else [[0.2, 0.2]] * 2
    np.testing.assert_allclose(used, expected)


def test_the_problem_says_what_averaging_suits_it():
    problem = dataclasses.replace(merely_convex_problem(2), averaging=0.3)
    assert (solve(problem, SlBamm(), max_iter=2, tol=-1.0).history["averaging"] == 0.3).all()
    own = solve(problem, SlBamm(averaging=0.1), max_iter=2, tol=-1.0)
    assert (own.history["averaging"] == 0.1).all()


def test_hyper_is_still_while_params_have_not_converged():
    problem, _ = strongly_convex_problem(10, identity=False)
    state = SlBamm().init(problem)
    for _ in range(30):
        following = SlBamm().step(problem, state)
        if not following.params_converged:
            assert torch.equal(following.hyper, state.hyper)
        state = following


def test_a_start_where_the_multiplier_vanishes_is_not_taken_for_a_solution():
    # At the initial point params minimise the upper objective, so the first multiplier is zero.
    problem = BilevelProblem(
        lambda hyper, params: (params - 1).square().sum() / 2,
        lambda hyper, params: (params - hyper).square().sum() / 2,
        torch.tensor([3.0], dtype=torch.float64),
        torch.tensor([1.0], dtype=torch.float64),
        strongly_convex=True,
    )
    solution = solve(problem, tol=1e-8)
    assert float(solution.hyper) == pytest.approx(1.0, abs=1e-6)


def test_the_best_iterate_is_the_point_that_its_residual_belongs_to():
    initial = torch.tensor([1 + 1e-8], dtype=torch.float64)
    problem = BilevelProblem(
        lambda hyper, params: (params - 1).square().sum() / 2,
        lambda hyper, params: (params - hyper).square().sum() / 2,
        initial,
        initial.clone(),
        strongly_convex=True,
    )
    assert float(solve(problem, tol=1e-6).hyper) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, double])
def test_params_leave_a_point_where_the_lower_level_is_bent_down(dtype):
    """There an exact line search has no step; the multiplier grew until the run diverged."""

    def lower(hyper, params):
        return ((params.square() - 1).square() / 4 - hyper * params).sum()

    problem = BilevelProblem(
        lambda hyper, params: (params - 1.2).square().sum() / 2,
        lower,
        torch.zeros(2, dtype=dtype),
        torch.tensor([0.1, 0.2], dtype=dtype),
    )
    solver = SlBamm(averaging=0.0, hyper_step=0.0)
    state = solve(problem, solver, tol=-1.0, max_iter=60, verify=False).state
    torch.testing.assert_close(state.params, torch.ones(2, dtype=dtype), rtol=0, atol=1e-4)
    # The Hessian is 3 params^2 - 1 there, and the upper gradient -.2.
    expected = torch.full((2,), -0.1, dtype=dtype)
    torch.testing.assert_close(state.multiplier, expected, rtol=0, atol=1e-4)


def test_after_a_rejected_point_a_descent_begins_where_the_last_good_one_ended():
    problem = BilevelProblem(
        upper=lambda hyper, params: 1 + (params + 0.7).square().sum(),
        # Two wells; the left one, where params begin, is gone at hyper above .385.
        lower=lambda hyper, params: (params**4 / 4 - params**2 / 2 - hyper * params).sum(),
        initial_hyper=torch.zeros(1, dtype=double),
        initial_params=-torch.ones(1, dtype=double),
        solve_lower="lbfgs",
    )
    solver = SlBamm(max_move=0.5)
    states = [solver.init(problem)]
    while states[-1].hyper <= 0.385 or states[-1].params < 0:
        states.append(solver.step(problem, states[-1]))
    after = solver.step(problem, states[-1])
    assert 0 < after.hyper < states[-1].hyper  # back towards the last good point
    anchor = next(state for state in states if state.search.started)
    torch.testing.assert_close(after.params, anchor.params)
    torch.testing.assert_close(after.multiplier, anchor.multiplier)


def test_descents_go_on_until_the_multiplier_can_correct_what_they_leave():
    curvature = torch.logspace(0, 6, 7, dtype=double)
    problem = BilevelProblem(
        upper=lambda hyper, params: (params - 1).square().sum() / 2,
        lower=lambda hyper, params: (curvature * (params - hyper).square()).sum() / 2,
        initial_hyper=torch.full((7,), 1.01, dtype=double),
        initial_params=torch.zeros(7, dtype=double),
        solve_lower="lbfgs",
    )
    # The first descent ends at a hundredth of the first gradient, at (.01, .12, 1.04, ...).
    solution = solve(problem, SlBamm(), max_iter=30)
    assert solution.status is Status.CONVERGED
    assert float(solution.criterion) < 1e-8
