"""Columns of one term each: of a number, and of a category."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from ._spline import CubicSplines, SmoothFunctions, Waves, spread_knots

# How far beyond the data the linear part goes on, in lengths of their range. With a tenth of it,
# lines with little noise had up to a thousand times the error of ridge: of a few clipped rows.
EXTRAPOLATED = 0.5
# Fewer distinct values have no curvature.
LEAST_VALUES = 3
# A column that varies by less, relative to its size, is constant but for rounding.
CONSTANT = 1e-12


@dataclass(frozen=True)
class NumericColumn:
    """A linear column, those of a smooth function, and an indicator of missing values.

    The linear column is standardized; where a value is missing all are 0 but the indicator.
    """

    low: float
    high: float
    mean: float
    deviation: float  # 0 where there is no linear column
    smooth: SmoothFunctions | None
    period: float | None
    missing: float  # deviation of the indicator, 0 where there is none

    @classmethod
    def of(cls, values, weight, n_knots, order, period=None, most=None):
        """On float values, NaN where missing, with weights; `most` smooth functions."""
        used = weight > 0
        values, weight = values[used], weight[used]
        known = ~np.isnan(values)
        share = weight[known].sum() / weight.sum()
        missing = np.sqrt(share * (1 - share)) if not known.all() and known.any() else 0.0
        values, weight = values[known], weight[known]
        if not len(values):
            return cls(0.0, 0.0, 0.0, 0.0, None, None, 0.0)
        low, high = float(values.min()), float(values.max())
        if high - low <= CONSTANT * max(abs(low), abs(high)):
            return cls(low, high, low, 0.0, None, None, float(missing))
        weight = weight / weight.sum()
        # Relative to the range first: squares of extreme values would overflow.
        position = (values - low) / (high - low)
        middle = weight @ position
        spread = np.sqrt(weight @ (position - middle) ** 2)
        scale = high - low
        deviation = 0.0 if period is not None else float(spread * scale)
        mean = float(low + middle * scale)
        column = cls(low, high, mean, deviation, None, period, float(missing))
        smooth = column.functions(values, weight, n_knots, order)
        return replace(column, smooth=smooth and smooth.first(most))

    def functions(self, values, weight, n_knots, order):
        """Smooth functions on float values with weights; None where there are none."""
        used = (weight > 0) & ~np.isnan(values)
        values, weight = values[used], weight[used] / weight[used].sum()
        position, n_values = self._position(values), len(np.unique(values))
        basis: CubicSplines | Waves
        if self.period is not None:
            basis = Waves(max(min(n_knots, n_values - 1) // 2, 1), order)
        elif n_values < LEAST_VALUES:
            return None
        else:
            basis = CubicSplines(spread_knots(position, weight, n_knots), order)
        return SmoothFunctions.of(basis, position, weight)

    def _position(self, values):
        """In units of the range, or of the period."""
        if self.period is None:
            return (values - self.low) / (self.high - self.low)
        return (values % self.period) / self.period

    @property
    def n_smooth(self):
        return 0 if self.smooth is None else self.smooth.n_columns

    def names(self, name):
        """Names of the columns, and the block of each."""
        found = [f"{name}__linear"] if self.deviation else []
        blocks = list(found)
        found += [f"{name}__smooth_{k + 1}" for k in range(self.n_smooth)]
        blocks += [f"{name}__smooth"] * self.n_smooth
        if self.missing:
            found.append(f"{name}__missing")
            blocks.append(f"{name}__missing")
        return found, blocks

    @property
    def kinds(self):
        """What each of the columns is of."""
        return (
            ["linear"] * bool(self.deviation)
            + ["smooth"] * self.n_smooth
            + ["missing"] * bool(self.missing)
        )

    def transform(self, values):
        parts = [self.linear(values), self.evaluate(self.smooth, values)]
        if self.missing:
            parts.append((np.isnan(values) / self.missing)[:, None])
        return np.hstack(parts)

    def linear(self, values):
        """The linear column, if there is one."""
        if not self.deviation:
            return np.empty((len(values), 0))
        beyond = EXTRAPOLATED * (self.high - self.low)
        clipped = np.clip(values, self.low - beyond, self.high + beyond)
        return np.nan_to_num((clipped - self.mean) / self.deviation, nan=0.0)[:, None]

    def evaluate(self, smooth, values):
        """Columns of smooth functions, 0 where values are missing."""
        if smooth is None:
            return np.empty((len(values), 0))
        missing = np.isnan(values)
        if not missing.any():
            return smooth(self._position(values))
        return smooth(self._position(np.where(missing, self.mean, values))) * ~missing[:, None]

    @property
    def varies(self):
        return bool(self.deviation) or self.smooth is not None


@dataclass(frozen=True)
class CategoricalColumn:
    """An indicator for each level, and one for missing values where there are some in `fit`.

    With a ridge penalty their coefficients are random effects; an unknown level has none.
    """

    levels: np.ndarray  # texts, sorted
    share: np.ndarray  # (n_columns,), of the rows that have a level
    has_missing: bool

    @classmethod
    def of(cls, values, weight):
        """On a masked array of texts, with weights."""
        used = weight > 0
        values, weight = values[used], weight[used]
        missing = np.ma.getmaskarray(values)
        levels, index = np.unique(values.data[~missing], return_inverse=True)
        share = np.bincount(index, weight[~missing], minlength=len(levels))
        has_missing = bool(missing.any())
        if has_missing:
            share = np.append(share, weight[missing].sum())
        if len(share) < 2:  # constant
            return cls(levels[:0], share[:0], False)
        return cls(levels, share / weight.sum(), has_missing)

    @property
    def n_columns(self):
        return len(self.share)

    def names(self, name):
        levels = self.levels.tolist()
        levels += ["(missing)" if "missing" in levels else "missing"] * self.has_missing
        return [f"{name}__{level}" for level in levels], [name] * len(levels)

    @property
    def kinds(self):
        return ["levels"] * self.n_columns

    def codes(self, values):
        """Column of each row, -1 for none."""
        n_levels = len(self.levels)
        codes = np.full(len(values), -1)
        if n_levels:
            missing = np.ma.getmaskarray(values)
            position = np.searchsorted(self.levels, values.data).clip(max=n_levels - 1)
            codes = np.where(self.levels[position] == values.data, position, -1)
            codes[missing] = n_levels if self.has_missing else -1
        return codes

    def transform(self, values):
        """As a sparse array: one entry a row."""
        codes = self.codes(values)
        rows = np.flatnonzero(codes >= 0)
        shape = (len(codes), self.n_columns)
        return sparse.csr_matrix((np.ones(len(rows)), (rows, codes[rows])), shape=shape)

    @property
    def varies(self):
        return self.n_columns > 0
