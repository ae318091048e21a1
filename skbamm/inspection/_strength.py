"""Picture of the held-out error along the overall strength of the learned penalty."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..data._columns import split_columns
from ._display import BLUE, GRAY, ORANGE, Display, legend_beside
from ._fitted import dataframe_of, of_target, unwrapped

MULTIPLES = np.logspace(-2, 2, 25)
HELD_OUT = ("X_val", "y_val", "sample_weight_val")


@dataclass(eq=False, repr=False)
class StrengthDisplay(Display):
    """Held-out error where all learned strengths are multiplied by one number.

    The curve is that of the best fit (`hyper_`), on the folds of `fit` and mean over its repeats;
    at 1 stands what was learned. The band is one standard error, over the folds, of how much each
    error is above the lowest one: within it the folds cannot tell strengths apart. A line shows
    `criterion_`, the error of what is used, which with "adaptive" is a mean of fits. It may lie
    above the curve: the best fit is the one that looks best on these very folds.

    `from_estimator` takes a fitted `estimator`, a `BilevelRegularizedRegressor` or a Pipeline or a
    search that ends in one, and the rows of its `fit`, which it does not keep: `X`, `y`,
    `sample_weight`, and whatever else `fit` was given (X_val, y_val, groups) as `fit_params`.
    Nothing is learned anew: it costs the products of the rows, and a solve for each fold, repeat
    and one of the `multiples`. `target` is the number of the target, where each has its own
    penalty, `ax` as in `plot`. Folds are those of `fit` where `random_state` is an int.

    Parameters
    ----------
    multiple : ndarray of shape (n_multiples,)
        By which the learned strengths are multiplied.
    error : ndarray of shape (n_multiples,)
        Held-out error, in units of the variance of y.
    standard_error : ndarray of shape (n_multiples,)
        Of how much it is above the lowest one; NaN with validation rows in place of folds.
    criterion : float or None, default=None
        Held-out error of the fit that is used.

    Attributes
    ----------
    ax_, axes_, figure_ : matplotlib Axes, ndarray of shape (1,), matplotlib Figure
        Where it is drawn.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.inspection import StrengthDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BilevelRegularizedRegressor().fit(X, y)
    >>> display = StrengthDisplay.from_estimator(model, X, y)
    >>> list(display.frame().columns)
    ['multiple', 'error', 'standard_error']
    >>> bool(0.1 < display.multiple[display.error.argmin()] < 10)
    True
    """

    multiple: np.ndarray
    error: np.ndarray
    standard_error: np.ndarray
    _: KW_ONLY
    criterion: float | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        sample_weight=None,
        target=None,
        multiples=None,
        ax=None,
        **fit_params,
    ):
        """Draw the error along the strength of a fitted estimator's penalty.

        Returns
        -------
        display : StrengthDisplay
            With the numbers behind the picture.

        Raises
        ------
        ValueError
            If no strength was learned, as all were given; if the rows have other columns or
            targets than those of the fit; if a multiple is not above 0.
        """
        from ._strength_path import strength_path  # needs torch

        estimator, before = unwrapped(estimator, "exponents_", "hyper_names_")
        if not any("alpha" in name for name in estimator.hyper_names_):
            raise ValueError("No strength was learned: alpha gives all of them.")
        X = X if before is None else before.transform(X)
        _, X, y, sample_weight = split_columns(X, y, sample_weight, several=True)
        held_out = [fit_params.pop(name, None) for name in HELD_OUT]
        criterion = np.atleast_1d(estimator.criterion_)
        number = 0
        if len(criterion) > 1:
            [number] = of_target(target, "The penalty", range(len(criterion)))
        multiples = MULTIPLES if multiples is None else np.asarray(multiples, dtype=float)
        if multiples.ndim != 1 or not len(multiples) or not (multiples > 0).all():
            raise ValueError(f"multiples must be numbers above 0 in a list: got {multiples}.")
        found = strength_path(
            estimator,
            X,
            y,
            sample_weight,
            held_out,
            estimator._split_params(fit_params),
            target=number,
            multiples=multiples,
        )
        options = {"criterion": float(criterion[number]), "dataframe": dataframe_of(estimator)}
        return cls(multiples, *found, **options).plot(ax)

    def _columns(self):
        names = ("multiple", "error", "standard_error")
        return {name: np.asarray(getattr(self, name)) for name in names}

    def plot(self, ax=None):
        [ax] = self._begin(ax, size=(7.0, 3.6))
        multiple, error, spread = self._columns().values()
        ax.plot(multiple, error, color=BLUE, label="best fit")
        if np.isfinite(spread).all():
            band = (error - spread, error + spread)
            label = "one standard error of\nthe difference to the lowest"
            ax.fill_between(multiple, *band, color=BLUE, alpha=0.2, linewidth=0, label=label)
        ax.axvline(1.0, color=GRAY, linewidth=1, linestyle=":", label="as learned")
        if self.criterion is not None:
            ax.axhline(
                self.criterion, color=ORANGE, linewidth=1.2, linestyle="--", label="criterion_"
            )
        ax.set(xscale="log", xlabel="multiple of the learned strengths", ylabel="held-out error")
        ax.grid(alpha=0.25)
        legend_beside(ax)
        return self
