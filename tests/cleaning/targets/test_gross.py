"""Wrong targets far off have no say, however far."""

import numpy as np
import pytest

from skbamm import HyperCleaningRegressor


@pytest.mark.parametrize("size", [500.0, 2000.0, -9999.0, 1e5])
def test_gross_errors_that_are_found_change_nothing(size):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(250, 3))
    y = 2 * X[:, 0] + 0.5 * generator.normal(size=250)
    y[:12] = size
    model = HyperCleaningRegressor().fit(X, y)
    assert model.target_report().query("is_issue")["index"].isin(range(12)).all()
    np.testing.assert_allclose(model.coef_, [2, 0, 0], atol=0.15)


@pytest.mark.parametrize("is_clean", [None, True])
def test_targets_that_are_all_equal_are_fitted(is_clean):
    X = np.random.default_rng(0).normal(size=(60, 2))
    mask = None if is_clean is None else np.ones(60, bool)
    model = HyperCleaningRegressor().fit(X, np.full(60, 7.0), is_clean=mask)
    np.testing.assert_allclose(model.predict(X), 7.0)


def test_one_target_that_is_not_verified_is_enough():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(80, 2))
    y = X[:, 0] + 0.1 * generator.normal(size=80)
    model = HyperCleaningRegressor().fit(X, y, is_clean=np.arange(80) > 0)
    np.testing.assert_allclose(model.coef_, [1, 0], atol=0.1)


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(250, 3))
    return X, 2 * X[:, 0] + 0.5 * generator.normal(size=250)


@pytest.mark.parametrize("count", [1, 2, 12, 75])
@pytest.mark.parametrize("size", [1e6, 1e15, -1e70])
def test_errors_of_any_size_and_number_have_no_say(table, size, count):
    X, y = table[0], table[1].copy()
    y[:count] = size
    model = HyperCleaningRegressor(max_iter=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, [2, 0, 0], atol=0.1)
    np.testing.assert_allclose(model.intercept_, 0, atol=0.1)


def test_errors_far_off_are_seen_in_single_precision(table):
    X, y = table[0], table[1].copy()
    y[:12] = 1e7
    model = HyperCleaningRegressor(max_iter=0).fit(X.astype("f"), y.astype("f"))
    np.testing.assert_array_equal(model.sample_weight_ < 0.5, np.arange(250) < 12)
    np.testing.assert_allclose(model.coef_, [2, 0, 0], atol=0.1)


@pytest.mark.parametrize(
    ("unit_X", "unit_y"), [(1, 1e-170), (1, 1e-300), (1, 1e150), (1e-150, 1), (1e90, 1e-90)]
)
def test_units_of_any_size_change_no_weight(table, unit_X, unit_y):
    X, y = table[0], table[1].copy()
    y[:12] += 5
    model = HyperCleaningRegressor().fit(X * unit_X, y * unit_y)
    expected = HyperCleaningRegressor().fit(X, y)
    np.testing.assert_allclose(model.sample_weight_, expected.sample_weight_, atol=1e-7)
    np.testing.assert_allclose(model.coef_ * unit_X / unit_y, expected.coef_, atol=1e-7)


@pytest.mark.parametrize("size", [20.0, -70.0, 200.0, 1000.0, 1e4, 1e8])
@pytest.mark.parametrize("kind", ["shifted", "times ten", "normal"])
def test_one_gross_error_hides_no_others(kind, size):
    generator = np.random.default_rng(0)
    X = generator.normal(size=(200, 3))
    y = X[:, 0] + X[:, 1] + 0.3 * generator.normal(size=200)
    is_wrong = generator.random(200) < 0.2
    wrong = {"shifted": y + 15, "times ten": 10 * y, "normal": y + 10 * generator.normal(size=200)}
    given = np.where(is_wrong, wrong[kind], y)
    expected = HyperCleaningRegressor(max_iter=0).fit(X, given)
    given[3] = size
    model = HyperCleaningRegressor(max_iter=0).fit(X, given)
    assert model.target_record_.is_issue[3]
    np.testing.assert_allclose(model.noise_rate_, expected.noise_rate_, atol=0.03)
    np.testing.assert_allclose(model.coef_, [1, 1, 0], atol=0.1)


@pytest.mark.parametrize("size", [20.0, 50.0, -1e5])
def test_a_single_target_that_is_impossible_is_an_issue(table, size):
    X, y = table[0], table[1].copy()
    y[7] = size
    model = HyperCleaningRegressor(max_iter=0).fit(X, y)
    np.testing.assert_array_equal(model.target_record_.is_issue.nonzero()[0], [7])
    assert model.target_record_.right[7] == 0
    np.testing.assert_allclose(model.coef_, [2, 0, 0], atol=0.1)


def test_largest_errors_of_heavy_tails_are_possible():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(250, 3))
    y = 2 * X[:, 0] + 0.5 * generator.standard_cauchy(250)
    assert np.abs(y).max() > 100
    model = HyperCleaningRegressor(max_iter=0).fit(X, y)
    assert not model.target_record_.is_issue.any()


@pytest.mark.parametrize("size", [1e170, 1e200])
def test_errors_whose_squares_overflow_have_no_say(table, size):
    X, y = table[0], table[1].copy()
    y[:40] = size * np.resize([1, -1, 1], 40)
    model = HyperCleaningRegressor(max_iter=0).fit(X, y)
    np.testing.assert_array_equal(model.target_record_.is_issue, np.arange(250) < 40)
    np.testing.assert_allclose(model.coef_, [2, 0, 0], atol=0.1)
