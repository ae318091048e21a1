"""Lasso paths of log losses, and the strength of an adaptive lasso."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...linalg._curvature import CLOSE
from ...linalg._softmax import CrossEntropy
from ...linalg._sparse_softmax import minimize_sparse
from ...linalg._tensors import to_numpy
from .._constants import (
    LASSO_NEAR,
    LASSO_STEP,
    LOG_LOSS_STEPS,
    MAX_LASSO_STEPS,
    MAX_PATIENCE,
    NO_LOSS,
    PREFERENCE,
    STRENGTH_GAIN,
)
from .._lasso import half_standard_error_rule, inverse_sizes
from ..losses._sparse_log_loss import SparseLogLoss

# A strength with which only the intercept is left.
ALL_ZERO = 1e12


@dataclass(frozen=True)
class LassoFits:
    """Fits of all folds at descending strengths, down to where the held-out loss rises."""

    strengths: np.ndarray
    params: list[torch.Tensor]  # (1, n_folds, n_scores, n_columns) each
    by_fold: np.ndarray  # (n_strengths, n_folds), held-out losses
    curvature: Any  # at the best of them
    tol: float  # at which others near it are solved

    @property
    def best(self):
        return int(self.by_fold.sum(axis=1).argmin())

    @classmethod
    def of(cls, loss, weights, upper):
        """Where `weights`, (n_folds, n_penalized), are multiplied by the strengths."""
        level = SparseLogLoss(loss, None)
        weights = level.absolute(weights)[:, None]
        objective = CrossEntropy(loss.rows, loss.weight, level._ridge())
        params = loss.zeros()
        curvature = replace(loss.curvature(params[None]), centred=False)

        def solved(strength, params):
            options = {"tol": tol, "max_iter": LOG_LOSS_STEPS}
            return minimize_sparse(objective, strength * weights, params, curvature, **options)

        tol = LASSO_NEAR
        params = solved(ALL_ZERO, params)
        steepest = objective.gradient(params).abs() / weights.clamp_min(1e-300)
        strength = float((steepest * (weights > 0)).amax())
        strengths, fits, losses, patience = [], [], [], 0
        best, kept = np.inf, (curvature, tol)
        for _ in range(MAX_LASSO_STEPS):
            params = solved(strength, params)
            strengths.append(strength)
            fits.append(params[None])
            losses.append(to_numpy(upper.by_fold(params[None])[0]))
            found = losses[-1].sum()
            patience = 0 if found < best * (1 - STRENGTH_GAIN) else patience + 1
            curvature = loss.curvature(params[None])
            tol = LASSO_NEAR * float(loss.by_fold(params[None]).min()) ** 0.5
            if found < best:
                best, kept = found, (curvature, tol)
            if patience >= 2 * MAX_PATIENCE or best <= NO_LOSS:
                break
            strength *= LASSO_STEP
        return cls(np.array(strengths), fits, np.array(losses), *kept)


def sparse_fit(loss, weights, params):
    """Params (n_scores, n_columns) of all rows, a single fold, from params near them."""
    level = SparseLogLoss(loss, None)
    objective = CrossEntropy(loss.rows, loss.weight, level._ridge())
    weights = level.absolute(weights)[None, None]
    for _ in range(2):  # the second time with the curvature of about the solution
        curvature = loss.curvature(params[None, None])
        options = {"tol": CLOSE, "max_iter": LOG_LOSS_STEPS, "polish": True}
        params = minimize_sparse(objective, weights, params[None], curvature, **options)[0]
    if loss.rows.has_reference:
        return params
    # Adding a number to the intercepts of all classes changes nothing.
    return params - params.mean(0) * (weights[0, 0] == 0)


def adaptive_lasso(average, loss, params, stretch):
    """Params of all rows with zeros, given an `Average` and the mean of its fits.

    The strength has the lowest held-out loss on the folds of the average, or is a larger one whose
    loss is within half a standard error of that.
    """
    problem = average.best.problem
    train, upper, n_penalized = problem.lower.loss, problem.upper, len(stretch)
    sizes = [
        inverse_sizes(one[..., :n_penalized], stretch)[0] for one in (*average.params[0], params)
    ]
    weights = params.new_tensor(np.array(sizes))
    fits = LassoFits.of(train, weights[:-1], upper)
    losses = fits.by_fold * train.n_folds
    margin = PREFERENCE * float(fits.by_fold[fits.best].sum())
    strength = half_standard_error_rule(fits.strengths, losses, margin)
    initial = fits.params[int(np.flatnonzero(fits.strengths == strength)[0])]
    return sparse_fit(loss, strength * weights[-1], initial[0].mean(0))
