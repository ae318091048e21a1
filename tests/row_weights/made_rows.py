"""Made rows whose weights are known."""

from types import SimpleNamespace

import numpy as np

from skbamm.row_weights._record import Rows

#: Learning, and without.
LEARN = SimpleNamespace(solver="sl-bamm", max_iter=200)
FROZEN = SimpleNamespace(solver="sl-bamm", max_iter=0)


def rows_of(X, y):
    return Rows(X, y.reshape(len(y), -1), np.ones(len(y)))


def drifting(n=800, change=600, seed=0, n_features=4):
    """Coefficients turn round at a time; all rows before it are misleading."""
    generator = np.random.default_rng(seed)
    X, time = generator.normal(size=(n, n_features)), np.arange(n, dtype=float)
    sign = np.where(time < change, -1.0, 1.0)
    return X, sign * X.sum(axis=1) + generator.normal(size=n), time


def steady(n=800, seed=0, n_features=4):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, n_features))
    return X, X.sum(axis=1) + generator.normal(size=n), np.arange(n, dtype=float)


def sites(shift=(0.0, 3.0, -3.0), n=300, seed=0, n_own=30):
    """Three sites with levels of their own, and few rows of the first one."""
    generator = np.random.default_rng(seed)
    source = np.concatenate([np.zeros(n_own, int), generator.integers(1, 3, n)])
    X = generator.normal(size=(len(source), 4))
    y = X.sum(axis=1) + np.array(shift)[source] + generator.normal(size=len(source))
    return X, y, source


def ratings(n_items=150, n_annotators=40, n_random=12, seed=0):
    """Five levels; the last annotators answer at random. Three ratings an item."""
    generator = np.random.default_rng(seed)
    quality = generator.normal(size=(n_items, 3))
    item = np.repeat(np.arange(n_items), 6)
    annotator = generator.integers(0, n_annotators, len(item))
    score = 3 + 0.5 * quality.sum(axis=1)[item] + 0.4 * generator.normal(size=len(item))
    y = np.clip(np.round(score), 1, 5)
    is_random = annotator >= n_annotators - n_random
    y[is_random] = generator.integers(1, 6, is_random.sum())
    return quality[item], y, annotator, is_random, item
