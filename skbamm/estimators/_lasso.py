"""Weighted lasso fits by scikit-learn's coordinate descent, on prepared data."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path

from ._tensors import to_tensor

# From the strength that gives only zeros down to this fraction of it.
SMALLEST_FRACTION = 1e-4
N_STRENGTHS = 80
# On the duality gap, beside the squared length of the target.
PATH_TOL, FINAL_TOL = 1e-4, 1e-10


def weighted_lasso(loss, fold, weights, strengths, *, positive, tol):
    """Minimisers of ``loss + strength * sum_j weights_j |w_j|`` for descending strengths.

    Parameters
    ----------
    loss : QuadraticLoss
    fold : int
    weights : ndarray of shape (n_targets, n_features)
    strengths : ndarray of shape (n_strengths,)

    Returns
    -------
    coef : ndarray of shape (n_strengths, n_targets, n_features)
    """
    design, targets = loss.root_rows(fold)
    # scikit-learn's loss is a mean over rows, ours a sum.
    root = np.sqrt(max(len(design), 1))
    coef = np.zeros((len(strengths), *weights.shape))
    if not len(design):
        return coef
    for target, weight in enumerate(weights):
        scaled = np.asfortranarray(design * (root / weight))
        with warnings.catch_warnings():
            # At the weak end of a path, where nobody goes.
            warnings.simplefilter("ignore", ConvergenceWarning)
            _, path, _ = lasso_path(
                scaled,
                root * targets[:, target],
                alphas=strengths,
                positive=positive,
                tol=tol,
                max_iter=5000,
                precompute=scaled.shape[0] >= scaled.shape[1],
            )
        coef[:, target] = path.T / weight
    return coef


def strength_grid(loss, weights):
    """Descending strengths, the first of which gives only zeros in every fold.

    Parameters
    ----------
    weights : ndarray of shape (n_folds, n_targets, n_features)
    """
    steepest = loss.gradient(loss.zeros()[None])[0].abs().cpu().numpy() / weights
    largest = max(steepest.max(initial=0.0), np.finfo(float).tiny)
    return largest * np.logspace(0, np.log10(SMALLEST_FRACTION), N_STRENGTHS)


def lasso_fits(train, weights, *, positive, device):
    """Paths of all folds: strengths, and coefficients as candidates.

    Returns
    -------
    strengths : ndarray of shape (n_strengths,)
    params : Tensor of shape (n_strengths, n_folds, n_targets, n_features)
    """
    strengths = strength_grid(train, weights)
    paths = [
        weighted_lasso(train, fold, weights[fold], strengths, positive=positive, tol=PATH_TOL)
        for fold in range(len(weights))
    ]
    return strengths, to_tensor(np.stack(paths, axis=1), device)
