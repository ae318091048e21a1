"""The data of a regression: scaled, split into folds, and turned into losses."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..data._tensors import to_numpy, to_tensor
from ..linalg._cross_products import augmented, column_shift, residual_moments, row_blocks
from ._input import RegressionRows
from .losses._quadratic import GramLoss, RowLoss, Rows
from .losses._ridge_path import GramPath, RowPath


class Design:
    """What both ways of handling the data share: scales, and the way back to raw units.

    Penalized columns are divided by their scale and targets by theirs; intercept and
    unpenalized columns are fitted exactly in every fold and never become parameters.

    Attributes
    ----------
    penalized : ndarray of bool of shape (n_features,)
    scale : ndarray of shape (n_penalized,)
    target_scale : ndarray of shape (n_targets,)
    """

    #: How many starts are compared beside the usual ones, and whether all at once.
    n_more_starts = 4
    compares_at_once = True

    def __init__(self, penalized, fit_intercept, standardize, device):
        self.penalized = penalized
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.device = device

    def _set_scales(self, mean, square, shift):
        """Weighted standard deviations, from the shifted columns' means and mean squares."""
        n_features = len(self.penalized)
        variance = square - mean**2
        # Below this a column is constant but for rounding.
        noise = (10 * np.finfo(np.float64).eps * np.abs(mean + shift)) ** 2 + 1e-15 * square
        scale = np.sqrt(np.where(variance > noise, variance, 1.0))
        self.target_scale = scale[n_features:]
        if not self.fit_intercept:
            root = np.sqrt(square[n_features:])
            self.target_scale = np.where(root > 0, root, 1.0)
        self.shift = shift
        variance = scale[:n_features][self.penalized] ** 2
        #: Mean variance of the columns as they are penalized: the unit of strengths.
        self.unit = 1.0 if self.standardize or not len(variance) else variance.mean()
        if self.standardize:
            self.scale = scale[:n_features][self.penalized]
        else:
            self.scale = np.ones(self.penalized.sum())
        # Regressed out by a pseudoinverse, which takes columns in tiny units for rounding.
        root = scale if self.fit_intercept else np.sqrt(square)
        nuisance = root[:n_features][~self.penalized]
        nuisance = np.where(nuisance > 0, nuisance, 1.0)
        self.nuisance_scale = np.append(nuisance, np.ones(int(self.fit_intercept)))

    def coefficients(self, params, nuisance):
        """Coefficients and intercept in raw units.

        Parameters
        ----------
        params : ndarray of shape (n_targets, n_penalized)
        nuisance : ndarray of shape (n_targets, n_unpenalized [+ 1])
            Of the unpenalized columns, and the intercept last.
        """
        coef = np.zeros((len(params), len(self.penalized)))
        target_scale = self.target_scale[:, None]
        coef[:, self.penalized] = params / self.scale * target_scale
        n_unpenalized = int((~self.penalized).sum())
        coef[:, ~self.penalized] = (
            nuisance[:, :n_unpenalized] / self.nuisance_scale[:n_unpenalized] * target_scale
        )
        if not self.fit_intercept:
            return coef, np.zeros(len(params))
        n_features = len(self.penalized)
        intercept = nuisance[:, -1] * self.target_scale
        return coef, intercept + self.shift[n_features:] - coef @ self.shift[:n_features]


class GramDesign(Design):
    """Through Gram matrices: one pass over the rows, then no cost in their number."""

    def __init__(
        self, data, folds, validation=None, *, penalized, fit_intercept, standardize, device
    ):
        super().__init__(penalized, fit_intercept, standardize, device)
        shift, moments = data.moments(folds, validation, fit_intercept)
        n_rows = moments.total[-1, -1]
        self._set_scales(
            moments.total[-1, :-1] / n_rows, np.diag(moments.total)[:-1] / n_rows, shift
        )
        self._order = self._column_order(moments.total)
        self._set_losses(moments)

    def _set_losses(self, moments):
        self._total = self._scaled(moments.total)
        keep = (moments.train[:, -1, -1] > 0) & (moments.test[:, -1, -1] > 0)
        require_folds(keep.any())
        train, test = self._scaled(moments.train[keep]), self._scaled(moments.test[keep])
        train, test, _ = residual_moments(train, test, self._n_nuisance)
        fold_weight = moments.test[keep, -1, -1] / moments.test[keep, -1, -1].sum()
        self.train = self._loss(train)
        self.test = self._loss(test, fold_weight / len(self.target_scale))

    def _column_order(self, total):
        """Penalized columns, targets, then what is regressed out."""
        n_features = len(self.penalized)
        columns = np.arange(n_features)
        nuisance = columns[~self.penalized]
        if self.fit_intercept:
            nuisance = np.append(nuisance, len(total) - 1)
        self._n_nuisance = len(nuisance)
        targets = np.arange(n_features, len(total) - 1)
        return np.concatenate([columns[self.penalized], targets, nuisance])

    def _scaled(self, moments):
        """Moments for each unit of weight, of the scaled columns in their order."""
        scale = np.concatenate([self.scale, self.target_scale, self.nuisance_scale])
        ordered = moments[..., self._order[:, None], self._order]
        return ordered / (moments[..., -1:, -1:] * np.outer(scale, scale))

    def _loss(self, moments, fold_weight=1.0):
        """Sum over targets; `fold_weight` of shape (n_folds,)."""
        moments = moments * np.reshape(fold_weight, (-1, 1, 1))
        n_features = len(self.scale)
        targets = moments[..., n_features:, n_features:]
        return GramLoss(
            to_tensor(moments[..., :n_features, :n_features], self.device),
            to_tensor(moments[..., n_features:, :n_features], self.device),
            to_tensor(np.trace(targets, axis1=-2, axis2=-1).sum() / 2, self.device),
        )

    def path(self, loss):
        return GramPath.build(loss)

    def all_rows(self):
        """Loss of a fit on all rows, as a single fold."""
        total, _, self._total_nuisance = residual_moments(
            self._total[None], self._total[None], self._n_nuisance
        )
        return self._loss(total)

    def raw_coefficients(self, params):
        params = to_numpy(params)
        columns = self._total_nuisance[0]  # (n_nuisance, n_penalized + n_targets)
        n_penalized = len(self.scale)
        nuisance = columns[:, n_penalized:] - columns[:, :n_penalized] @ params.T
        return self.coefficients(params, nuisance.T)


class RowDesign(Design):
    """Through products with the rows: for more features than rows."""

    def __init__(
        self, data, folds, validation=None, *, penalized, fit_intercept, standardize, device
    ):
        super().__init__(penalized, fit_intercept, standardize, device)
        shift = column_shift(data.X, data.y, fit_intercept)
        mean, square = _means_and_squares(data, shift)
        self._set_scales(mean, square, shift)
        weight = data.weights()
        train, test = np.zeros((2, len(folds), len(data)))
        for k, (train_rows, test_rows) in enumerate(folds.splits):
            np.add.at(train[k], train_rows, weight[train_rows])
            if validation is None:
                np.add.at(test[k], test_rows, weight[test_rows])
        stacked = data
        if validation is not None:
            train = np.hstack([train, np.zeros((len(folds), len(validation)))])
            test = np.hstack([test, validation.weights()[None]])
            stack = sparse.vstack if sparse.issparse(data.X) else np.vstack
            stacked = RegressionRows(
                stack([data.X, validation.X]), np.vstack([data.y, validation.y]), None
            )
        keep = (train.sum(axis=1) > 0) & (test.sum(axis=1) > 0)
        require_folds(keep.any())
        train, test = train[keep], test[keep]
        self._all = np.pad(weight / weight.sum(), (0, train.shape[1] - len(weight)))[None]
        self._arrays = self._scaled_arrays(stacked)
        rows = self._rows(train / train.sum(axis=1, keepdims=True))
        self.train = RowLoss(rows, rows.train_weight)
        test = test / (test.sum() * len(self.target_scale))
        self.test = RowLoss(rows, to_tensor(test, self.device))

    def _scaled_arrays(self, data):
        n_features = len(self.penalized)
        if sparse.issparse(data.X):
            X = sparse.csr_matrix(data.X, dtype=np.float64)
            design = X[:, self.penalized] @ sparse.diags(1 / self.scale)
            unpenalized = X[:, ~self.penalized].toarray()
        else:
            X = np.asarray(data.X, dtype=np.float64) - self.shift[:n_features]
            design = np.ascontiguousarray(X[:, self.penalized]) / self.scale
            unpenalized = X[:, ~self.penalized]
        targets = ((data.y - self.shift[n_features:]) / self.target_scale).T
        ones = np.ones((len(data), int(self.fit_intercept)))
        return design, targets, np.hstack([unpenalized, ones]) / self.nuisance_scale

    def _rows(self, train_weight):
        design, targets, nuisance = self._arrays
        return Rows(
            design,
            to_tensor(targets, self.device),
            to_tensor(nuisance, self.device),
            to_tensor(train_weight, self.device),
        )

    def path(self, loss):
        return RowPath.build(loss)

    def all_rows(self):
        self._all_rows = self._rows(self._all)
        return RowLoss(self._all_rows, self._all_rows.train_weight)

    def raw_coefficients(self, params):
        rows = self._all_rows
        _, targets, _ = self._arrays
        plain = to_tensor(targets, self.device) - _plain_product(rows, params)
        nuisance = plain @ rows.regression[0].mT
        return self.coefficients(to_numpy(params), to_numpy(nuisance))


def _plain_product(rows, params):
    if rows.is_dense:
        return params @ rows.design.T
    return to_tensor((rows.design @ to_numpy(params).T).T, params.device)


def _means_and_squares(data, shift):
    """Weighted means and mean squares of the shifted columns and targets."""
    mean, square = np.zeros((2, len(shift)))
    for rows in row_blocks(len(data), len(shift)):
        block = augmented(data.X, data.y, data.weight, shift, rows)
        mean += block[:, -1] @ block[:, :-1]
        square += np.square(block[:, :-1]).sum(axis=0)
    total = data.weights().sum()
    return mean / total, square / total


def require_folds(any_folds):
    if not any_folds:
        raise ValueError(
            "cv must give at least one split whose training rows and test rows both have "
            "positive sample weights: got none."
        )
