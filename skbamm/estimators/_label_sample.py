"""Which rows a search looks at where there are many.

A handful of numbers and some linear models do not need all of a large table: what they learn
from a sample judges the other rows, and the last fit is on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._folds import position_keys

# Noisy rows, and clean ones, that are enough; more for many columns or classes.
ENOUGH, PER_COLUMN, PER_CLASS = 10_000, 20, 300
# A class keeps so many rows, if it has them.
LEAST = 50


@dataclass(frozen=True)
class RowSample:
    """Some rows of a fit.

    Attributes
    ----------
    positions : ndarray of int of shape (n_sampled,)
    factor : ndarray of shape (n_sampled,)
        Weights by which rare classes, of which more is taken, keep their share.
    """

    positions: np.ndarray
    factor: np.ndarray


def search_sample(rows, seed) -> RowSample | None:
    """A sample of rows by class, of clean and noisy ones apart; None for all of them.

    Whether a row is taken depends on its position among the rows of its kind alone.
    """
    enough = max(ENOUGH, PER_COLUMN * rows.X.shape[1], PER_CLASS * rows.n_classes)
    parts, factors = [], []
    for of_kind in (rows.noisy, rows.clean):
        fraction = min(1.0, enough / max(len(of_kind), 1))
        for label in range(rows.n_classes):
            index = of_kind[rows.labels[of_kind] == label]
            n_taken = min(len(index), max(LEAST, round(fraction * len(index))))
            order = np.argsort(position_keys(len(index), seed), kind="stable")
            parts.append(index[order[:n_taken]])
            factors.append(np.full(n_taken, fraction * len(index) / max(n_taken, 1)))
    positions, factor = np.concatenate(parts), np.concatenate(factors)
    if len(positions) == len(rows.labels):
        return None
    order = np.argsort(positions)
    return RowSample(positions[order], factor[order])
