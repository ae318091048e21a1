"""What `solve` returns is true: against the lower level solved again in float64 by SciPy."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skbamm.problems import (
    BilevelProblem,
    Box,
    WeightedL1,
    merely_convex_problem,
    sine_product_problem,
    strongly_convex_problem,
    weighted_lasso_problem,
)
from skbamm.solvers import SOLVERS, IapttGm, Need, SlBamm, Status, Unrolling, solve
from skbamm.solvers.loop._verification import FinishingState

double = torch.float64
every_solver = pytest.mark.parametrize("name", SOLVERS)
#: Too few inner steps to solve the lower level, where a method has them.
SHORT = {name: {"n_steps": 4} for name, kind in SOLVERS.items() if hasattr(kind(), "n_steps")}
SMOOTH_ONLY = [name for name, kind in SOLVERS.items() if Need.SMOOTH_LOWER_LEVEL in kind.needs]
PROXIMAL = [name for name in SOLVERS if name not in SMOOTH_ONLY]


def ridge_levels(dtype, seed=0):
    """Two learned strengths of a ridge."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(60, 6, generator=generator, dtype=double)
    X = X + X[:, :1] / 2
    y = X[:, 1] - X[:, 2] + 0.5 * torch.randn(60, generator=generator, dtype=double)
    X, y = X.to(dtype), y.to(dtype)

    def upper(hyper, params):
        return (X[30:] @ params - y[30:]).square().mean() / 2

    def lower(hyper, params):
        return (X[:30] @ params - y[:30]).square().mean() / 2 + (
            hyper.exp() @ params.square().reshape(2, 3).sum(1)
        ) / 2

    return upper, lower


def ridge_problem(dtype=double, **options):
    return BilevelProblem(
        *ridge_levels(dtype),
        torch.full((2,), -2.0, dtype=dtype),
        torch.zeros(6, dtype=dtype),
        **{"lower_bound": -6.0, "upper_bound": 2.0, "strongly_convex": True, **options},
    )


def resolved(hyper, bounds=None):
    """Criterion of the ridge problem in float64."""
    upper, lower = ridge_levels(double)
    hyper = hyper.double()

    def function(vector):
        vector = torch.tensor(vector, requires_grad=True)
        value = lower(hyper, vector)
        return value.item(), torch.autograd.grad(value, vector)[0].numpy()

    options = {"maxiter": 5000, "gtol": 1e-10, "ftol": 0}
    found = minimize(
        function, np.zeros(6), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return upper(hyper, torch.tensor(found.x)).item()


def slope(hyper, bounds=None):
    """Norm of the projected derivative of `resolved`, by central differences."""
    step, gradient = 1e-4, np.zeros(2)
    for index in range(2):
        values = []
        for sign in (1, -1):
            moved = hyper.double().clone()
            moved[index] += sign * step
            values.append(resolved(moved, bounds))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    hyper = hyper.double().numpy()
    return np.linalg.norm(hyper - np.clip(hyper - gradient, -6, 2))


@every_solver
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-3), (double, 1e-4)])
def test_a_run_converges_to_a_point_that_is_stationary(name, dtype, tol):
    options = SHORT.get(name, {})
    if dtype == torch.float32 and name in ("truncated-unrolling", "bda"):
        # With less they stand still like unrolling, for all of the iterations.
        options = {"n_steps": 10}
    solution = solve(ridge_problem(dtype), SOLVERS[name](**options), tol=tol, max_iter=300)
    assert solution.status is Status.CONVERGED
    assert solution.residual <= tol
    assert slope(solution.hyper) <= 2 * tol
    assert solution.criterion.item() == pytest.approx(resolved(solution.hyper), rel=1e-3)


@every_solver
@pytest.mark.parametrize("max_iter", [0, 1, 4])
def test_criteria_are_those_of_a_solved_lower_level(name, max_iter):
    problem = ridge_problem()
    solution = solve(problem, name, tol=0.0, max_iter=max_iter)
    assert solution.criterion.item() == pytest.approx(resolved(solution.hyper), rel=1e-6)
    initial = resolved(problem.initial_hyper)
    assert solution.initial_criterion.item() == pytest.approx(initial, rel=1e-6)
    assert solution.criterion <= solution.initial_criterion
    if max_iter:
        assert solution.hypergradient_norm == pytest.approx(slope(solution.hyper), abs=1e-5)


@pytest.mark.parametrize("name", PROXIMAL)
def test_criterion_and_residual_are_right_with_bounds_of_params(name):
    problem = ridge_problem(nonsmooth=Box(0.0, math.inf))
    solution = solve(problem, name, tol=1e-4, max_iter=200)
    bounds = [(0, None)] * 6
    assert solution.status is Status.CONVERGED
    assert solution.criterion.item() == pytest.approx(resolved(solution.hyper, bounds), rel=1e-6)
    assert slope(solution.hyper, bounds) <= 2e-4


@pytest.mark.parametrize("name", PROXIMAL)
def test_criterion_and_gradient_are_right_with_a_lasso_below(name):
    """One strength of a lasso: a closed form, soft thresholding."""
    target = torch.tensor([3.0, -2.0, 1.5, 0.1], dtype=double)
    problem = BilevelProblem(
        lambda hyper, params: (params - 0.8 * target).square().sum() / 2,
        lambda hyper, params: (params - target).square().sum(),
        torch.zeros(1, dtype=double),
        torch.zeros(4, dtype=double),
        strongly_convex=True,
        nonsmooth=WeightedL1(lambda hyper: 2 * hyper.exp()),
    )
    solution = solve(problem, name, tol=1e-6, max_iter=300)
    # Of the three entries that are not zero: sum (|t| - w - .8 |t|) = 0.
    assert solution.status is Status.CONVERGED
    assert float(solution.hyper.exp()) == pytest.approx(0.2 * 6.5 / 3, rel=1e-6)
    assert solution.params[3] == 0


def test_second_derivatives_are_differenced_where_there_are_none():
    problem = ridge_problem()
    for level in (problem.upper, problem.lower):
        object.__setattr__(level, "twice_differentiable", False)
    solution = solve(problem, "meha", tol=1e-4, max_iter=400)
    assert solution.status is Status.CONVERGED
    assert slope(solution.hyper) <= 2e-4


@pytest.mark.parametrize("initial", [(1, 2), (4, 0), (8, 0)])
def test_the_optimum_that_a_run_visited_is_returned(initial):
    problem, optimum = sine_product_problem(start=initial)
    solution = solve(problem, IapttGm(), max_iter=100)
    torch.testing.assert_close(solution.hyper, optimum, rtol=1e-3, atol=0)
    # The optimum is a kink, where no gradient vanishes.
    assert solution.status is not Status.CONVERGED


def test_published_steps_stay_as_they_are():
    """And their answer is no convergence where the descent is too short."""
    solver = Unrolling(n_steps=3, params_step=0.01, hyper_step=0.1)
    problem = ridge_problem()
    states = [solver.init(problem)]
    for _ in range(5):
        states.append(solver.step(problem, states[-1]))
    solution = solve(problem, solver, tol=1e-6, max_iter=5)
    torch.testing.assert_close(solution.state.hyper, states[-1].hyper)
    assert solution.status is Status.MAX_ITER


def test_a_lower_level_without_minimum_is_unsolved():
    problem = BilevelProblem(
        lambda hyper, params: (hyper - 1).square().sum() + (params - 1).square().sum(),
        lambda hyper, params: (hyper - params).exp().sum(),
        torch.zeros(2, dtype=double),
        torch.zeros(2, dtype=double),
    )
    for max_iter in (0, 3):
        solution = solve(problem, max_iter=max_iter)
        assert solution.status is Status.UNSOLVED


def test_a_wrong_solution_of_the_lower_level_is_told():
    problem = ridge_problem()
    exact = solve(problem, max_iter=5)
    assert exact.lower_gap.gradient_norm < 1e-8 and exact.lower_gap.value < 1e-12
    wrong = dataclasses.replace(problem, solve_lower=lambda hyper, params: params * 0 + 0.1)
    solution = solve(wrong, max_iter=5)
    assert solution.status is Status.UNSOLVED
    assert solution.lower_gap.gradient_norm > 1e-2


def test_the_gap_is_what_a_newton_step_takes_off():
    problem, _ = strongly_convex_problem(3)
    off = torch.tensor([0.1, -0.2, 0.3], dtype=double)
    # f = |y - x|^2 / 2 - |x|^2 / 2
    wrong = dataclasses.replace(problem, solve_lower=lambda hyper, params: hyper + off)
    gap = solve(wrong, max_iter=0).lower_gap
    assert gap.value == pytest.approx(0.07) and gap.gradient_norm == pytest.approx(0.14**0.5)


def test_what_the_lower_level_leaves_free_has_to_be_stationary():
    problem = merely_convex_problem(3)
    done = dataclasses.replace(problem, initial_hyper=torch.ones(3, dtype=double))
    ones = torch.ones(6, dtype=double)
    assert solve(dataclasses.replace(done, initial_params=ones), max_iter=3).residual < 1e-6
    ones[3:] = 0.5
    solution = solve(dataclasses.replace(done, initial_params=ones), "unrolling", max_iter=3)
    assert solution.residual >= 0.5 and solution.status is Status.UNDETERMINED


@pytest.mark.parametrize("name", ["iaptt-gm", "meha"])
def test_a_smooth_optimum_of_a_nonsmooth_lower_level_converges(name):
    solution = solve(weighted_lasso_problem(20), name)
    assert solution.status is Status.CONVERGED
    assert solution.criterion.item() == pytest.approx(-0.5)


def test_a_finished_run_resumes():
    problem, solver = ridge_problem(), Unrolling(n_steps=20)
    straight = solve(problem, solver, tol=1e-6, max_iter=60)
    first = solve(problem, solver, tol=1e-6, max_iter=straight.n_iter - 2)
    assert isinstance(first.state, FinishingState)
    resumed = solve(problem, solver, tol=1e-6, max_iter=60, state=first.state)
    assert resumed.status is Status.CONVERGED
    torch.testing.assert_close(resumed.hyper, straight.hyper, rtol=0, atol=1e-6)


def test_an_answer_that_is_not_verified_is_the_methods_own():
    problem = ridge_problem()
    solution = solve(problem, SlBamm(), max_iter=4, tol=0.0, verify=False)
    assert solution.lower_gap is None
    best = int(np.argmin(solution.history["residual"]))
    for name in ("residual", "hypergradient_norm"):
        assert getattr(solution, name) == solution.history[name][best]
