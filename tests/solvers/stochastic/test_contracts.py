"""What every solver on batches promises."""

import dataclasses
import os
import pickle
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import skbamm
from skbamm.solvers import (
    SOLVERS,
    STOCHASTIC_SOLVERS,
    Callback,
    SlBamm,
    Soba,
    Status,
    load_checkpoint,
    save_checkpoint,
    solve,
)
from tests.solvers.stochastic.problems import (
    FORMS,
    N_ITER,
    assert_same_state,
    double,
    make,
    run,
    tensors,
    tensors_problem,
)

every_solver = pytest.mark.parametrize("name", STOCHASTIC_SOLVERS)
every_form = pytest.mark.parametrize("form", FORMS)
ADAM = partial(torch.optim.Adam, lr=0.05)
DECAYING = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)


# What one iteration promises


@every_solver
@every_form
def test_step_leaves_its_inputs_alone_and_remembers_nothing(name, form):
    problem, solver = FORMS[form](), make(name)
    state = run(problem, name, max_iter=6).state
    before = {key: tensor.clone() for key, tensor in tensors(state).items()}
    first = solver.step(problem, state)
    solver.step(problem, first)
    assert_same_state(solver.step(problem, state), first)
    for key, tensor in tensors(state).items():
        assert torch.equal(tensor, before[key]), key
    assert first.iteration == state.iteration + 1


@every_solver
def test_samples_are_counted(name):
    solution = run(tensors_problem(), name, max_iter=3)
    a_step = {"stocbio": 2 + 3 + 1 + 1, "f2sa": 3 * 2}.get(name, 2)
    assert solution.history["n_samples"].tolist() == [8 * a_step * k for k in (1, 2, 3)]


@every_solver
def test_a_scheduler_needs_an_optimizer(name):
    with pytest.raises(ValueError, match="hyper_scheduler needs hyper_optimizer"):
        solve(tensors_problem(), make(name, hyper_scheduler=DECAYING), max_iter=1)


@every_solver
def test_an_optimizer_is_a_class_of_torch(name):
    with pytest.raises(ValueError, match=r"class of torch\.optim"):
        solve(tensors_problem(), make(name, hyper_optimizer="adam"), max_iter=1)


# What a run promises


@every_solver
@every_form
def test_a_resumed_run_equals_a_straight_one_and_its_repetition(name, form):
    straight = run(FORMS[form](), name).state
    assert_same_state(run(FORMS[form](), name).state, straight)
    first = run(FORMS[form](), name, max_iter=3)
    resumed = run(FORMS[form](), name, max_iter=N_ITER - 3, state=first.state).state
    assert_same_state(resumed, straight)


@every_solver
def test_a_run_with_optimizers_is_resumed_from_a_file(name, tmp_path):
    problem = tensors_problem()
    names = [key for key in make(name).get_params() if key.endswith("_optimizer")]
    options = dict.fromkeys(names, ADAM)
    options |= {key.replace("optimizer", "scheduler"): DECAYING for key in names}
    solver = make(name, **options)
    straight = solve(problem, solver, max_iter=N_ITER)
    save_checkpoint(tmp_path / "run.pt", solve(problem, solver, max_iter=3))
    checkpoint = load_checkpoint(tmp_path / "run.pt")
    resumed = solve(problem, solver, max_iter=N_ITER - 3, **checkpoint._asdict())
    assert_same_state(resumed.state, straight.state)
    expected = straight.history["criterion"]
    np.testing.assert_array_equal(resumed.history["criterion"], expected)
    last = solve(problem, solver, max_iter=N_ITER, max_history=2).history
    np.testing.assert_array_equal(last["criterion"], expected[-2:])


@every_solver
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_run_keeps_dtype_and_shapes(name, dtype):
    problem = tensors_problem(dtype)
    solution = run(problem, name)
    found = tensors(solution.state) | {"criterion": solution.criterion, "hyper": solution.hyper}
    assert {tensor.dtype for tensor in found.values()} == {dtype}
    assert solution.hyper.shape == solution.params.shape == (3,)


@every_solver
def test_every_iterate_is_feasible(name):
    problem, seen = tensors_problem(), []
    run(problem, name, 30, callback=lambda state, row: seen.append(state.hyper))
    assert all(torch.equal(problem.project_hyper(hyper), hyper) for hyper in seen)


@every_solver
def test_a_run_ends_with_its_budget_and_says_so(name):
    solution = run(tensors_problem(), name, max_iter=3)
    assert (solution.n_iter, solution.status) == (3, Status.MAX_ITER)


@every_solver
def test_a_run_has_converged_where_all_data_say_so(name):
    problem = tensors_problem()
    solution = solve(problem, make(name), max_iter=5, tol=1e3)
    assert solution.status is Status.CONVERGED and solution.residual <= 1e3
    # The residual is that of the returned point on all data.
    whole = problem.full_batch()
    gradient = whole.lower.params_gradient(solution.hyper, solution.params)
    torch.testing.assert_close(solution.lower_gap.gradient_norm, float(gradient.norm()))
    assert solution.residual > solution.lower_gap.gradient_norm + solution.hypergradient_norm


@every_solver
@every_form
def test_the_criterion_is_that_of_all_data_at_the_returned_point(name, form):
    problem = FORMS[form]()
    solution = run(problem, name)
    whole = problem.full_batch()
    expected = whole.upper.value(solution.hyper, solution.params)
    torch.testing.assert_close(solution.criterion, expected)
    expected = whole.upper.value(*problem.first_point())
    torch.testing.assert_close(solution.initial_criterion, expected)


@every_solver
def test_no_iterations_evaluate_the_initial_point(name):
    problem = tensors_problem()
    solution = run(problem, name, max_iter=0)
    assert (solution.n_iter, solution.status, len(solution.history)) == (0, Status.FROZEN, 0)
    assert torch.equal(solution.hyper, problem.first_point()[0])
    assert solution.criterion == solution.initial_criterion


@every_solver
def test_a_run_that_is_not_verified_looks_at_no_other_data(name):
    solution = solve(tensors_problem(), make(name), max_iter=3, verify=False, tol=1e9)
    assert solution.criterion.isnan() and solution.residual is None
    assert solution.status is Status.MAX_ITER


@every_solver
def test_a_callback_stops_the_run_and_sees_the_solution(name):
    found = []

    def end(snapshot):
        found.append(snapshot)
        return len(found) == 3

    solution = run(tensors_problem(), name, callback=Callback(lambda iteration: None, end))
    assert (solution.n_iter, solution.status) == (3, Status.STOPPED)
    assert torch.equal(found[-1].solution().hyper, solution.hyper)
    rows = [snapshot.row["criterion"] for snapshot in found]
    np.testing.assert_array_equal(rows, solution.history["criterion"])


@every_solver
def test_a_run_on_a_failing_loss_ends_as_diverged_at_a_finite_iterate(name):
    n_calls = 0

    def failing(hyper, params, batch):
        nonlocal n_calls
        n_calls += 1
        return (params - hyper).square().sum() * (float("nan") if n_calls == 25 else 1.0)

    problem = dataclasses.replace(tensors_problem(), lower=failing)
    solution = run(problem, name, max_iter=30)
    assert solution.status is Status.DIVERGED and solution.n_iter < 30
    assert solution.hyper.isfinite().all() and solution.params.isfinite().all()


@every_solver
@every_form
def test_history_has_a_row_of_numpy_for_each_iteration(name, form):
    records = run(FORMS[form](), name).history.records
    assert {"criterion", "lower", "hypergradient_norm", "averaging", "n_samples"} <= set(records)
    assert all(type(x) is np.ndarray and x.shape == (N_ITER,) for x in records.values())


@every_solver
@every_form
def test_global_state_is_untouched(name, form):
    problem = FORMS[form]()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    run(problem, name)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


@every_solver
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_mode_makes_no_difference(name, mode):
    problem = tensors_problem()
    expected = run(problem, name).state
    with mode():
        found = run(problem, name).state
    assert_same_state(found, expected)


@every_solver
def test_tensors_of_a_solution_carry_no_graph(name):
    leaf = torch.zeros(3, dtype=double, requires_grad=True)
    solution = run(dataclasses.replace(tensors_problem(), initial_hyper=leaf), name)
    assert not any(tensor.requires_grad for tensor in tensors(solution.state).values())


@every_solver
def test_a_solver_has_the_dictionary_of_its_options_checked(name):
    with pytest.raises(ValueError, match=rf"hyper_step of {type(make(name)).__name__} must be"):
        solve(tensors_problem(), make(name).set_params(hyper_step=-1.0))


WITHOUT_TORCH = """
import pickle, sys
solvers = pickle.load(open(sys.argv[1], "rb"))
print(*map(type, solvers))
sys.exit("torch was imported" if "torch" in sys.modules else 0)
"""


def test_solvers_unpickle_without_torch(tmp_path):
    path = tmp_path / "saved.pickle"
    path.write_bytes(pickle.dumps([kind() for kind in STOCHASTIC_SOLVERS.values()]))
    root = str(Path(skbamm.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(path)],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
    )


# Who takes what


@every_solver
def test_a_problem_without_batches_is_refused_by_name_of_those_that_take_it(name):
    message = rf"{STOCHASTIC_SOLVERS[name].__name__} takes a StochasticProblem: .*'sl-bamm'"
    with pytest.raises(ValueError, match=message):
        solve(tensors_problem().full_batch(), name)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_problem_with_batches_is_refused_by_name_of_those_that_take_it(name):
    message = rf"{SOLVERS[name].__name__} takes no batches: .*'stochastic-sl-bamm'"
    with pytest.raises(ValueError, match=message):
        solve(tensors_problem(), name)


def test_the_default_follows_the_problem():
    problem = tensors_problem()
    default = solve(problem, max_iter=3).state
    assert_same_state(default, run(problem, "stochastic-sl-bamm", max_iter=3).state)
    found = solve(problem.full_batch(), max_iter=3).hyper
    assert torch.equal(found, solve(problem.full_batch(), SlBamm(), max_iter=3).hyper)


def test_what_needs_closures_is_refused_as_an_optimizer():
    with pytest.raises(ValueError, match=r"params_optimizer .*LBFGS"):
        solve(tensors_problem(), Soba(params_optimizer=torch.optim.LBFGS), max_iter=2)
