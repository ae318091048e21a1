"""Picture of the learned shape of the penalty."""

from __future__ import annotations

import numpy as np

from ._display import BLACK, COLORS, GRAY, Display, legend_beside, shortened
from ._fitted import dataframe_of, of_target, unwrapped

# Below this fraction of the usual size a coefficient counts as zero: as in the estimator, it keeps
# the shape of large exponents finite.
ROUNDING = 1e-3
REACH = 2.0
MAX_SHAPES = 6


class PenaltyShapeDisplay(Display):
    r"""The learned shape :math:`\phi` of the penalty, beside ridge and lasso.

    Drawn is :math:`\phi(w)` beside :math:`\phi(1)`, the unit being a coefficient of usual
    (root mean square) size: how much of the penalty of a usual coefficient smaller and larger
    ones pay. `PenaltyDisplay` shows strengths, this picture only the shape.

    .. math:: \phi_q(w) = ((w^2 + \epsilon^2)^{q/2} - \epsilon^q) / q

    Of "bridge" the power q is learned itself. The weights of "adaptive" fall with a pilot
    coefficient like :math:`m^{-e}`, which is the weight :math:`\phi_q'(w) / w` of the power
    :math:`q = 2 - e`: exponent 0 is ridge, 1 the lasso, 2 and more come close to counting
    features.

    Parameters
    ----------
    powers : dict of name to float
        Learned power of each group; a single "learned" where all share one. With "adaptive"
        the name tells the exponent.
    coefficient : ndarray of shape (n_points,) or None, default=None
        Where to evaluate; None for -2 to 2.
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
    >>> from skbamm.inspection import PenaltyShapeDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = BilevelRegularizedRegressor().fit(X, y)
    >>> display = PenaltyShapeDisplay.from_estimator(model)
    >>> list(display.frame().columns)
    ['coefficient', 'shape', 'power', 'penalty', 'weight']
    """

    def __init__(self, powers, *, coefficient=None, dataframe=""):
        self.powers = powers
        self.coefficient = coefficient
        self.dataframe = dataframe

    @classmethod
    def from_estimator(cls, estimator, *, target=None, kind="penalty", ax=None):
        """Draw the shape that a fitted estimator learned.

        Parameters
        ----------
        estimator : estimator
            A fitted `BilevelRegularizedRegressor`, or a Pipeline or a search that ends in one.
        target : int or None, default=None
            Which target's shape, where each has its own.
        kind : {"penalty", "weight"}, default="penalty"
            As in `plot`.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : PenaltyShapeDisplay
            With the numbers behind the picture.
        """
        estimator, _ = unwrapped(estimator, "groups_", "power_", "exponents_")
        power, exponents = estimator.power_, estimator.exponents_
        if power.ndim == 2:
            power = of_target(power, target, "The shape")
            exponents = of_target(exponents, target, "The shape")
        if len(exponents):
            # Rounded, so that a name is a name.
            powers = {f"exponent {float(exponents[0]):.2g}": 2.0 - float(exponents[0])}
        else:
            powers = {
                name: float(power[columns[0]])
                for name, columns in estimator.groups_.items()
                if len(columns)
            }
            if len(set(powers.values())) == 1:
                powers = {"learned": next(iter(powers.values()))}
        display = cls(powers, dataframe=dataframe_of(estimator))
        return display.plot(ax, kind=kind)

    def _shapes(self):
        """Name and power of each shape, the references last."""
        return [*self.powers.items(), ("ridge", 2.0), ("lasso", 1.0)]

    def _points(self):
        if self.coefficient is not None:
            return np.asarray(self.coefficient, dtype=float)
        # Dense at zero, where shapes are sharp.
        side = np.concatenate(
            [np.geomspace(ROUNDING / 10, 0.02, 60), np.linspace(0.02, REACH, 160)[1:]]
        )
        return np.concatenate([-side[::-1], [0.0], side])

    def _columns(self):
        points, shapes = self._points(), self._shapes()
        return {
            "coefficient": np.tile(points, len(shapes)),
            "shape": np.repeat([str(name) for name, _ in shapes], len(points)),
            "power": np.repeat([power for _, power in shapes], len(points)),
            "penalty": np.concatenate([_penalty(points, power) for _, power in shapes]),
            "weight": np.concatenate([_weight(points, power) for _, power in shapes]),
        }

    def plot(self, ax=None, *, kind="penalty"):
        """Draw the learned shape, ridge and lasso.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.
        kind : {"penalty", "weight"}, default="penalty"
            The penalty itself; or the weight of the square that touches it, on logarithmic
            axes: level for ridge, falling where small coefficients are penalized more.

        Returns
        -------
        self : PenaltyShapeDisplay
            With `ax_` and `figure_`.
        """
        if kind not in ("penalty", "weight"):
            raise ValueError(f"kind must be 'penalty' or 'weight': got {kind!r}.")
        [ax] = self._begin(ax, size=(7.0, 3.8))
        points = self._points()
        function = _penalty if kind == "penalty" else _weight
        if kind == "weight":
            points = points[points > 0]
        for name, power, style in self._styled():
            ax.plot(points, function(points, power), label=name, **style)
        if kind == "penalty":
            ax.set_ylim(0, 4.1)
            ax.set_xlim(points[0], points[-1])
            ax.set_ylabel("penalty beside that of\na usual coefficient")
            ax.set_xlabel("coefficient (1 = usual size)")
        else:
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_ylabel("weight beside that of\na usual coefficient")
            ax.set_xlabel("size of coefficient (1 = usual size, log scale)")
        ax.grid(alpha=0.25)
        legend_beside(ax)
        return self

    def _styled(self):
        """Label, power and style of each line; of many groups the extremes and the median."""
        powers = dict(self.powers)
        if len(powers) > MAX_SHAPES:
            ordered = sorted(powers, key=powers.__getitem__)
            kept = [ordered[0], ordered[len(ordered) // 2], ordered[-1]]
            powers = {name: powers[name] for name in dict.fromkeys(kept)}
        for number, (name, power) in enumerate(powers.items()):
            style = {"color": COLORS[number], "linewidth": 2.5}
            yield f"{shortened(name, 24)}: q = {power:.2g}", power, style
        yield "ridge: q = 2", 2.0, {"color": GRAY, "linestyle": "--", "linewidth": 1.3}
        yield "lasso: q = 1", 1.0, {"color": BLACK, "linestyle": ":", "linewidth": 1.3}


def _penalty(points, power):
    return _rounded(points, power) / _rounded(1.0, power)


def _rounded(points, power):
    """The smoothed power; a logarithm in the limit of power 0."""
    square = np.square(points) + ROUNDING**2
    growth = np.log(square / ROUNDING**2) / 2
    if abs(power) < 1e-8:
        return growth
    return ROUNDING**power * np.expm1(power * growth) / power


def _weight(points, power):
    square = np.square(points) + ROUNDING**2
    return (square / (1 + ROUNDING**2)) ** (power / 2 - 1)
