"""Which solver solves which of the papers' problems at its defaults, and what the others say.

Tolerances are those that the papers' figures end at.
"""

import dataclasses
import math

import pytest
import torch

from skbamm.problems import (
    Objective,
    merely_convex_problem,
    sine_product_problem,
    sine_sum_problem,
    strongly_convex_problem,
    weighted_lasso_problem,
)
from skbamm.solvers import SOLVERS, IapttGm, Meha, Need, PowerLaw, Status, solve

double = torch.float64
SIZES = [100, 1000]


def needing(need):
    return [name for name, kind in SOLVERS.items() if need in kind.needs]


NEEDS_ONE_SOLUTION = needing(Need.ONE_LOWER_SOLUTION)
NEEDS_SMOOTH = needing(Need.SMOOTH_LOWER_LEVEL)


def updates(problem, solver, error, level, max_iter):
    """Number of updates until the error of a state is below a level; infinite if never."""
    reached = math.inf

    def record(state, row):
        nonlocal reached
        if error(state) <= level:
            reached = state.iteration
        return reached < math.inf

    solve(problem, solver, max_iter=max_iter, tol=0.0, callback=record)
    return reached


def relative(optimum):
    return lambda state: float((state.hyper - optimum).norm() / optimum.norm())


@pytest.mark.parametrize("n_hyper", SIZES)
def test_meha_solves_the_merely_convex_problem(n_hyper):
    error = relative(torch.ones(n_hyper, dtype=double))
    assert updates(merely_convex_problem(n_hyper), Meha(), error, 1e-3, 150) < math.inf


@pytest.mark.parametrize("n_hyper", SIZES)
def test_meha_solves_the_sine_sum_problem(n_hyper):
    problem, optimum = sine_sum_problem(n_hyper)
    # The weight of the upper objective falls like 1 / k here, which is outside the theory.
    assert updates(problem, Meha(), relative(optimum), 1e-3, 300) < math.inf


@pytest.mark.parametrize(("power", "level", "max_iter"), [(0.49, 1e-1, 400), (1.0, 1e-2, 320)])
def test_meha_with_given_steps_approaches_the_sine_sum_optimum(power, level, max_iter):
    problem, optimum = sine_sum_problem(10)
    c0, step = (1.0, 0.05) if power < 0.5 else (0.2, 0.2)
    steps = {"params_step": step, "proximal_step": step, "hyper_step": step}
    solver = Meha(upper_weight=PowerLaw(1 / c0, power), proximity=3.0, **steps)
    assert updates(problem, solver, relative(optimum), level, max_iter) < math.inf


@pytest.mark.parametrize("n_hyper", SIZES)
def test_meha_solves_the_lasso_problem(n_hyper):
    problem = weighted_lasso_problem(n_hyper)

    def gap(state):
        return float(problem.criterion(state.hyper, state.params)) + 0.5

    assert updates(problem, Meha(), gap, 1e-3, 100) < math.inf


def test_params_of_meha_are_exactly_zero_while_learning():
    problem = weighted_lasso_problem(10)
    state = solve(problem, Meha(), max_iter=40, tol=0.0).state
    assert (state.proximal_params[:5] == 0).all()
    assert (state.proximal_params[5:] != 0).all()


# Others in test_answers.py, which looks at what is returned.
@pytest.mark.parametrize("initial", [(1, -2), (8, 2), (10, 0)])
def test_iaptt_solves_the_sine_product_problem(initial):
    problem, optimum = sine_product_problem(start=initial)
    assert updates(problem, IapttGm(), relative(optimum), 1e-3, 150) < math.inf


# Updates with published steps (.1 of both variables, 5e-4 of the trajectory) to 1e-2 and 1e-3.
@pytest.mark.parametrize("initial, published", [((8, 2), (16, 23)), ((8, 0), (11, 11))])
def test_iaptt_needs_no_more_updates_than_with_published_steps(initial, published):
    problem, optimum = sine_product_problem(start=initial)
    for level, limit in zip((1e-2, 1e-3), published, strict=True):
        assert updates(problem, IapttGm(), relative(optimum), level, limit) <= limit


@pytest.mark.parametrize("n_hyper", SIZES)
def test_iaptt_solves_copies_of_the_sine_product_problem(n_hyper):
    problem, optimum = sine_product_problem(n_hyper)
    assert updates(problem, IapttGm(), relative(optimum), 1e-3, 50) < math.inf


def test_iaptt_with_given_steps_needs_the_updates_of_its_figure():
    problem, optimum = sine_product_problem(start=(4, 0))
    solver = IapttGm(params_step=5e-4, hyper_step=0.1)
    assert updates(problem, solver, relative(optimum), 1e-2, 250) <= 239


def test_iaptt_with_a_fixed_initialization_ends_in_a_wrong_basin():
    problem, _ = sine_product_problem(start=(8, 2))
    solver = IapttGm(params_step=5e-4, hyper_step=0.1, initialization_step=0.0)
    assert float(solve(problem, solver, max_iter=120, tol=0.0).state.hyper) == 1.0


def test_iaptt_with_long_accelerated_descents_solves_the_merely_convex_problem():
    solver = IapttGm(params_step=0.5, dynamics="nesterov", truncation=False)
    error = relative(torch.ones(100, dtype=double))
    assert updates(merely_convex_problem(100), solver, error, 1e-3, 40) < math.inf


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "sl-bamm"])
@pytest.mark.parametrize("n_hyper", SIZES)
def test_every_solver_solves_the_strongly_convex_problem(name, n_hyper):
    problem, optimum = strongly_convex_problem(n_hyper)
    assert updates(problem, SOLVERS[name](), relative(optimum), 1e-3, 40) < math.inf


def test_bda_solves_the_merely_convex_problem():
    error = relative(torch.ones(100, dtype=double))
    assert updates(merely_convex_problem(100), SOLVERS["bda"](), error, 1e-3, 10) < math.inf


@pytest.mark.parametrize("name", NEEDS_ONE_SOLUTION)
def test_a_solver_that_needs_one_solution_says_that_there_are_more(name):
    solution = solve(merely_convex_problem(4), SOLVERS[name](), max_iter=60)
    assert solution.status is Status.UNDETERMINED
    # Where theory says that they end: the free half of params stands still.
    error = float((solution.state.hyper - 1).norm() / 2)
    assert error == pytest.approx(0.495, abs=1e-3)


@pytest.mark.parametrize("name", NEEDS_ONE_SOLUTION)
def test_the_residual_shows_what_is_undetermined(name):
    solution = solve(merely_convex_problem(4), SOLVERS[name](), max_iter=60)
    assert float(solution.residual) > 0.1


@pytest.mark.parametrize("name", NEEDS_SMOOTH)
def test_a_solver_for_smooth_lower_levels_refuses_others(name):
    with pytest.raises(ValueError, match=r"nonsmooth term: use one of .*'meha'"):
        solve(weighted_lasso_problem(4), name)


class FirstDerivatives(Objective):
    """``|params - hyper|^2 / 2``, said to have no second derivatives."""

    twice_differentiable = False

    def value(self, hyper, params):
        return (params - hyper).square().sum() / 2


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_that_needs_curvature_products_refuses_an_objective_without(name):
    problem = dataclasses.replace(strongly_convex_problem(3)[0], lower=FirstDerivatives())
    if Need.CURVATURE_PRODUCTS not in SOLVERS[name].needs:
        assert solve(problem, name, max_iter=3).n_iter == 3
        return
    with pytest.raises(ValueError, match=r"twice_differentiable: use one of \['meha'\]"):
        solve(problem, name)


@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in NEEDS_SMOOTH])
def test_runs_with_a_nonsmooth_term_stay_finite_and_feasible(name):
    problem = weighted_lasso_problem(4)
    solution = solve(problem, name, max_iter=10)
    assert torch.equal(problem.project_hyper(solution.hyper), solution.hyper)
    assert solution.params.isfinite().all()
