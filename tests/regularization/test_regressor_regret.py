"""BilevelRegularizedRegressor on small tables of many kinds: never clearly worse than ridge."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor
from tests.reference import adaptive_ridge as reference

pytestmark = pytest.mark.filterwarnings(
    # What is promised holds wherever a run ends.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)

TABLES = {
    "dense": (60, 10, 1.0, 1.0),
    "sparse": (60, 20, 0.15, 1.0),
    "noise": (40, 10, 0.3, 10.0),
    "only noise": (50, 5, 0.0, 1.0),
    "wide": (40, 80, 1.0, 1.0),
    "wide and sparse": (40, 80, 0.05, 1.0),
    "clean": (60, 10, 0.5, 0.1),
}


def table(n_samples, n_features, share, noise, seed):
    """Rows to fit and many others; a share of the columns has an effect."""
    random = np.random.default_rng(seed)
    effects = random.normal(size=n_features) * (random.random(n_features) < share)
    mixing = np.eye(n_features) + random.normal(size=(n_features, n_features)) / n_features
    X = random.normal(size=(n_samples + 1000, n_features)) @ mixing
    y = X @ effects + noise * random.normal(size=len(X))
    return X[:n_samples], y[:n_samples], X[n_samples:], y[n_samples:]


def relative_error(name, seed):
    """Test error over RidgeCV's."""
    X, y, X_test, y_test = table(*TABLES[name], seed)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 5, 17)))
    ours = BilevelRegularizedRegressor()
    ours, ridge = (
        np.mean((y_test - model.fit(X, y).predict(X_test)) ** 2) for model in (ours, ridge)
    )
    return ours / ridge


MOST = {"sparse": 0.9, "wide and sparse": 0.9, "clean": 0.97}


@pytest.mark.parametrize("name", [name for name in TABLES if name != "wide"])
def test_the_error_is_about_that_of_ridge_or_less(name):
    ratios = [relative_error(name, seed) for seed in range(3)]
    assert np.exp(np.mean(np.log(ratios))) <= MOST.get(name, 1.03)
    assert max(ratios) <= 1.06


def test_where_ridge_is_right_the_error_is_about_its():
    """More columns than rows, and an effect of each: many other penalties must not outvote it."""
    ratios = [relative_error("wide", seed) for seed in range(10)]
    assert np.exp(np.mean(np.log(ratios))) <= 1.04


@pytest.mark.parametrize("name", TABLES)
def test_the_criterion_is_about_that_of_the_best_ridge_or_less(name):
    """A mean may be a bit worse on the folds than the best of its parts."""
    X, y, *_ = table(*TABLES[name], 0)
    splits = list(KFold(5, shuffle=True, random_state=0).split(X))
    model = BilevelRegularizedRegressor(cv=splits).fit(X, y)
    best = min(
        reference.held_out_error(X, y, splits, lambda *_, alpha=alpha: alpha)
        for alpha in np.logspace(-4, 4, 30)
    )
    assert model.criterion_ <= model.initial_criterion_ <= 1.03 * best
