"""What BilevelRegularizedRegressor says to data and options that it cannot use."""

import re

import numpy as np
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor
from skbamm.solvers import SlBamm
from tests.regularization.regression_data import make_regression
from tests.tools import with_value

DATA = make_regression(20, 3)
X, y = DATA.X, DATA.y
WIDE = make_regression(8, 12)


def assert_fit_raises(message, *args, error=ValueError, options=None, **fit_params):
    with pytest.raises(error, match=message):
        BilevelRegularizedRegressor(**(options or {})).fit(*args, **fit_params)


# Data


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_missing_and_infinite_entries_of_x_are_errors(value, container):
    assert_fit_raises("Input X contains (NaN|infinity)", container(with_value(X, value)), y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_entries_of_y_are_errors(value):
    assert_fit_raises("Input y contains (NaN|infinity)", X, with_value(y, value))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_validation_rows_are_errors(value):
    assert_fit_raises("contains (NaN|infinity)", X, y, X_val=with_value(X, value), y_val=y)
    assert_fit_raises("contains (NaN|infinity)", X, y, X_val=X, y_val=with_value(y, value))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_weights_are_errors(value):
    weight = with_value(np.ones(20), value)
    assert_fit_raises("sample_weight contains (NaN|infinity)", X, y, weight)


def test_predict_refuses_missing_entries():
    model = BilevelRegularizedRegressor(alpha=0.1).fit(X, y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(with_value(X, np.nan))


def test_wrong_lengths_are_errors():
    assert_fit_raises("inconsistent numbers of samples", X, y[:-1])
    assert_fit_raises("sample_weight.shape ==", X, y, np.ones(19))
    assert_fit_raises("inconsistent numbers of samples", X, y, X_val=X, y_val=y[:-1])
    weight = {"sample_weight_val": np.ones(4)}
    assert_fit_raises("sample_weight.*shape", X, y, X_val=X[:5], y_val=y[:5], **weight)


def test_other_features_in_x_val_are_an_error():
    assert_fit_raises("X has 2 features, but .* expecting 3", X, y, X_val=X[:, :2], y_val=y)


def test_other_targets_in_y_val_are_an_error():
    many = np.column_stack([y, y])
    assert_fit_raises("as many targets as y: got 2, not 1", X, y, X_val=X, y_val=many)


def test_other_names_in_x_val_are_an_error():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abc"))
    other = pandas.DataFrame(X, columns=list("abx"))
    assert_fit_raises("feature names", frame, y, X_val=other, y_val=y)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": X}, "X_val was given without y_val"),
        ({"y_val": y}, "y_val was given without X_val"),
        ({"sample_weight_val": np.ones(20)}, "sample_weight_val was given without X_val"),
        (
            {"X_val": X, "y_val": y, "sample_weight_val": np.zeros(20)},
            "sample_weight_val must not be all zero",
        ),
    ],
)
def test_incomplete_validation_rows_are_errors(given, message):
    assert_fit_raises(message, X, y, **given)


def test_weights_that_are_all_zero_are_an_error():
    assert_fit_raises("sample_weight must not be all zero", X, y, np.zeros(20))


def test_negative_weights_are_an_error():
    assert_fit_raises("Negative values in.*sample_weight", X, y, with_value(np.ones(20), -1))


@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (20, 0)])
def test_too_little_data_is_an_error(rows, columns):
    assert_fit_raises(r"Found array with (1 sample|0 feature)\(s\)", X[:rows, :columns], y[:rows])


@pytest.mark.parametrize("shape", [(20, 3), (8, 12)])
def test_folds_without_weight_are_an_error(shape):
    data = make_regression(*shape)
    weight = np.zeros(len(data.y))
    weight[0] = 1
    splits = {"cv": data.splits}
    assert_fit_raises("cv must give at least one split", data.X, data.y, weight, options=splits)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": "l3"}, "'penalty' parameter"),
        ({"groups": [0, 1]}, "one entry per feature: got 2 for 3 features"),
        ({"groups": {"a": [0, 1]}}, "1 of 3 are in no group"),
        ({"groups": {"a": [0, 1], "b": [1, 2]}}, "groups overlap: column 1"),
        ({"groups": {"a": ["height"], "b": [1, 2]}}, "unknown column: 'height'"),
        ({"groups": "prefix"}, "groups='prefix' needs feature names"),
        ({"groups": "columns"}, "got 'columns'"),
        ({"alpha": -1}, "alpha must be 'learn' or a finite number >= 0: got -1"),
        ({"alpha": np.nan}, "alpha must be .* got nan"),
        ({"alpha": "auto"}, "'alpha' parameter"),
        ({"alpha": {"a": 1.0}}, r"groups that do not exist: \['a'\]. Without .*groups=.feature"),
        ({"alpha": {"a": 1}, "groups": [7, 7, 8]}, r"not exist: \['a'\]. Groups are \[7, 8\]"),
        ({"alpha": {30: 1}, "groups": "feature"}, r"exist: \[30\]. Groups are \[0, 1, 2\]"),
        ({"cv": 1}, "cv"),
        ({"cv": "five"}, "'cv' parameter"),
        ({"solver": "adam"}, "'solver' parameter"),
        ({"max_iter": -1}, "'max_iter' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"standard_errors": -1.0}, "'standard_errors' parameter"),
        ({"random_state": "zero"}, "'random_state' parameter"),
        ({"device": "abacus"}, "device='abacus' cannot be used here"),
        ({"alpha_bounds": (1.0, 0.1)}, r"alpha_bounds must be .*got \(1.0, 0.1\)"),
        ({"alpha_bounds": (1.0, 1.0)}, r"alpha_bounds must be .*got \(1.0, 1.0\)"),
        ({"alpha_bounds": (0.0, 1.0)}, r"alpha_bounds must be .*got \(0.0, 1.0\)"),
        ({"alpha_bounds": (-1.0, 1.0)}, r"alpha_bounds must be .*got \(-1.0, 1.0\)"),
        ({"alpha_bounds": (1.0, np.inf)}, r"alpha_bounds must be .*got \(1.0, inf\)"),
        ({"alpha_bounds": (np.nan, 1.0)}, r"alpha_bounds must be .*got \(nan, 1.0\)"),
        ({"alpha_bounds": (1.0,)}, r"alpha_bounds must be .*got \(1.0,\)"),
        ({"alpha_bounds": (1.0, 2.0, 3.0)}, r"alpha_bounds must be .*got \(1.0, 2.0, 3.0\)"),
        ({"alpha_bounds": ("low", "high")}, r"alpha_bounds must be .*got \('low', 'high'\)"),
        ({"alpha_bounds": 1.0}, "'alpha_bounds' parameter"),
    ],
    ids=str,
)
def test_unusable_options_are_errors_that_name_them(options, message):
    assert_fit_raises(message, X, y, options=options)


# What is left after an error


class Interrupted(SlBamm):
    """Someone presses Ctrl-C in the third iteration."""

    def step(self, problem, state):
        if state.iteration == 2:
            raise KeyboardInterrupt
        return super().step(problem, state)


@pytest.mark.parametrize(
    ("change", "args", "error"),
    [
        ({"solver": Interrupted(), "tol": 0.0}, (WIDE.X, WIDE.y), KeyboardInterrupt),
        ({"groups": [0, 1]}, (WIDE.X, WIDE.y), ValueError),
        ({"device": "abacus"}, (WIDE.X, WIDE.y), ValueError),
        ({}, (with_value(WIDE.X, np.nan), WIDE.y), ValueError),
        ({}, (WIDE.X, WIDE.y, np.zeros(8)), ValueError),
        ({"max_iter": -1}, (WIDE.X, WIDE.y), ValueError),
    ],
    ids=["interrupted", "groups", "device", "nan", "weights", "max_iter"],
)
def test_a_failing_fit_leaves_the_fitted_model_as_it_was(change, args, error):
    pandas = pytest.importorskip("pandas")
    model = BilevelRegularizedRegressor().fit(pandas.DataFrame(X, columns=list("abc")), y)
    model.set_params(**change)
    before = dict(vars(model))
    coef = model.coef_.copy()
    with pytest.raises(error):
        model.fit(*args)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(model.coef_, coef)


def test_a_failing_first_fit_leaves_nothing_behind():
    model = BilevelRegularizedRegressor(groups=[0, 1])
    before = dict(vars(model))
    with pytest.raises(ValueError, match="groups"):
        model.fit(X, y)
    assert vars(model) == before


def test_an_unfitted_model_says_so():
    with pytest.raises(ValueError, match=re.escape("is not fitted yet")):
        BilevelRegularizedRegressor().predict(X)
