"""Ridge fits from Gram matrices that are formed once are those of scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skbamm.data._folds import make_folds
from skbamm.terms._fold_fits import FoldFits
from skbamm.terms._members import mean_weights


@pytest.mark.parametrize("n_columns", [6, 90])
@pytest.mark.parametrize("cv", [4, [(np.arange(30), np.arange(20, 60))]])
def test_residuals_are_those_of_ridge(n_columns, cv):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, n_columns)) + 3, rng.normal(size=(60, 2))
    weight = rng.integers(0, 3, size=60).astype(float)
    strength = rng.uniform(0.1, 1.0, size=n_columns)
    kept = np.arange(n_columns) % 3 > 0
    fits = FoldFits.of(X, y, weight, make_folds(cv, X, y, seed=0))
    folds = fits.folds
    for number, train in [*enumerate(fold.train for fold in folds), (None, weight)]:
        scaled = X[:, kept] / np.sqrt(strength[kept])
        ridge = Ridge(alpha=train.sum()).fit(scaled, y, sample_weight=train)
        expected = y - ridge.predict(scaled)
        coef, intercept = fits.system(number).fit(strength[kept], kept)
        found = y - intercept - X @ coef
        np.testing.assert_allclose(found, expected, atol=1e-7)
        np.testing.assert_allclose(train @ found, 0, atol=1e-7)
        if number is not None:
            test = folds[number].test
            error = fits.system(number).held_out(strength[kept], kept)
            assert error == pytest.approx(test @ np.sum(expected**2, axis=1) / test.sum())


def test_a_fit_that_is_clearly_worse_has_no_weight():
    errors = np.array([[1.0, 1.1, 0.9, 1.0, 1.05], [2.0, 2.1, 1.8, 2.1, 2.0]])
    weights = mean_weights(errors, 1.0)
    assert weights[1] < 1e-6 and weights.sum() == pytest.approx(1.0)


def test_of_fits_that_the_folds_cannot_tell_apart_the_simplest_counts_a_standard_error_more():
    errors = np.array([[1.0, 1.2, 0.9, 1.0], [1.2, 1.0, 1.0, 0.9]])
    weights = mean_weights(errors, 1.0)
    np.testing.assert_allclose(weights, np.exp([0.0, -0.5]) / np.exp([0.0, -0.5]).sum())
    assert mean_weights(errors, 0.0).max() == 1.0
