"""Promises that every solver of the table keeps."""

import dataclasses
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import skbamm
from skbamm.problems import BilevelProblem, Objective
from skbamm.solvers import SOLVERS, Status, solve
from tests.conftest import EXAMPLE_PROBLEMS
from tests.solvers.runs import (
    CONVERGING,
    COVERED,
    N_ITER,
    assert_same_state,
    later_state,
    long_run,
    make,
    run,
    tensors,
)

every_solver = pytest.mark.parametrize("name", SOLVERS)


def on(*examples):
    """The example problems that can break a promise."""
    return pytest.mark.parametrize("problem", examples, indirect=True)


# A lower level with many solutions (averaging), with one, and with a metric and its own solution.
of_each_kind = on("boxed", "strongly convex", "group penalty")
# Derivatives from autograd and Euclidean steps, or written ones and a metric's steps.
without_and_with_a_metric = on("boxed", "group penalty")


# What one iteration promises


@every_solver
@without_and_with_a_metric
def test_init_leaves_the_problem_alone(name, problem):
    hyper, params = problem.initial_hyper.clone(), problem.initial_params.clone()
    make(name).init(problem)
    assert torch.equal(problem.initial_hyper, hyper)
    assert torch.equal(problem.initial_params, params)


@every_solver
@of_each_kind
def test_step_leaves_its_inputs_alone(name, problem):
    state = later_state(problem, name)
    before = {key: tensor.clone() for key, tensor in tensors(state).items()}
    make(name).step(problem, state)
    for key, tensor in tensors(state).items():
        assert torch.equal(tensor.nan_to_num(), before[key].nan_to_num()), key


@every_solver
@of_each_kind
def test_step_remembers_nothing(name, problem):
    solver = make(name)
    state = later_state(problem, name)
    with torch.no_grad():
        first = solver.step(problem, state)
        solver.step(problem, first)
        assert_same_state(solver.step(problem, state), first)


@every_solver
def test_step_counts_one_iteration(name):
    problem, solver = EXAMPLE_PROBLEMS["strongly convex"](), make(name)
    state = solver.init(problem)
    assert solver.step(problem, state).iteration == state.iteration + 1


# What a run promises


@pytest.fixture(params=[torch.float32, torch.float64])
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@every_solver
@pytest.mark.parametrize("example", ["boxed", "group penalty", "adaptive penalty"])
def test_a_run_keeps_dtype_device_and_shapes_of_the_initial_point(name, example, default_dtype):
    # Not the default one, which any tensor has that is made without a thought.
    dtype = torch.float64 if default_dtype == torch.float32 else torch.float32
    problem = EXAMPLE_PROBLEMS[example](dtype)
    solution = run(problem, name)
    state = tensors(solution.state)
    assert {tensor.dtype for tensor in state.values() if tensor.is_floating_point()} == {dtype}
    assert solution.hyper.dtype == solution.params.dtype == solution.criterion.dtype == dtype
    assert {tensor.device for tensor in state.values()} == {problem.initial_hyper.device}
    assert solution.hyper.shape == problem.initial_hyper.shape
    assert solution.params.shape == problem.initial_params.shape
    assert torch.get_default_dtype() == default_dtype


@every_solver
@pytest.mark.parametrize("example", ["boxed", "group penalty", "adaptive penalty"])
def test_every_iterate_is_feasible(name, example):
    hyper = torch.from_numpy(long_run(name, example).history["hyper"])
    assert torch.equal(EXAMPLE_PROBLEMS[example]().project_hyper(hyper), hyper)


@every_solver
def test_an_infeasible_start_is_projected(name):
    problem = EXAMPLE_PROBLEMS["boxed"]()
    outside = dataclasses.replace(problem, initial_hyper=problem.initial_hyper + 9)
    solution = run(outside, name, max_iter=0)
    assert torch.equal(solution.hyper, problem.project_hyper(outside.initial_hyper))


@every_solver
@pytest.mark.parametrize("example", EXAMPLE_PROBLEMS)
def test_a_long_run_stays_finite(name, example):
    solution = long_run(name, example)
    assert solution.hyper.isfinite().all() and solution.params.isfinite().all()
    # Also where the method's theory ends, and a criterion at such params has no other meaning.
    assert solution.criterion.isfinite()
    assert np.isfinite(solution.history["hyper"]).all()


@pytest.mark.parametrize(("name", "example"), COVERED)
def test_a_run_does_not_end_above_its_initial_criterion(name, example):
    solution = long_run(name, example)
    assert solution.criterion <= solution.initial_criterion


@every_solver
@of_each_kind
def test_a_resumed_run_equals_a_straight_one_and_its_repetition(name, problem):
    straight = run(problem, name).state
    assert_same_state(run(problem, name).state, straight)
    for n_first in (2, 3):  # by the third some have come to an end
        first = run(problem, name, max_iter=n_first)
        resumed = run(problem, name, max_iter=N_ITER - n_first, state=first.state).state
        assert_same_state(resumed, straight)


@every_solver
def test_a_run_stops_at_max_iter(name):
    solution = run(EXAMPLE_PROBLEMS["boxed"](), name, max_iter=2)
    assert (solution.n_iter, solution.status) == (2, Status.MAX_ITER)


@every_solver
@without_and_with_a_metric
def test_no_iterations_evaluate_the_initial_point(name, problem):
    solution = run(problem, name, max_iter=0)
    assert (solution.n_iter, solution.status, len(solution.history)) == (0, Status.FROZEN, 0)
    assert torch.equal(solution.hyper, problem.project_hyper(problem.initial_hyper))
    initial = problem.criterion(problem.initial_hyper, problem.initial_params)
    torch.testing.assert_close(solution.criterion, initial.sum())
    torch.testing.assert_close(solution.initial_criterion, initial.sum())


# Elsewhere, outside the method's theory, test_coverage.py has what happens.
@pytest.mark.parametrize(("name", "example"), COVERED)
def test_a_run_converges_below_its_tolerance(name, example):
    solver = SOLVERS[name](**CONVERGING.get(name, {}))
    solution = solve(EXAMPLE_PROBLEMS[example](), solver, max_iter=2000, tol=1e-3)
    assert solution.status is Status.CONVERGED
    assert solution.residual <= 1e-3


@every_solver
def test_a_callback_stops_the_run(name):
    problem = EXAMPLE_PROBLEMS["boxed"]()
    solution = run(problem, name, callback=lambda state, row: state.iteration == 2)
    assert (solution.n_iter, solution.status) == (2, Status.STOPPED)


@every_solver
@without_and_with_a_metric
def test_a_callback_sees_what_the_history_records(name, problem):
    rows = []
    solution = run(problem, name, callback=lambda state, row: rows.append(row))
    for key, values in solution.history.records.items():
        if key not in ("criterion", "lower"):
            np.testing.assert_array_equal(np.stack([np.asarray(row[key]) for row in rows]), values)


@every_solver
@without_and_with_a_metric
def test_a_callback_sees_the_criterion_of_the_point_that_hyper_left_last(name, problem):
    rows = []
    solution = run(problem, name, callback=lambda state, row: rows.append(row))
    seen = [np.asarray(row["criterion"]) for row in rows]
    own, hyper = solution.history["criterion"], solution.history["hyper"]
    if problem.solve_lower is None:
        np.testing.assert_array_equal(seen, own)
        return
    known = before = np.asarray(solution.initial_criterion)
    point = problem.project_hyper(problem.initial_hyper).numpy()
    for row, value in enumerate(seen):
        if (hyper[row] != point).any():
            known = before
        np.testing.assert_array_equal(value, known)
        point, before = hyper[row], own[row]


class FailsAfter(Objective):
    """Another objective that becomes NaN after some evaluations."""

    def __init__(self, objective, n_calls):
        self.objective = objective
        self.n_calls = n_calls

    def value(self, hyper, params):
        self.n_calls -= 1
        value = self.objective.value(hyper, params)
        return value if self.n_calls > 0 else value * float("nan")


@every_solver
@pytest.mark.parametrize("level", ["upper", "lower"])
@pytest.mark.parametrize("n_calls", [3, 12])
def test_a_run_on_a_failing_objective_ends_as_diverged_at_a_finite_iterate(name, level, n_calls):
    problem = EXAMPLE_PROBLEMS["strongly convex"]()
    failing = dataclasses.replace(problem, **{level: FailsAfter(getattr(problem, level), n_calls)})
    solution = run(failing, name, max_iter=100)
    assert solution.status is Status.DIVERGED
    assert len(solution.history) == solution.n_iter < 100
    assert solution.hyper.isfinite().all() and solution.params.isfinite().all()


@every_solver
@pytest.mark.parametrize("example", ["boxed", "group penalty"])
def test_history_has_a_row_of_numpy_for_each_iteration(name, example):
    solution = long_run(name, example)
    records = solution.history.records
    names = {"criterion", "lower", "residual", "hypergradient_norm", "averaging", "hyper"}
    assert names <= set(records)  # what displays read
    assert {len(solution.history), *map(len, records.values())} == {solution.n_iter}
    assert all(type(values) is np.ndarray for values in records.values())
    assert all(values.dtype != object for values in records.values())


WITHOUT_TORCH = """
import pickle, sys
first = pickle.load(open(sys.argv[1], "rb"))
again = pickle.loads(pickle.dumps(first))
for name, saved in again.items():
    print(name, len(saved["history"]), saved["status"].value, sorted(saved["solver"].get_params()))
sys.exit("torch was imported" if "torch" in sys.modules else 0)
"""


def test_history_and_solvers_unpickle_without_torch(tmp_path):
    saved, expected = {}, []
    for name in SOLVERS:
        solution = run(EXAMPLE_PROBLEMS["strongly convex"](), name, max_iter=3)
        solver = make(name)
        saved[name] = {"history": solution.history, "status": solution.status, "solver": solver}
        expected.append(f"{name} 3 max_iter {sorted(solver.get_params())}")
    path = tmp_path / "saved.pickle"
    path.write_bytes(pickle.dumps(saved))
    root = Path(skbamm.__file__).parents[1]
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(path)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert found.stdout.splitlines() == expected, found.stderr


@every_solver
@without_and_with_a_metric
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_mode_makes_no_difference(name, mode, problem):
    expected = run(problem, name).state
    with mode():
        found = run(problem, name).state
    assert_same_state(found, expected)


@every_solver
@without_and_with_a_metric
def test_global_state_is_untouched(name, problem):
    torch_before, numpy_before, python_before = (
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
        random.getstate(),
    )
    run(problem, name)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert random.getstate() == python_before


@every_solver
@without_and_with_a_metric
def test_tensors_of_a_solution_carry_no_graph(name, problem):
    initial = dataclasses.replace(
        problem, initial_hyper=problem.initial_hyper.clone().requires_grad_()
    )
    solution = run(initial, name)
    assert not solution.hyper.requires_grad and not solution.params.requires_grad


@pytest.mark.parametrize("step", [1e200, 1e308])
@pytest.mark.parametrize("which", ["params_step", "multiplier_step", "hyper_step"])
def test_the_best_iterate_of_a_run_with_a_huge_step_is_finite(which, step):
    problem = EXAMPLE_PROBLEMS["strongly convex"]()
    problem = dataclasses.replace(problem, initial_hyper=50 * problem.initial_hyper)
    steps = {"params_step": 0.1, "multiplier_step": 0.1, "hyper_step": 0.1, which: step}
    solution = solve(problem, SOLVERS["sl-bamm"](**steps), max_iter=10)
    assert solution.status is Status.DIVERGED
    assert solution.hyper.isfinite().all() and solution.params.isfinite().all()


def test_plain_functions_make_a_problem():
    problem = BilevelProblem(
        lambda hyper, params: ((params - 1) ** 2).sum(),
        lambda hyper, params: ((params - hyper) ** 2).sum(),
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
        strongly_convex=True,
    )
    found = solve(problem, tol=1e-8).hyper
    torch.testing.assert_close(found, torch.ones_like(found))
