"""A nonlinear base model of labels: out-of-fold kernel ridge regression on their indicators.

Random Fourier features of the rows make it linear in their number: one pass collects small
matrices, from which the models of all folds and ridge strengths come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .._constants import (
    BLOCK_ROWS,
    KERNEL_INTERCEPT_RIDGE,
    KERNEL_RIDGES,
    MAX_KEPT,
    PRODUCT_ROWS,
    SEED,
    TINY,
)


def random_directions(n_columns, n_directions):
    """Gaussian directions, orthogonal to each other in blocks, of shape (n_directions, n_columns).

    Orthogonality makes the features approximate their kernel better (Yu and others,
    "Orthogonal Random Features", NeurIPS 2016).
    """
    random = np.random.default_rng(SEED)
    blocks, n_left = [], n_directions
    while n_left > 0:
        n_block = min(n_columns, n_left)
        basis = np.linalg.qr(random.standard_normal((n_columns, n_block)))[0].T
        blocks.append(basis * np.sqrt(random.chisquare(n_columns, n_block))[:, None])
        n_left -= n_block
    return np.vstack(blocks)


@dataclass(frozen=True)
class FeatureMap:
    """Random Fourier features: cosines and sines of ``rows @ directions + offset``, and a one."""

    directions: np.ndarray  # (n_columns, n_directions)
    offset: np.ndarray  # (n_directions,)

    def __call__(self, rows):
        found = self._unscaled(rows, np.ones((rows.shape[0], 2 * len(self.offset) + 1)))
        found /= np.sqrt(len(self.offset))
        return found

    def product(self, rows, coef):
        """Features of rows times coef of shape (n_features + 1, n_outputs).

        They stand in the same memory all the time: new memory would cost more than they do.
        """
        scaled = coef / np.sqrt(len(self.offset))
        memory = np.ones((min(PRODUCT_ROWS, rows.shape[0]), len(coef)))
        found = np.empty((rows.shape[0], coef.shape[1]))
        for start in range(0, len(found), PRODUCT_ROWS):
            block = found[start : start + PRODUCT_ROWS]
            features = self._unscaled(rows[start : start + PRODUCT_ROWS], memory[: len(block)])
            np.matmul(features, scaled, out=block)
        return found

    def _unscaled(self, rows, ones):
        """Cosines and sines before the ones that stand last."""
        half = len(self.offset)
        cosines, sines = ones[:, :half], ones[:, half:-1]
        sines[:] = rows @ self.directions
        sines += self.offset
        np.cos(sines, out=cosines)
        np.sin(sines, out=sines)
        return ones


class KernelRows:
    """Features of rows under a Gaussian kernel whose width is the rows' own spread.

    `design` has no column of ones; `directions`, of shape (n_directions, n_columns), are in its
    coordinates.
    """

    def __init__(self, design, directions, weight):
        self.design = design
        share = weight / weight.sum()
        mean = np.asarray(share @ design).ravel()
        squares = design.multiply(design) if hasattr(design, "multiply") else design**2
        spread = float(np.asarray(share @ squares).sum() - mean @ mean)
        # Two rows are 2 * spread apart on average, which is where the kernel is exp(-1/2) ^ 2.
        width = np.sqrt(max(spread, TINY))
        directions = directions.T / width
        self.map = FeatureMap(directions, -mean @ directions)
        self._kept = self.map(design) if design.shape[0] <= MAX_KEPT else None

    def features(self, rows):
        """Of some rows, with a column of ones last."""
        return self.map(self.design[rows]) if self._kept is None else self._kept[rows]

    def fit(self, weights, targets):
        """Ridge regressions, (n_ridges, n_folds, n_features + 1, n_classes).

        `weights` are those of rows in each fold, `targets` of shape (n_rows, n_classes).
        """
        # Rows that train in the same folds, up to one factor, are summed up together.
        scale = weights.max(0)
        patterns, member = np.unique(
            weights / np.where(scale > 0, scale, 1.0), axis=1, return_inverse=True
        )
        member = member.ravel()
        sums = [
            self._cross_products(np.flatnonzero((member == i) & (scale > 0)), scale, targets)
            for i in range(patterns.shape[1])
        ]
        gram = np.tensordot(patterns, np.stack([gram for gram, _ in sums]), 1)
        moment = np.tensordot(patterns, np.stack([moment for _, moment in sums]), 1)
        is_feature = np.arange(gram.shape[1]) < gram.shape[1] - 1
        coef = np.empty((len(KERNEL_RIDGES), *moment.shape))
        for fold, total in enumerate(weights.sum(1)):
            for index, strength in enumerate(KERNEL_RIDGES):
                penalty = total * np.where(is_feature, strength, KERNEL_INTERCEPT_RIDGE)
                factor = cho_factor(gram[fold] + np.diag(penalty))
                coef[index, fold] = cho_solve(factor, moment[fold])
        return coef

    def _cross_products(self, rows, weight, targets):
        gram, moment = 0.0, 0.0
        for start in range(0, max(len(rows), 1), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            features = self.features(block)
            weighted = (features * weight[block, None]).T
            gram = gram + weighted @ features
            moment = moment + weighted @ targets[block]
        return gram, moment

    def scores(self, coef, fold, rows):
        """Predicted indicators of classes of some `rows`, each by the model of its `fold`."""
        found = np.empty((len(rows), coef.shape[2]))
        for index in range(len(coef)):
            asked = np.flatnonzero(fold == index)
            for start in range(0, len(asked), BLOCK_ROWS):
                block = asked[start : start + BLOCK_ROWS]
                found[block] = self.features(rows[block]) @ coef[index]
        return found
