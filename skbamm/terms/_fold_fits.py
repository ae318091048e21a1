"""Ridge fits on the training rows of each fold, from Gram matrices that are formed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

# Keeps singular Gram matrices positive definite.
JITTER = 1e-10


@dataclass(frozen=True)
class Fold:
    """Weights of the rows that are learned from, and of those held out."""

    train: np.ndarray  # (n_samples,)
    test: np.ndarray  # (n_samples,)

    @classmethod
    def of(cls, folds, weight):
        """Of all splits that have weight on both sides."""
        found = []
        for sides in folds.splits:
            counts = [np.bincount(rows, minlength=len(weight)) for rows in sides]
            found.append(cls(*(weight * count for count in counts)))
        return [one for one in found if one.train.any() and one.test.any()]


@dataclass(frozen=True)
class FoldFits:
    """The rows, centred, and Gram matrices of each fold's training and held-out rows."""

    design: np.ndarray  # (n_samples, n_columns)
    targets: np.ndarray  # (n_samples, n_targets)
    folds: list[Fold]  # and all rows, as the last one, of which none is held out
    # A pair for each, of (n_columns + n_targets + 1, ...), the constant last; none with more
    # columns than rows, where kernels of rows are formed instead.
    grams: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, design, targets, weight, folds):
        share = weight / weight.sum()
        design, targets = design - share @ design, targets - share @ targets
        everything = [*folds, Fold(weight, np.zeros_like(weight))]
        if design.shape[1] >= np.count_nonzero(weight):
            return cls(design, targets, everything, [])
        rows = np.hstack([design, targets, np.ones((len(design), 1))])
        total, grams = _gram(rows, weight), []
        for fold in everything:
            test = _gram(rows, fold.test)
            is_rest = np.array_equal(fold.train + fold.test, weight)
            grams.append((total - test if is_rest else _gram(rows, fold.train), test))
        return cls(design, targets, everything, grams)

    def residuals(self, number, strength, kept=None):
        """What a fit leaves of the targets, on all rows.

        `number` is that of the fold, -1 for all rows; `strength`, on the regressor's scale, one for
        all columns or one for each of those that are `kept`, a mask.
        """
        coef, intercept = self._fit(number, strength, kept)
        return self.targets - intercept - self.design @ coef

    def held_out(self, number, strength, kept=None):
        """Mean squared error on the fold's held-out rows, of all targets together."""
        coef, intercept = self._fit(number, strength, kept)
        test = self.folds[number].test
        if not self.grams:
            return squares(self.targets - intercept - self.design @ coef, test)
        combined = np.vstack([-coef, np.eye(len(intercept)), -intercept[None]])
        found = np.einsum("ij,ij->", combined, self.grams[number][1] @ combined)
        return max(float(found), 0.0) / test.sum()

    def _fit(self, number, strength, kept):
        """Coefficients of all columns, 0 for those that are not kept, and intercepts."""
        kept = np.ones(self.design.shape[1], bool) if kept is None else kept
        strength = np.broadcast_to(strength, kept.sum())
        if self.grams:
            some, centre, level = self._of_columns(self.grams[number][0], strength, kept)
        else:
            some, centre, level = self._of_rows(self.folds[number].train, strength, kept)
        coef = np.zeros((len(kept), len(level)))
        coef[kept] = some
        return coef, level - centre @ some

    def _of_columns(self, gram, strength, kept):
        n_columns = len(kept)
        mean = gram[-1, :-1] / gram[-1, -1]
        covariance = gram[:-1, :-1] / gram[-1, -1] - np.outer(mean, mean)
        penalized = covariance[:n_columns, :n_columns][np.ix_(kept, kept)]
        penalized[np.diag_indices_from(penalized)] += strength + JITTER
        right = covariance[:n_columns, n_columns:][kept]
        coef = cho_solve(cho_factor(penalized, check_finite=False, overwrite_a=True), right)
        return coef, mean[:n_columns][kept], mean[n_columns:]

    def _of_rows(self, weight, strength, kept):
        used = weight > 0
        share = weight[used] / weight.sum()
        rows, right = self.design[np.ix_(used, kept)], self.targets[used]
        centre, level = share @ rows, share @ right
        root = np.sqrt(share)[:, None]
        rows, right = (rows - centre) * root, (right - level) * root
        scaled = rows / (strength + JITTER)
        kernel = rows @ scaled.T
        kernel[np.diag_indices_from(kernel)] += 1.0
        return scaled.T @ cho_solve(cho_factor(kernel), right), centre, level


def _gram(rows, weight):
    used = weight > 0
    some = rows[used]
    return (some * weight[used, None]).T @ some


def squares(residuals, weight):
    """Weighted mean of the squares of the targets' residuals, all targets together."""
    return float(weight @ np.square(residuals).sum(axis=1)) / weight.sum()
