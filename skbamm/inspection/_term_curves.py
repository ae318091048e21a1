"""What one term adds over the values of its columns, as numbers and as a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from ..terms._columns import CategoricalColumn
from ..terms._pairs import dense
from ..terms._table import column_names, read_columns
from ._display import BLUE, COLORS, GRAY, shortened

# Points of a line, and of each side of a map; ticks at the foot of a line; named levels.
N_POINTS, N_CELLS, N_TICKS, N_LEVELS = 200, 40, 21, 16
# A map is drawn so many cells around each row.
NEAR = 2


@dataclass(frozen=True)
class Curve:
    """A term over a grid of values."""

    kind: str  # "number", "category" or "interaction"
    labels: tuple[str, ...]  # names of its columns
    values: tuple[np.ndarray, ...]  # of each column
    effect: np.ndarray  # over all values, or all pairs of them; NaN where no rows are near
    lower: np.ndarray
    upper: np.ndarray
    ticks: Any = None  # quantiles of the rows of a number

    def draw(self, ax):
        {"number": self._line, "category": self._dots, "interaction": self._map}[self.kind](ax)

    @property
    def spread(self):
        """Largest difference between two effects."""
        return float(np.nanmax(self.effect) - np.nanmin(self.effect))

    def _line(self, ax):
        [values] = self.values
        ax.fill_between(values, self.lower, self.upper, color=BLUE, alpha=0.2, linewidth=0)
        ax.plot(values, self.effect, color=BLUE)
        self.mark(ax)

    def mark(self, ax):
        """The zero line, and where rows are."""
        ax.axhline(0.0, color=GRAY, linewidth=0.8, alpha=0.6)
        ax.plot(
            self.ticks,
            np.zeros(len(self.ticks)),
            "|",
            color=GRAY,
            markersize=7,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )

    def _dots(self, ax):
        [levels] = self.values
        order = np.argsort(self.effect)
        if len(order) > N_LEVELS:  # the lowest and the highest
            ax.set_xlabel(f"lowest and highest {N_LEVELS // 2} of {len(order)} levels")
            order = np.r_[order[: N_LEVELS // 2], order[-N_LEVELS // 2 :]]
        rows = np.arange(len(order))
        ax.hlines(rows, self.lower[order], self.upper[order], color=BLUE, alpha=0.4, linewidth=2)
        ax.plot(self.effect[order], rows, "o", color=BLUE, markersize=4)
        ax.axvline(0.0, color=GRAY, linewidth=0.8, alpha=0.6)
        size = 8 if len(order) <= N_LEVELS // 2 else 6
        ax.set_yticks(rows, [shortened(levels[j], 14) for j in order], fontsize=size)

    def _map(self, ax):
        first, second = (_axis(values) for values in self.values)
        largest = np.nanmax(np.abs(self.effect), initial=0.0) or 1.0
        drawn = ax.pcolormesh(
            *np.meshgrid(first[0], second[0], indexing="ij"),
            np.ma.masked_invalid(self.effect),
            cmap="RdBu_r",
            vmin=-largest,
            vmax=largest,
            shading="nearest",
            rasterized=True,
        )
        ax.figure.colorbar(drawn, ax=ax)
        for (_, ticks), place in zip((first, second), (ax.set_xticks, ax.set_yticks), strict=True):
            if ticks is not None:
                place(range(len(ticks)), ticks, fontsize=7)
        ax.set(xlabel=shortened(self.labels[0]), ylabel=shortened(self.labels[1], 20))


@dataclass(frozen=True)
class ClassCurves:
    """A term of several classes: a `Curve` for each."""

    classes: tuple[str, ...]
    by_class: list[Curve]

    @property
    def kind(self):
        return self.by_class[0].kind

    @property
    def effect(self):
        """Of each class, (n_classes, ...)."""
        return np.stack([one.effect for one in self.by_class])

    def draw(self, ax):
        {"number": self._lines, "category": self._dots, "interaction": self._map}[self.kind](ax)

    def _lines(self, ax):
        first = self.by_class[0]
        for one, name, (color, style) in zip(self.by_class, self.classes, _styles(), strict=False):
            ax.fill_between(*one.values, one.lower, one.upper, color=color, alpha=0.12, linewidth=0)
            ax.plot(*one.values, one.effect, style, color=color, label=name)
        first.mark(ax)

    def _dots(self, ax):
        [levels] = self.by_class[0].values
        order = np.argsort(np.ptp(self.effect, axis=0))[-N_LEVELS:]
        if len(order) < len(levels):
            ax.set_xlabel(f"{N_LEVELS} of {len(levels)} levels, where classes differ most")
        rows, n_classes = np.arange(len(order)), len(self.classes)
        for k, (one, name, (color, _)) in enumerate(
            zip(self.by_class, self.classes, _styles(), strict=False)
        ):
            places = rows + 0.6 * ((k + 0.5) / n_classes - 0.5)
            ends = one.lower[order], one.upper[order]
            ax.hlines(places, *ends, color=color, alpha=0.4, linewidth=2)
            ax.plot(one.effect[order], places, "o", color=color, markersize=3, label=name)
        ax.axvline(0.0, color=GRAY, linewidth=0.8, alpha=0.6)
        ax.set_yticks(rows, [shortened(levels[j], 14) for j in order], fontsize=7)

    def _map(self, ax):
        """Of the class for which it matters most."""
        most = int(np.argmax([one.spread for one in self.by_class]))
        self.by_class[most].draw(ax)
        ax.text(0.02, 0.98, self.classes[most], va="top", fontsize=8, transform=ax.transAxes)


def _styles():
    """Colours of lines, and how they are drawn where classes are more than these."""
    return [(color, style) for style in ("-", "--", ":", "-.") for color in COLORS]


def curves_of(model, term, X, posteriors, margin):
    """A `Curve` for each score of an `AdditiveModel`, given the rows of its fit."""
    terms = model.terms
    names, values = column_names(terms), read_columns(terms, X, reset=False)
    pairs = {":".join(names[j] for j in one.pair): one for one in terms.pairs_}
    positions = pairs[term].pair if term in pairs else (names.index(term),)
    margins = [Margin.of(terms.columns_[j], values[j], len(positions)) for j in positions]
    shape = tuple(len(one.values) for one in margins)
    spread = [one.values[index] for one, index in zip(margins, np.indices(shape), strict=True)]
    spread = [each.ravel() for each in spread]
    columns = [dense(one.column.transform(each)) for one, each in zip(margins, spread, strict=True)]
    columns = pairs[term].transform(spread, columns) if term in pairs else columns[0]
    members = terms.term_names_ == term
    columns = columns - model.column_means[members]
    kind = "category" if margins[0].levels is not None else "number"
    shown = tuple(one.values if one.levels is None else one.levels for one in margins)
    labels = tuple(names[j] for j in positions)
    found = []
    for coef, posterior in zip(model.coef, posteriors, strict=True):
        effect = (columns @ coef[members]).reshape(shape)
        band = margin * posterior.deviation(columns, members).reshape(shape)
        if term in pairs:
            kind, effect = "interaction", np.where(_near_rows(margins, shape), effect, np.nan)
        ends = effect - band, effect + band
        found.append(Curve(kind, labels, shown, effect, *ends, margins[0].ticks))
    return found


@dataclass(frozen=True)
class Margin:
    """Values of one column at which a term is drawn, and where its rows are among these."""

    column: Any  # of `SmoothTerms`
    values: np.ndarray  # a masked array of categories
    levels: np.ndarray | None  # their names
    ticks: np.ndarray | None  # quantiles of a number
    cells: np.ndarray  # (n_rows,), the nearest value of each row; -1 where it is missing

    @classmethod
    def of(cls, column, values, n_columns):
        if isinstance(column, CategoricalColumn):
            found, names = column.levels, column.names("")[0]
            if column.has_missing:
                found = np.ma.append(found, np.ma.masked_all(1, found.dtype))
            names = np.array([name.removeprefix("__") for name in names], dtype=object)
            return cls(column, np.ma.asarray(found), names, None, column.codes(values))
        n_points = N_POINTS if n_columns == 1 else N_CELLS
        grid = np.linspace(column.low, column.high, n_points)
        ticks = np.nanquantile(values, np.linspace(0, 1, N_TICKS))
        place = (values - column.low) / ((column.high - column.low) or 1.0) * (n_points - 1)
        cells = np.where(np.isnan(values), -1, np.nan_to_num(place).round()).astype(int)
        return cls(column, grid, None, ticks, np.minimum(cells, n_points - 1))


def _near_rows(margins, shape):
    """Whether there are rows in or near each cell of a map: `NEAR` cells away along a number."""
    first, second = (one.cells for one in margins)
    known = (first >= 0) & (second >= 0)
    found = np.zeros(shape, dtype=bool)
    found[first[known], second[known]] = True
    reach = [1 if one.levels is not None else 2 * NEAR + 1 for one in margins]
    return binary_dilation(found, np.ones(reach, dtype=bool))


def _axis(values):
    """Where values stand on an axis, and their names if they are levels."""
    if values.dtype == object:
        return np.arange(len(values)), [shortened(name, 10) for name in values]
    return values, None
