"""Relative strengths that are known beforehand: `penalty_factors`."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.linear_model import Lasso, Ridge

from skbamm import BilevelRegularizedRegressor
from skbamm.regularization._constants import MAGNITUDE_FLOOR
from skbamm.regularization._options import resolve_factors
from tests.reference.adaptive_ridge import scales
from tests.regularization.regression_data import NAMES, make_regression

DATA = make_regression()
FACTORS = np.array([0.2, 1.0, 3.0, 10.0, 1.0, 0.5])
ALPHA = 0.05
KINDS = pytest.mark.parametrize("penalty", ["adaptive", "l2", "l1"])


def fit(penalty="adaptive", factors=FACTORS, data=DATA, **options):
    model = BilevelRegularizedRegressor(penalty, penalty_factors=factors, **options)
    return model.fit(data.X, data.y)


# Answers known by other means


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize(
    ("shape", "container"),
    [((40, 6), np.asarray), ((12, 30), np.asarray), ((12, 30), sparse.csr_array)],
)
def test_a_fixed_strength_is_ridge_on_columns_divided_by_roots(shape, container, standardize):
    data = make_regression(*shape)
    factors = np.resize(FACTORS, shape[1])
    options = {"alpha": ALPHA, "standardize": standardize, "penalty_factors": factors}
    model = BilevelRegularizedRegressor("l2", **options).fit(container(data.X), data.y)
    scale = np.sqrt(factors) * (data.X.std(axis=0) if standardize else 1)
    oracle = Ridge(ALPHA * len(data.y), solver="svd").fit(data.X / scale, data.y)
    assert_allclose(model.coef_, oracle.coef_ / scale, rtol=1e-8, atol=1e-10)
    assert_allclose(model.alpha_, ALPHA * factors, rtol=1e-12)


def test_a_fixed_strength_of_l1_is_the_lasso_on_columns_divided_by_factors():
    model = fit("l1", alpha=ALPHA, standardize=False)
    oracle = Lasso(ALPHA, tol=1e-12, max_iter=100_000).fit(DATA.X / FACTORS, DATA.y)
    # Coordinate descent ends at a duality gap, the root of which is what it knows of coefficients.
    assert_allclose(model.coef_, oracle.coef_ / FACTORS, rtol=1e-5, atol=1e-6)
    assert_allclose(model.alpha_, ALPHA * FACTORS, rtol=1e-12)


def test_adaptive_weights_are_multiplied_by_the_factors_and_so_are_those_of_the_pilot():
    held_out = make_regression(seed=1)
    model = BilevelRegularizedRegressor(penalty_factors=FACTORS, max_iter=5, tol=1e-9)
    with pytest.warns(match="max_iter"):
        model.fit(DATA.X, DATA.y, X_val=held_out.X, y_val=held_out.y)
    log_pilot, log_alpha, exponent = model.hyper_
    relative = FACTORS / np.exp(np.log(FACTORS).mean())
    scale = np.sqrt(relative) * scales(DATA.X, np.ones(len(DATA.y)))
    pilot = Ridge(np.exp(log_pilot) * len(DATA.y), solver="svd").fit(DATA.X / scale, DATA.y)
    square = (pilot.coef_ / np.sqrt(relative)) ** 2
    magnitude = np.sqrt(square / square.mean() + MAGNITUDE_FLOOR**2)
    assert exponent > 0.1
    assert_allclose(model.alpha_, relative * np.exp(log_alpha) * magnitude**-exponent, rtol=1e-6)


@KINDS
def test_factors_of_one_change_nothing(penalty):
    assert_array_equal(fit(penalty, np.ones(6)).coef_, fit(penalty, None).coef_)


@KINDS
def test_a_factor_of_zero_is_a_strength_of_zero(penalty):
    model = fit(penalty, [0, 1, 1, 1, 1, 1], max_iter=5, tol=1)
    groups = {"free": [0], "rest": slice(1, 6)}
    other = fit(penalty, None, max_iter=5, tol=1, groups=groups, alpha={"free": 0})
    assert model.alpha_[0] == 0 and (model.alpha_[1:] > 0).all()
    assert_allclose(model.coef_, other.coef_, rtol=1e-10)
    residual = DATA.y - model.predict(DATA.X)
    assert_allclose((DATA.X[:, 0] - DATA.X[:, 0].mean()) @ residual, 0, atol=1e-9)


# What must not change


@KINDS
def test_only_ratios_of_factors_count_where_strengths_are_learned(penalty):
    model, other = fit(penalty), fit(penalty, 7 * FACTORS)
    assert_allclose(other.coef_, model.coef_, rtol=1e-7, atol=1e-9)
    assert_allclose(other.alpha_, model.alpha_, rtol=1e-7)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("descriptions", [None, [0, 0, 1, 1, 2, 2]])
def test_learned_strengths_are_multiplied_by_the_factors(penalty, descriptions):
    options = {"alpha_features": descriptions, "shrinkage": 0}
    learned = np.log(fit(penalty, **options).alpha_ / FACTORS)
    pairs = learned.reshape(3, 2)
    assert_allclose(pairs[:, 0], pairs[:, 1], atol=1e-10)
    slopes = np.diff(pairs[:, 0])
    assert_allclose(slopes[0], slopes[1], atol=1e-10)
    assert (slopes[0] == pytest.approx(0, abs=1e-10)) == (descriptions is None)


@KINDS
def test_a_constant_column_has_the_strength_of_others_times_its_factor(penalty):
    X = np.column_stack([DATA.X, np.ones(len(DATA.y))])
    factors = [*FACTORS, 2.0]
    model = BilevelRegularizedRegressor(penalty, penalty_factors=factors).fit(X, DATA.y)
    without = fit(penalty)
    assert_allclose(model.coef_[:6], without.coef_, rtol=1e-10)
    common = np.exp(np.log(without.alpha_ / FACTORS).mean())
    assert_allclose(model.alpha_[6], 2 * common, rtol=1e-10)


def test_a_groups_strength_is_the_mean_of_what_is_penalized():
    model = fit("l2", [0, 1, 4, 0, 0, 0], alpha=0.5, groups=list("aaabbb"))
    assert model.group_alpha_ == pytest.approx({"a": 1.0, "b": 0.0})


@pytest.mark.parametrize("known", [0, 1])
def test_of_columns_that_say_the_same_exact_zeros_keep_what_is_penalized_less(known):
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 4))
    X[:, 1] = X[:, 0] + 0.05 * random.normal(size=60)
    factors = np.where(np.arange(4) == known, 1.0, 30.0)
    model = BilevelRegularizedRegressor(exact_zeros=True, penalty_factors=factors)
    model.fit(X, X[:, 0] + X[:, 1] + 0.3 * random.normal(size=60))
    assert_array_equal(np.flatnonzero(model.support_), [known])


# Spellings


def test_a_mapping_names_columns_and_the_others_have_the_factor_one():
    named = {"num__a": 0.2, "num__d": 10.0}
    expected = [0.2, 1, 1, 10, 1, 1]
    assert_array_equal(resolve_factors(named, 6, NAMES), expected)
    assert_array_equal(resolve_factors({0: 0.2, 3: 10}, 6), expected)


def test_a_series_is_matched_by_name():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DATA.X, columns=NAMES)
    series = pandas.Series(FACTORS, index=NAMES)[::-1]
    model = BilevelRegularizedRegressor("l2", alpha=1, penalty_factors=series)
    assert_allclose(model.fit(frame, DATA.y).alpha_, FACTORS, rtol=1e-12)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (FACTORS[:5], r"one entry per feature: got an array of shape \(5,\) for 6 features"),
        (FACTORS[:, None], "one entry per feature"),
        ([-1, 1, 1, 1, 1, 1], "must not be negative: got -1"),
        ([np.inf, 1, 1, 1, 1, 1], "penalty_factors contains infinity"),
        ([np.nan, 1, 1, 1, 1, 1], "penalty_factors contains NaN"),
        ([1, 1e300, 1, 0, 1, 1], "must not differ by more than 1e\\+08: got 1 to 1e\\+300"),
        ({"age": 0}, r"names no column by \['age'\]: columns of X have no names"),
    ],
)
def test_unusable_factors_are_errors_that_say_so(factors, message):
    with pytest.raises(ValueError, match=message):
        fit(factors=factors)


@pytest.mark.parametrize(
    "factors", [[1, 1, 1, 1e3, 1, 1], [1, 1e3, 1e-3, 1, 1, 1], [1, 1e3, 1, 1, 1, 0]]
)
def test_the_lasso_learns_strengths_that_columns_of_any_factor_can_bear(factors):
    """Its path once ended before the columns with large factors had entered."""
    random = np.random.default_rng(0)
    X = random.normal(size=(120, 6))
    y = X @ [1, 0.3, 0, 2, 0, -1] + random.normal(size=120)
    plain = BilevelRegularizedRegressor("l1").fit(X, y)
    model = BilevelRegularizedRegressor("l1", penalty_factors=factors).fit(X, y)
    assert model.criterion_ < 1.02 * plain.criterion_
    scaled = BilevelRegularizedRegressor("l1", standardize=False).fit(X * [1, 1, 1, 1e-3, 1, 1], y)
    assert scaled.criterion_ < 1.02 * plain.criterion_
