"""Repeated folds of BilevelRegularizedRegressor, and row groups for its splitter."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    cross_validate,
)

from tests.regularization.regression_data import make_regression, regressor

BLOCKS = np.arange(40) // 8

pytestmark = pytest.mark.filterwarnings(
    # Two runs are compared with each other, wherever they end.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


# Repeats


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_alpha_is_the_geometric_mean_over_the_repeats(shape):
    data = make_regression(*shape, seed=3)
    options = {"tol": 1e-8, "alpha_bounds": (1e-3, 1e2)}
    model = regressor(n_repeats=3, **options).fit(data.X, data.y)
    single = [
        regressor(n_repeats=1, random_state=seed, **options).fit(data.X, data.y).alpha_
        for seed in range(3)
    ]
    assert np.std(np.log(single)) > 0.01
    # The runs stop at a gradient of 1e-8, at an optimum that is flat.
    assert_allclose(model.alpha_, np.exp(np.mean(np.log(single), axis=0)), rtol=1e-3)


@pytest.mark.parametrize(
    ("penalty", "n_samples", "expected"),
    [("adaptive", 40, 3), ("l2", 40, 3), ("l2", 1000, 3), ("l2", 1001, 1), ("l1", 40, 1)],
)
def test_few_rows_and_a_quadratic_penalty_are_repeated(penalty, n_samples, expected):
    data = make_regression(n_samples, 3, seed=2)
    options = {"max_iter": 3}
    auto = regressor(penalty, **options).fit(data.X, data.y)
    given = regressor(penalty, n_repeats=expected, **options).fit(data.X, data.y)
    other = regressor(penalty, n_repeats=4 - expected, **options).fit(data.X, data.y)
    assert_array_equal(auto.coef_, given.coef_)
    assert (other.coef_ != given.coef_).any()


@pytest.mark.parametrize("cv", ["list", "splitter"])
def test_a_splitter_is_never_repeated(data, cv):
    cv = data.splits if cv == "list" else KFold(4)
    once, often = (regressor(cv=cv, n_repeats=n).fit(data.X, data.y) for n in (1, 5))
    assert_array_equal(often.coef_, once.coef_)


def test_validation_rows_are_never_repeated(data):
    val = make_regression(20, seed=1)
    once, often = (
        regressor(n_repeats=n).fit(data.X, data.y, X_val=val.X, y_val=val.y) for n in (1, 5)
    )
    assert_array_equal(often.coef_, once.coef_)


def test_the_report_of_the_run_is_that_of_the_first_repeat(data):
    options = {"max_iter": 5}
    once, often = (
        regressor("adaptive", n_repeats=n, **options).fit(data.X, data.y) for n in (1, 3)
    )
    assert often.n_iter_ == once.n_iter_ and often.status_ == once.status_
    assert_array_equal(often.history_["criterion"], once.history_["criterion"])


def test_verbose_tells_of_the_first_repeat_only(data, capsys):
    regressor(n_repeats=1, verbose=2).fit(data.X, data.y)
    *once, _ = capsys.readouterr().out.splitlines()
    regressor(n_repeats=3, verbose=2).fit(data.X, data.y)
    # The last line tells of the fit, whose criterion is the mean of the repeats.
    *thrice, _ = capsys.readouterr().out.splitlines()
    assert thrice == once


@pytest.mark.parametrize("n_repeats", [0, -1, 1.5, "many"])
def test_unusable_repeats_are_an_error(data, n_repeats):
    with pytest.raises(ValueError, match="'n_repeats' parameter"):
        regressor(n_repeats=n_repeats).fit(data.X, data.y)


# Row groups


@pytest.mark.parametrize("splitter", [GroupKFold(3), LeaveOneGroupOut()], ids=repr)
def test_row_groups_give_the_splits_of_the_splitter(data, splitter):
    model = regressor(cv=splitter).fit(data.X, data.y, groups=BLOCKS)
    splits = list(splitter.split(data.X, data.y, BLOCKS))
    assert_array_equal(model.coef_, regressor(cv=splits).fit(data.X, data.y).coef_)


def test_row_groups_go_together_with_weights_and_groups_of_features(data):
    options = {"groups": [0, 0, 0, 1, 1, 1], "shrinkage": 0}
    model = regressor(cv=GroupKFold(3), **options)
    model.fit(data.X, data.y, data.weight, groups=BLOCKS)
    splits = list(GroupKFold(3).split(data.X, data.y, BLOCKS))
    expected = regressor(cv=splits, **options).fit(data.X, data.y, data.weight)
    assert_array_equal(model.coef_, expected.coef_)


def test_a_splitter_without_use_for_row_groups_ignores_them(data):
    with pytest.warns(UserWarning, match="groups parameter is ignored"):
        model = regressor(cv=KFold(4)).fit(data.X, data.y, groups=BLOCKS)
    assert_array_equal(model.coef_, regressor(cv=KFold(4)).fit(data.X, data.y).coef_)


@pytest.mark.parametrize("cv", [5, "list"])
def test_row_groups_without_a_splitter_are_an_error(data, cv):
    cv = data.splits if cv == "list" else cv
    with pytest.raises(ValueError, match="groups are for a splitter such as GroupKFold"):
        regressor(cv=cv).fit(data.X, data.y, groups=BLOCKS)


@pytest.mark.parametrize("routing", [False, True])
def test_row_groups_of_none_are_no_row_groups(data, routing):
    with config_context(enable_metadata_routing=routing):
        model = regressor().fit(data.X, data.y, groups=None)
    assert_array_equal(model.coef_, regressor().fit(data.X, data.y).coef_)


def test_missing_row_groups_are_the_splitters_error(data):
    with pytest.raises(ValueError, match="'groups' parameter should not be None"):
        regressor(cv=GroupKFold(3)).fit(data.X, data.y)


@pytest.mark.parametrize("cv", [5, GroupKFold(3)], ids=repr)
def test_unknown_arguments_of_fit_are_an_error_that_names_them(data, cv):
    with pytest.raises(TypeError, match=r"unexpected arguments: \['weights'\]"):
        regressor(cv=cv).fit(data.X, data.y, weights=data.weight)


def test_row_groups_are_routed_to_the_splitter(data):
    expected = regressor(cv=GroupKFold(3)).fit(data.X, data.y, groups=BLOCKS)
    with config_context(enable_metadata_routing=True):
        model = regressor(cv=GroupKFold(3)).fit(data.X, data.y, groups=BLOCKS)
    assert_array_equal(model.coef_, expected.coef_)


def test_with_routing_what_the_splitter_does_not_request_is_an_error(data):
    with config_context(enable_metadata_routing=True), pytest.raises(TypeError, match="groups"):
        regressor(cv=KFold(3)).fit(data.X, data.y, groups=BLOCKS)


def test_row_groups_pass_through_cross_validation(data):
    outer = GroupKFold(2)
    with config_context(enable_metadata_routing=True):
        found = cross_validate(
            regressor(cv=GroupKFold(2)),
            data.X,
            data.y,
            cv=outer,
            params={"groups": BLOCKS},
            return_estimator=True,
        )
    for model, (train, _) in zip(
        found["estimator"], outer.split(data.X, data.y, BLOCKS), strict=True
    ):
        expected = regressor(cv=GroupKFold(2))
        expected.fit(data.X[train], data.y[train], groups=BLOCKS[train])
        assert_array_equal(model.coef_, expected.coef_)


def test_row_groups_pass_through_a_grid_search(data):
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            regressor(cv=GroupKFold(2), max_iter=2),
            {"penalty": ["l2", "adaptive"]},
            cv=GroupKFold(2),
        )
        search.fit(data.X, data.y, groups=BLOCKS)
    best = regressor(cv=GroupKFold(2), max_iter=2, **search.best_params_)
    expected = best.fit(data.X, data.y, groups=BLOCKS)
    assert_array_equal(search.best_estimator_.coef_, expected.coef_)


def test_a_failing_splitter_leaves_the_fitted_model_as_it_was(data):
    model = regressor(cv=GroupKFold(3)).fit(data.X, data.y, groups=BLOCKS)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="groups"):
        model.fit(data.X, data.y, groups=np.zeros(40))
    assert vars(model) == before
