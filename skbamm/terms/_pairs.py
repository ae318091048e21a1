"""From the `interactions` parameter to the columns of interactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from scipy import sparse

from ..data._folds import make_folds, position_keys
from ._fold_fits import FoldFits
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
    margins: dict[int, tuple[Margin, np.ndarray]] = field(default_factory=dict)
    mains: dict[int, np.ndarray] = field(default_factory=dict)
    fitted: dict[tuple[int, int], tuple[PairColumns, np.ndarray]] = field(default_factory=dict)
    main_fits: list[FoldFits] = field(default_factory=list)  # one, once pairs were looked for

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
        return self._fitted(pair)[0]

    def block(self, pair):
        """Its columns on these rows."""
        return self._fitted(pair)[1]

    def _fitted(self, pair):
        if pair not in self.fitted:
            margins, functions = zip(*map(self._margin, pair), strict=True)
            share = self.weight / self.weight.sum()
            mains = [self.main(j) for j in pair]
            self.fitted[pair] = PairColumns.fit(pair, margins, functions, mains, share)
        return self.fitted[pair]

    def _margin(self, j):
        """A margin, and its functions on these rows."""
        if j not in self.margins:
            margin = Margin.of(self.columns[j], self.values[j], self.weight, self.n_knots)
            self.margins[j] = margin, margin(self.values[j])
        return self.margins[j]

    def strongest(self, targets, asked, cv, seed):
        """The strongest pairs: a number of them, or with "auto" as many as pay."""
        may_interact = np.array([column.varies for column in self.columns])
        is_auto = isinstance(asked, str)
        if may_interact.sum() < 2 or (is_auto and np.count_nonzero(self.weight) < LEAST_ROWS):
            return []
        folds = make_folds(cv, self.weight[:, None], targets, seed=seed)
        fits = FoldFits.of(self.all_mains(), targets, self.weight, folds)
        self.main_fits.append(fits)
        residuals = Residuals.of(fits)
        pairs = zip(self.columns, self.values, strict=True)
        bins = [binned(column, values, self.weight) for column, values in pairs]
        screening = Screening(np.stack(bins, axis=1), targets, np.flatnonzero(may_interact))
        if is_auto:
            return chosen_pairs(screening, residuals, fits, self.block)
        return screening.strongest(residuals.of_all, self.weight, asked)

    def all_mains(self):
        """Columns of all main effects."""
        return np.hstack([self.main(j) for j in range(len(self.columns))])


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
    why = ". Numbers are positions, also where the names of columns are numbers" * is_number
    raise ValueError(
        f"{parameter} names no column by {column!r}: columns are {names[:10]}{more}{why}."
    )


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
