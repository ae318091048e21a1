"""How a fit of BilevelRegularizedRegressor runs: iterations, warm starts, solvers, progress."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skbamm.solvers import SlBamm
from tests.regularization.regression_data import LABELS, make_regression, regressor


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


# Iterations


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_max_iter_zero_keeps_the_start(data, penalty):
    model = regressor(penalty, max_iter=0).fit(data.X, data.y)
    assert model.n_iter_ == 1
    assert len(model.history_) == 0
    assert "nothing was learned" in model.status_


def test_max_iter_zero_of_l2_is_the_best_ridge(data):
    model = regressor(max_iter=0).fit(data.X, data.y)
    assert model.criterion_ == model.initial_criterion_


def test_learning_beats_the_frozen_start(data):
    options = {"groups": "feature", "cv": data.splits}
    frozen = regressor(**options, max_iter=0).fit(data.X, data.y)
    assert regressor(**options).fit(data.X, data.y).criterion_ < frozen.criterion_


def test_fixed_alpha_learns_nothing(data):
    model = regressor("adaptive", alpha=0.3).fit(data.X, data.y)
    assert model.n_iter_ == 1 and model.hyper_.shape == (0,)


def test_a_run_that_gets_there_says_so(data):
    model = regressor().fit(data.X, data.y)
    assert model.status_.startswith("converged after")
    assert model.residual_ <= model.tol


def test_n_iter_counts_the_start_and_the_iterations(data):
    model = regressor().fit(data.X, data.y)
    assert model.n_iter_ == len(model.history_) + 1


def test_the_criterion_is_the_lowest_of_the_history(data):
    model = regressor("adaptive", standard_errors=0, n_repeats=1).fit(data.X, data.y)
    assert model.criterion_ == min(model.initial_criterion_, *model.history_["criterion"])


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_too_few_iterations_warn(data, penalty):
    model = regressor(penalty, max_iter=1, tol=1e-8)
    with pytest.warns(ConvergenceWarning, match="stopped at max_iter=1.*Increase max_iter"):
        model.fit(data.X, data.y)


def test_the_status_is_what_the_warning_says(data):
    model = regressor(max_iter=1, tol=1e-8)
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(data.X, data.y)
    assert model.status_ in str(caught[0].message)


def test_the_warning_points_at_the_line_that_called_fit(data):
    with pytest.warns(ConvergenceWarning) as caught:
        regressor(max_iter=1, tol=1e-8).fit(data.X, data.y)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("max_iter", [10, 20, 40, 80])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_the_status_says_on_which_side_of_tol_the_residual_is(noise, max_iter):
    data = make_regression(12, 30, noise=noise, seed=1)
    model = regressor("adaptive", max_iter=max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(data.X, data.y)
    assert ("> tol" in model.status_) == (model.residual_ > model.tol)


@pytest.mark.parametrize("noise", [1e-3, 1e3])
def test_tol_is_relative_to_the_error_of_ridge(noise):
    data = make_regression(noise=noise)
    model = regressor(cv=data.splits, tol=1e-3, max_iter=50).fit(data.X, data.y)
    assert model.status_.startswith("converged") and model.residual_ <= 1e-3


# Warm starts


def test_a_warm_start_begins_where_the_last_fit_ended(data):
    model = regressor(groups="feature", warm_start=True, cv=data.splits).fit(data.X, data.y)
    hyper = model.hyper_
    model.set_params(max_iter=0).fit(data.X, data.y)
    np.testing.assert_allclose(model.hyper_, hyper)


def test_a_warm_start_never_ends_above_where_it_began(data):
    model = regressor(groups="feature", warm_start=True, cv=data.splits).fit(data.X, data.y)
    cold = model.criterion_
    # A simpler start is preferred unless another beats it by 1e-6.
    assert model.fit(data.X, data.y).criterion_ <= cold * (1 + 1e-6)


def test_the_initial_criterion_of_a_warm_start_is_still_that_of_a_cold_one(data):
    model = regressor(groups="feature", warm_start=True, cv=data.splits).fit(data.X, data.y)
    cold = model.initial_criterion_
    assert model.fit(data.X, data.y).initial_criterion_ == pytest.approx(cold)


def test_without_warm_start_the_last_fit_is_forgotten(data):
    model = regressor(cv=data.splits).fit(data.X, 3 * data.X[:, 0])
    again = model.fit(data.X, data.y).coef_
    np.testing.assert_array_equal(again, clone(model).fit(data.X, data.y).coef_)


@pytest.mark.parametrize("change", [{"groups": LABELS}, {"penalty": "adaptive"}])
def test_a_warm_start_of_another_kind_starts_afresh(data, change):
    model = regressor(warm_start=True, max_iter=0).fit(data.X, data.y)
    model.set_params(**change).fit(data.X, data.y)
    expected = regressor(**{**{"max_iter": 0}, **change}).fit(data.X, data.y)
    np.testing.assert_allclose(model.coef_, expected.coef_)


def test_a_warm_start_works_for_each_target():
    data = make_regression(n_targets=2)
    options = {"alpha_per_target": True, "warm_start": True, "n_repeats": 1}
    model = regressor(**options).fit(data.X, data.y)
    hyper = model.hyper_
    model.set_params(max_iter=0).fit(data.X, data.y)
    np.testing.assert_allclose(model.hyper_, hyper)


# Solvers and progress


def test_a_solver_instance_equals_its_name(data):
    model = regressor(solver=SlBamm()).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, regressor().fit(data.X, data.y).coef_)


def test_parameters_reach_a_solver_instance():
    model = regressor(solver=SlBamm()).set_params(solver__averaging=0.25)
    assert model.solver.averaging == 0.25


def test_clone_copies_the_solver():
    model = regressor(solver=SlBamm(memory=3))
    assert clone(model).solver is not model.solver
    assert clone(model).solver.memory == 3


def test_fit_leaves_the_solver_alone(data):
    solver = SlBamm()
    before = dict(vars(solver))
    regressor(solver=solver).fit(data.X, data.y)
    assert vars(solver) == before


def test_parameters_of_a_solver_name_are_an_error():
    with pytest.raises(ValueError, match=r"solver='sl-bamm' is a name .*skbamm.solvers.SlBamm\(\)"):
        regressor().set_params(solver__averaging=0.25)


def test_name_and_parameters_of_a_solver_can_change_together():
    model = regressor().set_params(solver=SlBamm(), solver__memory=4)
    assert model.solver.memory == 4


@pytest.mark.parametrize(("verbose", "every"), [(1, 10), (2, 1), (True, 10)])
def test_verbose_prints_progress(data, capsys, verbose, every):
    model = regressor("adaptive", verbose=verbose, tol=1e-6).fit(data.X, data.y)
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith(f"[BilevelRegularizedRegressor] {model.status_}; criterion ")
    n_iter = model.n_iter_ - 1
    assert len(lines) == (n_iter if every == 1 else n_iter // 10 + 1)
    assert lines[0].startswith("[BilevelRegularizedRegressor] iteration 1: best criterion ")


def test_silence_is_the_default(data, capsys):
    regressor().fit(data.X, data.y)
    assert capsys.readouterr() == ("", "")


def test_device_auto_works_anywhere(data):
    model = regressor(device="auto", alpha=0.1).fit(data.X, data.y)
    np.testing.assert_allclose(model.coef_, regressor(alpha=0.1).fit(data.X, data.y).coef_)
