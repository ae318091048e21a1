"""From rows with their folds to the log losses of training and held-out rows."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ...data._fold_weights import advantage_on
from ...linalg._softmax import LabelledRows
from ...linalg._tensors import to_numpy, to_tensors
from .._constants import AT_ONCE, FREE_RIDGE, INTERCEPT_RIDGE, LOG_LOSS_AT_ONCE
from .._design import Units, fold_weights, means_and_squares, row_shift
from ..losses._log_loss import LogLoss
from ._path import RidgePath


class ClassDesign:
    """Standardized columns: penalized ones, unpenalized ones, and one of ones for the intercept.

    The losses `train` and `test` are those of the rows of each fold that train and are held out.
    The targets of `folded` are numbers of classes.
    """

    n_initial, n_strength_steps = 3, 0

    def __init__(self, folded, n_classes, *, device, **options):
        rows, train, test = fold_weights(folded)
        self.device, self.n_classes = device, n_classes
        shift = row_shift(folded, options["fit_intercept"])
        mean, square = means_and_squares(folded.rows, shift)
        if options["fit_intercept"]:
            # To the means themselves, whatever the order of the rows; sparse columns stay so.
            moved = (shift != 0) | (not sparse.issparse(rows.X))
            shift, mean, square = (
                shift + mean * moved,
                mean * ~moved,
                square - mean**2 * moved,
            )
        self.units = Units.of(mean, square, shift, **options)
        labels = rows.y[:, 0].astype(np.int64)
        self._rows = LabelledRows(self._columns(rows.X), labels, n_classes, device)
        # Every column is told its penalty.
        self._rows.penalized = self._rows.targets.new_ones(self._rows.n_columns)
        self.train = self._loss(train / train.sum(axis=1, keepdims=True))
        self.test = self._loss(test / test.sum())
        weight = np.zeros((1, len(rows)))
        weight[0, : len(folded.rows)] = folded.rows.weights() / folded.rows.weights().sum()
        self._all = self._loss(weight)
        self.advantage = advantage_on(np.count_nonzero(weight))
        n_numbers = self.train.weight.numel() * self._rows.n_scores
        self.n_at_once = AT_ONCE if AT_ONCE * n_numbers <= LOG_LOSS_AT_ONCE else 1

    def _loss(self, weight):
        units = self.units
        free = np.full(np.count_nonzero(units.unpenalized), FREE_RIDGE)
        free = np.append(free, [INTERCEPT_RIDGE] * units.fit_intercept)
        return LogLoss(self._rows, *to_tensors(self.device, weight, free))

    def _columns(self, X):
        units, n_features = self.units, X.shape[1]
        order = np.concatenate([np.flatnonzero(units.penalized), np.flatnonzero(units.unpenalized)])
        n_free = np.count_nonzero(units.unpenalized)
        scale = np.concatenate([units.scale, units.covariate_scale[:n_free]])
        shift, has_ones = units.shift[:n_features], int(units.fit_intercept)
        if sparse.issparse(X):
            X = sparse.csr_matrix(X, dtype=np.float64, copy=True)
            X.data -= shift[X.indices]  # of columns without zeros
            scaled = X[:, order] @ sparse.diags(1 / scale)
            return sparse.hstack([scaled, np.ones((X.shape[0], has_ones))]).tocsr()
        columns = np.ones((len(X), len(order) + has_ones))
        columns[:, : len(order)] = (X[:, order] - shift[order]) / scale
        return columns

    def path(self, log_bounds):
        """The ridge path of the training rows."""
        return RidgePath(self.train, len(self.units.scale), self.units.strength, log_bounds)

    def all_rows(self):
        """The loss of all rows as a single fold, and a function from its params to raw units."""
        return self._all, self._raw

    def _raw(self, params):
        """Coefficients (n_scores, n_features) and intercepts from params (n_scores, n_columns)."""
        units, params = self.units, to_numpy(params)
        n_penalized, n_features = len(units.scale), len(units.penalized)
        n_free = np.count_nonzero(units.unpenalized)
        coef = np.zeros((len(params), n_features))
        coef[:, units.penalized] = params[:, :n_penalized] / units.scale
        free = params[:, n_penalized : n_penalized + n_free]
        coef[:, units.unpenalized] = free / units.covariate_scale[:n_free]
        if not units.fit_intercept:
            return coef, np.zeros(len(params))
        return coef, params[:, -1] - coef @ units.shift[:n_features]
