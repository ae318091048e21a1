"""Ridge fits on the training rows of each fold, from cross-products that are formed once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..data._folds import Folds
from ..data._validation import check_training
from ..linalg._cross_products import (
    CrossProducts,
    column_shift,
    fold_cross_products,
    split_cross_products,
)

# Keeps singular Gram matrices positive definite.
JITTER = 1e-10


@dataclass(frozen=True)
class Fold:
    """Weights of the rows that are learned from, and of those held out."""

    train: np.ndarray  # (n_samples,)
    test: np.ndarray  # (n_samples,)
    number: int = -1  # among all splits

    @classmethod
    def of(cls, folds, weight):
        """Of all splits that have weight on both sides."""
        found = []
        for number, sides in enumerate(folds.splits):
            train, test = (weight * np.bincount(rows, minlength=len(weight)) for rows in sides)
            check_training(train, weight)
            found.append(cls(train, test, number))
        return [one for one in found if one.train.any() and one.test.any()]


@dataclass(frozen=True)
class FoldFits:
    """The rows, and cross-products of each fold's training and held-out rows."""

    design: np.ndarray  # (n_samples, n_columns)
    targets: np.ndarray  # (n_samples, n_targets)
    weight: np.ndarray
    folds: list[Fold]
    # None with more columns than rows, where kernels of rows are formed instead.
    products: CrossProducts | None

    @classmethod
    def of(cls, design, targets, weight, folds: Folds):
        known, products = Fold.of(folds, weight), None
        if design.shape[1] < np.count_nonzero(weight):
            given = (design, targets, None if (weight == 1).all() else weight)
            shift = column_shift(design, targets, True)
            if folds.label is not None:
                products = fold_cross_products(*given, folds.label, len(folds), shift)
            else:
                products = split_cross_products(*given, folds.splits, shift)
        return cls(design, targets, weight, known, products)

    def only(self, kept):
        """The same of some of the columns, a mask."""
        design, products = self.design[:, kept], self.products
        if products is not None:
            columns = np.append(kept, np.ones(self.targets.shape[1] + 1, dtype=bool))
            total, test = (
                sums[..., columns, :][..., columns] for sums in (products.total, products.test)
            )
            formed = products.formed_train
            formed = None if formed is None else formed[:, columns][..., columns]
            products = CrossProducts(total, test, products.shift[columns[:-1]], formed)
        return replace(self, design=design, products=products)

    def system(self, number):
        """Fits on the training rows of a fold; with None on all rows, of which none is held out."""
        if self.products is None:
            every = Fold(self.weight, np.zeros_like(self.weight), -1)
            fold = every if number is None else self.folds[number]
            return RowSystem(self.design, self.targets, fold.train, fold.test)
        products, n_columns = self.products, self.design.shape[1]
        train = test = products.total
        if number is not None:
            k = self.folds[number].number
            formed, test = products.formed_train, products.test[k]
            train = train - test if formed is None else formed[k]
        return GramSystem.of(train, test, products.shift, n_columns)

    def residuals(self, number, strength):
        """What a fit leaves of the targets, on all rows; see `system` and `System.fit`."""
        coef, intercept = self.system(number).fit(strength)
        return self.targets - intercept - self.design @ coef


class System:
    """Ridge fits on the training rows of one fold."""

    @property
    def n_columns(self) -> int:
        raise NotImplementedError

    def fit(self, strength, kept=None):
        """Coefficients of all columns, 0 for those that are not kept, and intercepts.

        `strength`, on the regressor's scale, is one for all columns or one for each of those that
        are `kept`, a mask.
        """
        kept = np.ones(self.n_columns, bool) if kept is None else kept
        some, centre, level = self._fit(np.broadcast_to(strength, kept.sum()), kept)
        coef = np.zeros((len(kept), len(level)))
        coef[kept] = some
        return coef, level - centre @ some

    def held_out(self, strength, kept=None):
        """Mean squared error on the fold's held-out rows, of all targets together."""
        return self._error(*self.fit(strength, kept))

    def _fit(self, strength, kept):
        raise NotImplementedError

    def _error(self, coef, intercept):
        raise NotImplementedError


@dataclass(frozen=True)
class GramSystem(System):
    """From cross-products: no cost in the number of rows."""

    covariance: np.ndarray  # (n_columns, n_columns), of the training rows
    right: np.ndarray  # (n_columns, n_targets)
    centre: np.ndarray  # (n_columns,), means
    level: np.ndarray  # (n_targets,), means
    test: np.ndarray  # cross-products of the held-out rows; of all rows where there are none
    shift: tuple[np.ndarray, np.ndarray]  # what these are without, of columns and targets

    @classmethod
    def of(cls, train, test, shift, n_columns):
        mean = train[-1, :-1] / train[-1, -1]
        centre = mean[:n_columns]
        covariance = train[:n_columns, :n_columns] / train[-1, -1]
        covariance -= np.outer(centre, centre)
        right = train[:n_columns, n_columns:-1] / train[-1, -1] - np.outer(centre, mean[n_columns:])
        apart = shift[:n_columns], shift[n_columns:]
        return cls(covariance, right, centre + apart[0], mean[n_columns:] + apart[1], test, apart)

    @property
    def n_columns(self):
        return len(self.centre)

    def _fit(self, strength, kept):
        every = kept.all()
        penalized = self.covariance.copy() if every else self.covariance[np.ix_(kept, kept)]
        penalized[np.diag_indices_from(penalized)] += strength + JITTER
        # Symmetric: its transpose is what LAPACK takes without a copy.
        factor = cho_factor(penalized.T, lower=True, check_finite=False, overwrite_a=True)
        coef = cho_solve(factor, self.right[kept], check_finite=False)
        return coef, self.centre[kept], self.level

    def _error(self, coef, intercept):
        intercept = intercept - self.shift[1] + self.shift[0] @ coef
        combined = np.vstack([-coef, np.eye(len(intercept)), -intercept[None]])
        found = np.einsum("ij,ij->", combined, self.test @ combined)
        return max(float(found), 0.0) / self.test[-1, -1]


@dataclass(frozen=True)
class RowSystem(System):
    """From rows, where columns are as many or more."""

    design: np.ndarray
    targets: np.ndarray
    train: np.ndarray  # weights
    test: np.ndarray

    @property
    def n_columns(self):
        return self.design.shape[1]

    def _fit(self, strength, kept):
        used = self.train > 0
        share = self.train[used] / self.train.sum()
        rows, right = self.design[np.ix_(used, kept)], self.targets[used]
        centre, level = share @ rows, share @ right
        root = np.sqrt(share)[:, None]
        rows, right = (rows - centre) * root, (right - level) * root
        scaled = rows / (strength + JITTER)
        kernel = rows @ scaled.T
        kernel[np.diag_indices_from(kernel)] += 1.0
        return scaled.T @ cho_solve(cho_factor(kernel), right), centre, level

    def _error(self, coef, intercept):
        return squares(self.targets - intercept - self.design @ coef, self.test)


def squares(residuals, weight):
    """Weighted mean of the squares of the targets' residuals, all targets together."""
    return float(weight @ np.square(residuals).sum(axis=1)) / weight.sum()
