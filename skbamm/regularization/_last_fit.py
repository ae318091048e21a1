"""The last fit, on all rows, with what was learned."""

from __future__ import annotations

import numpy as np

from ..linalg._tensors import to_numpy, to_tensor
from ._lasso import FINAL, lasso_fits, weighted_lasso

# Penalty that takes a coefficient out, in units of the largest of the others' or of the Gram
# matrix's diagonal.
EXCLUSION = 1e12


def refit(final, learned, *, exact_zeros, is_lasso, positive):
    """Coefficients on all rows, shape (n_targets, n_features).

    Parameters
    ----------
    final : PenaltyProblem
        Its lower level is the loss of all rows, as a single fold; nothing is learned in it.
    learned : Learned
        From the folds.
    exact_zeros : bool
        Whether features that do not matter get a coefficient of exactly zero.
    is_lasso : bool
        Whether the penalty itself is a weighted lasso.
    positive : bool
    """
    loss, nothing = final.lower.loss, learned.hyper[:, :0]
    if is_lasso:
        weights = to_numpy(final.lower.weights(nothing)[0][0])
        weights = np.repeat(weights, loss.zeros().shape[1], axis=0)
        coef = weighted_lasso(loss, 0, weights, np.ones(1), positive=positive, **FINAL)
        return to_tensor(coef[0], learned.params.device)
    solved = final.solve_lower(nothing, loss.zeros()[None])
    if exact_zeros:
        weights = to_numpy(final.lower.majorizer(nothing, solved)[0, 0].sqrt())
        return _sparse(loss, weights, learned, positive)
    return _without_negative(final, nothing, solved)[0, 0] if positive else solved[0, 0]


def _sparse(loss, weights, learned, positive):
    """A lasso on columns divided by the roots of their learned weights.

    Its strength has the lowest held-out error on the same folds, or is a larger one whose
    error is within half a standard error of that.
    """
    lower, device = learned.problem.lower, learned.params.device
    by_fold = to_numpy(lower.majorizer(learned.hyper, learned.params)[0].sqrt())
    upper = learned.problem.upper
    strengths, fits = lasso_fits(
        lower.loss,
        by_fold,
        lambda params: upper.by_fold(params).sum(1),
        positive=positive,
        device=device,
    )
    errors = to_numpy(upper.by_fold(fits)) * lower.loss.n_folds
    strength = _half_standard_error_rule(strengths, errors)
    grid = np.append(strengths[strengths > strength], strength)
    coef = weighted_lasso(loss, 0, weights, grid, positive=positive, **FINAL)
    return to_tensor(coef[-1], device)


def _half_standard_error_rule(strengths, errors):
    """The first of descending strengths that the folds cannot tell from the best one."""
    means = errors.mean(axis=1)
    best = int(means.argmin())
    n_folds = errors.shape[1]
    if n_folds < 3:
        return strengths[best]
    increase = errors - errors[best]
    allowed = 0.5 * increase.std(axis=1, ddof=1) / np.sqrt(n_folds)
    return strengths[np.flatnonzero(increase.mean(axis=1) <= allowed)[0]]


def _without_negative(final, hyper, solved):
    """Zero where the barrier holds a coefficient, the others solved for."""
    if not solved.numel():  # nothing is penalized
        return solved
    free = solved > 0
    weights = final.lower.majorizer(hyper, solved.clamp_min(0))
    excluded = EXCLUSION * (1 + weights.max())
    metric = final.lower.loss.metric(weights.where(free, excluded))
    coef = metric.minimizer(final.lower.loss, solved)
    return coef.clamp_min(0) * free
