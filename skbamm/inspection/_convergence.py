"""Picture of how a run went."""

from __future__ import annotations

import numpy as np

from ._display import BLUE, GRAY, GREEN, ORANGE, RED, Display, legend_beside
from ._fitted import dataframe_of, of_target, unwrapped


class ConvergenceDisplay(Display):
    """How a run went: both objectives, and how far it was from a stationary point.

    Parameters
    ----------
    criterion : ndarray of shape (n_iter + 1,)
        Held-out loss after each iteration, the start first.
    lower : ndarray of shape (n_iter + 1,)
        Training loss with its penalty, summed over folds.
    residual, hypergradient_norm, multiplier_norm : ndarray of shape (n_iter,)
        NaN where not known.
    tol : float or None, default=None
        Below which the residual ends the run.
    baseline : float or None, default=None
        Held-out loss of the best fit with one strength for all features.
    status : str, default=""
        Why the run ended.
    dataframe : str, default=""
        Kind of dataframe of `frame`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The first of the panels.
    axes_ : ndarray of matplotlib Axes of shape (3,)
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.inspection import ConvergenceDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = BilevelRegularizedRegressor("l2", groups="feature", shrinkage=0.1).fit(X, y)
    >>> display = ConvergenceDisplay.from_estimator(model)
    >>> list(display.frame().columns[:3])
    ['iteration', 'criterion', 'best_criterion']
    >>> display.figure_.savefig("convergence.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        criterion,
        lower,
        *,
        residual,
        hypergradient_norm,
        multiplier_norm,
        tol=None,
        baseline=None,
        status="",
        dataframe="",
    ):
        self.criterion = criterion
        self.lower = lower
        self.residual = residual
        self.hypergradient_norm = hypergradient_norm
        self.multiplier_norm = multiplier_norm
        self.tol = tol
        self.baseline = baseline
        self.status = status
        self.dataframe = dataframe

    @classmethod
    def from_estimator(cls, estimator, *, target=None, ax=None):
        """Draw the run of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted `BilevelRegularizedRegressor` or `HyperCleaningClassifier`, or a Pipeline
            or a search that ends in one.
        target : int or None, default=None
            Which target's run, where each has its own.
        ax : matplotlib Axes, sequence of 3 Axes or None, default=None
            Where to draw; a single Axes is split. None makes a new figure.

        Returns
        -------
        display : ConvergenceDisplay
            With the numbers behind the picture.

        Raises
        ------
        ValueError
            If nothing was learned (``max_iter=0``, or all strengths fixed).
        """
        estimator, _ = unwrapped(estimator, "history_", "criterion_")
        history = estimator.history_
        if isinstance(history, list):
            history = of_target(history, target, "The history")
        display = cls.from_history(
            history,
            tol=estimator.tol,
            status=estimator.status_,
            dataframe=dataframe_of(estimator),
        )
        return display.plot(ax)

    @classmethod
    def from_history(cls, history, *, tol=None, status="", dataframe=""):
        """Read the history of a run, without drawing; for `skbamm.solvers.solve` too.

        Parameters
        ----------
        history : History
            Of a single candidate.
        tol : float or None, default=None
            Below which the residual ends the run.
        status : str, default=""
            Why the run ended.
        dataframe : str, default=""
            Kind of dataframe of `frame`.

        Returns
        -------
        display : ConvergenceDisplay
            With the numbers behind the picture.
        """
        if len(history) == 0:
            raise ValueError("Nothing was learned: the history is empty.")
        unknown = np.full(len(history), np.nan)

        def finite(name):
            values = np.asarray(history.records.get(name, unknown), dtype=float)
            return np.where(np.isfinite(values), values, np.nan)

        return cls(
            np.append(history.start["criterion"], history["criterion"]),
            np.append(history.start["lower"], history["lower"]),
            residual=finite("residual"),
            hypergradient_norm=finite("hypergradient_norm"),
            multiplier_norm=finite("multiplier_norm"),
            tol=tol,
            baseline=float(history.start["baseline"]) if "baseline" in history.start else None,
            status=status,
            dataframe=dataframe,
        )

    def _columns(self):
        def after_start(values):
            return np.append(np.nan, values)

        return {
            "iteration": np.arange(len(self.criterion)),
            "criterion": self.criterion,
            "best_criterion": np.fmin.accumulate(self.criterion),
            "lower": self.lower,
            "residual": after_start(self.residual),
            "hypergradient_norm": after_start(self.hypergradient_norm),
            "multiplier_norm": after_start(self.multiplier_norm),
        }

    def plot(self, ax=None):
        """Draw the held-out loss, the training loss, and the norms on a logarithmic axis.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of 3 Axes or None, default=None
            Where to draw; a single Axes is split. None makes a new figure.

        Returns
        -------
        self : ConvergenceDisplay
            With `ax_` and `figure_`.
        """
        above, below, norms = self._begin(ax, size=(7.0, 6.4), n_rows=3, sharex=True)
        columns = self._columns()
        iteration = columns["iteration"]
        # Marks would run into each other.
        mark = "o" if len(iteration) <= 60 else ""
        style = {"marker": mark, "markersize": 4, "linewidth": 1.2}
        self._draw_criterion(above, iteration, style)
        below.plot(iteration, self.lower, color=ORANGE, **style)
        below.set_ylabel("training loss\n(sum over folds)")
        for name, color, symbol, size in (
            ("multiplier_norm", GRAY, "^", 4),
            ("hypergradient_norm", GREEN, "s", 7),
            ("residual", RED, "o", 4),  # last, and small: often the same as the one before
        ):
            values = columns[name]
            known = np.isfinite(values) & (values > 0)
            if known.any():
                norms.plot(
                    iteration[known],
                    values[known],
                    color=color,
                    label=name.replace("_", " "),
                    markerfacecolor="white" if size > 4 else color,
                    **{**style, "marker": symbol if mark else "", "markersize": size},
                )
        norms.set_yscale("log")
        if self.tol:
            norms.axhline(self.tol, color=RED, linestyle=":", linewidth=1, label="tol")
        norms.set_ylabel("norms")
        norms.set_xlabel("iteration")
        norms.xaxis.get_major_locator().set_params(integer=True)
        for panel in (above, below):
            panel.ticklabel_format(axis="y", useOffset=False)
        for panel in (above, norms):
            legend_beside(panel)
        for panel in self.axes_:
            panel.grid(alpha=0.25)
        above.set_title(self.status, loc="left", fontsize="small")
        return self

    def _draw_criterion(self, ax, iteration, style):
        best = np.fmin.accumulate(self.criterion)
        ax.plot(iteration, self.criterion, color=BLUE, label="tried", **style, alpha=0.55)
        ax.step(iteration, best, where="post", color=BLUE, linewidth=2, label="best so far")
        levels = [best[0], best[-1]]
        if self.baseline is not None:
            ax.axhline(
                self.baseline, color=GRAY, linestyle="--", linewidth=1, label="one strength for all"
            )
            levels.append(self.baseline)
        ax.set_ylabel("held-out loss")
        # A trial that was rejected can be so far off that nothing else would be seen.
        low, spread = min(levels), max(levels) - min(levels)
        top = low + 2 * spread
        outside = ~(self.criterion <= top)
        if spread > 0 and outside.any() and not outside[-1]:
            ax.set_ylim(low - 0.15 * spread, top)
            ax.plot(
                iteration[outside],
                np.full(outside.sum(), top),
                "^",
                color=BLUE,
                clip_on=False,
                label="tried, beyond the axis",
            )
