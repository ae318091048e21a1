"""Approximate inverse Hessians of softmax regressions whose columns have penalties of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ._softmax import NEAR, CrossEntropy, minimize

# Factors of blocks are cheaper than the products they save up to so many columns, and so many
# times the root of the number of rows (measured).
MAX_COLUMNS, MAX_RATIO = 1000, 20
# Of a whole Hessian: more columns for each score take longer than they save.
MAX_HESSIAN = 200
# Distance to the minimiser, in units in which the Hessian is about the identity, that is next to
# none; how many steps at most, of Newton's method and of conjugate gradients.
CLOSE, MAX_NEWTON, N_STEPS = 1e-10, 50, 2000
# The square of such a distance that rounding leaves, and the fraction of the one before above which
# a step makes the next one take another Hessian.
NOTHING, SLOW = 1e-26, 1e-2
# How far curvatures of rows may be from those of a metric that still serves, relative to all.
CHANGE = 0.2
# Added to a block before its Cholesky factorization, relative to its mean diagonal.
JITTER = 1e-12


@dataclass(frozen=True)
class Curvature:
    """Class-wise blocks of the Hessian of a cross-entropy, or their diagonals.

    All folds share the blocks of their mean: their rows are nearly the same, and blocks cost most.
    Up to that, exact for two classes.
    """

    blocks: torch.Tensor  # (n_scores, n_columns[, n_columns])
    centred: bool  # whether params sum to zero over the classes
    by_row: torch.Tensor  # (n_scores, n_rows), that of each row

    @classmethod
    def of(cls, rows, weights, probabilities):
        """Of rows with weights (n_folds, n_rows), at probabilities (n_folds, n_scores, n_rows)."""
        curvature = mean_curvature(weights, probabilities)
        if rows.n_columns > min(MAX_COLUMNS, MAX_RATIO * rows.n_rows**0.5):
            blocks = rows.design.column_squares(curvature)
        else:
            blocks = torch.stack([rows.design.gram(weight) for weight in curvature])
        return cls(blocks, not rows.has_reference, curvature)

    def is_near(self, weights, probabilities):
        """Whether it serves at other probabilities, given as to `of`."""
        found = mean_curvature(weights, probabilities)
        return float((found - self.by_row).abs().sum()) <= CHANGE * float(self.by_row.sum())

    def metric(self, penalty):
        """Inverse of the blocks plus a penalty, of shape ([n_fits, [n_scores,]] n_columns)."""
        penalty = penalty if penalty.ndim == 3 else penalty[..., None, :]
        if self.blocks.ndim == 2:
            return DiagonalMetric(self.blocks + penalty)
        return BlockMetric(self._factors(penalty), self.centred)

    def shared_metric(self, penalty, n_free=0):
        """The same for penalties (n_candidates, n_folds, n_columns), folds of a candidate as one.

        Their penalties are nearly the same as a rule, and inverses for each of them cost most:
        there is one for their mean, and a scale makes the diagonal right, given the last `n_free`
        columns, whose penalty all folds share: adding multiples of these changes no solution.
        """
        if self.blocks.ndim == 2:
            return self.metric(penalty.flatten(0, 1))
        mean, n_first = penalty.log().mean(1).exp()[:, None], penalty.shape[-1] - n_free
        free = self.blocks[..., n_first:, n_first:]
        free = free + torch.diag_embed(mean[..., n_first:] + JITTER * self._size)
        inverse = torch.cholesky_inverse(self._factors(mean))
        cross = self.blocks[..., :n_first, n_first:]
        free = torch.linalg.inv(free)
        regression = free @ cross.mT
        diagonal = self.blocks.diagonal(dim1=-2, dim2=-1)[..., :n_first]
        diagonal = diagonal - (cross * regression.mT).sum(-1)  # (n_candidates, n_scores, n_first)
        own, mean = penalty[:, None, :, :n_first], mean[:, None, :, :n_first]
        diagonal = diagonal[:, :, None].clamp_min(0)
        scale = ((diagonal + mean) / (diagonal + own)).sqrt()
        return SharedMetric(inverse, scale, regression, free, self.centred)

    @property
    def _size(self):
        return self.blocks.diagonal(dim1=-2, dim2=-1).mean(-1, keepdim=True)

    def _factors(self, penalty):
        added = penalty + JITTER * self._size  # ([n_fits,] n_scores, n_columns)
        blocks = self.blocks + torch.diag_embed(added)
        factor, failed = torch.linalg.cholesky_ex(blocks)
        if bool(failed.any()):  # rounding made a block indefinite
            diagonal = torch.diag_embed(blocks.diagonal(dim1=-2, dim2=-1).sqrt())
            factor = factor.where((failed == 0)[..., None, None], diagonal)
        return factor


def mean_curvature(weights, probabilities):
    """Of the loss of each row in each score, mean over the folds."""
    return (weights[:, None] * probabilities * (1 - probabilities)).mean(0)


@dataclass(frozen=True)
class HessianMetric:
    """Inverse of the whole Hessian of a single fit."""

    factor: torch.Tensor  # (n_scores * n_columns,) * 2
    centred: bool

    @classmethod
    def of(cls, rows, weight, probabilities, penalty):
        """For a weight (n_rows,), probabilities (n_scores, n_rows) and a penalty (n_columns,)."""
        n_scores, n_columns = rows.n_scores, rows.n_columns
        hessian = weight.new_zeros(n_scores, n_columns, n_scores, n_columns)
        for first in range(n_scores):
            given = weight * probabilities[first]
            for second in range(first):
                block = -rows.design.gram(given * probabilities[second])
                hessian[first, :, second] = hessian[second, :, first] = block
            own = rows.design.gram(given * (1 - probabilities[first]))
            hessian[first, :, first] = own + penalty.diag()
        hessian = hessian.reshape(n_scores * n_columns, -1)
        added = JITTER * hessian.diagonal().mean() * torch.eye(len(hessian)).to(hessian)
        return cls(torch.linalg.cholesky_ex(hessian + added)[0], not rows.has_reference)

    def solve(self, vector):
        solution = torch.cholesky_solve(vector.reshape(-1, 1), self.factor)
        solution = solution.reshape(vector.shape)
        return solution - solution.mean(-2, keepdim=True) if self.centred else solution


@dataclass(frozen=True)
class BlockMetric:
    factor: torch.Tensor  # ([n_fits,] n_scores, n_columns, n_columns)
    centred: bool

    def solve(self, vector):
        if self.factor.ndim == 4:
            solution = torch.cholesky_solve(vector[..., None], self.factor)[..., 0]
        else:  # all fits as the columns of one right-hand side
            solution = torch.cholesky_solve(vector.permute(1, 2, 0), self.factor).permute(2, 0, 1)
        return solution - solution.mean(-2, keepdim=True) if self.centred else solution


@dataclass(frozen=True)
class SharedMetric:
    """Free columns are eliminated exactly, the others have an inverse of all folds' mean."""

    inverse: torch.Tensor  # (n_candidates, n_scores, n_columns, n_columns)
    scale: torch.Tensor  # (n_candidates, n_scores, n_folds, n_penalized)
    regression: torch.Tensor  # of free columns on the others, (..., n_free, n_penalized)
    free: torch.Tensor  # inverse of their own block, (n_candidates, n_scores, n_free, n_free)
    centred: bool

    def solve(self, vector):
        shape, (n_candidates, _, n_folds, n_penalized) = vector.shape, self.scale.shape
        columns = vector.reshape(n_candidates, n_folds, *shape[-2:]).transpose(1, 2)
        first, last = columns[..., :n_penalized], columns[..., n_penalized:]
        first = self.scale * (first - last @ self.regression)
        first = self.scale * (first @ self.inverse[..., :n_penalized, :n_penalized])
        last = last @ self.free - first @ self.regression.mT
        solution = torch.cat([first, last], dim=-1).transpose(1, 2).reshape(shape)
        return solution - solution.mean(-2, keepdim=True) if self.centred else solution


@dataclass(frozen=True)
class DiagonalMetric:
    diagonal: torch.Tensor  # ([n_fits,] n_scores, n_columns)

    def solve(self, vector):
        return vector / self.diagonal


def minimize_closely(rows, weight, penalty, params):
    """One fit's minimiser, (1, n_scores, n_columns), to working precision, from params near it.

    Newton's method, where that is cheap: in few steps rounding does not grow, so that equal
    problems (weights written as repeated rows) get equal answers.
    """
    objective = CrossEntropy(rows, weight, penalty[:, None])
    if rows.n_scores * rows.n_columns > MAX_HESSIAN:
        metric = Curvature.of(rows, weight, rows.evaluated(params)[1]).shared_metric(penalty[None])
        return minimize(objective, params, tol=CLOSE, max_iter=N_STEPS, metric=metric)
    metric, least = None, math.inf
    for _ in range(MAX_NEWTON):
        is_new = metric is None
        if metric is None:
            probabilities = rows.evaluated(params)[1]
            metric = HessianMetric.of(rows, weight[0], probabilities[0], penalty[0])
        gradient = objective.gradient(params)
        step = metric.solve(gradient)
        decrement = float((gradient * step).sum())
        if decrement <= NOTHING or (is_new and decrement >= least):
            break
        if decrement > NEAR * float(objective.value(params)):
            params = minimize(objective, params, tol=CLOSE, max_iter=1, metric=metric)
            metric, least = None, math.inf
            continue
        if decrement > SLOW * least:  # the Hessian is no longer that of the point
            metric = None
        if decrement < least:
            params, least = params - step, decrement
    return params
