"""Weighted lasso fits by scikit-learn's coordinate descent, on prepared data."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path

from ..linalg._tensors import to_numpy, to_tensor
from ._constants import (
    LASSO_FINAL,
    LASSO_PATH,
    LASSO_STANDARD_ERRORS,
    LEAST_SIZE,
    MAGNITUDE_FLOOR,
    N_AT_A_TIME,
    N_STRENGTHS,
    NO_EFFECT,
    PREFERENCE,
    RESOLUTION,
    SMALLEST_FRACTION,
    TINIEST,
)


def weighted_lasso(loss, fold, weights, strengths, *, positive, initial=None, **accuracy):
    """Minimisers of one fold's ``loss + strength * sum_j weights_j |w_j|``.

    For descending strengths, weights and initial coefficients (or None) of shape (n_targets,
    n_features); `accuracy` is `LASSO_PATH` or `LASSO_FINAL`. Of shape (n_strengths,
    n_targets, n_features). The last of final ones is exact, zeros included.
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
            # At the weak end of a path, which is not used.
            warnings.simplefilter("ignore", ConvergenceWarning)
            _, path, _ = lasso_path(
                scaled,
                root * targets[:, target],
                alphas=strengths,
                positive=positive,
                **accuracy,
                precompute=scaled.shape[0] >= scaled.shape[1],
                coef_init=None if initial is None else initial[target] * weight,
                random_state=0,  # of no use, but None would move NumPy's global generator
            )
        if accuracy == LASSO_FINAL:
            problem = scaled, root * targets[:, target], strengths[-1]
            path[:, -1] = _exact(*problem, path[:, -1], positive=positive)
        coef[:, target] = path.T / weight
    return coef


def _exact(design, target, strength, coef, *, positive):
    """The lasso's minimiser from an approximate one, of ``|t - Dw|^2 / 2n + strength |w|``.

    Descent by coordinates leaves a coefficient of rounding where a column is another one's copy
    or complement. What is left is solved for, if that gives what the optimality conditions ask.
    """
    size = np.abs(coef) * np.linalg.norm(design, axis=0) / max(np.linalg.norm(target), TINIEST)
    shrink = strength * len(design)
    for least in NO_EFFECT:
        kept = size > least
        active, signs = design[:, kept], np.sign(coef[kept])
        gram = active.T @ active
        if not kept.any() or np.linalg.cond(gram) * RESOLUTION > 1:
            continue
        solved = np.linalg.solve(gram, active.T @ target - shrink * signs)
        slopes = design.T @ (target - active @ solved)
        steepest = (slopes if positive else np.abs(slopes)).max(where=~kept, initial=0.0)
        if (np.sign(solved) == signs).all() and steepest <= shrink * (1 + PREFERENCE):
            found = np.zeros_like(coef)
            found[kept] = solved
            return found
    # Copies that share an effect have no unique solution: what descent leaves is this exact only.
    return coef * (size > NO_EFFECT[0])


def strength_grid(loss, weights, spread=1.0):
    """Descending strengths, the first of which gives only zeros in every fold.

    `weights` have shape (n_folds, n_targets, n_features). With a `spread` of the columns' sizes
    they go on for as much longer.
    """
    steepest = loss.gradient(loss.zeros()[None])[0].abs().cpu().numpy() / weights
    largest = max(steepest.max(initial=0.0), TINIEST)
    decades = -np.log10(SMALLEST_FRACTION)
    longer = 1 + np.log10(spread) / decades
    return largest * np.logspace(0, -decades * longer, round(N_STRENGTHS * longer))


def lasso_fits(train, weights, error, *, positive, device, spread=1.0):
    """Paths of all folds, down to where the held-out error rises.

    Weaker penalties are not needed, and take most of a path's time. ``error(params)`` is the
    held-out error of candidates. Of columns whose sizes have a `spread` the smallest come last,
    those of small effect after them, and the error may rise before. Returns strengths and params,
    (n_strengths, n_folds, n_targets, n_features).
    """
    grid = strength_grid(train, weights, spread)
    found: list[np.ndarray] = []
    lowest = np.inf
    for begin in range(0, len(grid), N_AT_A_TIME):
        strengths = grid[begin : begin + N_AT_A_TIME]
        paths = [
            weighted_lasso(
                train,
                fold,
                weights[fold],
                strengths,
                positive=positive,
                **LASSO_PATH,
                initial=found[-1][-1, fold] if found else None,
            )
            for fold in range(len(weights))
        ]
        found.append(np.stack(paths, axis=1))
        errors = to_numpy(error(to_tensor(found[-1], device)))
        if errors.min() >= lowest and strengths[-1] * spread**1.5 <= grid[0]:
            break
        lowest = errors.min()
    params = np.concatenate(found)
    return grid[: len(params)], to_tensor(params, device)


def inverse_sizes(params, stretch):
    """Weights of an adaptive lasso (Zou, JASA 2006): a feature's are the same for all targets.

    `params` are of columns divided by a `stretch`, on which the sizes do not depend: so the lasso
    still penalizes these columns more.
    """
    size = to_numpy(params.square().mean(-2, keepdim=True).sqrt().expand_as(params)) / stretch
    largest = size.max(initial=0.0)
    return 1 / np.maximum(size, MAGNITUDE_FLOOR * largest if largest > LEAST_SIZE else 1.0)


def sparse_coefficients(average, loss, weights, *, stretch, positive, device):
    """An adaptive lasso with the coefficients of an `Average` as its initial estimator.

    Its strength has the lowest held-out error on the folds of the average, or is a larger
    one whose error is within half a standard error of that. `loss` and `weights` are of all rows.
    """
    train, upper = average.best.problem.lower.loss, average.best.problem.upper
    strengths, fits = lasso_fits(
        train,
        np.stack([inverse_sizes(params, stretch) for params in average.params[0]]),
        lambda params: upper.by_fold(params).sum(1),
        positive=positive,
        device=device,
    )
    errors = to_numpy(upper.by_fold(fits)) * train.n_folds
    level = float(upper.value(average.best.hyper, fits).min())
    margin = PREFERENCE * max(level, RESOLUTION)
    strength = half_standard_error_rule(strengths, errors, margin)
    grid = np.append(strengths[strengths > strength], strength)
    return weighted_lasso(loss, 0, weights, grid, positive=positive, **LASSO_FINAL)[-1]


def sparsest_exact(loss, weights, floor, *, positive):
    """Least squares on the fewest columns of a lasso path that fit all rows, or None.

    For targets that are fitted but for rounding: a lasso would take a part of every coefficient.
    ``floor`` is the mean squared error below which a fit is exact, in units of the targets'
    variance; the root rows of a Gram matrix do not know what no column fits. Effects smaller than
    the floor's root cannot be told from none.
    """
    design, targets = loss.root_rows(0)
    length = np.linalg.norm(design, axis=0)[:, None]
    grid = strength_grid(loss, weights[None])
    path = weighted_lasso(loss, 0, weights, grid, positive=positive, **LASSO_PATH)
    for params in path:
        coef = params.T
        for _ in range(2):  # once more without the columns that turn out to have no effect
            kept = (np.abs(coef) * length > np.sqrt(floor)).any(axis=1)
            coef = np.zeros_like(coef)
            coef[kept] = np.linalg.lstsq(design[:, kept], targets)[0]
        error = np.square(targets - design @ coef).sum() / targets.shape[1]
        if error <= floor and not (positive and (coef < 0).any()):
            return coef.T
    return None


def half_standard_error_rule(strengths, errors, margin):
    """The first of descending strengths that the folds cannot tell from the best one.

    Mean errors that differ by less than `margin` are the same.
    """
    means = errors.mean(axis=1)
    best = int(np.flatnonzero(means <= means.min() + margin)[0])
    n_folds = errors.shape[1]
    if n_folds < 3:
        return strengths[best]
    increase = errors - errors[best]
    allowed = margin + LASSO_STANDARD_ERRORS * increase.std(axis=1, ddof=1) / np.sqrt(n_folds)
    return strengths[np.flatnonzero(increase.mean(axis=1) <= allowed)[0]]
