"""What HyperCleaningClassifier says to data and options that it cannot use."""

import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neighbors import KNeighborsClassifier

from skbamm import HyperCleaningClassifier
from skbamm.solvers import SlBamm
from tests.cleaning.label_data import make_labels
from tests.tools import with_value

DATA = make_labels(60, 3)
X, y, CLEAN = DATA.X, DATA.y, DATA.is_clean


def assert_fit_raises(message, *args, error=ValueError, options=None, **fit_params):
    with pytest.raises(error, match=message):
        HyperCleaningClassifier(**(options or {})).fit(*args, **fit_params)


# Data


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_missing_and_infinite_entries_of_x_are_errors(value, container):
    assert_fit_raises("Input X contains (NaN|infinity)", container(with_value(X, value)), y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_labels_are_errors(value):
    assert_fit_raises("Input y contains (NaN|infinity)", X, with_value(y, value))


@pytest.mark.parametrize("gap", [None, np.nan])
def test_gaps_among_texts_are_rows_without_a_label(gap):
    names = np.array([gap, "a", *np.where(y[2:] == y[2], "b", "a")], dtype=object)
    assert_fit_raises("Input y contains NaN or None: 1 rows have no label.*unlabeled", X, names)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_validation_rows_are_errors(value):
    assert_fit_raises("contains (NaN|infinity)", X, y, X_val=with_value(X, value), y_val=y)
    assert_fit_raises("contains (NaN|infinity)", X, y, X_val=X, y_val=with_value(y, value))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_weights_are_errors(value):
    weight = with_value(np.ones(60), value)
    assert_fit_raises("sample_weight contains (NaN|infinity)", X, y, weight)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_predictions_refuse_missing_entries(method):
    model = HyperCleaningClassifier(max_iter=0).fit(X, y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        getattr(model, method)(with_value(X, np.nan))


def test_wrong_lengths_are_errors():
    assert_fit_raises("inconsistent numbers of samples", X, y[:-1])
    assert_fit_raises("sample_weight.shape ==", X, y, np.ones(59))
    assert_fit_raises("inconsistent numbers of samples", X, y, X_val=X, y_val=y[:-1])
    weight = {"sample_weight_val": np.ones(4)}
    assert_fit_raises("sample_weight.*shape", X, y, X_val=X[:5], y_val=y[:5], **weight)


def test_other_features_in_x_val_are_an_error():
    assert_fit_raises("X has 2 features, but .* expecting 3", X, y, X_val=X[:, :2], y_val=y)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (CLEAN[:-1], "one entry per row of X: got 59 for 60 rows"),
        (np.arange(60), "is_clean must be a boolean mask"),
        (np.where(CLEAN, "yes", "no"), "is_clean must be a boolean mask"),
        (np.where(CLEAN, np.nan, 1.0), "is_clean must be a boolean mask"),
        (np.flatnonzero(CLEAN), "one entry per row of X: got 24 for 60 rows"),
        (np.ones((60, 2), dtype=bool), "1d array"),
    ],
    ids=["short", "numbers", "words", "NaN", "positions", "columns"],
)
def test_unusable_masks_are_errors(mask, message):
    assert_fit_raises(message, X, y, is_clean=mask)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": X}, "X_val was given without y_val"),
        ({"y_val": y}, "y_val was given without X_val"),
        ({"sample_weight_val": np.ones(60)}, "sample_weight_val was given without X_val"),
        ({"X_val": X, "y_val": y, "is_clean": CLEAN}, "is_clean and X_val were both given"),
        (
            {"X_val": X, "y_val": y, "sample_weight_val": np.zeros(60)},
            "sample_weight_val must not be all zero",
        ),
    ],
    ids=["no y_val", "no X_val", "weights only", "mask too", "no weight"],
)
def test_contradicting_verified_rows_are_errors(given, message):
    assert_fit_raises(message, X, y, **given)


def test_weights_that_are_all_zero_are_an_error():
    assert_fit_raises("sample_weight must not be all zero", X, y, np.zeros(60))


def test_negative_weights_are_an_error():
    assert_fit_raises("Negative values in.*sample_weight", X, y, with_value(np.ones(60), -1))


def test_one_class_is_an_error():
    assert_fit_raises("number of classes has to be greater than one", X, np.zeros(60))
    assert_fit_raises("number of classes has to be greater", X, y, (y == 1).astype(float))


def test_regression_targets_are_an_error():
    assert_fit_raises("Unknown label type", X, X[:, 0])
    assert_fit_raises("Unknown label type", X, y, X_val=X, y_val=X[:, 0])


def test_several_targets_are_an_error():
    assert_fit_raises("1d array", X, np.column_stack([y, y]))


@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (60, 0)])
def test_too_little_data_is_an_error(rows, columns):
    assert_fit_raises(r"Found array with (1 sample|0 feature)\(s\)", X[:rows, :columns], y[:rows])


def test_folds_without_validation_rows_are_an_error():
    splits = {"cv": [(np.flatnonzero(CLEAN), np.flatnonzero(~CLEAN))]}
    assert_fit_raises("cv must give at least one split", X, y, is_clean=CLEAN, options=splits)


def test_a_single_verified_row_is_an_error_that_says_so():
    assert_fit_raises("A single row with a verified label", X, y, is_clean=np.arange(60) == 0)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weighting": "loud"}, "'weighting' parameter"),
        ({"alpha": -1}, "'alpha' parameter"),
        ({"alpha": np.nan}, "'alpha' parameter"),
        ({"alpha": "auto"}, "'alpha' parameter"),
        ({"cv": 1}, "cv"),
        ({"cv": "five"}, "'cv' parameter"),
        ({"solver": "adam"}, "'solver' parameter"),
        ({"standardize": "no"}, "'standardize' parameter"),
        ({"final_estimator": "trees"}, "'final_estimator' parameter"),
        ({"class_weight": "fair"}, "'class_weight' parameter"),
        ({"max_iter": -1}, "'max_iter' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"random_state": "zero"}, "'random_state' parameter"),
        ({"device": "abacus"}, "device='abacus' cannot be used here"),
    ],
    ids=str,
)
def test_unusable_options_are_errors_that_name_them(options, message):
    assert_fit_raises(message, X, y, options={"max_iter": 0, **options})


def test_parameters_of_a_solver_name_are_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"solver='sl-bamm' is a name.*SlBamm\(\)"):
        HyperCleaningClassifier().set_params(solver__averaging=0.5)


def test_class_weights_of_unknown_classes_are_an_error():
    assert_fit_raises("class", X, y, options={"class_weight": {"ant": 2.0}})


# What is left after an error


class Interrupted(SlBamm):
    """Someone presses Ctrl-C in the third iteration."""

    def step(self, problem, state):
        if state.iteration == 2:
            raise KeyboardInterrupt
        return super().step(problem, state)


class Unhappy(KNeighborsClassifier):
    """Takes weights, but fails after everything else is done."""

    def fit(self, X, y, sample_weight=None):
        raise RuntimeError("no fit today")


@pytest.mark.parametrize(
    ("change", "args", "error"),
    [
        ({"solver": Interrupted(), "tol": 0.0}, (X[:, :2], y), KeyboardInterrupt),
        ({"final_estimator": Unhappy()}, (X[:, :2], y), RuntimeError),
        ({"device": "abacus"}, (X[:, :2], y), ValueError),
        ({}, (with_value(X[:, :2], np.nan), y), ValueError),
        ({}, (X[:, :2], y, np.zeros(60)), ValueError),
        ({"max_iter": -1}, (X[:, :2], y), ValueError),
    ],
    ids=["interrupted", "final", "device", "nan", "weights", "max_iter"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_failing_fit_leaves_the_fitted_model_as_it_was(change, args, error):
    model = HyperCleaningClassifier(max_iter=3).fit(X, y, is_clean=CLEAN)
    model.set_params(**change)
    before = dict(vars(model))
    copies = {name: np.copy(value) for name, value in before.items() if name.endswith("_")}
    with pytest.raises(error):
        model.fit(*args, is_clean=CLEAN)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    for name in ("coef_", "sample_weight_", "classes_", "hyper_"):
        np.testing.assert_array_equal(getattr(model, name), copies[name])


def test_a_failing_first_fit_leaves_nothing_behind():
    model = HyperCleaningClassifier(final_estimator=Unhappy(), max_iter=0)
    before = dict(vars(model))
    with pytest.raises(RuntimeError, match="no fit today"):
        model.fit(X, y)
    assert vars(model) == before


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_an_unfitted_model_says_so(method):
    with pytest.raises(NotFittedError, match=re.escape("is not fitted yet")):
        getattr(HyperCleaningClassifier(), method)(X)


@pytest.mark.parametrize("method", ["label_report", "fix_labels"])
def test_an_unfitted_model_has_no_report(method):
    with pytest.raises(NotFittedError):
        getattr(HyperCleaningClassifier(), method)()


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_a_run_cut_short_warns_at_the_callers_line(weighting):
    model = HyperCleaningClassifier(weighting, max_iter=2)
    with pytest.warns(ConvergenceWarning, match="stopped at max_iter=2") as caught:
        model.fit(X, y, is_clean=CLEAN)
    assert caught[0].filename == __file__
    assert "stopped at max_iter=2" in model.status_


def test_validation_rows_in_other_units_are_a_warning():
    with pytest.warns(UserWarning, match="scales unlike those of X"):
        HyperCleaningClassifier(max_iter=0).fit(X, y, X_val=1e3 * X, y_val=y)


def test_labels_of_another_kind_in_y_val_are_refused():
    X = np.random.default_rng(0).normal(size=(40, 3))
    names = np.where(X[:, 0] > 0, "yes", "no")
    with pytest.raises(ValueError, match="one kind: got text in y and numbers in y_val"):
        HyperCleaningClassifier(max_iter=0).fit(X, names, X_val=X[:9], y_val=np.arange(9) % 2)


def test_a_class_that_only_y_val_has_is_told():
    X = np.random.default_rng(0).normal(size=(40, 3))
    names = np.where(X[:, 0] > 0, "yes", "no")
    with pytest.warns(UserWarning, match=r"y_val has classes that y does not have: \['Yes'\]"):
        HyperCleaningClassifier(max_iter=0).fit(
            X, names, X_val=X, y_val=np.where(X[:, 0] > 0, "Yes", "no")
        )


@pytest.mark.parametrize("force", [y, y.tolist(), "yes", None, 1], ids=str)
def test_fix_labels_takes_no_labels(force):
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = HyperCleaningClassifier(max_iter=0).fit(X, X[:, 0] > 0)
    with pytest.raises(TypeError, match=r"force must be True or False: got .* given in fit"):
        model.fix_labels(force)
    assert len(model.fix_labels(np.True_)) == 40


@pytest.mark.parametrize("call", ["fit", "predict", "predict_proba", "score", "weigh"])
def test_the_path_of_a_file_is_no_table(call, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = HyperCleaningClassifier(max_iter=0).fit(X, X[:, 0] > 0)
    given = () if call.startswith("predict") else ("label",)
    path = tmp_path / "rows.parquet"
    with pytest.raises(FileNotFoundError, match=r"rows\.parquet"):
        getattr(model, call)(path, *given)
    path.touch()
    with pytest.raises(TypeError, match=r"got the path '.*rows.parquet'\. Read it first"):
        getattr(model, call)(path, *given)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e160, 1e300])
def test_values_whose_squares_no_number_holds_are_refused(unit, convert):
    rng = np.random.default_rng(0)
    plain, y = rng.normal(size=(30, 3)), np.arange(30) % 2
    X = plain * [1, unit, 1]
    with pytest.raises(ValueError, match=r"Input X has columns .* first of them column 1"):
        HyperCleaningClassifier().fit(convert(X), y)
    if unit > 1:
        with pytest.raises(ValueError, match="Input X_val has columns"):
            HyperCleaningClassifier().fit(convert(plain), y, X_val=convert(X), y_val=y)
