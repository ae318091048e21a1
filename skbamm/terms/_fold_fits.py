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
    """The rows, centred, and the Gram matrix of each fold's training rows and of all rows."""

    design: np.ndarray  # (n_samples, n_columns)
    targets: np.ndarray  # (n_samples, n_targets)
    weights: list[np.ndarray]  # of each fold's training rows, then of all
    # Each (n_columns + n_targets + 1, ...), the constant last; None with more columns than rows,
    # where kernels of rows are formed instead.
    grams: list[np.ndarray] | None

    @classmethod
    def of(cls, design, targets, weight, folds):
        share = weight / weight.sum()
        design, targets = design - share @ design, targets - share @ targets
        weights = [*(fold.train for fold in folds), weight]
        if design.shape[1] >= np.count_nonzero(weight):
            return cls(design, targets, weights, None)
        rows = np.hstack([design, targets, np.ones((len(design), 1))])
        total = _gram(rows, weight)
        grams = []
        for fold in folds:
            if np.array_equal(fold.train + fold.test, weight):
                grams.append(total - _gram(rows, fold.test))
            else:
                grams.append(_gram(rows, fold.train))
        return cls(design, targets, weights, [*grams, total])

    def residuals(self, number, strength, kept=None):
        """What a fit leaves of the targets, on all rows.

        `number` is that of the fold, -1 for all rows; `strength`, on the regressor's scale, one for
        all columns or one for each of those that are `kept`, a mask.
        """
        kept = np.ones(self.design.shape[1], bool) if kept is None else kept
        design = self.design[:, kept]
        strength = np.broadcast_to(strength, kept.sum())
        if self.grams is None:
            coef, centre, level = self._of_rows(self.weights[number], strength, kept)
        else:
            coef, centre, level = self._of_columns(self.grams[number], strength, kept)
        return self.targets - level - (design - centre) @ coef

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
