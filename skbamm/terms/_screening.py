"""Which pairs of columns interact, and how many of them are worth their columns.

Screening is that of Lou, Caruana, Gehrke, Hooker, "Accurate Intelligible Models with Pairwise
Interactions" (KDD 2013): what main effects leave of the targets is averaged in the cells of two
binned columns. How many pairs are taken is decided by held-out rows that neither the screening nor
the fits have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ._fold_fits import Fold, FoldFits, squares

# Bins of a column: quantiles of a number, the most frequent levels of a category.
N_BINS = 8
# Numbers of pairs that "auto" compares. More than a dozen gained nothing on the development tables.
COUNTS = (0, 1, 2, 4, 8, 12)
# Strengths of the main effects that are compared, and of interactions relative to that.
STRENGTHS, RELATIVE = (1e-4, 1e-3, 1e-2), (1.0, 10.0)
# "auto" does not try with fewer rows: three for each cell of two binned columns.
LEAST_ROWS = 3 * N_BINS**2
# So many columns are screened in pairs, those that explain most by themselves.
MOST_COLUMNS = 100
# Standard errors, over the folds, by which interactions must be better than none.
ENOUGH = 1.0


@dataclass(frozen=True)
class Residuals:
    """What main effects leave: of fits on the training rows of each fold, and on all rows."""

    by_fold: list[np.ndarray]  # each (n_samples, n_targets)
    of_all: np.ndarray
    strength: float  # of the main effects: one for all, the best one for the held-out rows

    @classmethod
    def of(cls, design, targets, weight, folds):
        fits = FoldFits.of(design, targets, weight, folds)
        found = [
            [fits.residuals(number, strength) for strength in STRENGTHS]
            for number in range(len(folds))
        ]
        errors = [
            [squares(one, fold.test) for one in some]
            for some, fold in zip(found, folds, strict=True)
        ]
        best = int(np.mean(errors, axis=0).argmin()) if folds else len(STRENGTHS) - 1
        by_fold = [some[best] for some in found]
        return cls(by_fold, fits.residuals(-1, STRENGTHS[best]), STRENGTHS[best])


def binned(column, values, weight):
    """Bin of each row; missing values and unknown levels are in the last one."""
    if hasattr(column, "codes"):
        order = np.argsort(-column.share, kind="stable")[: N_BINS - 1]
        bins = np.full(len(column.share) + 1, N_BINS - 1)  # the last one is that of no level
        bins[order] = np.arange(len(order))
        return bins[column.codes(values)]
    known = ~np.isnan(values)
    found = np.full(len(values), N_BINS - 1)
    if known.any() and weight[known].any():
        distinct, index = np.unique(values[known], return_inverse=True)
        share = np.bincount(index, weight[known])
        middle = (np.cumsum(share) - share / 2) / share.sum()
        bins = np.arange(len(distinct))
        if len(distinct) >= N_BINS:
            bins = (middle * (N_BINS - 1)).astype(int)
        found[known] = bins[index]
    return found


@dataclass(frozen=True)
class Screening:
    """Columns cut into bins, and the targets that they are to explain."""

    bins: np.ndarray  # (n_samples, n_columns)
    targets: np.ndarray  # (n_samples, n_targets)
    may_interact: np.ndarray  # positions of columns

    def strongest(self, residuals, weight, n_pairs):
        """The pairs whose cells explain most squares of the residuals, less what noise does.

        On the rows with weight, and of the columns that explain most there, if these are many.
        """
        used = weight > 0
        # In units in which the weights of rows have mean 1.
        weight, bins = weight[used] / weight[used].mean(), self.bins[used]
        columns = self._main_columns(bins, self.targets[used], weight)
        indicators = np.hstack([np.eye(N_BINS, dtype=np.float32)[bins[:, j]] for j in columns])
        counts = _cell_sums(indicators, weight)
        gains = sum(
            _gains(counts, lambda values: _cell_sums(indicators, values), target, weight)
            for target in residuals[used].T
        )
        shape = (len(columns), N_BINS, len(columns), N_BINS)
        by_pair = gains.reshape(shape).sum(axis=(1, 3))
        pairs = sorted(combinations(range(len(columns)), 2), key=lambda pair: -by_pair[pair])
        return [(int(columns[j]), int(columns[k])) for j, k in pairs[:n_pairs]]

    def _main_columns(self, bins, targets, weight):
        """Those that may interact; the most important ones, in their order, if these are many."""
        columns = self.may_interact
        if len(columns) <= MOST_COLUMNS:
            return columns
        found = []
        for j in columns:
            sums = partial(np.bincount, bins[:, j], minlength=N_BINS)
            found.append(sum(_gains(sums(weight), sums, y, weight).sum() for y in targets.T))
        return np.sort(columns[np.argsort(found, kind="stable")[-MOST_COLUMNS:]])


def _gains(counts, sums_of, target, weight):
    """Squares of a target that means in cells explain, less what is expected of noise."""
    centred = target - weight @ target / weight.sum()
    noise = weight @ centred**2 / weight.sum()
    sums = sums_of(weight * centred)
    return np.where(counts > 0, sums**2 / np.maximum(counts, TINY) - noise, 0.0)


def _cell_sums(indicators, values):
    """Sums of values in the cells of all pairs of columns."""
    weighted = indicators * values[:, None].astype(indicators.dtype)
    return (indicators.T @ weighted).astype(np.float64)


TINY = float(np.finfo(np.float32).tiny)


def chosen_pairs(
    screening: Screening,
    residuals: Residuals,
    weight: np.ndarray,
    folds: list[Fold],
    block: Callable[[tuple[int, int]], np.ndarray],
) -> list[tuple[int, int]]:
    """The strongest pairs, as many as predict held-out rows better, by `ENOUGH`, than none.

    ``block(pair)`` gives the columns of a pair.
    """
    if len(folds) < 2:
        return []
    table = []
    for fold, residual in zip(folds, residuals.by_fold, strict=True):
        pairs = screening.strongest(residual, fold.train, COUNTS[-1])
        table.append(_held_out(residual, fold, [block(pair) for pair in pairs], residuals.strength))
    errors = np.array(table)  # (n_folds, n_relative, n_counts)
    best = np.unravel_index(errors.mean(axis=0).argmin(), errors.shape[1:])
    gain = errors[:, 0, 0] - errors[(slice(None), *best)]
    if gain.mean() <= ENOUGH * gain.std(ddof=1) / np.sqrt(len(gain)):
        return []
    return screening.strongest(residuals.of_all, weight, COUNTS[best[1]])


def _held_out(residual, fold, blocks, strength):
    """Held-out squares with the first so many pairs, shape (n_relative, n_counts).

    Interactions are fitted to what main effects leave: they hardly correlate with these.
    """
    ends = np.cumsum([0, *(part.shape[1] for part in blocks)])
    columns = np.hstack([np.empty((len(residual), 0)), *blocks])
    weighted = columns * (fold.train / fold.train.sum())[:, None]
    gram, right = weighted.T @ columns, weighted.T @ residual
    tested, held_out = fold.test > 0, np.empty((len(RELATIVE), len(COUNTS)))
    for row, relative in enumerate(RELATIVE):
        for number, count in enumerate(COUNTS):
            end = ends[min(count, len(blocks))]
            left = residual[tested]
            if end:
                penalized = gram[:end, :end] + strength * relative * np.eye(end)
                left = left - columns[tested, :end] @ cho_solve(cho_factor(penalized), right[:end])
            held_out[row, number] = squares(left, fold.test[tested])
    return held_out
