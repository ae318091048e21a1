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
