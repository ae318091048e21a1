"""The picture of the weights of targets."""

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningRegressor
from skbamm.inspection import SampleWeightDisplay, TargetWeightDisplay

mpl.use("Agg")
DRAW = TargetWeightDisplay.from_estimator


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(120, 2))
    y = X[:, 0] + 0.2 * generator.normal(size=120)
    y[::8] += 4
    return X, y


@pytest.fixture(scope="module")
def fitted(table):
    model = HyperCleaningRegressor(max_iter=0)
    return make_pipeline(StandardScaler(), model).fit(*table)


def test_frame_has_the_numbers_of_the_report(fitted):
    frame = DRAW(fitted).frame().set_index("index")
    report = fitted[-1].target_report().set_index("index").loc[frame.index]
    for name in ("given_target", "probability", "weight", "is_issue"):
        np.testing.assert_array_equal(frame[name], report[name])


def test_verified_rows_are_not_drawn(table):
    is_clean = np.arange(120) % 3 == 1
    frame = DRAW(HyperCleaningRegressor(max_iter=0).fit(*table, is_clean=is_clean)).frame()
    np.testing.assert_array_equal(frame["index"], np.flatnonzero(~is_clean))


def test_issues_are_drawn_apart(fitted):
    display = DRAW(fitted)
    right, wrong = display.axes_[0].collections
    is_issue = display.is_issue
    assert len(right.get_offsets()) == (~is_issue).sum()
    assert len(wrong.get_offsets()) == is_issue.sum() > 10
    np.testing.assert_array_equal(wrong.get_offsets()[:, 1], display.target[is_issue])


def test_targets_of_several_powers_of_ten_have_logarithmic_axes(table, fitted):
    model = HyperCleaningRegressor(max_iter=0).fit(table[0], 10 ** table[1])
    assert [ax.get_xscale() for ax in DRAW(model).axes_] == ["log", "log"]
    assert DRAW(fitted).axes_[1].get_xscale() == "linear"


def test_targets_that_are_all_verified_have_no_weight_to_show(table):
    model = HyperCleaningRegressor(max_iter=0).fit(*table, is_clean=np.ones(120, bool))
    with pytest.raises(ValueError, match="all rows are verified"):
        DRAW(model)


def test_other_estimators_are_an_error(table):
    with pytest.raises(TypeError, match="has no target_record_"):
        DRAW(Ridge().fit(*table))


def test_the_display_of_labels_names_this_one(fitted):
    with pytest.raises(TypeError, match="TargetWeightDisplay draws these"):
        SampleWeightDisplay.from_estimator(fitted)


def test_the_table_is_of_the_kind_that_was_fitted(table):
    polars = pytest.importorskip("polars")
    model = HyperCleaningRegressor(max_iter=0)
    model.fit(polars.DataFrame(table[0], schema=["a", "b"]), table[1])
    assert isinstance(DRAW(model).frame(), polars.DataFrame)
