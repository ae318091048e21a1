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
from sklearn.base import clone

import skbamm
from skbamm.problems import BilevelProblem, Objective, strongly_convex_problem
from skbamm.solvers import SOLVERS, Need, Solver, Status, get_solver, solve
from tests.conftest import EXAMPLE_PROBLEMS

N_ITER = 8

#: Few inner steps where a method has them: promises hold for any number.
QUICK = {
    "iaptt-gm": {"n_steps": 4},
    "unrolling": {"n_steps": 4},
    "truncated-unrolling": {"n_steps": 4, "n_reverse": 2},
    "conjugate-gradient": {"n_steps": 4, "n_linear": 3},
    "neumann": {"n_steps": 4, "n_linear": 3},
    "bda": {"n_steps": 4},
}

#: More of them where a run has to converge, by the shortest way.
CONVERGING = {
    "unrolling": {"n_steps": 20},
    "truncated-unrolling": {"n_steps": 20, "n_reverse": 10},
    "conjugate-gradient": {"n_steps": 20, "n_linear": 10},
    "neumann": {"n_steps": 20, "n_linear": 10},
}

every_solver = pytest.mark.parametrize("name", SOLVERS)


def tensors(record, path="state"):
    """All tensors of a nested record, by where they are."""
    if isinstance(record, torch.Tensor):
        return {path: record}
    if dataclasses.is_dataclass(record):
        items = [
            (f"{path}.{field.name}", getattr(record, field.name))
            for field in dataclasses.fields(record)
        ]
    elif isinstance(record, (tuple, list)):
        items = [(f"{path}[{index}]", value) for index, value in enumerate(record)]
    else:
        return {}
    return {key: value for name, item in items for key, value in tensors(item, name).items()}


def assert_same_state(first, second):
    first, second = tensors(first), tensors(second)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor.nan_to_num(), second[key].nan_to_num()), key


# No residual is below -1: runs of the tests end by themselves only where this is asked.
def run(problem, name, max_iter=N_ITER, **options):
    return solve(problem, make(name), max_iter=max_iter, tol=-1.0, **options)


def covers(name, problem):
    """Whether the theory of a solver, at its default options, is about such a lower level."""
    # The default trajectory of IAPTT-GM is short, for many local minima.
    return problem.strongly_convex or not (
        Need.ONE_LOWER_SOLUTION in SOLVERS[name].needs or name == "iaptt-gm"
    )


def make(name):
    return SOLVERS[name](**QUICK.get(name, {}))


def later_state(problem, name):
    """A state in the middle of a run, with all of its parts in use."""
    return run(problem, name, max_iter=6).state


@every_solver
def test_init_leaves_the_problem_alone(name, problem):
    hyper, params = problem.initial_hyper.clone(), problem.initial_params.clone()
    make(name).init(problem)
    assert torch.equal(problem.initial_hyper, hyper)
    assert torch.equal(problem.initial_params, params)


@every_solver
def test_step_leaves_its_inputs_alone(name, problem):
    state = later_state(problem, name)
    before = {key: tensor.clone() for key, tensor in tensors(state).items()}
    make(name).step(problem, state)
    for key, tensor in tensors(state).items():
        assert torch.equal(tensor.nan_to_num(), before[key].nan_to_num()), key


@every_solver
def test_step_remembers_nothing(name, problem):
    solver = make(name)
    state = later_state(problem, name)
    with torch.no_grad():
        first = solver.step(problem, state)
        solver.step(problem, first)
        assert_same_state(solver.step(problem, state), first)


@every_solver
def test_step_counts_one_iteration(name, problem):
    solver = make(name)
    state = solver.init(problem)
    assert solver.step(problem, state).iteration == state.iteration + 1


@every_solver
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("example", EXAMPLE_PROBLEMS)
def test_a_run_keeps_the_dtype_of_the_initial_point(name, example, dtype):
    solution = run(EXAMPLE_PROBLEMS[example](dtype), name)
    floating = {key: t.dtype for key, t in tensors(solution.state).items() if t.is_floating_point()}
    assert set(floating.values()) == {dtype}
    assert solution.hyper.dtype == solution.params.dtype == solution.criterion.dtype == dtype


@every_solver
def test_a_run_keeps_the_device_of_the_initial_point(name, problem):
    devices = {tensor.device for tensor in tensors(run(problem, name).state).values()}
    assert devices == {problem.initial_hyper.device}


@every_solver
def test_a_run_keeps_the_shapes_of_the_initial_point(name, problem):
    solution = run(problem, name)
    assert solution.hyper.shape == problem.initial_hyper.shape
    assert solution.params.shape == problem.initial_params.shape


@every_solver
def test_every_iterate_is_feasible(name, problem):
    hyper = torch.from_numpy(run(problem, name, max_iter=20).history["hyper"])
    assert torch.equal(problem.project_hyper(hyper), hyper)


@every_solver
def test_an_infeasible_start_is_projected(name):
    problem = EXAMPLE_PROBLEMS["boxed"]()
    outside = dataclasses.replace(problem, initial_hyper=problem.initial_hyper + 9)
    solution = run(outside, name, max_iter=0)
    assert torch.equal(solution.hyper, problem.project_hyper(outside.initial_hyper))


@every_solver
def test_a_long_run_stays_finite(name, problem):
    solution = run(problem, name, max_iter=20)
    assert solution.hyper.isfinite().all() and solution.params.isfinite().all()
    assert np.isfinite(solution.history["hyper"]).all()


@every_solver
def test_a_run_does_not_end_above_its_initial_criterion(name, problem):
    solution = run(problem, name, max_iter=20)
    if not covers(name, problem):
        # Nothing to compare: the upper objective was taken at params of no meaning.
        assert solution.criterion.isfinite()
        return
    assert solution.criterion <= solution.initial_criterion


@every_solver
def test_a_run_can_be_repeated(name, problem):
    assert_same_state(run(problem, name).state, run(problem, name).state)


@every_solver
def test_a_resumed_run_equals_a_straight_one(name, problem):
    straight = run(problem, name).state
    first = run(problem, name, max_iter=3)
    resumed = run(problem, name, max_iter=N_ITER - 3, state=first.state).state
    assert_same_state(resumed, straight)


@every_solver
def test_a_run_stops_at_max_iter(name, problem):
    solution = run(problem, name, max_iter=3)
    assert (solution.n_iter, solution.status) == (3, Status.MAX_ITER)


@every_solver
def test_no_iterations_evaluate_the_initial_point(name, problem):
    solution = run(problem, name, max_iter=0)
    assert (solution.n_iter, solution.status, len(solution.history)) == (0, Status.FROZEN, 0)
    assert torch.equal(solution.hyper, problem.project_hyper(problem.initial_hyper))
    initial = problem.criterion(problem.initial_hyper, problem.initial_params)
    torch.testing.assert_close(solution.criterion, initial.sum())
    torch.testing.assert_close(solution.initial_criterion, initial.sum())


@every_solver
def test_a_run_converges_below_its_tolerance(name, problem):
    if not covers(name, problem):
        pytest.skip("outside the method's theory; test_coverage.py has what happens there")
    solution = solve(problem, SOLVERS[name](**CONVERGING.get(name, {})), max_iter=2000, tol=1e-3)
    assert solution.status is Status.CONVERGED
    assert solution.residual <= 1e-3


@every_solver
def test_a_callback_stops_the_run(name, problem):
    solution = run(problem, name, callback=lambda state, row: state.iteration == 3)
    assert (solution.n_iter, solution.status) == (3, Status.STOPPED)


@every_solver
def test_a_callback_sees_what_the_history_records(name, problem):
    rows = []
    solution = run(problem, name, callback=lambda state, row: rows.append(row))
    for key, values in solution.history.records.items():
        if key not in ("criterion", "lower"):
            np.testing.assert_array_equal(np.stack([np.asarray(row[key]) for row in rows]), values)


@every_solver
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
def test_a_run_on_a_failing_objective_ends_as_diverged(name, level):
    problem = EXAMPLE_PROBLEMS["strongly convex"]()
    failing = dataclasses.replace(problem, **{level: FailsAfter(getattr(problem, level), 25)})
    solution = run(failing, name, max_iter=100)
    assert solution.status is Status.DIVERGED
    assert len(solution.history) == solution.n_iter < 100


@every_solver
@pytest.mark.parametrize("level", ["upper", "lower"])
@pytest.mark.parametrize("n_calls", [3, 25])
def test_a_diverged_run_returns_a_finite_iterate(name, level, n_calls):
    problem = EXAMPLE_PROBLEMS["strongly convex"]()
    failing = dataclasses.replace(problem, **{level: FailsAfter(getattr(problem, level), n_calls)})
    solution = run(failing, name, max_iter=100)
    assert solution.hyper.isfinite().all() and solution.params.isfinite().all()


@every_solver
def test_history_has_one_row_for_each_iteration(name, problem):
    solution = run(problem, name)
    assert len(solution.history) == solution.n_iter
    assert {len(values) for values in solution.history.records.values()} == {solution.n_iter}


@every_solver
def test_history_is_numpy_only(name, problem):
    records = run(problem, name).history.records
    assert all(type(values) is np.ndarray for values in records.values())
    assert all(values.dtype != object for values in records.values())


@every_solver
def test_history_has_what_displays_read(name, problem):
    records = run(problem, name).history.records
    names = {"criterion", "lower", "residual", "hypergradient_norm", "averaging", "hyper"}
    assert names <= set(records)


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
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_grad_mode_makes_no_difference(name, mode, problem):
    expected = run(problem, name).state
    with mode():
        found = run(problem, name).state
    assert_same_state(found, expected)


@pytest.fixture(params=[torch.float32, torch.float64])
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@every_solver
def test_default_dtype_makes_no_difference(name, problem, default_dtype):
    found = tensors(run(problem, name).state).values()
    assert {tensor.dtype for tensor in found if tensor.is_floating_point()} == {torch.float64}


@every_solver
def test_global_state_is_untouched(name, problem, default_dtype):
    torch_before, numpy_before, python_before = (
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
        random.getstate(),
    )
    run(problem, name)
    assert torch.get_default_dtype() == default_dtype
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert random.getstate() == python_before


@every_solver
def test_tensors_of_a_solution_carry_no_graph(name, problem):
    initial = dataclasses.replace(
        problem, initial_hyper=problem.initial_hyper.clone().requires_grad_()
    )
    solution = run(initial, name)
    assert not solution.hyper.requires_grad and not solution.params.requires_grad


@every_solver
def test_clone_keeps_the_options(name):
    solver = make(name)
    assert clone(solver).get_params() == solver.get_params()


@every_solver
def test_options_are_stored_untouched(name):
    for option in SOLVERS[name]().get_params():
        marker = object()
        assert getattr(SOLVERS[name](**{option: marker}), option) is marker


@every_solver
def test_set_params_sets_every_option(name):
    for option in SOLVERS[name]().get_params():
        assert SOLVERS[name]().set_params(**{option: 0.125}).get_params()[option] == 0.125


@every_solver
def test_repr_shows_changed_options(name):
    option = sorted(SOLVERS[name]().get_params())[0]
    assert f"{option}=0.125" in repr(SOLVERS[name](**{option: 0.125}))


@every_solver
def test_a_solver_is_found_by_its_name(name):
    assert type(get_solver(name)) is SOLVERS[name]


def test_every_solver_of_the_table_is_a_solver():
    assert all(issubclass(kind, Solver) for kind in SOLVERS.values())


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="solver must be one of"):
        get_solver("no such solver")


def test_something_else_than_a_solver_is_an_error():
    with pytest.raises(TypeError, match="solver must be a name or a Solver"):
        solve(strongly_convex_problem(2)[0], object())


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
