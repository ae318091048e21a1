"""Tiny regressions that the tests of the regressor share."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold

from skbamm import BilevelRegularizedRegressor

# Of six columns in two groups.
NAMES = ["num__a", "num__b", "cat__c", "num__d", "cat__e", "num__f"]
LABELS = [name.split("__")[0] for name in NAMES]


def regressor(penalty="l2", **options):
    return BilevelRegularizedRegressor(penalty, **options)


@dataclass(frozen=True)
class Regression:
    """Rows, weights and folds; a few columns matter, units differ."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    splits: list


def make_regression(n_samples=40, n_features=6, n_targets=None, *, n_folds=4, noise=1.0, seed=0):
    """Correlated columns in units from 1/2 to 2, every third of them with an effect."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(n_samples, 1))
    X = random.normal(size=(n_samples, n_features)) + 0.5 * common
    X = X * np.geomspace(0.5, 2.0, n_features) + np.linspace(-1, 1, n_features)
    effects = random.normal(size=(n_features, n_targets or 1))
    effects[np.arange(n_features) % 3 != 0] *= 0.05
    y = X @ effects + noise * random.normal(size=(n_samples, n_targets or 1)) + 3.0
    weight = random.uniform(0.2, 2.0, n_samples)
    splits = list(KFold(n_folds, shuffle=True, random_state=seed).split(X))
    return Regression(X, y if n_targets else y[:, 0], weight, splits)
