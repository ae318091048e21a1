"""Picture of how strongly each feature, or group, is penalized."""

from __future__ import annotations

import numpy as np

from ._display import BLUE, COLORS, GRAY, MARKERS, Display, legend_beside, shortened
from ._fitted import dataframe_of, feature_names, of_target, unwrapped

PENALIZED, UNPENALIZED, DROPPED = "penalized", "unpenalized", "dropped"


class PenaltyDisplay(Display):
    """Learned strength of the penalty on each feature, or on each group.

    The weakest penalty, which is where the fit expects much, stands at the top. Strengths of 0
    (unpenalized) have a place of their own left of the logarithmic axis, infinite ones right of
    it. Features whose coefficient is exactly zero come last, as hollow marks.

    Parameters
    ----------
    names : ndarray of shape (n_items,)
        Of features, or of groups.
    alpha : ndarray of shape (n_items,)
        Strength; a group's is the geometric mean over its features.
    status : ndarray of str of shape (n_items,)
        "penalized", "unpenalized" or "dropped" (an infinite strength, or a coefficient of
        exactly zero; of a group: in all its features).
    group : ndarray of shape (n_items,) or None, default=None
        Group of each feature, where features were grouped.
    coefficient : ndarray of shape (n_items,) or None, default=None
        Of each feature, in original units.
    item : {"feature", "group"}, default="feature"
        What a row is.
    dataframe : str, default=""
        Kind of dataframe of `frame`.

    Attributes
    ----------
    ax_ : matplotlib Axes
    axes_ : ndarray of matplotlib Axes of shape (1,)
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.inspection import PenaltyDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> groups = {"person": ["age", "sex", "bmi", "bp"], "blood": slice(4, 10)}
    >>> model = BilevelRegularizedRegressor(groups=groups).fit(X, y)
    >>> display = PenaltyDisplay.from_estimator(model)
    >>> list(display.frame().columns)
    ['feature', 'group', 'alpha', 'coefficient', 'status']
    """

    def __init__(
        self,
        names,
        alpha,
        status,
        *,
        group=None,
        coefficient=None,
        item="feature",
        dataframe="",
    ):
        self.names = names
        self.alpha = alpha
        self.status = status
        self.group = group
        self.coefficient = coefficient
        self.item = item
        self.dataframe = dataframe

    @classmethod
    def from_estimator(cls, estimator, *, by="feature", target=None, ax=None, max_items=30):
        """Draw the strengths of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted `BilevelRegularizedRegressor`, or a Pipeline or a search that ends in one.
            Names come from the dataframe in `fit`, or from the steps before it.
        by : {"feature", "group"}, default="feature"
            What a row of the picture is.
        target : int or None, default=None
            Which target's strengths, where each has its own.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        max_items : int, default=30
            As in `plot`.

        Returns
        -------
        display : PenaltyDisplay
            With the numbers behind the picture.
        """
        if by not in ("feature", "group"):
            raise ValueError(f"by must be 'feature' or 'group': got {by!r}.")
        estimator, before = unwrapped(estimator, "groups_", "power_")
        alpha, coef = estimator.alpha_, np.atleast_2d(estimator.coef_)
        if alpha.ndim == 2:
            alpha = of_target(alpha, target, "The penalty")
            coef = of_target(coef, target, "The penalty")[None]
        status = np.where(
            alpha == 0,
            UNPENALIZED,
            np.where(np.isinf(alpha) | ~(coef != 0).any(axis=0), DROPPED, PENALIZED),
        )
        group = np.empty(len(alpha), dtype=object)
        for name, columns in estimator.groups_.items():
            group[columns] = [name] * len(columns)
        options = {"dataframe": dataframe_of(estimator)}
        if by == "feature":
            display = cls(
                feature_names(estimator, before),
                alpha,
                status,
                group=group if 1 < len(estimator.groups_) < len(alpha) else None,
                coefficient=coef[0] if len(coef) == 1 else None,
                **options,
            )
        else:
            display = cls(*_by_group(estimator.groups_, alpha, status), item="group", **options)
        return display.plot(ax, max_items=max_items)

    def _order(self):
        """Weakest penalty first, and what was dropped last."""
        return np.lexsort((self.alpha, self.status == DROPPED))

    def _columns(self):
        order = self._order()
        columns = {self.item: np.asarray(self.names)[order].astype(str)}
        if self.group is not None:
            columns["group"] = self.group[order].astype(str)
        columns["alpha"] = self.alpha[order]
        if self.coefficient is not None:
            columns["coefficient"] = self.coefficient[order]
        columns["status"] = self.status[order].astype(str)
        return columns

    def plot(self, ax=None, *, max_items=30):
        """Draw a row for each feature or group.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure, as high as it needs to be.
        max_items : int, default=30
            So many get a row with their name, weakest penalty first; all others share one.

        Returns
        -------
        self : PenaltyDisplay
            With `ax_` and `figure_`.
        """
        order = self._order()
        n_named = len(order) if len(order) <= max_items + 1 else max_items
        rows = np.minimum(np.arange(len(order)), n_named)
        n_rows = int(rows[-1]) + 1
        [ax] = self._begin(ax, size=(7.0, 1.1 + 0.23 * max(n_rows, 4)))
        place, limits, ticks = _places(self.alpha[order])
        for label, members, style in self._series(order):
            chosen = np.isin(order, members)
            shared = rows[chosen] == n_named
            for part, opacity in ((~shared, 1.0), (shared, 0.35)):
                ax.plot(
                    place[chosen][part],
                    rows[chosen][part],
                    linestyle="",
                    alpha=opacity,
                    label=label if opacity == 1.0 else None,
                    markersize=6,
                    **style,
                )
        names = [shortened(self.names[j]) for j in order[:n_named]]
        if n_named < len(order):
            names.append(f"{len(order) - n_named} others")
        ax.set_yticks(range(n_rows), names)
        ax.set_ylim(n_rows - 0.4, -0.6)
        ax.set_xlim(*limits)
        ax.set_xticks(*ticks)
        ax.set_xlabel("learned strength alpha (log scale)")
        ax.grid(axis="x", alpha=0.25)
        ax.hlines(range(n_rows), *limits, color=GRAY, alpha=0.15, linewidth=0.8, zorder=0)
        if len(ax.get_legend_handles_labels()[0]) > 1 or (self.status != PENALIZED).any():
            legend_beside(ax, title=None if self.group is None else "group")
        return self

    def _series(self, order):
        """Label, members and style of what is drawn alike."""
        groups = [None] if self.group is None else list(dict.fromkeys(self.group))
        if len(groups) > len(COLORS):
            groups = [None]
        for number, name in enumerate(groups):
            mine = np.ones(len(order), dtype=bool) if name is None else self.group == name
            color = BLUE if name is None else COLORS[number]
            marker = MARKERS[0 if name is None else number]
            label = PENALIZED if name is None else shortened(name, 24)
            solid = {"color": color, "marker": marker}
            yield label, np.flatnonzero(mine & (self.status != DROPPED)), solid
            dropped = np.flatnonzero(mine & (self.status == DROPPED))
            if len(dropped):
                hollow = {**solid, "markerfacecolor": "white"}
                yield ("" if name is None else f"{label}: ") + "coefficient 0", dropped, hollow


def _by_group(groups, alpha, status):
    """Names, strengths and status of groups."""
    names = np.empty(len(groups), dtype=object)
    names[:] = list(groups)
    strengths, found = np.empty(len(groups)), []
    for number, columns in enumerate(groups.values()):
        with np.errstate(divide="ignore"):
            strengths[number] = np.exp(np.log(alpha[columns]).mean())
        kinds = set(status[columns].tolist())
        found.append(kinds.pop() if len(kinds) == 1 else PENALIZED)
    return names, strengths, np.array(found)


def _places(alpha):
    """Where strengths stand on an axis of logarithms, its limits and its ticks."""
    finite = (alpha > 0) & np.isfinite(alpha)
    logs = np.log10(alpha[finite]) if finite.any() else np.zeros(1)
    low, high = logs.min(), logs.max()
    gap = max(0.08 * (high - low), 0.15)
    place = np.zeros(len(alpha))
    place[finite] = np.log10(alpha[finite])
    place[alpha == 0] = low - 3 * gap
    place[np.isinf(alpha)] = high + 3 * gap
    at, labels = _ticks(low - gap, high + gap)
    if (alpha == 0).any():
        at, labels = [low - 3 * gap, *at], ["0\nunpenalized", *labels]
    if np.isinf(alpha).any():
        at, labels = [*at, high + 3 * gap], [*labels, "∞\ndropped"]
    limits = (min(low, place.min()) - gap, max(high, place.max()) + gap)
    return place, limits, (at, labels)


def _ticks(low, high):
    """Ticks at powers of ten; between them too where there would be few."""
    step = max(1, round((high - low) / 8))
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1, step)
    at: list[float] = []
    for factors in ((1,), (1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        every = [power + np.log10(factor) for power in powers for factor in factors]
        at = [tick for tick in every if low <= tick <= high]
        if len(at) > 2:
            break
    plain = low >= -4 and high <= 4
    return at, [f"{10**tick:.4g}" if plain else f"$10^{{{round(tick)}}}$" for tick in at]
