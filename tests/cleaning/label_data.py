"""Small classifications with wrong labels that the tests of the classifier share; short fits."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold

from skbamm import HyperCleaningClassifier


@dataclass(frozen=True)
class Labelled:
    """Rows with given and true labels, some of them verified."""

    X: np.ndarray
    y: np.ndarray
    truth: np.ndarray
    is_clean: np.ndarray
    weight: np.ndarray
    splits: list

    @property
    def is_wrong(self):
        return self.y != self.truth

    @property
    def noisy(self):
        return np.flatnonzero(~self.is_clean)


def make_labels(n_samples=120, n_features=4, n_classes=3, *, clean=0.4, noise=0.3, seed=0):
    """Overlapping classes in columns of unlike units; wrong labels are uniform over the others."""
    random = np.random.default_rng(seed)
    units = np.geomspace(0.3, 3.0, n_features)
    scaled = random.normal(size=(n_samples, n_features))
    X = scaled * units + np.linspace(-1, 1, n_features)
    effects = random.normal(size=(n_features, n_classes)) * 4 / np.sqrt(n_features)
    scores = scaled @ effects
    truth = (scores + random.gumbel(size=scores.shape) * 1.0).argmax(1)
    is_clean = np.zeros(n_samples, dtype=bool)
    is_clean[random.permutation(n_samples)[: round(clean * n_samples)]] = True
    wrong = ~is_clean & (random.random(n_samples) < noise)
    y = np.where(wrong, (truth + random.integers(1, n_classes, n_samples)) % n_classes, truth)
    weight = random.uniform(0.2, 2.0, n_samples)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    return Labelled(X, y, truth, is_clean, weight, list(folds.split(X, y)))


def far_classes(n_samples=300, n_classes=3):
    """Rows of classes 1, 2, ... far from each other, true labels, and a mask of verified rows."""
    random = np.random.default_rng(0)
    truth = random.integers(1, n_classes + 1, n_samples)
    centers = 4 * random.normal(size=(n_classes + 1, 5))
    X = centers[truth] + random.normal(size=(n_samples, 5))
    return X, truth, random.random(n_samples) < 0.3


# Long enough to move all numbers; two runs are compared wherever they end.
SHORT = 8
# Rounding that a run of some ten iterations carries on.
ROUNDING = {"rtol": 1e-7, "atol": 1e-8}


def fit(data, clean=True, *, X=None, y=None, weight=None, cv=None, **options):
    """A short fit of the data with some of it replaced."""
    cv = data.splits if cv is None else cv
    model = HyperCleaningClassifier(**{"cv": cv, "max_iter": SHORT, **options})
    return model.fit(
        data.X if X is None else X,
        data.y if y is None else y,
        weight,
        is_clean=data.is_clean if clean is True else (None if clean is False else clean),
    )
