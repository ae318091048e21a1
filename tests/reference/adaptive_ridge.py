"""The regressor's criterion and refit, written slowly from the formulas in its documentation.

Every fold is a least squares problem with one extra row for each penalized coefficient;
nothing is shared with the package: no Gram matrices, kernels or decompositions of paths.
"""

import numpy as np

MAGNITUDE_FLOOR = 1e-3


def ridge(X, y, alpha, weight=None, fit_intercept=True):
    """Minimiser of ``mean(w (y - X b - c)^2) / 2 + sum(alpha b^2) / 2``.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_targets)
    alpha : float or ndarray of shape (n_features,)

    Returns
    -------
    coef : ndarray of shape (n_features,) or (n_targets, n_features)
    intercept : float or ndarray of shape (n_targets,)
    """
    weight = np.ones(len(X)) if weight is None else weight
    weight = weight / weight.sum()
    alpha = np.broadcast_to(np.asarray(alpha, dtype=float), X.shape[1])
    X_mean, y_mean = (weight @ X, weight @ y) if fit_intercept else (0 * X[0], 0 * y[0])
    root = np.sqrt(weight)
    design = np.vstack([root[:, None] * (X - X_mean), np.diag(np.sqrt(alpha))])
    targets = (root * (y - y_mean).T).T
    target = np.concatenate([targets, np.zeros((X.shape[1], *y.shape[1:]))])
    coef = np.linalg.lstsq(design, target, rcond=None)[0].T
    return coef, y_mean - coef @ X_mean


def scales(columns, weight=None):
    """Weighted standard deviations."""
    weight = np.ones(len(columns)) if weight is None else weight
    mean = np.average(columns, axis=0, weights=weight)
    return np.sqrt(np.average((columns - mean) ** 2, axis=0, weights=weight))


def adaptive_alpha(X, y, hyper, groups=None, weight=None):
    """Penalty weights that a pilot ridge fit on these rows gives.

    Parameters
    ----------
    X, y : ndarray
        In the units in which the penalty acts; y of shape (n_samples, n_targets).
    hyper : sequence
        Log pilot strength, log strength, exponent, [share of the group].
    groups : ndarray of shape (n_features,) or None
        Labels.
    """
    pilot, _ = ridge(X, y, np.exp(hyper[0]), weight)
    square = np.mean(pilot**2, axis=0)
    mean = square.mean()
    shared = square.copy()
    for label in np.unique(groups) if groups is not None else []:
        members = groups == label
        shared[members] += hyper[3] * (square[members].mean() - square[members])
    magnitude = np.sqrt((shared + MAGNITUDE_FLOOR**2 * mean) / mean)
    return np.exp(hyper[1]) * magnitude ** -hyper[2]


def held_out_error(X, y, splits, alpha_of, weight=None, *, standardize=True):
    """Weighted mean squared error on held-out rows, in units of the targets' variances.

    ``alpha_of(X, y, weight)`` gives the penalty weights for a fold's training rows.
    """
    weight = np.ones(len(X)) if weight is None else weight
    y = y.reshape(len(y), -1)
    X = X / scales(X, weight) if standardize else X
    y = y / scales(y, weight)
    error, total = 0.0, 0.0
    for train, test in splits:
        alpha = alpha_of(X[train], y[train], weight[train])
        coef, intercept = ridge(X[train], y[train], alpha, weight[train])
        square = (y[test] - X[test] @ coef.T - intercept) ** 2
        error += weight[test] @ square.mean(axis=1)
        total += weight[test].sum()
    return error / total


def adaptive_criterion(X, y, splits, hyper, groups=None, weight=None):
    """Held-out error of the adaptive penalty at `hyper`."""

    def alpha_of(X, y, weight):
        return adaptive_alpha(X, y, hyper, groups, weight)

    return held_out_error(X, y, splits, alpha_of, weight)


def adaptive_refit(X, y, trains, hyper, groups=None, weight=None):
    """Coefficients on all rows and penalty weights, in original units.

    The weights are the geometric mean of those that the folds' training rows give.
    """
    X_scale, y_scale = scales(X, weight), scales(y.reshape(len(y), -1), weight)
    scaled, targets = X / X_scale, y.reshape(len(y), -1) / y_scale
    weights = np.ones(len(X)) if weight is None else weight
    logs = [
        np.log(adaptive_alpha(scaled[rows], targets[rows], hyper, groups, weights[rows]))
        for rows in trains
    ]
    alpha = np.exp(np.mean(logs, axis=0))
    coef, _ = ridge(scaled, targets, alpha, weight)
    return coef * y_scale[:, None] / X_scale, alpha
