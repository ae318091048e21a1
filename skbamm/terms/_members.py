"""The fits whose mean an additive regressor is, and their weights by out-of-fold errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..regularization import BilevelRegularizedRegressor
from ._fold_fits import FoldFits

# Up to so many rows the simplest fit may be a standard error worse than another and count as much,
# with more rows less, in proportion: strengths that few rows have chosen look better than they are.
# Costs nothing on the average of 33 tables, and spares those of few rows half of what they lost.
ADVANTAGE_ROWS = 400


@dataclass(frozen=True)
class Member:
    """A fit on some of the columns."""

    kept: np.ndarray  # (n_columns,), of bool
    model: BilevelRegularizedRegressor

    def errors(self, fits: FoldFits):
        """Mean squared error on the held-out rows of each fold, in units of the variance of y.

        That of the learned strengths, but their mean is the regressor's own criterion: strengths
        that were learned from a pilot know of all rows, those of each fold by itself do not.
        """
        n_folds = len(fits.folds) - 1  # the last one is all rows
        found = [fits.held_out(k, self.model.alpha_, self.kept) for k in range(n_folds)]
        return np.array(found) + float(self.model.criterion_) - np.mean(found)

    def coefficients(self):
        """Of all columns, 0 where they are not used."""
        coef = np.zeros(len(self.kept))
        coef[self.kept] = self.model.coef_
        return coef


def mean_weights(errors, standard_errors, n_samples=0):
    """Weights of some fits, given their errors by fold, shape (n_fits, n_folds).

    In proportion to ``exp(-z^2 / (2 c^2))``, z an error less the best one's in standard errors over
    the folds, as in the regressor's mean; the best one alone where c is 0 or folds are too few. The
    first fit is the simplest, and has an advantage of up to one of these (`ADVANTAGE_ROWS`).
    """
    n_folds = errors.shape[1]
    if not standard_errors or n_folds < 3:
        return np.eye(len(errors))[errors.mean(axis=1).argmin()]
    # Differences that are rounding are none.
    floor = max(1e-9 * errors.mean(), np.finfo(np.float64).tiny)

    def deviations(base):
        more = (errors - base).std(axis=1, ddof=1) / np.sqrt(n_folds)
        return np.maximum(more, floor)

    means = errors.mean(axis=1)
    means[1:] += min(ADVANTAGE_ROWS / max(n_samples, 1), 1.0) * deviations(errors[0])[1:]
    best = means.argmin()
    z = (means - means[best]) / deviations(errors[best])
    weights = np.exp(-((z / standard_errors) ** 2) / 2)
    return weights / weights.sum()
