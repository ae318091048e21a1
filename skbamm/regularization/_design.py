"""From statistics, or from rows with their folds, to the losses of training and held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import sparse

from ..linalg._cross_products import (
    augmented,
    column_shift,
    full_columns,
    partial_out,
    row_blocks,
)
from ..linalg._row_kernels import FoldRows
from ..linalg._tensors import to_numpy, to_tensor, to_tensors
from ._constants import (
    AT_ONCE,
    CONSTANT_VARIANCE,
    FEW_FEATURES,
    FEW_TARGETS,
    LARGE,
    MAX_STRENGTH_STEPS,
    USUAL_SIZES,
)
from .losses._quadratic import GramLoss, GramPath
from .losses._rows import RowLoss, RowPath


def make_design(folded, **options):
    """Rows where there are more features than rows, Gram matrices elsewhere.

    `folded` is a `FoldedRows` or `FoldStatistics`, `options` are those of `Units.of`, and `device`.
    """
    n_samples, n_features = folded.shape
    if n_features > n_samples:
        return RowDesign(folded, **options)
    products = folded.cross_products(options["fit_intercept"])
    is_partition = products.formed_train is None and len(products.test) > 1
    is_large = n_features > LARGE and folded.n_targets <= FEW_TARGETS
    if is_large:  # so are its constant columns left out
        mean, square = _means_of(products)
        varies = _varies(mean, square, products.shift)
        is_large = varies[:n_features].sum() > LARGE
    if is_partition and is_large:
        from ._large_design import SharedGramDesign  # which imports this file

        return SharedGramDesign(products, **options)
    return GramDesign(products, **options)


@dataclass(frozen=True)
class Units:
    """The scales of all columns, and the way back to raw units.

    Penalized columns are divided by their scale and targets by theirs. Intercept and unpenalized
    columns are partialled out of them in every fold and never become parameters.
    """

    # (n_features,), of bool. Constant columns are neither: what is learned does not see them.
    penalized: np.ndarray
    unpenalized: np.ndarray
    scale: np.ndarray  # (n_penalized,), `stretch` and `unit` included
    # (n_penalized,): what columns are divided by to be penalized more, geometric mean 1.
    stretch: np.ndarray
    unit: float  # of columns that are not standardized, if they lie far from 1: a power of two
    target_scale: np.ndarray  # (n_targets,)
    covariate_scale: np.ndarray  # (n_unpenalized [+ 1],), the intercept last
    strength: float  # the unit of strengths: mean variance of the columns as they are penalized
    shift: np.ndarray  # (n_features + n_targets,), what was taken off the columns
    # (n_penalized,): mean squares of the scaled columns, about their mean where that is fitted.
    variance: np.ndarray
    fit_intercept: bool

    @classmethod
    def of(cls, mean, square, shift, *, penalized, stretch, fit_intercept, standardize):
        """Weighted standard deviations, from the shifted columns' means and mean squares."""
        n_features = len(penalized)
        variance = square - mean**2
        varies = _varies(mean, square, shift)
        scale = np.sqrt(np.where(varies, variance, 1.0))
        # Without an intercept nothing is taken off the targets: their size is their mean square.
        root = scale if fit_intercept else np.sqrt(square)
        # The pseudoinverse that partials them out takes columns in tiny units for rounding.
        root = np.where(root > 0, root, 1.0)
        # Without an intercept, a constant column takes its place.
        kept = varies[:n_features] if fit_intercept else square[:n_features] > 0
        penalized, unpenalized = penalized & kept, ~penalized & kept
        own = scale[:n_features][penalized]
        of_columns = own**2 if fit_intercept else square[:n_features][penalized]
        stretch = stretch[penalized]
        if len(stretch):
            stretch = stretch / np.exp(np.log(stretch).mean())
        square_size = 1.0 if standardize or not len(own) else float((own**2).mean())
        size = np.sqrt(square_size)
        # Limits below which a number counts as zero are meant for columns of usual size.
        unit = 1.0 if USUAL_SIZES[0] < size < USUAL_SIZES[1] else 2.0 ** int(np.frexp(size)[1])
        scale = own * stretch if standardize else stretch * unit
        return cls(
            penalized=penalized,
            unpenalized=unpenalized,
            scale=scale,
            stretch=stretch,
            unit=unit,
            variance=of_columns / scale**2,
            target_scale=root[n_features:],
            covariate_scale=np.append(root[:n_features][unpenalized], np.ones(int(fit_intercept))),
            strength=square_size / unit**2,
            shift=shift,
            fit_intercept=fit_intercept,
        )

    def raw(self, params, covariates):
        """Coefficients and intercepts of all features.

        From params of shape (n_targets, n_penalized) and the coefficients of the covariates, of
        shape (n_targets, n_unpenalized [+ 1]).
        """
        n_features = len(self.penalized)
        coef = np.zeros((len(params), n_features))
        target_scale = self.target_scale[:, None]
        coef[:, self.penalized] = params / self.scale * target_scale
        n_unpenalized = self.unpenalized.sum()
        coef[:, self.unpenalized] = (
            covariates[:, :n_unpenalized] / self.covariate_scale[:n_unpenalized] * target_scale
        )
        if not self.fit_intercept:
            return coef, np.zeros(len(params))
        intercept = covariates[:, -1] * self.target_scale
        return coef, intercept + self.shift[n_features:] - coef @ self.shift[:n_features]


class GramDesign:
    """From cross-products: nothing costs more with more rows.

    The losses `train` and `test` are those of the rows of each fold that train and are held out.
    """

    #: How many initial points are candidates, and in how many steps each looks for its strength.
    n_initial, n_strength_steps = 6, MAX_STRENGTH_STEPS
    advantage = 0.0  # of the simplest fit in a mean, in standard errors

    def __init__(self, products, *, device, **options):
        total = products.total
        mean, square = _means_of(products)
        self.units = Units.of(mean, square, products.shift, **options)
        self.device = device
        #: How many points are solved at once.
        self.n_at_once = AT_ONCE if len(self.units.scale) <= FEW_FEATURES else 1
        # Penalized columns, targets, then what is partialled out of them.
        penalized, columns = self.units.penalized, np.arange(len(total))
        targets = columns[len(penalized) : -1]
        covariates = np.append(
            np.flatnonzero(self.units.unpenalized), columns[-1:][: int(self.units.fit_intercept)]
        )
        self._n_covariates = len(covariates)
        self._order = np.concatenate([np.flatnonzero(penalized), targets, covariates])
        self._scale = np.concatenate(
            [self.units.scale, self.units.target_scale, self.units.covariate_scale]
        )
        self._set_losses(products)

    def _set_losses(self, products):
        self._total = self._scaled(products.total)
        train, test = products.train, products.test
        keep = (train[:, -1, -1] > 0) & (test[:, -1, -1] > 0)
        require_folds(keep.any())
        weight = test[keep, -1, -1]
        train, test, _ = partial_out(
            self._scaled(train[keep]), self._scaled(test[keep]), self._n_covariates
        )
        self.train = self._loss(train)
        self.test = self._loss(test, weight / weight.sum() / len(self.units.target_scale))

    def _scaled(self, products):
        """For each unit of weight, of the scaled columns in their order."""
        ordered = products[..., self._order[:, None], self._order]
        return ordered / (products[..., -1:, -1:] * np.outer(self._scale, self._scale))

    def _loss(self, products, fold_weight=1.0):
        """Sum over targets; `fold_weight` of shape (n_folds,)."""
        products = products * np.reshape(fold_weight, (-1, 1, 1))
        n_features = len(self.units.scale)
        targets = products[..., n_features:, n_features:]
        gram = products[..., :n_features, :n_features]
        cross = products[..., n_features:, :n_features]
        constant = np.trace(targets, axis1=-2, axis2=-1).sum() / 2
        return GramLoss(*to_tensors(self.device, gram, cross, constant))

    def path(self):
        """The ridge path of the training rows."""
        return GramPath.build(self.train)

    def all_rows(self):
        """The loss of all rows as a single fold, and a function from its params to raw units."""
        total, _, regression = partial_out(self._total[None], self._total[None], self._n_covariates)
        return self._loss(total), partial(self._raw, regression[0])

    def _raw(self, regression, params):
        """`regression` holds the coefficients of the covariates for all other columns."""
        params, n_penalized = to_numpy(params), len(self.units.scale)
        covariates = regression[:, n_penalized:] - regression[:, :n_penalized] @ params.T
        return self.units.raw(params, covariates.T)


class RowDesign:
    """From the rows and products with them: for more features than rows."""

    n_initial, n_strength_steps = GramDesign.n_initial, GramDesign.n_strength_steps
    advantage = GramDesign.advantage
    n_at_once = 1

    def __init__(self, folded, *, device, **options):
        rows, shift = folded.rows, row_shift(folded, options["fit_intercept"])
        mean, square = means_and_squares(rows, shift)
        self.units = Units.of(mean, square, shift, **options)
        self.device = device
        rows, train, test = fold_weights(folded)
        weight = folded.rows.weights()
        self._all = np.pad(weight / weight.sum(), (0, train.shape[1] - len(weight)))[None]
        self._design, self._targets, self._covariates = self._scaled_arrays(rows)
        of_folds = self._rows(train / train.sum(axis=1, keepdims=True))
        self.train = RowLoss(of_folds, of_folds.train_weight)
        test = test / (test.sum() * len(self.units.target_scale))
        self.test = RowLoss(of_folds, to_tensor(test, device))

    def _scaled_arrays(self, rows):
        units = self.units
        penalized, n_features = units.penalized, len(units.penalized)
        if sparse.issparse(rows.X):
            X = sparse.csr_matrix(rows.X, dtype=np.float64)
            X.data = X.data - units.shift[X.indices]  # of columns without zeros
            design = X[:, penalized].multiply(1 / units.scale).tocsr()
            unpenalized = X[:, units.unpenalized].toarray()
        else:
            X = np.asarray(rows.X, dtype=np.float64) - units.shift[:n_features]
            design = np.ascontiguousarray(X[:, penalized]) / units.scale
            unpenalized = X[:, units.unpenalized]
        targets = ((rows.y - units.shift[n_features:]) / units.target_scale).T
        ones = np.ones((len(rows), int(units.fit_intercept)))
        covariates = np.hstack([unpenalized, ones]) / units.covariate_scale
        return design, to_tensor(targets, self.device), to_tensor(covariates, self.device)

    def _rows(self, train_weight):
        weight = to_tensor(train_weight, self.device)
        return FoldRows(self._design, self._targets, self._covariates, weight)

    def path(self):
        return RowPath.build(self.train)

    def all_rows(self):
        rows = self._rows(self._all)

        def raw(params):
            plain = self._targets - rows.design.matmul(params)
            covariates = plain @ rows.regression[0].mT
            return self.units.raw(to_numpy(params), to_numpy(covariates))

        return RowLoss(rows, rows.train_weight), raw


def row_shift(folded, fit_intercept):
    """See `column_shift`; sparse validation rows stay sparse, too."""
    rows, validation = folded.rows, folded.validation
    shift = column_shift(rows.X, rows.y, fit_intercept)
    if validation is not None and sparse.issparse(rows.X):
        shift[: rows.X.shape[1]] *= full_columns(validation.X)
    return shift


def fold_weights(folded):
    """Rows with validation rows below them, and their weights in each fold.

    Those in training and those held out, each of shape (n_folds, n_rows), without folds where
    either are all zero.
    """
    rows, folds, validation = folded.rows, folded.folds, folded.validation
    weight = rows.weights()
    train, test = np.zeros((2, len(folds), len(rows)))
    for k, (train_rows, test_rows) in enumerate(folds.splits):
        np.add.at(train[k], train_rows, weight[train_rows])
        if validation is None:
            np.add.at(test[k], test_rows, weight[test_rows])
    if validation is not None:
        train = np.hstack([train, np.zeros((len(folds), len(validation)))])
        test = np.hstack([test, validation.weights()[None]])
        rows = rows.below(validation)
    keep = (train.sum(axis=1) > 0) & (test.sum(axis=1) > 0)
    require_folds(keep.any())
    return rows, train[keep], test[keep]


def _varies(mean, square, shift):
    """Columns that are not constant but for rounding, from their shifted means and mean squares."""
    noise = (10 * np.finfo(np.float64).eps * np.abs(mean + shift)) ** 2 + CONSTANT_VARIANCE * square
    return square - mean**2 > noise


def _means_of(products):
    """Weighted means and mean squares of the shifted columns and targets."""
    total = products.total
    return total[-1, :-1] / total[-1, -1], np.diag(total)[:-1] / total[-1, -1]


def means_and_squares(rows, shift):
    """Weighted means and mean squares of the shifted columns and targets."""
    mean, square = np.zeros((2, len(shift)))
    for some in row_blocks(len(rows), len(shift)):
        block = augmented(rows.X, rows.y, rows.weight, shift, some)
        mean += block[:, -1] @ block[:, :-1]
        square += np.square(block[:, :-1]).sum(axis=0)
    total = rows.weights().sum()
    return mean / total, square / total


def require_folds(any_folds):
    if not any_folds:
        raise ValueError(
            "cv must give at least one split whose training rows and test rows both have "
            "positive sample weights: got none."
        )
