"""Tiny tables with classes that the tests of the classifier share."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold

from skbamm import BilevelRegularizedClassifier


def classifier(penalty="adaptive", **options):
    return BilevelRegularizedClassifier(penalty, **{"n_repeats": 1, **options})


@dataclass(frozen=True)
class Classes:
    """Rows, weights and folds; a few columns matter, units differ."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    splits: list


def make_classes(n_classes=2, n_samples=80, n_features=6, *, n_folds=4, seed=0):
    """Correlated columns in units from 1/2 to 2, every third of them with an effect."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n_samples, n_features)) + 0.5 * random.normal(size=(n_samples, 1))
    X = X * np.geomspace(0.5, 2.0, n_features) + np.linspace(-1, 1, n_features)
    effects = random.normal(size=(n_features, n_classes))
    effects[np.arange(n_features) % 3 != 0] *= 0.05
    noise = random.gumbel(size=(n_samples, n_classes))
    y = (1.5 * (X - X.mean(axis=0)) @ effects + noise).argmax(axis=1)
    weight = random.uniform(0.2, 2.0, n_samples)
    splits = list(StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(X, y))
    return Classes(X, y, weight, splits)
