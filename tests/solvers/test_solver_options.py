"""Options of every solver, and how a solver is chosen."""

import math

import numpy as np
import pytest
from sklearn.base import clone

from skbamm.problems import strongly_convex_problem
from skbamm.solvers import SOLVERS, PowerLaw, SlBamm, Solver, Unrolling, get_solver, solve

every_solver = pytest.mark.parametrize("name", SOLVERS)


@every_solver
def test_options_are_stored_untouched_and_cloned(name):
    solver = SOLVERS[name]()
    assert clone(solver).get_params() == solver.get_params()
    for option in solver.get_params():
        marker = object()
        assert getattr(SOLVERS[name](**{option: marker}), option) is marker


@every_solver
def test_every_option_can_be_set_and_is_shown(name):
    for option in SOLVERS[name]().get_params():
        solver = SOLVERS[name]().set_params(**{option: 0.125})
        assert solver.get_params()[option] == 0.125
        assert f"{option}=0.125" in repr(solver)


def test_a_solver_is_found_by_its_name():
    assert {name: type(get_solver(name)) for name in SOLVERS} == SOLVERS


def test_every_solver_of_the_table_is_a_solver():
    assert all(issubclass(kind, Solver) for kind in SOLVERS.values())


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="solver must be one of"):
        get_solver("no such solver")


def test_something_else_than_a_solver_is_an_error():
    with pytest.raises(TypeError, match="solver must be a name or a Solver"):
        solve(strongly_convex_problem(2)[0], object())


#: Values that an option may have, and values that it may not.
STEPS = [1, 0.125, np.float32(0.5), PowerLaw(0.9, 0.5)], [-1.0, math.nan, math.inf, "fast", None]
VALUES = {
    "n_steps": ([1, 7, np.int64(3)], [0, -1, 1.5, 2.0, True, math.nan, "auto", None]),
    "hyper_step": ([*STEPS[0], 0.0, "auto"], STEPS[1]),
    "params_step": ([*STEPS[0], "auto"], [0.0, *STEPS[1]]),
    "multiplier_step": ([*STEPS[0], "cauchy"], [0.0, "auto", *STEPS[1]]),
    "initialization_step": ([*STEPS[0], 0.0, None], [*STEPS[1][:-1], "auto"]),
    "max_move": ([0.5, 2], [0, -1.0, math.nan, math.inf, "auto", None]),
    "averaging": ([0, 0.0, 0.5, None, PowerLaw(0.5, 0.5)], [1, 1.5, -0.1, math.nan, "auto"]),
    "dynamics": (["gradient", "nesterov"], ["newton", None, 1]),
    "truncation": ([True, False, "auto"], ["yes", None, 0.5]),
    "proximity": ([0.5, "auto"], [0.0, -1.0, math.nan, None, PowerLaw(0.5, 0.5)]),
    "accuracy": ([0.1], [0.0, -1.0, math.nan, "auto"]),
}
VALUES |= dict.fromkeys(["n_reverse", "n_linear", "memory"], VALUES["n_steps"])
VALUES |= dict.fromkeys(["proximal_step", "upper_weight"], VALUES["params_step"])


@every_solver
def test_every_option_takes_its_values_and_refuses_others(name):
    problem, _ = strongly_convex_problem(2)
    for option in SOLVERS[name]().get_params():
        good, bad = VALUES[option]
        for value in good:
            solve(problem, SOLVERS[name](**{option: value}), max_iter=1)
        for value in bad:
            message = rf"^{option} of {SOLVERS[name].__name__} must be .*: got "
            with pytest.raises(ValueError, match=message):
                solve(problem, SOLVERS[name](**{option: value}), max_iter=1)


@pytest.mark.parametrize("value", [math.nan, -0.1, math.inf])
@pytest.mark.parametrize("option", ["params_step", "hyper_step"])
def test_a_schedule_that_returns_no_length_is_an_error(option, value):
    def schedule(iteration):
        return 0.1 if iteration < 3 else value

    solver = Unrolling(**{option: schedule})
    with pytest.raises(ValueError, match=r"schedule must return .* in iteration 3"):
        solve(strongly_convex_problem(2)[0], solver, tol=-1.0)


@pytest.mark.parametrize("max_iter", [-1, 1.5, None, "9", math.nan])
def test_a_number_of_iterations_that_is_none_is_an_error(max_iter):
    with pytest.raises(ValueError, match="max_iter must be a whole number"):
        solve(strongly_convex_problem(2)[0], max_iter=max_iter)


@pytest.mark.parametrize("tol", [math.nan, None, "small"])
def test_a_tolerance_that_is_no_number_is_an_error(tol):
    with pytest.raises(ValueError, match="tol must be a number"):
        solve(strongly_convex_problem(2)[0], tol=tol)


def test_a_solver_without_kinds_is_not_checked():
    class Own(SlBamm):
        kinds = {}

    assert solve(strongly_convex_problem(2)[0], Own(memory=1.0), max_iter=0).n_iter == 0


@pytest.mark.parametrize("given", [None, strongly_convex_problem(2), strongly_convex_problem])
def test_what_is_no_problem_is_an_error(given):
    with pytest.raises(
        TypeError, match="problem must be a BilevelProblem or a StochasticProblem: got"
    ):
        solve(given)
