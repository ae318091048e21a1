"""What all displays share: a table, axes to draw on, colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data._tables import as_table

# Okabe and Ito's palette, which colour-blind people tell apart; without its yellow, too pale for
# lines on white.
COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000"]
BLUE, ORANGE, GREEN, RED, _, _, BLACK = COLORS
GRAY = "#7F7F7F"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(eq=False, repr=False)
class Display:
    """A picture of results: numbers from `from_estimator`, drawing in `plot`, a table in `frame`.

    Parameters
    ----------
    dataframe : str, default=""
        Kind of dataframe of `frame`: "pandas", "polars", ...; "" for pandas if installed.
    """

    dataframe: str = field(default="", kw_only=True)
    ax_: Any = field(init=False)
    axes_: Any = field(init=False)
    figure_: Any = field(init=False)

    def frame(self):
        """The numbers behind the picture.

        Returns
        -------
        frame : dataframe
            In the kind of dataframe that X was in `fit`; else pandas if that is installed, else
            a dict of arrays.
        """
        return as_table(self._columns(), self.dataframe)

    def _columns(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def plot(self, ax=None):
        """Draw the picture, here or elsewhere again.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw: an Axes, which several panels split, or one for each panel. None makes
            a new figure.

        Returns
        -------
        self : Display
            With `ax_`, `axes_` and `figure_`.
        """
        raise NotImplementedError

    def _begin(self, ax, *, size, n_rows=1, n_cols=1, **layout):
        """Axes to draw on: new ones, those given, or the place of a single one, split."""
        n_panels = n_rows * n_cols
        if ax is None:
            import matplotlib.pyplot as plt

            figure = plt.figure(figsize=size, layout="constrained")
            found = figure.subplots(n_rows, n_cols, squeeze=False, **layout).ravel()
        elif isinstance(ax, (list, tuple, np.ndarray)):
            found = np.array(ax, dtype=object).ravel()
            if len(found) != n_panels:
                raise ValueError(
                    f"{type(self).__name__} draws {n_panels} panels: pass one Axes to split, or "
                    f"{n_panels} of them; got {len(found)}."
                )
        elif n_panels == 1:
            found = np.array([ax], dtype=object)
        else:
            found = _split(ax, n_rows, n_cols, layout)
        self.axes_, self.ax_, self.figure_ = found, found[0], found[0].figure
        return found


def _split(ax, n_rows, n_cols, layout):
    """New axes in the place of one."""
    place = ax.get_subplotspec()
    if place is None:
        box = ax.get_position()
        place = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
        grid = ax.figure.add_gridspec(n_rows, n_cols, **place)
    else:
        grid = place.subgridspec(n_rows, n_cols)
    ax.set_axis_off()
    return grid.subplots(squeeze=False, **layout).ravel()


def checked(name, value, allowed):
    """Raise for an option that is none of a few strings."""
    if value not in allowed:
        *first, last = map(repr, allowed)
        raise ValueError(f"{name} must be {', '.join(first)} or {last}: got {value!r}.")


def legend_beside(ax, **options):
    """A legend to the right of the axes, where it covers nothing; none without labels."""
    if ax.get_legend_handles_labels()[0]:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        ax.legend(frameon=False, **place, **options)


def shortened(name, length=32):
    name = str(name)
    return name if len(name) <= length else name[: length - 1] + "…"
