"""Picture of the learned penalty: how strong on each feature or group, and which function."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

import numpy as np

from ._display import BLUE, COLORS, GRAY, MARKERS, Display, checked, legend_beside, shortened
from ._fitted import dataframe_of, feature_names, of_target, unwrapped
from ._penalty_function import default_points, draw_functions, function_columns, learned_powers

PENALIZED, UNPENALIZED, DROPPED = "penalized", "unpenalized", "dropped"


@dataclass(eq=False, repr=False)
class PenaltyDisplay(Display):
    r"""Learned penalty: its strength on each feature or group, or the function it is.

    ``kind="strength"`` draws a row for each feature or group. The weakest penalty, which is where
    the fit expects much, stands at the top. Strengths of 0 (unpenalized) have a place of their
    own left of the logarithmic axis, infinite ones right of it. Features whose coefficient is
    exactly zero come last, as hollow marks.

    ``kind="function"`` draws the penalty function :math:`\phi` relative to :math:`\phi(1)`, the
    unit being a coefficient of usual (root mean square) size: how much of the penalty of a usual
    coefficient smaller and larger ones pay, next to ridge and lasso.

    .. math:: \phi_q(w) = ((w^2 + \epsilon^2)^{q/2} - \epsilon^q) / q

    The power q is 2 for "l2" and 1 for "l1". The weights of "adaptive" fall with a pilot
    coefficient like :math:`m^{-e}`, which is the weight :math:`\phi_q'(w) / w` of the power
    :math:`q = 2 - e`: exponent 0 is ridge, 1 the lasso, 2 and more come close to counting
    features. ``kind="weight"`` draws these weights on logarithmic axes: level for ridge, falling
    where small coefficients are penalized more.

    `from_estimator` takes a fitted `estimator`, a `BilevelRegularizedRegressor` or a Pipeline or a
    search that ends in one, and names features by the dataframe in `fit` or the steps before it.
    `by` is "feature" or "group", what a row of ``kind="strength"`` is; `target` the number of the
    target whose penalty it is, where each has its own; `kind` and `max_items` are those of the
    class, `ax` that of `plot`.

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
    powers : dict of name to float, default={}
        Power of the learned function by its name, which tells the exponent with "adaptive" and
        is "learned" else.
    points : ndarray of shape (n_points,) or None, default=None
        Coefficients at which functions are evaluated; None for -2 to 2.
    kind : {"strength", "function", "weight"}, default="strength"
        What is drawn.
    max_items : int, default=30
        So many get a row with their name, weakest penalty first; all others share one.

    Attributes
    ----------
    ax_, axes_, figure_ : matplotlib Axes, ndarray of shape (1,), matplotlib Figure
        Where it is drawn.

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
    >>> display = PenaltyDisplay.from_estimator(model, kind="function")
    >>> list(display.frame().columns)
    ['coefficient', 'function', 'power', 'penalty', 'weight']
    """

    names: np.ndarray
    alpha: np.ndarray
    status: np.ndarray
    _: KW_ONLY
    group: np.ndarray | None = None
    coefficient: np.ndarray | None = None
    item: str = "feature"
    powers: dict[str, float] = field(default_factory=dict)
    points: np.ndarray | None = None
    kind: str = "strength"
    max_items: int = 30

    def __post_init__(self):
        checked("kind", self.kind, ("strength", "function", "weight"))

    @classmethod
    def from_estimator(
        cls, estimator, *, kind="strength", by="feature", target=None, ax=None, max_items=30
    ):
        """Draw the penalty of a fitted estimator.

        Returns
        -------
        display : PenaltyDisplay
            With the numbers behind the picture.
        """
        checked("by", by, ("feature", "group"))
        estimator, before = unwrapped(estimator, "groups_", "exponents_")
        alpha, coef = estimator.alpha_, np.atleast_2d(estimator.coef_)
        groups, group_alpha = estimator.groups_, estimator.group_alpha_
        if alpha.ndim == 2:
            alpha, group_alpha, coef = of_target(target, "The penalty", alpha, group_alpha, coef)
            coef = coef[None]
        is_dropped = np.isinf(alpha) | ~(coef != 0).any(axis=0)
        status = np.where(alpha == 0, UNPENALIZED, np.where(is_dropped, DROPPED, PENALIZED))
        options = {"kind": kind, "max_items": max_items, "dataframe": dataframe_of(estimator)}
        options["powers"] = learned_powers(estimator, target)
        if by == "group":
            names, alpha = _objects(groups), np.array(list(group_alpha.values()))
            status = np.array([_common(status[columns]) for columns in groups.values()])
            return cls(names, alpha, status, item="group", **options).plot(ax)
        if 1 < len(groups) < len(alpha):
            options["group"] = np.empty(len(alpha), dtype=object)
            for name, columns in groups.items():
                options["group"][columns] = [name] * len(columns)
        if len(coef) == 1:
            options["coefficient"] = coef[0]
        return cls(feature_names(estimator, before), alpha, status, **options).plot(ax)

    def _order(self):
        """Weakest penalty first, and what was dropped last."""
        return np.lexsort((self.alpha, self.status == DROPPED))

    def _columns(self):
        if self.kind != "strength":
            return function_columns(self.powers, self._points())
        order = self._order()
        columns = {self.item: np.asarray(self.names)[order].astype(str)}
        if self.group is not None:
            columns["group"] = self.group[order].astype(str)
        columns["alpha"] = self.alpha[order]
        if self.coefficient is not None:
            columns["coefficient"] = self.coefficient[order]
        columns["status"] = self.status[order].astype(str)
        return columns

    def _points(self):
        return default_points() if self.points is None else np.asarray(self.points, dtype=float)

    def plot(self, ax=None):
        if self.kind == "strength":
            self._draw_strengths(ax)
        else:
            [ax] = self._begin(ax, size=(7.0, 3.8))
            draw_functions(ax, self.powers, self._points(), self.kind)
        return self

    def _draw_strengths(self, ax):
        order = self._order()
        n_named = len(order) if len(order) <= self.max_items + 1 else self.max_items
        rows = np.minimum(np.arange(len(order)), n_named)
        n_rows = int(rows[-1]) + 1
        [ax] = self._begin(ax, size=(7.0, 1.1 + 0.23 * max(n_rows, 4)))
        place, limits, ticks = _places(self.alpha[order])
        for label, members, style in self._series(order):
            chosen = np.isin(order, members)
            shared = rows[chosen] == n_named
            for part, opacity in ((~shared, 1.0), (shared, 0.35)):
                look = {"linestyle": "", "markersize": 6, "alpha": opacity, **style}
                look["label"] = label if opacity == 1.0 else None
                ax.plot(place[chosen][part], rows[chosen][part], **look)
        names = [shortened(self.names[j]) for j in order[:n_named]]
        if n_named < len(order):
            names.append(f"{len(order) - n_named} others")
        ax.set_yticks(range(n_rows), names)
        ax.set_xticks(*ticks)
        ax.set(ylim=(n_rows - 0.4, -0.6), xlim=limits, xlabel="learned strength alpha (log scale)")
        ax.grid(axis="x", alpha=0.25)
        ax.hlines(range(n_rows), *limits, color=GRAY, alpha=0.15, linewidth=0.8, zorder=0)
        if len(ax.get_legend_handles_labels()[0]) > 1 or (self.status != PENALIZED).any():
            legend_beside(ax, title=None if self.group is None else "group")

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


def _objects(names):
    """An array of names, some of which may be tuples."""
    found = np.empty(len(names), dtype=object)
    found[:] = list(names)
    return found


def _common(status):
    """The status of a group: what all its features have, else that they are penalized."""
    kinds = set(status.tolist())
    return kinds.pop() if len(kinds) == 1 else PENALIZED


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
