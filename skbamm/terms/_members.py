"""The fits whose mean an additive regressor is, and their weights by out-of-fold errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data._fold_weights import advantage_on, nearness
from ..data._folds import make_folds
from ..linalg._cross_products import CrossProducts
from ..regularization import BilevelRegularizedRegressor
from ..regularization._input import n_repeats
from ..regularization._statistics import FoldStatistics
from ._fold_fits import FoldFits

# Exponents of ten between which the strength of the linear fit is looked for, strong ones first.
STRONGEST, WEAKEST = 3, -9
# With more columns a second copy of the cross-products would count.
SHARED_COLUMNS = 2000
# Targets and weights whose squares and products are far from any limit.
USUAL = (1e-50, 1e50)


@dataclass(frozen=True)
class Member:
    """A fit on some of the columns."""

    kept: np.ndarray  # (n_columns,), of bool
    model: Any  # a penalized estimator, or a LinearFit

    def errors(self, fits: FoldFits):
        """Mean squared error on the held-out rows of each fold, in units of the variance of y.

        That of the learned strengths, but their mean is the regressor's own criterion: strengths
        that were learned from a pilot know of all rows, those of each fold by itself do not.
        """
        if isinstance(self.model, LinearFit):
            return self.model.errors
        errors = held_out(fits, self.model.alpha_, self.kept)
        return errors + float(self.model.criterion_) - errors.mean()

    def coefficients(self):
        """Of all columns, 0 where they are not used."""
        coef = np.zeros((*self.model.coef_.shape[:-1], len(self.kept)))
        coef[..., self.kept] = self.model.coef_
        return coef


@dataclass(frozen=True)
class LinearFit:
    """Ridge of the strength that is best for held-out rows."""

    coef_: np.ndarray
    intercept_: float
    errors: np.ndarray  # (n_folds,), in units of the variance of y

    @classmethod
    def of(cls, fits, centre, scale):
        """On `fits` whose targets are less a `centre` and divided by a `scale`."""
        systems = [fits.system(number) for number in range(len(fits.folds))]
        known = {}

        def error(exponent):
            if exponent not in known:
                known[exponent] = np.array([one.held_out(10.0**exponent) for one in systems])
            return known[exponent].mean()

        best = float(STRONGEST)
        for exponent in range(STRONGEST, WEAKEST - 1, -1):
            if error(float(exponent)) < error(best):
                best = float(exponent)
            elif exponent < best - 1:
                break
        for step in (0.5, 0.25):
            best = min((best, best + step, best - step), key=error)
        coef, level = fits.system(None).fit(10.0**best)
        return cls(coef[:, 0] * scale, centre + float(level[0]) * scale, known[best])


def held_out(fits, strength, kept=None):
    """Mean squares on the held-out rows of each fold."""
    numbers = range(len(fits.folds))
    return np.array([fits.system(number).held_out(strength, kept) for number in numbers])


def fitted(model: BilevelRegularizedRegressor, fits: FoldFits | None, design, y, weight, folds):
    """A regressor on all columns; from the cross-products of `fits`, if these have them."""
    sizes = np.abs(y[weight > 0]), weight[weight > 0]
    is_usual = all(USUAL[0] < size.max() < USUAL[1] for size in sizes)
    is_partition = folds.label is not None and design.shape[1] <= SHARED_COLUMNS
    if fits is None or fits.products is None or not (is_usual and is_partition):
        return model.fit(design, y, weight)
    repeats = [fits.products]
    for number in range(1, n_repeats(model, len(y))):
        more = make_folds(model.cv, design, y, seed=model.random_state + number)
        repeats.append(FoldFits.of(design, fits.targets, weight, more).products)
    units = centre_and_scale(y, weight)
    statistics = [_statistics(products, len(y), *units) for products in repeats]
    return model._fit_statistics(statistics, (design, y, weight))


def _statistics(products, n_samples, centre, scale):
    """What the regressor learns from, with targets in their own units."""
    units = np.ones(len(products.total))
    units[-2] = scale
    square, shift = np.outer(units, units), products.shift.copy()
    shift[-1] = centre + scale * shift[-1]
    products = CrossProducts(products.total * square, products.test * square, shift)
    held_out = tuple(np.flatnonzero(products.test[:, -1, -1]).tolist())
    return FoldStatistics(products, n_samples, 1, True, held_out)


def centre_and_scale(y, weight):
    """Mean and standard deviation."""
    size = np.abs(y[weight > 0]).max() or 1.0  # squares of extreme values would overflow
    share = weight / weight.sum()
    centre = share @ (y / size)
    return centre * size, np.sqrt(share @ (y / size - centre) ** 2) * size


def mean_weights(errors, standard_errors, n_samples=0):
    """Weights of some fits, given their errors by fold, shape (n_fits, n_folds).

    In proportion to their `nearness` to the best one, the first being the simplest; the best one
    alone without `standard_errors`, or where folds are too few.
    """
    best = int(errors.mean(axis=1).argmin())
    if not standard_errors or errors.shape[1] < 3:
        return np.eye(len(errors))[best]
    # Differences that are rounding are none.
    options = {"floor": 1e-9 * errors.mean(), "advantage": advantage_on(n_samples)}
    weights = nearness(errors, standard_errors, best, **options)
    return weights / weights.sum()
