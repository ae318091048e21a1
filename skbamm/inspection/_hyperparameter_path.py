"""Picture of the learned numbers on their way."""

from __future__ import annotations

import numpy as np

from ._display import COLORS, GRAY, MARKERS, Display, legend_beside, shortened
from ._fitted import dataframe_of, of_target, unwrapped

# More lines than this say nothing one by one; their quantiles do.
MAX_LINES = 12
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)


class HyperparameterPathDisplay(Display):
    """Learned numbers after each iteration, and what the fit used in the end.

    Logarithms of strengths and weights are drawn as what they are logarithms of, on a
    logarithmic axis; the other numbers on an axis of their own. Where there are more than
    twelve of a kind, lines show their quantiles.

    Parameters
    ----------
    names : list of str
        One for each number; those that begin with "log " are logarithms.
    path : ndarray of shape (n_iter + 1, n_hyper)
        The start first.
    final : ndarray of shape (n_hyper,)
        What the fit used.
    dataframe : str, default=""
        Kind of dataframe of `frame`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The first of the panels.
    axes_ : ndarray of matplotlib Axes
        One or two panels.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.inspection import HyperparameterPathDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = BilevelRegularizedRegressor().fit(X, y)
    >>> display = HyperparameterPathDisplay.from_estimator(model)
    >>> display.names
    ['log pilot alpha', 'log alpha', 'exponent']
    """

    def __init__(self, names, path, final, *, dataframe=""):
        self.names = names
        self.path = path
        self.final = final
        self.dataframe = dataframe

    @classmethod
    def from_estimator(cls, estimator, *, target=None, ax=None):
        """Draw the learned numbers of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted `BilevelRegularizedRegressor` or `HyperCleaningClassifier`, or a Pipeline
            or a search that ends in one.
        target : int or None, default=None
            Which target's numbers, where each has its own.
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw; a single Axes is split. None makes a new figure.

        Returns
        -------
        display : HyperparameterPathDisplay
            With the numbers behind the picture.

        Raises
        ------
        ValueError
            If nothing was learned (``max_iter=0``, or all strengths fixed).
        """
        estimator, _ = unwrapped(estimator, "history_", "hyper_names_")
        history, final = estimator.history_, estimator.hyper_
        if isinstance(history, list):
            history = of_target(history, target, "The path")
            final = of_target(final, target, "The path")
        if len(history) == 0:
            raise ValueError("Nothing was learned: the history is empty.")
        path = np.vstack([history.start["hyper"], history["hyper"]])
        display = cls(list(estimator.hyper_names_), path, final, dataframe=dataframe_of(estimator))
        return display.plot(ax)

    def _columns(self):
        """A row for each iteration and number; -1 counts for the end."""
        n_rows, n_hyper = self.path.shape
        return {
            "iteration": np.repeat(np.arange(n_rows), n_hyper),
            "name": np.tile(np.asarray(self.names, dtype=str), n_rows),
            "value": self.path.ravel(),
            "final": np.tile(self.final, n_rows),
        }

    def plot(self, ax=None):
        """Draw a line for each number; diamonds are what the fit used.

        That is the best iterate and not the last one; the regressor also strengthens it
        (`standard_errors`) and averages over repeats.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw; a single Axes is split. None makes a new figure.

        Returns
        -------
        self : HyperparameterPathDisplay
            With `ax_` and `figure_`.
        """
        is_log = np.array([name.startswith("log ") for name in self.names])
        kinds = [kind for kind in (True, False) if (is_log == kind).any()]
        axes = self._begin(ax, size=(7.0, 2.6 * len(kinds) + 0.6), n_rows=len(kinds), sharex=True)
        for panel, kind in zip(axes, kinds, strict=True):
            self._draw(panel, np.flatnonzero(is_log == kind), kind)
        axes[-1].set_xlabel("iteration")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        return self

    def _draw(self, ax, columns, is_log):
        iteration = np.arange(len(self.path))
        lines = _lines([self.names[j] for j in columns], self.path[:, columns], self.final[columns])
        mark = len(iteration) <= 60
        for number, (name, values, final) in enumerate(lines):
            if is_log:
                name, values, final = name.replace("log ", "", 1), np.exp(values), np.exp(final)
            color = COLORS[number % len(COLORS)]
            ax.plot(
                iteration,
                values,
                color=color,
                linewidth=1.4,
                linestyle="-" if number < len(COLORS) else "--",
                marker=MARKERS[number % len(MARKERS)] if mark else "",
                markersize=4,
                label=shortened(name),
            )
            ax.plot(
                [iteration[-1] + 0.04 * max(len(iteration), 2)],
                [final],
                "D",
                color=color,
                markeredgecolor="black",
                markersize=7,
                clip_on=False,
            )
        ax.plot([], [], "D", color="white", markeredgecolor=GRAY, label="used in the end")
        if is_log:
            ax.set_yscale("log")
        ax.set_ylabel("value (log scale)" if is_log else "value")
        ax.grid(alpha=0.25)
        legend_beside(ax)


def _lines(names, paths, finals):
    """Name, path and final value of each line; alike ones together, many as quantiles."""
    known: dict = {}
    for name, path, final in zip(names, paths.T, finals, strict=True):
        known.setdefault((path.tobytes(), float(final)), []).append((name, path, final))
    lines = [
        (members[0][0] if len(members) == 1 else _common(members), *members[0][1:])
        for members in known.values()
    ]
    if len(lines) <= MAX_LINES:
        return lines
    return [
        (f"{label} of {len(names)}", np.quantile(paths, q, axis=1), np.quantile(finals, q))
        for label, q in zip(
            ("smallest", "10 %", "median", "90 %", "largest"), QUANTILES, strict=True
        )
    ]


def _common(members):
    return f"{members[0][0]} and {len(members) - 1} alike"
