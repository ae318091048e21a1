"""What is told of a run while it goes on."""

import dataclasses

import numpy as np
import pytest
import torch

from skbamm.solvers import SOLVERS, Callback, Status, solve
from tests.conftest import EXAMPLE_PROBLEMS


class Listener:
    """Keeps everything that it is told, and stops the run at an iteration."""

    def __init__(self, stop_at=None):
        self.events, self.solutions, self.lengths = [], [], []
        self.stop_at = stop_at
        self.callback = Callback(self.begin, self.end)

    def begin(self, iteration):
        self.events.append(("begin", iteration))

    def end(self, snapshot):
        self.events.append(("end", snapshot.state.iteration))
        self.lengths.append(len(snapshot.history["criterion"]))
        self.solutions.append(snapshot.solution())
        return snapshot.state.iteration == self.stop_at


@pytest.fixture(params=["group penalty", "merely convex"])
def problem(request):
    return EXAMPLE_PROBLEMS[request.param]()


def test_every_step_has_a_beginning_and_an_end(problem):
    listener = Listener()
    solve(problem, max_iter=3, tol=-1.0, callback=listener.callback)
    assert listener.events == [(name, k) for k in (1, 2, 3) for name in ("begin", "end")]


@pytest.mark.parametrize("name", SOLVERS)
def test_the_solution_so_far_is_that_of_a_run_stopped_there(name, problem):
    listener = Listener()
    solve(problem, name, max_iter=6, tol=-1.0, callback=listener.callback)
    stopped = solve(
        problem, name, max_iter=6, tol=-1.0, callback=lambda state, row: state.iteration == 4
    )
    found = listener.solutions[3]
    assert found.status is Status.STOPPED and found.n_iter == 4
    for field in ("hyper", "params", "criterion"):
        torch.testing.assert_close(getattr(found, field), getattr(stopped, field), rtol=0, atol=0)
    for key, values in stopped.history.records.items():
        np.testing.assert_array_equal(found.history[key], values)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_does_not_notice_its_callback(name, problem):
    heard = solve(problem, name, max_iter=6, tol=-1.0, callback=Listener().callback)
    alone = solve(problem, name, max_iter=6, tol=-1.0)
    assert torch.equal(heard.hyper, alone.hyper) and torch.equal(heard.params, alone.params)
    for key, values in alone.history.records.items():
        np.testing.assert_array_equal(heard.history[key], values)


def test_the_history_grows_with_the_run(problem):
    listener = Listener()
    solve(problem, max_iter=4, tol=-1.0, callback=listener.callback)
    assert listener.lengths == [1, 2, 3, 4]


def test_an_end_that_is_true_stops_the_run(problem):
    solution = solve(problem, max_iter=9, tol=-1.0, callback=Listener(stop_at=2).callback)
    assert (solution.n_iter, solution.status) == (2, Status.STOPPED)


def test_a_mapped_callback_gets_functions_of_solution_and_history(problem):
    listener = Listener()
    mapped = listener.callback.mapped(
        lambda solution: solution.n_iter, lambda history: {"criterion": history["residual"][1:]}
    )
    solve(problem, max_iter=3, tol=-1.0, callback=mapped)
    assert listener.solutions == [1, 2, 3]
    assert listener.lengths == [0, 1, 2]


def test_the_history_knows_the_initial_point(problem):
    history = solve(problem, max_iter=2, tol=-1.0).history
    hyper, params = problem.project_hyper(problem.initial_hyper), problem.initial_params
    criterion, lower = problem.levels(hyper, params)
    np.testing.assert_array_equal(history.initial["hyper"], hyper)
    np.testing.assert_array_equal(history.initial["criterion"], criterion)
    np.testing.assert_array_equal(history.initial["lower"], lower)


def test_the_lower_objective_is_that_of_the_params_that_solve_the_lower_level():
    problem = EXAMPLE_PROBLEMS["group penalty"]()
    solution = solve(problem, max_iter=5, tol=-1.0)
    hyper = torch.from_numpy(solution.history["hyper"][-1])
    params = problem.solve_lower(hyper, problem.initial_params)
    expected = problem.lower.value(hyper, params).numpy()
    np.testing.assert_allclose(solution.history["lower"][-1], expected, rtol=1e-9)


def test_the_lower_objective_has_its_nonsmooth_term():
    class Constant:
        def value(self, hyper, params):
            return 5.0

    problem = dataclasses.replace(EXAMPLE_PROBLEMS["merely convex"](), nonsmooth=Constant())
    point = problem.initial_hyper, problem.initial_params
    assert problem.levels(*point)[1] == problem.lower.value(*point) + 5


def test_the_norm_of_the_multiplier_is_recorded_where_there_is_one():
    problem = EXAMPLE_PROBLEMS["strongly convex"]()
    solution = solve(problem, max_iter=3, tol=-1.0)
    expected = problem.norm(solution.state.multiplier)
    np.testing.assert_array_equal(solution.history["multiplier_norm"][-1], expected)
    assert "multiplier_norm" not in solve(problem, "meha", max_iter=3, tol=-1.0).history.records


def test_another_unit_is_that_of_residual_and_hypergradient_alone():
    history = solve(EXAMPLE_PROBLEMS["group penalty"](), max_iter=3, tol=-1.0).history
    scaled = history.in_units(2.0)
    for key, values in history.records.items():
        factor = 2.0 if key in ("residual", "hypergradient_norm") else 1.0
        np.testing.assert_array_equal(scaled[key], factor * values)


def test_a_function_of_hyper_reaches_the_start_too():
    history = solve(EXAMPLE_PROBLEMS["group penalty"](), max_iter=3, tol=-1.0).history
    doubled = history.with_hyper(lambda values: 2 * values)
    np.testing.assert_array_equal(doubled["hyper"], 2 * history["hyper"])
    np.testing.assert_array_equal(doubled.initial["hyper"], 2 * history.initial["hyper"])
