"""Which pairs of columns interact, and how many of them are worth their columns.

Screening is that of Lou, Caruana, Gehrke, Hooker, "Accurate Intelligible Models with Pairwise
Interactions" (KDD 2013): what main effects leave of the targets is averaged in the cells of two
binned columns. How many pairs are taken is decided by held-out rows that neither the screening nor
the fits have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

# Bins of a column: quantiles of a number, the most frequent levels of a category.
N_BINS = 8
# Numbers of pairs that "auto" compares. More than a dozen gained nothing on the development tables.
COUNTS = (0, 1, 2, 4, 8, 12)
# Strengths of the main effects that are compared, and of interactions relative to that.
STRENGTHS, RELATIVE = (1e-4, 1e-3, 1e-2), (1.0, 10.0)
# "auto" does not try with fewer rows: three for each cell of two binned columns.
LEAST_ROWS = 3 * N_BINS**2
# Standard errors, over the folds, by which interactions must be better than none.
ENOUGH = 1.0
# Keeps singular Gram matrices positive definite.
JITTER = 1e-10


@dataclass(frozen=True)
class Fold:
    """Weights of the rows that are learned from, and of those held out."""

    train: np.ndarray  # (n_samples,)
    test: np.ndarray  # (n_samples,)

    @classmethod
    def of(cls, folds, weight):
        """Of all splits that have weight on both sides."""
        found = []
        for sides in folds.splits:
            counts = [np.bincount(rows, minlength=len(weight)) for rows in sides]
            found.append(cls(*(weight * count for count in counts)))
        return [one for one in found if one.train.any() and one.test.any()]


def ridge_residuals(design, targets, weight, strengths):
    """What ridge fits on the rows with weight leave of the targets, on all rows.

    A fit for each strength, which are on the regressor's scale.
    """
    used = weight > 0
    share = weight[used] / weight.sum()
    centre, level = share @ design[used], share @ targets[used]
    rows = (design[used] - centre) * np.sqrt(share)[:, None]
    right = (targets[used] - level) * np.sqrt(share)[:, None]
    is_wide = len(rows) < rows.shape[1]
    gram = rows @ rows.T if is_wide else rows.T @ rows
    right = right if is_wide else rows.T @ right
    found = []
    for strength in strengths:
        penalized = gram + (strength + JITTER) * np.eye(len(gram))
        solved = cho_solve(cho_factor(penalized, check_finite=False), right)
        coefficients = rows.T @ solved if is_wide else solved
        found.append(targets - level - (design - centre) @ coefficients)
    return found


@dataclass(frozen=True)
class Residuals:
    """What main effects leave: of fits on the training rows of each fold, and on all rows."""

    by_fold: list[np.ndarray]  # each (n_samples, n_targets)
    of_all: np.ndarray
    strength: float  # of the main effects: one for all, the best one for the held-out rows

    @classmethod
    def of(cls, design, targets, weight, folds):
        errors, found = np.zeros(len(STRENGTHS)), []
        for fold in folds:
            fits = ridge_residuals(design, targets, fold.train, STRENGTHS)
            errors += [squares(one, fold.test) for one in fits]
            found.append(fits)
        best = int(errors.argmin())
        of_all = ridge_residuals(design, targets, weight, STRENGTHS[best : best + 1])[0]
        return cls([fits[best] for fits in found], of_all, STRENGTHS[best])


def squares(residuals, weight):
    """Weighted mean of the squares of the targets' residuals, all targets together."""
    return float(weight @ np.square(residuals).sum(axis=1)) / weight.sum()


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
    """Columns cut into bins."""

    indicators: np.ndarray  # (n_samples, n_columns * N_BINS), float32
    pairs: list[tuple[int, int]]  # those that may interact

    @classmethod
    def of(cls, bins, may_interact):
        indicators = [np.eye(N_BINS, dtype=np.float32)[one] for one in bins]
        return cls(np.hstack(indicators), list(combinations(np.flatnonzero(may_interact), 2)))

    def strongest(self, residuals, weight, n_pairs):
        """The pairs whose cells explain most squares of the residuals, less what noise does."""
        used = weight > 0
        indicators, weight, residuals = self.indicators[used], weight[used], residuals[used]
        # In units in which the weights of rows have mean 1.
        weight = weight / weight.mean()
        counts = self._sums(indicators, weight)
        gains = np.zeros_like(counts)
        for target in residuals.T:
            centred = target - weight @ target / weight.sum()
            sums = self._sums(indicators, weight * centred)
            noise = weight @ centred**2 / weight.sum()
            gains += np.where(counts > 0, sums**2 / np.maximum(counts, TINY) - noise, 0.0)
        n_columns = len(counts) // N_BINS
        by_pair = gains.reshape(n_columns, N_BINS, n_columns, N_BINS).sum(axis=(1, 3))
        return sorted(self.pairs, key=lambda pair: -by_pair[pair])[:n_pairs]

    @staticmethod
    def _sums(indicators, values):
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
