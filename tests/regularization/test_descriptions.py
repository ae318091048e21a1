"""Descriptions of features that steer their penalties."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skbamm import BilevelRegularizedRegressor
from skbamm.regularization._options import resolve_descriptions
from tests.regularization.regression_data import make_regression

ALL = np.ones(6, dtype=bool)
SOME = np.array([True, True, False, True, True, False])
TREND = np.array([0.3, 1.0, -2.0, 4.0, 0.5, 7.0])
INDICATOR = np.array([1, 1, 0, 0, 1, 0])

pytestmark = pytest.mark.filterwarnings(
    # What is reported must be right wherever the run ends.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


def fit(data, descriptions, penalty="l2", **options):
    options = {"shrinkage": 0, "cv": data.splits, "alpha_features": descriptions, **options}
    return BilevelRegularizedRegressor(penalty, **options).fit(data.X, data.y)


# Standardization


@pytest.mark.parametrize("learned", [ALL, SOME], ids=["all learned", "some learned"])
def test_descriptions_have_mean_zero_and_variance_one_over_what_is_learned(learned):
    found = resolve_descriptions(np.column_stack([TREND, TREND**2]), learned)[:, learned]
    assert_allclose(found.mean(axis=1), 0, atol=1e-12)
    assert_allclose(found.std(axis=1), 1)


def test_features_that_are_not_learned_are_not_described():
    assert (resolve_descriptions(TREND, SOME)[:, ~SOME] == 0).all()


@pytest.mark.parametrize("value", [0.0, 1e-30, 0.1, 1e9])
def test_a_constant_says_nothing(value):
    assert (resolve_descriptions(np.full(6, value), ALL) == 0).all()


def test_a_description_that_is_constant_over_what_is_learned_says_nothing():
    assert (resolve_descriptions(SOME.astype(float), SOME) == 0).all()


def test_a_vector_is_one_description():
    expected = resolve_descriptions(TREND[:, None], ALL)
    np.testing.assert_array_equal(resolve_descriptions(TREND, ALL), expected)


def test_without_descriptions_there_are_none():
    assert resolve_descriptions(None, ALL).shape == (0, 6)


def test_with_nothing_to_learn_descriptions_are_zero():
    assert (resolve_descriptions(TREND, ~ALL) == 0).all()


def test_a_dataframe_of_descriptions_is_its_array():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"trend": TREND, "square": TREND**2})
    expected = resolve_descriptions(frame.to_numpy(), ALL)
    np.testing.assert_array_equal(resolve_descriptions(frame, ALL), expected)


@pytest.mark.parametrize(
    ("descriptions", "message"),
    [
        (TREND[:5], "one row per feature: got 5 rows for 6 features"),
        (np.ones((2, 6)), "one row per feature: got 2 rows for 6 features"),
        (np.where(TREND == 1, np.nan, TREND), "NaN"),
        (np.where(TREND == 1, np.inf, TREND), "infinity"),
        (np.ones((6, 1, 1)), "dim 3"),
        (list("abcdef"), "could not convert|dtype"),
    ],
    ids=["short", "transposed", "nan", "infinite", "three axes", "text"],
)
def test_unusable_descriptions_are_errors_that_say_so(data, descriptions, message):
    with pytest.raises(ValueError, match=message):
        fit(data, descriptions)


# What is learned


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_log_alpha_is_linear_in_the_descriptions(penalty):
    data = make_regression(seed=2)
    descriptions = np.column_stack([TREND, INDICATOR])
    model = fit(data, descriptions, penalty, max_iter=10)
    design = np.column_stack([np.ones(6), descriptions])
    coef, *_ = np.linalg.lstsq(design, np.log(model.alpha_), rcond=None)
    assert_allclose(design @ coef, np.log(model.alpha_), atol=1e-9)
    assert len(np.unique(model.alpha_)) > 1


def test_an_indicator_expresses_what_two_groups_do(data):
    tight = {"tol": 1e-6, "alpha_bounds": (1e-4, 1e2)}
    described = fit(data, INDICATOR, **tight)
    grouped = fit(data, None, groups=INDICATOR, **tight)
    # Both runs stop at a gradient of 1e-6, at an optimum that is flat.
    assert_allclose(described.criterion_, grouped.criterion_, rtol=1e-6)
    assert_allclose(described.alpha_, grouped.alpha_, rtol=1e-2)
    assert_allclose(described.coef_, grouped.coef_, atol=1e-3)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0), (-1e6, 0), (1, 1e3)])
def test_scale_and_shift_of_a_description_change_nothing(data, penalty, scale, shift):
    model = fit(data, TREND, penalty)
    other = fit(data, scale * TREND + shift, penalty)
    assert_allclose(other.coef_, model.coef_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_descriptions_that_are_constant_change_nothing(data, penalty):
    model, plain = fit(data, np.full(6, 3.0), penalty), fit(data, None, penalty)
    assert_allclose(model.coef_, plain.coef_, rtol=1e-9)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_a_useful_description_beats_none(penalty):
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 12))
    useful = np.arange(12) < 4
    y = X[:, useful].sum(axis=1) + random.normal(size=60)
    data = make_regression(60, 12)
    options = {"cv": data.splits, "shrinkage": 0, "standard_errors": 0}
    model, plain = (
        BilevelRegularizedRegressor(penalty, alpha_features=z, **options).fit(X, y)
        for z in (useful, None)
    )
    assert model.criterion_ < plain.criterion_
    assert model.alpha_[~useful].min() > model.alpha_[useful].max()


@pytest.mark.parametrize("penalty", ["l2", "adaptive", "l1"])
def test_described_columns_that_are_unpenalized_stay_exactly_so(data, penalty):
    groups = list("aabbbb")
    options = {"groups": groups, "alpha": {"a": 0}, "max_iter": 3}
    model = fit(data, TREND, penalty, **options)
    assert (model.alpha_[:2] == 0).all() and (model.alpha_[2:] > 0).all()
    residual = data.y - model.predict(data.X)
    free = data.X[:, :2] - data.X[:, :2].mean(axis=0)
    assert_allclose(free.T @ residual, 0, atol=1e-9)


@pytest.mark.parametrize("penalty", ["l2", "adaptive", "l1"])
def test_described_columns_of_a_fixed_strength_keep_it(data, penalty):
    options = {"groups": list("aabbbb"), "alpha": {"a": 0.7}, "max_iter": 3}
    assert_allclose(fit(data, TREND, penalty, **options).alpha_[:2], 0.7)


def test_without_deviations_descriptions_make_no_difference(data):
    model, plain = (fit(data, z, shrinkage=np.inf) for z in (TREND, None))
    np.testing.assert_array_equal(model.coef_, plain.coef_)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_larger_shrinkage_brings_slopes_closer_to_zero(data, penalty):
    options = {"max_iter": 20, "standard_errors": 0}
    slopes = [abs(fit(data, TREND, penalty, shrinkage=s, **options).hyper_[-1]) for s in (0.01, 10)]
    assert slopes[1] < 0.1 * slopes[0]


def test_descriptions_work_with_more_features_than_rows():
    data = make_regression(12, 18)
    model = fit(data, np.arange(18), max_iter=10)
    slopes = np.diff(np.log(model.alpha_))
    assert abs(slopes[0]) > 1e-6
    assert_allclose(slopes, slopes[0], rtol=1e-9)
