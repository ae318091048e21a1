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

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.blas import ssyrk
from scipy.special import stdtrit

from ..data._fold_weights import standard_error
from ._fold_fits import FoldFits, squares

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
# Of the t test, over the folds, that interactions are better than none: a few folds know their
# standard error badly, and pairs that a standard error told from none made the error of few rows up
# to 1.9 times larger (measured; what gained had 2.4 and more of these).
LEVEL = 0.05
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Residuals:
    """What main effects leave: of fits on the training rows of each fold, and on all rows."""

    by_fold: list[np.ndarray]  # each (n_samples, n_targets)
    of_all: np.ndarray
    strength: float  # of the main effects: one for all, the best one for the held-out rows

    @classmethod
    def of(cls, fits):
        numbers, errors = range(len(fits.folds)), []
        for number in numbers:
            system = fits.system(number)
            errors.append([system.held_out(strength) for strength in STRENGTHS])
        best = int(np.mean(errors, axis=0).argmin()) if errors else len(STRENGTHS) - 1
        by_fold = [fits.residuals(number, STRENGTHS[best]) for number in numbers]
        return cls(by_fold, fits.residuals(None, STRENGTHS[best]), STRENGTHS[best])


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
        targets = self.targets[used]

        def gain(j):
            sums = partial(np.bincount, bins[:, j], minlength=N_BINS)
            return sum(_gains(sums(weight), sums, y, weight).sum() for y in targets.T)

        columns = main_columns(self.may_interact, gain)
        indicators = np.hstack([np.eye(N_BINS, dtype=np.float32)[bins[:, j]] for j in columns])
        counts = _cell_sums(indicators, weight)
        gains = sum(
            _gains(counts, lambda values: _cell_sums(indicators, values), target, weight)
            for target in residuals[used].T
        )
        shape = (len(columns), N_BINS, len(columns), N_BINS)
        by_pair = gains.reshape(shape).sum(axis=(1, 3))
        first, second = np.triu_indices(len(columns), 1)
        best = np.argsort(-by_pair[first, second], kind="stable")[:n_pairs]
        return [(int(columns[first[k]]), int(columns[second[k]])) for k in best]


def main_columns(columns, gain):
    """Those of largest gain, given by a function of one, in their order; all unless many."""
    if len(columns) <= MOST_COLUMNS:
        return columns
    found = [gain(j) for j in columns]
    return np.sort(columns[np.argsort(found, kind="stable")[-MOST_COLUMNS:]])


def _gains(counts, sums_of, target, weight):
    """Squares of a target that means in cells explain, less what is expected of noise."""
    centred = target - weight @ target / weight.sum()
    noise = weight @ centred**2 / weight.sum()
    sums = sums_of(weight * centred)
    return np.where(counts > 0, sums**2 / np.maximum(counts, TINY) - noise, 0.0)


def _cell_sums(indicators, values):
    """Sums of values in the cells of all pairs of columns; symmetric, the lower ones are 0."""
    found = np.zeros((indicators.shape[1],) * 2, dtype=indicators.dtype)
    # Of symmetric products half is computed, of values above 0 and below it apart.
    for sign in (1.0, -1.0):
        some = sign * values > 0
        root = np.sqrt(np.abs(values[some]))[:, None].astype(indicators.dtype)
        half = indicators[some] * root
        found = ssyrk(sign, half.T, beta=1.0, c=found.T, overwrite_c=1, lower=1).T
    return found.astype(np.float64)


def chosen_pairs(
    screening: Screening,
    residuals: Residuals,
    fits: FoldFits,
    block: Callable[[tuple[int, int]], np.ndarray],
) -> list[tuple[int, int]]:
    """The strongest pairs, as many as predict held-out rows better than none, at the `LEVEL`.

    ``block(pair)`` gives the columns of a pair.
    """
    folds = fits.folds
    if len(folds) < 2:
        return []
    table = []
    for fold, residual in zip(folds, residuals.by_fold, strict=True):
        pairs = screening.strongest(residual, fold.train, COUNTS[-1])
        blocks = [block(pair) for pair in pairs]
        table.append(_held_out(residual, fold, blocks, residuals.strength))
        errors = np.array(table)  # (n_folds, n_relative, n_counts)
        gains = errors[:, :1, :1] - errors
        if len(table) > 1 and gains.mean(axis=0).max() <= 0:
            return []  # the other folds would have to say the opposite
    best = np.unravel_index(gains.mean(axis=0).argmax(), gains.shape[1:])
    gain = gains[(slice(None), *best)]
    enough = stdtrit(len(gain) - 1, 1 - LEVEL)
    if gain.mean() <= enough * standard_error(gain):
        return []
    return screening.strongest(residuals.of_all, fits.weight, COUNTS[best[1]])


def _held_out(residual, fold, blocks, strength):
    """Held-out squares with the first so many pairs, shape (n_relative, n_counts).

    Interactions are fitted to what main effects leave: they hardly correlate with these.
    """
    sizes = np.cumsum([0, *(part.shape[1] for part in blocks)])
    ends = [int(sizes[min(count, len(blocks))]) for count in COUNTS]
    if not ends[-1]:
        return np.full((len(RELATIVE), len(COUNTS)), squares(residual, fold.test))
    # Digits enough: no strength is near to the rounding of the sums.
    columns = np.concatenate(blocks, axis=1, dtype=np.float32)
    used = fold.train > 0
    root = np.sqrt(fold.train[used] / fold.train.sum())[:, None].astype(np.float32)
    half = columns[used] * root
    gram = ssyrk(1.0, half.T, lower=1).astype(np.float64)
    right = half.T @ (residual[used] * root).astype(np.float32)
    used = fold.test > 0
    columns, left, weight = columns[used], residual[used], fold.test[used]
    held_out = np.empty((len(RELATIVE), len(COUNTS)))
    for row, relative in enumerate(RELATIVE):
        penalized = gram + strength * relative * np.eye(len(gram))
        # Factors of leading blocks are leading blocks of one factor.
        factor = cholesky(penalized, lower=True, check_finite=False, overwrite_a=True)
        forward = solve_triangular(factor, right, lower=True, check_finite=False)
        for number, end in enumerate(ends):
            some = factor[:end, :end]
            coef = solve_triangular(some, forward[:end], lower=True, trans="T", check_finite=False)
            held_out[row, number] = squares(
                left - columns[:, :end] @ coef.astype(np.float32), weight
            )
    return held_out
