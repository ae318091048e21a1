"""Shares of noise models in the label weights, by rows that neither fits nor weights have seen."""

from __future__ import annotations

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from ...data._fold_weights import nearness
from ._constants import (
    ADVANTAGE,
    ADVANTAGE_ROWS,
    FARTHEST_VOTE,
    LEAST_SHARE,
    STANDARD_ERRORS,
    TREE_ROWS,
    VERIFIED_ROWS,
)
from ._units import weighted_median

ROUNDING = 1e-12  # of mean losses, relative


def shares(found, residuals, log_densities, rows, may_be_wrong=True):
    """Of each model; that of models without wrong targets is split by held-out squares.

    Mixtures have to be likelier than the likeliest of these by an `ADVANTAGE`: what few rows far
    away make likelier may be errors of another kind. Verified rows take away what predicts them
    worse. Mixtures have none unless targets `may_be_wrong`.
    """
    is_mixture = np.array([one.noise.is_mixture for one in found])
    is_usable = np.array([one.noise.is_usable for one in found])
    is_usable &= ~is_mixture | may_be_wrong
    total = log_densities @ rows.weight
    null = int(np.where(is_mixture, -np.inf, total).argmax())
    share = np.where(is_usable & ~is_mixture, 1.0, 0.0)
    plain = share > 0
    squares = np.minimum(np.abs(residuals[plain]), _most(residuals[plain][-1], rows)) ** 2
    share[plain] = _nearness(squares, rows.weight, 1.0)
    share /= share.sum()
    if may_be_wrong and is_mixture.any():
        which = [null, *np.flatnonzero(is_mixture)]
        advantage = ADVANTAGE + ADVANTAGE_ROWS / rows.weight.sum()
        near = _nearness(-log_densities[which], rows.weight, STANDARD_ERRORS, advantage)
        share *= near[0]
        share[which[1:]] = near[1:]
    if rows.is_clean.sum() >= VERIFIED_ROWS:
        own = rows.is_clean
        near = _nearness(residuals[is_usable][:, own] ** 2, rows.weight[own], 1.0)
        share[is_usable] *= near
    share /= share.sum()
    share = np.where(share < LEAST_SHARE, 0.0, share)
    return share / share.sum()


def _most(residual, rows):
    """The largest residuals that count: two equal gross errors would predict each other."""
    most = FARTHEST_VOTE * 1.4826 * weighted_median(np.abs(residual), rows.weight)
    return np.where(rows.is_clean | (most == 0), np.inf, most)


def _nearness(losses, weight, standard_errors, advantage=0.0):
    """By losses of rows; differences of rounding are none."""
    floor = ROUNDING * np.abs(losses @ weight).max() / weight.sum()
    return nearness(losses, standard_errors, floor=floor, advantage=advantage, weight=weight)


def share_told(X, wrong, weight, folds):
    """Share of the variance of probabilities to be wrong that columns tell, by held-out trees.

    Jumps that the columns tell are true, however far off linear fits they are. Wrong targets are
    told to .13 at most where they occur at some values of a score alone, exchanged ones to .4.
    """
    kept = np.arange(len(wrong))
    if len(wrong) > TREE_ROWS:
        kept = kept[:: -(-len(wrong) // TREE_ROWS)]
    label = np.empty(len(wrong), dtype=int)
    for number, fold in enumerate(folds):
        label[fold] = number
    X, wrong, weight, label = X[kept], wrong[kept], weight[kept], label[kept]
    mean = np.average(wrong, weights=weight)
    told, all_of_it = 0.0, weight @ (wrong - mean) ** 2
    for number in np.unique(label):
        own, rest = label == number, label != number
        tree = DecisionTreeRegressor(max_depth=4, min_samples_leaf=10, random_state=0)
        tree.fit(X[rest], wrong[rest], sample_weight=weight[rest])
        told += weight[own] @ (wrong[own] - tree.predict(X[own])) ** 2
    return 1 - told / all_of_it if all_of_it else 0.0
