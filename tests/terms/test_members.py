"""The fits of an additive regressor are those of the same estimators by themselves."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score

from skbamm import BilevelRegularizedRegressor
from skbamm.data._folds import make_folds
from skbamm.terms._fold_fits import FoldFits
from skbamm.terms._members import LinearFit, Member, centre_and_scale, fitted
from skbamm.terms._pairs import standardized_targets


def rows(n_samples=150, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 8))
    y = 7 + 3 * (X[:, 0] - X[:, 1] + rng.normal(size=n_samples))
    return X, y, rng.integers(0, 3, size=n_samples).astype(float)


@pytest.mark.parametrize("n_repeats", [1, 2])
def test_a_regressor_on_known_cross_products_is_that_on_the_rows(n_repeats):
    X, y, weight = rows()
    options = {"groups": list("aabbccdd"), "standardize": False, "shrinkage": 0.01}
    options |= {"random_state": 0, "n_repeats": n_repeats}
    folds = make_folds(5, X, y, seed=0)
    fits = FoldFits.of(X, standardized_targets(y, weight), weight, folds)
    model = fitted(BilevelRegularizedRegressor(**options), fits, X, y, weight, folds)
    expected = BilevelRegularizedRegressor(**options).fit(X, y, weight)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    assert_allclose(model.intercept_, expected.intercept_, rtol=1e-6)
    assert_allclose(model.criterion_, expected.criterion_, rtol=1e-6)


def test_the_linear_fit_is_ridge_of_the_best_strength():
    X, y, _ = rows()
    weight, folds = np.ones(len(y)), make_folds(5, X, y, seed=0)
    kept = np.arange(8) != 3
    fits = FoldFits.of(X, standardized_targets(y, weight), weight, folds)
    found = LinearFit.of(fits.only(kept), *centre_and_scale(y, weight))
    assert Member(kept, found).coefficients()[3] == 0

    def error(strength):
        # A strength is relative to the number of rows, which is that of each fold's training rows.
        model = Ridge(alpha=strength * len(y) * 0.8)
        scores = cross_val_score(
            model, X[:, kept], y, cv=folds.splits, scoring="neg_mean_squared_error"
        )
        return -scores.mean() / y.var()

    errors = {strength: error(strength) for strength in np.logspace(-9, 3, 49)}
    best = min(errors, key=errors.get)
    assert np.mean(found.errors) == pytest.approx(errors[best], rel=1e-3)
    assert_allclose(found.coef_, Ridge(alpha=best * len(y)).fit(X[:, kept], y).coef_, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_mean_and_deviation_are_those_of_targets_of_any_size(size):
    y, weight = np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0])
    assert_allclose(
        np.divide(centre_and_scale(y * size, weight), size),
        [2.75, np.sqrt(np.average((y - 2.75) ** 2, weights=weight))],
    )
