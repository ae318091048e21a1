"""The penalty as a function of the coefficient: what was learned, relative to ridge and lasso."""

from __future__ import annotations

import numpy as np

from ._display import BLACK, COLORS, GRAY, legend_beside, shortened
from ._fitted import of_target

# Below this fraction of the usual size a coefficient counts as zero: as in the estimator, it keeps
# the functions of large exponents finite.
ROUNDING = 1e-3
REACH = 2.0
REFERENCES = {"ridge": 2.0, "lasso": 1.0}


def learned_powers(estimator, target):
    """Power of the learned function by its name."""
    exponents = estimator.exponents_
    if exponents.ndim == 2:
        [exponents] = of_target(target, "The penalty", exponents)
    if len(exponents):
        # Rounded, so that a name is a name.
        return {f"exponent {float(exponents[0]):.2g}": 2.0 - float(exponents[0])}
    return {"learned": REFERENCES["lasso" if estimator.penalty == "l1" else "ridge"]}


def default_points():
    """Coefficients at which functions are drawn: dense at zero, where some are sharp."""
    near, far = np.geomspace(ROUNDING / 10, 0.02, 60), np.linspace(0.02, REACH, 160)[1:]
    return np.concatenate([-far[::-1], -near[::-1], [0.0], near, far])


def function_columns(powers, points):
    """Values of the learned function and of the references, one below the other."""
    functions = [*powers.items(), *REFERENCES.items()]
    return {
        "coefficient": np.tile(points, len(functions)),
        "function": np.repeat([str(name) for name, _ in functions], len(points)),
        "power": np.repeat([power for _, power in functions], len(points)),
        "penalty": np.concatenate([_penalty(points, power) for _, power in functions]),
        "weight": np.concatenate([_weight(points, power) for _, power in functions]),
    }


def draw_functions(ax, powers, points, kind):
    """The learned function, ridge and lasso."""
    looks = [{"color": color, "linewidth": 2.5} for color in COLORS[: len(powers)]]
    looks.append({"color": GRAY, "linestyle": "--", "linewidth": 1.3})
    looks.append({"color": BLACK, "linestyle": ":", "linewidth": 1.3})
    function = _penalty
    if kind == "weight":
        function, points = _weight, points[points > 0]
    for (name, power), look in zip([*powers.items(), *REFERENCES.items()], looks, strict=True):
        label = f"{shortened(name, 24)}: q = {power:.2g}"
        ax.plot(points, function(points, power), label=label, **look)
    what = "penalty" if kind == "function" else "weight"
    ax.set_ylabel(f"{what} relative to that of\na root mean square coefficient")
    if kind == "function":
        ax.set(xlim=points[[0, -1]], ylim=(0, 4.1), xlabel="coefficient (1 = root mean square)")
    else:
        label = "size of coefficient (1 = root mean square, log scale)"
        ax.set(xscale="log", yscale="log", xlabel=label)
    ax.grid(alpha=0.25)
    legend_beside(ax)


def _penalty(points, power):
    return _rounded(points, power) / _rounded(1.0, power)


def _rounded(points, power):
    """The smoothed power; a logarithm in the limit of power 0."""
    growth = np.log(_square(points) / ROUNDING**2) / 2
    if abs(power) < 1e-8:
        return growth
    return ROUNDING**power * np.expm1(power * growth) / power


def _weight(points, power):
    return (_square(points) / _square(1.0)) ** (power / 2 - 1)


def _square(points):
    return np.square(points) + ROUNDING**2
