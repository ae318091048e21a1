"""The fits whose mean an additive regressor is, and their weights by out-of-fold errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data._fold_weights import advantage_on, nearness
from ._fold_fits import FoldFits


@dataclass(frozen=True)
class Member:
    """A fit on some of the columns."""

    kept: np.ndarray  # (n_columns,), of bool
    model: Any  # a penalized estimator

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
        coef = np.zeros((*self.model.coef_.shape[:-1], len(self.kept)))
        coef[..., self.kept] = self.model.coef_
        return coef


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
