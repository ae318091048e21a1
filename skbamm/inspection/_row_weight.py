"""Picture of what is learned of rows by time, source and annotator."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np

from ._display import BLUE, GRAY, RED, Display, shortened
from ._fitted import dataframe_of, unwrapped

# Names of so many bars can be read.
MOST_BARS = 40
# Older rows than all of at least this weight are beyond the picture.
LEAST = 0.003


@dataclass(eq=False, repr=False)
class RowWeightDisplay(Display):
    r"""Learned weights of rows: by age, by source with the levels of sources, by annotator.

    A panel for each of `time`, `row_source` and `annotator` that `fit` was given, with weights
    relative to the largest one. Of sources, the number at the right is the level that was taken off
    the targets. A title says what was found.

    `from_estimator` takes a fitted `estimator` that was told of rows, or a Pipeline or a search
    that ends in one, and `ax`, as `plot` does.

    Parameters
    ----------
    record : RowWeights
        `row_weights_` of the estimator.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        A panel for each kind.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        The first of `axes_`, and where it is.

    Examples
    --------
    >>> import numpy as np
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.inspection import RowWeightDisplay
    >>> generator = np.random.default_rng(0)
    >>> X, week = generator.normal(size=(300, 3)), np.arange(300)
    >>> y = np.where(week < 200, -1, 1) * X[:, 0] + generator.normal(size=300)
    >>> model = BilevelRegularizedRegressor().fit(X, y, time=week)
    >>> display = RowWeightDisplay.from_estimator(model)
    >>> list(display.frame().columns)
    ['kind', 'name', 'n_rows', 'weight', 'level']
    """

    record: Any

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the weights of a fitted estimator.

        Returns
        -------
        display : RowWeightDisplay
            With the numbers behind the picture.

        Raises
        ------
        TypeError
            If `fit` was told nothing of rows.
        """
        estimator, _ = unwrapped(estimator, "row_weights_")
        return cls(estimator.row_weights_, dataframe=dataframe_of(estimator)).plot(ax)

    def _columns(self):
        return self.record.columns()

    def plot(self, ax=None):
        parts = self.record.parts
        tallest = max(
            [min(len(part.names), MOST_BARS) for part in parts if part.kind == "source"], default=0
        )
        size = (5.2 * len(parts), max(3.6, 1.6 + 0.28 * tallest))
        axes = self._begin(ax, size=size, n_cols=len(parts))
        for one, part in zip(axes, parts, strict=True):
            largest = 1.0 if part.weight is None else part.weight.max()
            if part.kind == "time":
                self._draw_time(one, part, largest)
            elif part.kind == "source":
                self._draw_sources(one, part, largest)
            else:
                self._draw_annotators(one, part, largest)
            one.set_title(fill(part.sentence, 48), fontsize="small")
        return self

    def _draw_time(self, ax, part, largest):
        weight = np.ones(len(part.index)) if part.weight is None else part.weight / largest
        age = part.position.max() - part.position
        order = np.argsort(age, kind="stable")
        ax.plot(age[order], weight[order], color=BLUE, linewidth=2)
        ax.fill_between(age[order], 0, weight[order], color=BLUE, alpha=0.15, linewidth=0)
        ax.axhline(0.5, color=GRAY, linewidth=0.8, linestyle=":")
        # Most of the picture would be rows that hardly count.
        shown = age[weight > LEAST].max() * 1.25
        ax.set(xlim=(min(shown, age.max()) or 1, 0), ylim=(0, 1.05))
        ax.set(xlabel="age of a row (the newest at the right)", ylabel="weight")

    def _draw_sources(self, ax, part, largest):
        names = part.names
        size, weights, levels = part.means()
        weights = weights / largest
        # Weights of sources that share one differ by rounding.
        order = np.lexsort((levels, weights.round(9)))[-MOST_BARS:]
        places = np.arange(len(order))
        # The first one is the target.
        ax.barh(places, weights[order], color=np.where(order == 0, RED, BLUE), height=0.6)
        if part.level is not None:
            beside = ax.get_yaxis_transform()
            for place, i in zip(places, order, strict=True):
                text = "" if i == 0 else f"{levels[i]:+.2g}"
                ax.text(1.02, place, text, va="center", transform=beside, fontsize="small")
            ax.text(1.02, 0, "level", va="top", transform=ax.transAxes, fontsize="small")
        ax.set_yticks(places, [f"{shortened(names[i], 20)} ({size[i]})" for i in order])
        ax.set(xlim=(0, 1.05), xlabel="weight of a row", ylabel="source (rows)")

    def _draw_annotators(self, ax, part, largest):
        size, weights, _ = part.means()
        weights = weights / largest
        order = np.argsort(-weights, kind="stable")
        places = np.arange(len(order))
        ax.bar(places, weights[order], width=1.0, color=BLUE, alpha=0.35)
        ax.plot(places, weights[order], color=BLUE, drawstyle="steps-mid", linewidth=1.5)
        share = ax.twinx()
        share.plot(places, np.cumsum(size[order]) / size.sum(), color=GRAY, linestyle=":")
        share.set(ylim=(0, 1.05), ylabel="share of ratings so far (dotted)")
        ax.set(ylim=(0, 1.05), xlim=(-0.5, len(order) - 0.5))
        ax.set(xlabel="annotators, by weight", ylabel="weight of a rating")
