"""Penalized logistic fits on the training rows of each fold, all folds at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..linalg._curvature import Curvature
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
        objective = CrossEntropy(self.rows, self.train, self._ridge(strength))
        begin = self.rows.zeros(len(self.train)) if like is None else like
        return minimize(objective, begin, tol=NEAR, max_iter=MOST_STEPS)

    def params_near(self, strength, params):
        """The same, from params that are near these: with the curvature there few steps do."""
        ridge = self._ridge(strength)
        objective = CrossEntropy(self.rows, self.train, ridge)
        curvature = Curvature.of(self.rows, self.train, self.rows.evaluated(params)[1])
        metric = curvature.shared_metric(objective.penalty.expand(1, len(self.train), -1), 1)
        return minimize(objective, params, tol=NEAR, max_iter=MOST_STEPS, metric=metric)

    def _ridge(self, strength):
        ridge = np.ones(self.rows.n_columns)
        ridge[:-1] = strength
        return to_tensors("cpu", ridge)[0]

    def held_out(self, params):
        """Log loss of the held-out rows of each fold, (n_folds,)."""
        losses = self.rows.cross_entropy(self.rows.design.matmul(params))[0]
        return to_numpy((self.test * losses).sum(1))[:-1]

    def scores(self, params):
        """Of all rows, (n_folds + 1, n_samples, n_scores)."""
        return to_numpy(self.rows.design.matmul(params)).transpose(0, 2, 1)


def held_out_losses(design, labels, n_classes, weight, folds, model):
    """Log loss of each fold's held-out rows at the strengths that a model has learned.

    These strengths know of all rows where a pilot did, which is the same for all folds; the mean is
    the model's own criterion.
    """
    with torch_session(), threads_for(design.size * n_classes):
        fits = LogitFits.of(design, labels, n_classes, weight, folds)
        # Those of all rows are near those of a fold.
        centred = model.intercept_ + model.coef_ @ (weight @ design / weight.sum())
        [like] = to_tensors("cpu", np.column_stack([model.coef_, centred]))
        like = like.expand(len(fits.train), -1, -1)
        found = fits.held_out(fits.params_near(model.alpha_, like))
    return found + float(model.criterion_) - found.mean()
