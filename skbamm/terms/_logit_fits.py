"""Penalized logistic fits on the training rows of each fold, all folds at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..linalg._session import threads_for, torch_session
from ..linalg._softmax import CrossEntropy, LabelledRows, minimize
from ..linalg._tensors import to_numpy, to_tensors
from ._fold_fits import Fold

# Distance to the minimiser, in standard errors of scores: held-out losses differ by its square.
NEAR, MOST_STEPS = 1e-3, 300
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class LogitFits:
    """Rows of numbered classes, and the weights of those that train and are held out.

    The last fold is all rows, of which none is held out.
    """

    rows: LabelledRows
    train: torch.Tensor  # (n_folds + 1, n_samples), rows with sum 1
    test: torch.Tensor

    @classmethod
    def of(cls, design, labels, n_classes, weight, folds):
        folds = [*folds, Fold(weight, np.zeros_like(weight))]
        train = np.stack([fold.train / fold.train.sum() for fold in folds])
        test = np.stack([fold.test / max(fold.test.sum(), TINY) for fold in folds])
        columns = np.hstack([design - weight @ design / weight.sum(), np.ones((len(design), 1))])
        rows = LabelledRows(columns, labels, n_classes, "cpu")
        return cls(rows, *to_tensors("cpu", train, test))

    def params(self, strength, like=None):
        """Those of each fold, (n_folds + 1, n_scores, n_columns + 1), the intercept last.

        `strength`, one or one for each column, is on the scale of `BilevelRegularizedClassifier`;
        the search begins at params that are `like` these.
        """
        ridge = np.ones(self.rows.n_columns)
        ridge[:-1] = strength
        [ridge] = to_tensors("cpu", ridge)
        objective = CrossEntropy(self.rows, self.train, ridge)
        begin = self.rows.zeros(len(self.train)) if like is None else like
        return minimize(objective, begin, tol=NEAR, max_iter=MOST_STEPS)

    def held_out(self, params):
        """Log loss of the held-out rows of each fold, (n_folds,)."""
        losses = self.rows.cross_entropy(self.rows.design.matmul(params))[0]
        return to_numpy((self.test * losses).sum(1))[:-1]

    def scores(self, params):
        """Of all rows, (n_folds + 1, n_samples, n_scores)."""
        return to_numpy(self.rows.design.matmul(params)).transpose(0, 2, 1)


def held_out_losses(design, labels, n_classes, weight, folds, alpha, criterion):
    """Log loss of each fold's held-out rows at learned strengths; its mean is the criterion.

    Strengths that were learned from a pilot know of all rows, those of each fold by itself do not:
    the mean is the estimator's own.
    """
    with torch_session(), threads_for(design.size * n_classes):
        fits = LogitFits.of(design, labels, n_classes, weight, folds)
        found = fits.held_out(fits.params(alpha))
    return found + float(criterion) - found.mean()
