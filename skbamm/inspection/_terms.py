"""Picture of the functions that an additive model learned, each with its band."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from ..data._columns import split_columns
from ..terms._curves import TermCurve, term_curves
from ._display import BLUE, GRAY, Display, shortened
from ._fitted import unwrapped


@dataclass(eq=False, repr=False)
class TermDisplay(Display):
    """Functions of an additive model, the strongest first.

    Numbers as curves with a band of two standard deviations of their posterior, categories as dots
    with the same, interactions as maps of colours. Coefficients are normal a priori, with variances
    in proportion to one over their strength, which is taken as known. Zero is the mean over the
    rows, of which ticks at the bottom are quantiles.

    `from_estimator` takes a fitted `estimator`, an `AdditiveRegressor` or a Pipeline or a search
    that ends in one, and the rows of its `fit`, which it does not keep: `X`, `y` and
    `sample_weight`. `max_terms` is that of the class, `ax` that of `plot`.

    Parameters
    ----------
    curves : list of TermCurve
        A term each: its name, points, values, and what it does to predictions.
    max_terms : int, default=9
        So many are drawn, the strongest.

    Attributes
    ----------
    ax_, axes_, figure_ : matplotlib Axes, ndarray of shape (n_panels,), matplotlib Figure
        Where it is drawn.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import AdditiveRegressor
    >>> from skbamm.inspection import TermDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = AdditiveRegressor().fit(X, y)
    >>> display = TermDisplay.from_estimator(model, X, y)
    >>> list(display.frame().columns)
    ['term', 'kind', 'effective_df', 'variance_share', 'deviation']
    """

    curves: list[TermCurve] = field(default_factory=list)
    _: KW_ONLY
    max_terms: int = 9

    @classmethod
    def from_estimator(cls, estimator, X, y, *, sample_weight=None, ax=None, max_terms=9):
        """Draw the functions of a fitted estimator.

        Returns
        -------
        display : TermDisplay
            With the numbers behind the picture.
        """
        estimator, before = unwrapped(estimator, "terms_", "term_names_")
        _, X, y, sample_weight = split_columns(X, y, sample_weight)
        if before is not None and len(before):
            X = before.transform(X)
        curves = term_curves(estimator, X, y, sample_weight)
        kind = estimator.dataframe_
        return cls(curves, max_terms=max_terms, dataframe=kind).plot(ax)

    def _columns(self):
        curves = self._ordered()
        total = max(sum(curve.variance for curve in curves), np.finfo(float).tiny)
        return {
            "term": np.array([curve.name for curve in curves], dtype=str),
            "kind": np.array([curve.kind for curve in curves], dtype=str),
            "effective_df": np.array([curve.effective_df for curve in curves]),
            "variance_share": np.array([curve.variance / total for curve in curves]),
            "deviation": np.array([np.sqrt(curve.variance) for curve in curves]),
        }

    def _ordered(self):
        return sorted(self.curves, key=lambda curve: -curve.variance)

    def plot(self, ax=None):
        curves = self._ordered()[: self.max_terms]
        n_cols = min(3, max(len(curves), 1))
        n_rows = max(-(-len(curves) // n_cols), 1)
        size = (3.1 * n_cols, 2.5 * n_rows)
        axes = self._begin(ax, size=size, n_rows=n_rows, n_cols=n_cols)
        for panel, curve in zip(axes, curves, strict=False):
            {"numeric": _draw_curve, "categorical": _draw_levels, "interaction": _draw_map}[
                curve.kind
            ](panel, curve)
            panel.set_title(shortened(curve.name, 30), fontsize="medium")
        for panel in axes[len(curves) :]:
            panel.set_axis_off()
        simple = [a for a, c in zip(axes, curves, strict=False) if c.kind != "interaction"]
        _share_limits(simple)
        return self


def _share_limits(axes):
    """The same unit in all panels, so that what looks strong is."""
    if axes:
        low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
        for ax in axes:
            ax.set_ylim(min(low), max(high))


def _draw_curve(ax, curve):
    ax.axhline(0.0, color=GRAY, linewidth=0.8)
    low, high = curve.values - 2 * curve.deviation, curve.values + 2 * curve.deviation
    ax.fill_between(curve.points, low, high, color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(curve.points, curve.values, color=BLUE)
    ax.plot(
        curve.rug, np.zeros(len(curve.rug)), "|", color=GRAY, transform=ax.get_xaxis_transform()
    )


def _draw_levels(ax, curve):
    order = np.argsort(curve.values)
    if len(order) > 12:  # both ends
        order = np.concatenate([order[:6], order[-6:]])
    rows = np.arange(len(order))
    ax.axhline(0.0, color=GRAY, linewidth=0.8)
    ax.errorbar(
        rows, curve.values[order], yerr=2 * curve.deviation[order], fmt="o", color=BLUE, capsize=2
    )
    names = [shortened(curve.points[k], 12) for k in order]
    ax.set_xticks(rows, names, rotation=45, ha="right", fontsize="small")


def _draw_map(ax, curve):
    limit = max(np.abs(curve.values).max(), np.finfo(float).tiny)
    (first, second), is_text = curve.points, [part.dtype.kind in "OU" for part in curve.points]
    places = [
        np.arange(len(part)) if text else part
        for part, text in zip((first, second), is_text, strict=True)
    ]
    image = ax.pcolormesh(
        *places, curve.values.T, cmap="RdBu_r", vmin=-limit, vmax=limit, shading="nearest"
    )
    for axis, part, text in zip((ax.xaxis, ax.yaxis), (first, second), is_text, strict=True):
        if text:
            axis.set_ticks(np.arange(len(part)), [shortened(name, 8) for name in part])
            axis.set_tick_params(labelsize="small")
    ax.figure.colorbar(image, ax=ax)
