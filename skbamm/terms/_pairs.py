"""From the `interactions` parameter to the columns of interactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from scipy import sparse

from ..data._folds import make_folds, position_keys
from ._fold_fits import Fold
from ._interaction import Margin, PairColumns
from ._screening import LEAST_ROWS, Residuals, Screening, binned, chosen_pairs

# With more rows a sample of these is searched: cells and strengths are known well enough by then.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class PairSearch:
    """Main effects and interactions of the rows of a fit, each formed once."""

    columns: list[Any]  # NumericColumn or CategoricalColumn
    values: list[np.ndarray]
    weight: np.ndarray
    n_knots: int
    margins: dict[int, Margin] = field(default_factory=dict)
    mains: dict[int, np.ndarray] = field(default_factory=dict)
    fitted: dict[tuple[int, int], PairColumns] = field(default_factory=dict)
    blocks: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def some_rows(self, targets, cv):
        """The same on a sample of the rows, and their targets, where these are many."""
        n_samples = len(targets)
        if n_samples <= MOST_ROWS or not isinstance(cv, Integral):
            return self, targets
        rows = np.sort(position_keys(n_samples, seed=0).argsort(kind="stable")[:MOST_ROWS])
        values = [some[rows] for some in self.values]
        return PairSearch(self.columns, values, self.weight[rows], self.n_knots), targets[rows]

    def main(self, j):
        if j not in self.mains:
            self.mains[j] = dense(self.columns[j].transform(self.values[j]))
        return self.mains[j]

    def of(self, pair) -> PairColumns:
        if pair not in self.fitted:
            first, second = pair
            margins = (self.margin(first), self.margin(second))
            values, mains = self._of_both(pair)
            share = self.weight / self.weight.sum()
            self.fitted[pair] = PairColumns.of(pair, margins, values, mains, share)
        return self.fitted[pair]

    def margin(self, j):
        if j not in self.margins:
            self.margins[j] = Margin.of(self.columns[j], self.values[j], self.weight, self.n_knots)
        return self.margins[j]

    def block(self, pair):
        if pair not in self.blocks:
            self.blocks[pair] = self.of(pair).transform(*self._of_both(pair))
        return self.blocks[pair]

    def _of_both(self, pair):
        return [self.values[j] for j in pair], [self.main(j) for j in pair]

    def strongest(self, targets, asked, cv, seed):
        """The strongest pairs: a number of them, or with "auto" as many as pay."""
        may_interact = np.array([column.varies for column in self.columns])
        is_auto = isinstance(asked, str)
        if may_interact.sum() < 2 or (is_auto and np.count_nonzero(self.weight) < LEAST_ROWS):
            return []
        design = np.hstack([self.main(j) for j in range(len(self.columns))])
        folds = Fold.of(make_folds(cv, design, targets, seed=seed), self.weight)
        residuals = Residuals.of(design, targets, self.weight, folds)
        pairs = zip(self.columns, self.values, strict=True)
        bins = [binned(column, values, self.weight) for column, values in pairs]
        screening = Screening(np.stack(bins, axis=1), targets, np.flatnonzero(may_interact))
        if is_auto:
            return chosen_pairs(screening, residuals, self.weight, folds, self.block)
        return screening.strongest(residuals.of_all, self.weight, asked)


def named_pairs(given, names):
    """Positions of the columns of each pair that a list names."""
    found = []
    for pair in given:
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"interactions must be pairs of columns: got {pair!r}.")
        positions = tuple(sorted(position_of(one, names, "interactions") for one in pair))
        if positions[0] == positions[1]:
            raise ValueError(f"interactions has a column with itself: {pair!r}.")
        if positions not in found:
            found.append(positions)
    return found


def position_of(column, names, parameter):
    """Position of a column that is given by name or position."""
    if isinstance(column, str) and column in names:
        return names.index(column)
    is_number = isinstance(column, Integral) and not isinstance(column, bool)
    if is_number and 0 <= column < len(names):
        return int(column)
    more = " and so on" if len(names) > 10 else ""
    raise ValueError(f"{parameter} names no column by {column!r}: columns are {names[:10]}{more}.")


def standardized_targets(y, weight):
    """Targets of mean 0 and variance 1, shape (n_samples, n_targets)."""
    targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    size = np.abs(targets).max(axis=0, initial=0.0)
    targets = targets / np.where(size > 0, size, 1.0)
    share = weight / weight.sum()
    centred = targets - share @ targets
    deviation = np.sqrt(share @ centred**2)
    return centred / np.where(deviation > 0, deviation, 1.0)


def dense(part):
    return part.toarray() if sparse.issparse(part) else part
