"""Weighted lasso fits by scikit-learn's coordinate descent, on prepared data."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path

from ..linalg._tensors import to_numpy, to_tensor

# From the strength that gives only zeros down to this fraction of it.
SMALLEST_FRACTION = 1e-4
N_STRENGTHS = 80
N_AT_A_TIME = 8
# The tolerance is on the duality gap, beside the squared length of the target.
PATH = {"tol": 1e-4, "max_iter": 1000}
FINAL = {"tol": 1e-10, "max_iter": 20_000}


def weighted_lasso(loss, fold, weights, strengths, *, positive, start=None, **accuracy):
    """Minimisers of ``loss + strength * sum_j weights_j |w_j|`` for descending strengths.

    Parameters
    ----------
    loss : QuadraticLoss
    fold : int
    weights : ndarray of shape (n_targets, n_features)
    strengths : ndarray of shape (n_strengths,)
    start : ndarray of shape (n_targets, n_features) or None
        Coefficients near the first minimiser.
    **accuracy
        `PATH` or `FINAL`.

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
                **accuracy,
                precompute=scaled.shape[0] >= scaled.shape[1],
                coef_init=None if start is None else start[target] * weight,
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


def lasso_fits(train, weights, error, *, positive, device):
    """Paths of all folds, down to where the error has turned up.

    Parameters
    ----------
    train : QuadraticLoss
    weights : ndarray of shape (n_folds, n_targets, n_features)
    error : callable
        Held-out error of candidates, shape (n_candidates,). Weak penalties are what a path
        spends its time on, and nobody goes there.

    Returns
    -------
    strengths : ndarray of shape (n_strengths,)
    params : Tensor of shape (n_strengths, n_folds, n_targets, n_features)
    """
    grid = strength_grid(train, weights)
    found: list[np.ndarray] = []
    lowest = np.inf
    for begin in range(0, N_STRENGTHS, N_AT_A_TIME):
        part = grid[begin : begin + N_AT_A_TIME]
        paths = [
            weighted_lasso(
                train,
                fold,
                weights[fold],
                part,
                positive=positive,
                **PATH,
                start=found[-1][-1, fold] if found else None,
            )
            for fold in range(len(weights))
        ]
        found.append(np.stack(paths, axis=1))
        errors = to_numpy(error(to_tensor(found[-1], device)))
        if errors.min() >= lowest:
            break
        lowest = errors.min()
    params = np.concatenate(found)
    return grid[: len(params)], to_tensor(params, device)
