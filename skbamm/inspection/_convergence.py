"""Picture of how a run went: losses and norms, or the learned numbers, after each iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..solvers import History
from ._display import BLUE, GRAY, GREEN, ORANGE, RED, Display, checked, legend_beside
from ._fitted import dataframe_of, of_target, unwrapped
from ._hyper_path import draw_path

# Marks of more iterations would run into each other.
MAX_MARKS = 60
# Color, mark and its size. The residual comes last, and small: often it equals the one before.
NORMS = {
    "multiplier_norm": (GRAY, "^", 4),
    "hypergradient_norm": (GREEN, "s", 7),
    "residual": (RED, "o", 4),
}


@dataclass(eq=False, repr=False)
class ConvergenceDisplay(Display):
    """How a run went, iteration by iteration.

    ``kind="loss"`` draws held-out loss, training loss, and how far the run was from a stationary
    point. Points that were tried and rejected are among them; the best one is used.

    ``kind="hyper"`` draws the learned numbers, diamonds being those of the best iterate, which the
    regressor averages over repeats. Logarithms are drawn as what they are logarithms of, on a
    logarithmic axis; the other numbers on an axis of their own. Where there are more than twelve
    of a kind, lines show their quantiles.

    `from_estimator` takes a fitted `estimator` of skbamm, or a Pipeline or a search that ends in
    one; `kind`; `target`, the number of the target whose run it is, where each has its own; and
    `ax`, as `plot` does.

    Parameters
    ----------
    history : History
        Losses and norms of a run, that of `skbamm.solvers.solve` too.
    tol : float or None, default=None
        Below which the residual ends the run.
    status : str, default=""
        Why the run ended.
    names : list of str, default=()
        One for each learned number; those that begin with "log " are logarithms.
    final : ndarray of shape (n_hyper,) or None, default=None
        What the fit used.
    kind : {"loss", "hyper"}, default="loss"
        What is drawn.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Three panels of losses and norms, one or two of learned numbers.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        The first of `axes_`, and where it is.

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
    >>> ConvergenceDisplay.from_estimator(model, kind="hyper").names[:2]
    ['log alpha[age]', 'log alpha[sex]']
    """

    history: History
    _: KW_ONLY
    tol: float | None = None
    status: str = ""
    names: Sequence[str] = ()
    final: np.ndarray | None = None
    kind: str = "loss"

    def __post_init__(self):
        checked("kind", self.kind, ("loss", "hyper"))
        if len(self.history) == 0:
            raise ValueError("Nothing was learned: the history is empty.")

    @classmethod
    def from_estimator(cls, estimator, *, kind="loss", target=None, ax=None):
        """Draw the run of a fitted estimator.

        Returns
        -------
        display : ConvergenceDisplay
            With the numbers behind the picture.

        Raises
        ------
        ValueError
            If nothing was learned (``max_iter=0``, or all strengths fixed).
        """
        estimator, _ = unwrapped(estimator, "history_", "hyper_names_")
        history, final = estimator.history_, estimator.hyper_
        if isinstance(history, list):
            history, final = of_target(target, "The history", history, final)
        run = {"tol": estimator.tol, "status": estimator.status_, "final": final}
        options = {"names": estimator.hyper_names_, "dataframe": dataframe_of(estimator)}
        return cls(history, kind=kind, **run, **options).plot(ax)

    def _values(self, name):
        """A record that begins with the initialization; NaN where nothing is known."""
        unknown = np.full(len(self.history), np.nan)
        values = np.asarray(self.history.records.get(name, unknown), dtype=float)
        initial = self.history.initial.get(name, np.full(values.shape[1:], np.nan))
        values = np.concatenate([[initial], values])
        return np.where(np.isfinite(values), values, np.nan) if name in NORMS else values

    def _columns(self):
        iteration = np.arange(len(self.history) + 1)
        if self.kind == "hyper":
            n_hyper = len(self.names)
            return {
                "iteration": np.repeat(iteration, n_hyper),
                "name": np.tile(np.asarray(self.names, dtype=str), len(iteration)),
                "value": self._values("hyper").ravel(),
                "final": np.tile(np.asarray(self.final), len(iteration)),
            }
        return {
            "iteration": iteration,
            "criterion": self._values("criterion"),
            "best_criterion": np.fmin.accumulate(self._values("criterion")),
            "lower": self._values("lower"),
            **{name: self._values(name) for name in reversed(NORMS)},
        }

    def plot(self, ax=None):
        draw = self._draw_hyper if self.kind == "hyper" else self._draw_losses
        draw(ax, marked=len(self.history) < MAX_MARKS)
        for panel in self.axes_:
            panel.grid(alpha=0.25)
        self.axes_[-1].set_xlabel("iteration")
        self.axes_[-1].xaxis.get_major_locator().set_params(integer=True)
        return self

    def _draw_hyper(self, ax, marked):
        names, path, final = np.array(self.names), self._values("hyper"), np.asarray(self.final)
        is_log = np.char.startswith(names, "log ")
        kinds = [kind for kind in (True, False) if (is_log == kind).any()]
        axes = self._begin(ax, size=(7.0, 2.6 * len(kinds) + 0.6), n_rows=len(kinds), sharex=True)
        for panel, kind in zip(axes, kinds, strict=True):
            of_kind = is_log == kind
            drawn = names[of_kind], path[:, of_kind], final[of_kind]
            draw_path(panel, *drawn, is_log=kind, marked=marked)

    def _draw_losses(self, ax, marked):
        above, below, norms = self._begin(ax, size=(7.0, 6.4), n_rows=3, sharex=True)
        columns = self._columns()
        style = {"marker": "o" if marked else "", "markersize": 4, "linewidth": 1.2}
        self._draw_criterion(above, columns, style)
        below.plot(columns["iteration"], columns["lower"], color=ORANGE, **style)
        below.set_ylabel("training loss\n(sum over folds)")
        for name, (color, mark, size) in NORMS.items():
            values = columns[name]
            known = np.isfinite(values) & (values > 0)
            if known.any():
                look = {**style, "marker": mark if marked else "", "markersize": size}
                look |= {"color": color, "markerfacecolor": "white" if size > 4 else color}
                label = name.replace("_", " ")
                norms.plot(columns["iteration"][known], values[known], label=label, **look)
        norms.set_yscale("log")
        if self.tol:
            norms.axhline(self.tol, color=RED, linestyle=":", linewidth=1, label="tol")
        norms.set_ylabel("norms")
        for panel in (above, below):
            panel.ticklabel_format(axis="y", useOffset=False)
        for panel in (above, norms):
            legend_beside(panel)
        above.set_title(self.status.replace("; ", "\n"), loc="left", fontsize="small")

    def _draw_criterion(self, ax, columns, style):
        iteration, tried = columns["iteration"], columns["criterion"]
        best, baseline = columns["best_criterion"], self.history.initial.get("baseline")
        ax.plot(iteration, tried, color=BLUE, label="tried", **style, alpha=0.55)
        ax.step(iteration, best, where="post", color=BLUE, linewidth=2, label="best so far")
        levels = [best[0], best[-1]]
        if baseline is not None:
            look = {"color": GRAY, "linestyle": "--", "linewidth": 1}
            ax.axhline(baseline, label="one strength for all", **look)
            levels.append(baseline)
        ax.set_ylabel("held-out loss")
        # A trial that was rejected can be so far off that nothing else would be seen.
        low, spread = min(levels), max(levels) - min(levels)
        top = low + 2 * spread
        outside = ~(tried <= top)
        if spread > 0 and outside.any() and not outside[-1]:
            ax.set_ylim(low - 0.15 * spread, top)
            marks = {"color": BLUE, "clip_on": False, "label": "tried, beyond the axis"}
            ax.plot(iteration[outside], np.full(outside.sum(), top), "^", **marks)
