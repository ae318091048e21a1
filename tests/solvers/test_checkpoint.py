"""A run that was saved goes on as if it had never ended, and a bounded history keeps the end."""

import numpy as np
import pytest
import torch

from skbamm.problems import merely_convex_problem, strongly_convex_problem
from skbamm.solvers import (
    SOLVERS,
    Callback,
    SlBamm,
    load_checkpoint,
    save_checkpoint,
    solve,
)
from tests.solvers.runs import make

OPTIONS = {"tol": -1.0, "verify": False}


@pytest.mark.parametrize("name", SOLVERS)
def test_a_saved_run_goes_on(name, tmp_path):
    problem, solver = strongly_convex_problem(3, identity=False)[0], make(name)
    straight = solve(problem, solver, max_iter=7, **OPTIONS)
    first = solve(problem, solver, max_iter=4, **OPTIONS)
    save_checkpoint(tmp_path / "run.pt", first)
    torch.load(tmp_path / "run.pt", weights_only=True)
    checkpoint = load_checkpoint(tmp_path / "run.pt")
    resumed = solve(problem, solver, max_iter=3, **OPTIONS, **checkpoint._asdict())
    assert torch.equal(resumed.state.hyper, straight.state.hyper)
    assert torch.equal(resumed.state.params, straight.state.params)
    assert len(resumed.history) == 7
    np.testing.assert_array_equal(resumed.history["hyper"], straight.history["hyper"])
    np.testing.assert_array_equal(resumed.history["residual"], straight.history["residual"])
    initial = resumed.history.initial["criterion"]
    assert initial == straight.history.initial["criterion"]


def test_a_run_can_be_saved_while_it_goes_on(tmp_path):
    problem, path = merely_convex_problem(3), tmp_path / "run.pt"

    def end(snapshot):
        save_checkpoint(path, snapshot)
        return len(snapshot.history) == 5

    solve(problem, callback=Callback(lambda iteration: None, end), **OPTIONS)
    assert load_checkpoint(path).state.iteration == 5
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_finishing_run_can_be_saved(tmp_path):
    problem, solver = strongly_convex_problem(10, identity=False)[0], "unrolling"
    solution = solve(problem, solver, max_iter=60, tol=1e-8)
    save_checkpoint(tmp_path / "run.pt", solution)
    assert load_checkpoint(tmp_path / "run.pt").state.iteration == solution.state.iteration


def test_a_file_of_something_else_is_an_error(tmp_path):
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "other.pt")


def test_a_bounded_history_is_the_end_of_the_whole_one():
    problem, solver = merely_convex_problem(3), SlBamm()
    whole = solve(problem, solver, max_iter=20, **OPTIONS)
    bounded = solve(problem, solver, max_iter=20, max_history=6, **OPTIONS)
    assert len(bounded.history) == 6
    for name in whole.history:
        np.testing.assert_array_equal(bounded.history[name], whole.history[name][-6:])
    assert torch.equal(bounded.hyper, whole.hyper)


def test_a_history_of_no_rows_is_an_error():
    with pytest.raises(ValueError, match="max_history must be a whole number above 0"):
        solve(merely_convex_problem(3), max_history=0)
