"""Which rows a search looks at where there are many.

A handful of numbers and some linear models do not need all of a large table: what they learn
from a sample judges the other rows, and the last fit is on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data._folds import position_keys

# Noisy rows, and clean ones, that are enough; more for many columns or classes.
ENOUGH, PER_COLUMN, PER_CLASS = 10_000, 20, 300
# A class keeps so many rows, if it has them.
LEAST = 50


@dataclass(frozen=True)
class RowSample:
    """Some rows of a fit, with factors of their weights: of rare classes more rows are taken."""

    positions: np.ndarray  # (n_sampled,)
    factor: np.ndarray  # (n_sampled,)


def search_sample(rows, seed) -> RowSample | None:
    """A sample of rows by class, of clean and noisy ones apart; None for all of them.

    Whether a row is taken depends on its position among the rows of its kind alone.
    """
    counts = np.stack(
        [
            np.bincount(rows.labels[of_kind], minlength=rows.n_classes)
            for of_kind in (rows.noisy, rows.clean)
        ]
    )
    sizes, weights = sample_sizes(counts, rows.X.shape[1])
    if np.array_equal(sizes, counts):
        return None
    parts, factors = [], []
    for kind, of_kind in enumerate((rows.noisy, rows.clean)):
        for label in range(rows.n_classes):
            index = of_kind[rows.labels[of_kind] == label]
            parts.append(index[taken(len(index), sizes[kind, label], seed)])
            factors.append(np.full(len(parts[-1]), weights[kind, label]))
    positions, factor = np.concatenate(parts), np.concatenate(factors)
    order = np.argsort(positions)
    return RowSample(positions[order], factor[order])


def sample_sizes(counts, n_features):
    """How many rows of each kind and class are taken, and the weights of these.

    All of shape (2, n_classes): of noisy rows, and of clean ones.
    """
    enough = max(ENOUGH, PER_COLUMN * n_features, PER_CLASS * counts.shape[1])
    fraction = np.minimum(1.0, enough / counts.sum(axis=1, keepdims=True).clip(1))
    sizes = np.minimum(counts, np.maximum(LEAST, np.round(fraction * counts).astype(int)))
    return sizes, fraction * counts / sizes.clip(1)


def taken(n_rows, size, seed):
    """Which of the rows of a kind and class are taken, in no particular order."""
    if size == n_rows:
        return np.arange(n_rows)
    # Keys are distinct.
    return np.argpartition(position_keys(n_rows, seed), size)[:size]
