"""Options of every solver, and how a solver is chosen."""

import pytest
from sklearn.base import clone

from skbamm.problems import strongly_convex_problem
from skbamm.solvers import SOLVERS, Solver, get_solver, solve

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
