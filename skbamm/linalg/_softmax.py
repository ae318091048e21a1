"""Weighted softmax regression of all candidates and folds at once.

`params` has shape (n_candidates, n_folds, n_scores, n_columns), the last column being the
intercept. With two classes there is one score, the other being zero; with more, one for
each class. Weights of rows have shape (n_candidates, n_folds, n_rows).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch

from ._design import BlockedDesign

# Keeps the unpenalized intercepts of separable or absent classes finite.
INTERCEPT_RIDGE = 1e-6
# Mean of p (1 - p) in a fit of usual sharpness; sets the scale of first steps only.
USUAL_CURVATURE = 0.2
# Where coordinates of the diagonal hand over to those of the blocks.
NEAR = 1e-3
# Most operations of curvature blocks for which they do.
MAX_BLOCKS = 2e7
# A curvature matrix of more columns than this is replaced by its diagonal.
MAX_BLOCK = 1000
# Rows that are squared at a time.
SQUARED_ROWS = 2**12


class LabelledRows:
    """Design and labels, and the products that every objective on them needs.

    `design`, an ndarray, sparse matrix or `BlockedDesign`, has a column of ones last.
    """

    def __init__(self, design, labels, n_classes, device):
        self.is_dense = isinstance(design, np.ndarray)
        self.is_blocked = isinstance(design, BlockedDesign)
        if self.is_dense:
            design = torch.from_numpy(design).to(device)
        self.design = design if self.is_dense or self.is_blocked else design.tocsr()
        self.has_reference = n_classes == 2
        indicator = torch.nn.functional.one_hot(torch.from_numpy(labels).to(device), n_classes)
        indicator = indicator.T.to(torch.float64)
        self.indicator = (indicator[1:] if self.has_reference else indicator).contiguous()
        self._latest = (None, None)

    def subset(self, mask):
        """Only the rows of a boolean mask."""
        if self.is_blocked:
            design = self.design.take(mask).X
        else:
            design = self.design[mask if self.is_dense else mask.cpu().numpy()]
        part = self.altered(design, self.indicator[..., mask])
        part.is_dense, part.is_blocked = self.is_dense or self.is_blocked, False
        return part

    def with_targets(self, targets):
        """The same rows with shares of classes for labels.

        `targets` has shape (n_candidates, 1, n_scores, n_rows), or less of the first axes.
        """
        return self.altered(self.design, targets)

    def smoothed(self, share):
        """The same rows with a small share of every label spread over all classes.

        Keeps the intercept of a class without rows finite.
        """
        n_classes = self.n_scores + self.has_reference
        return self.altered(self.design, (self.indicator + share / n_classes) / (1 + share))

    def altered(self, design, indicator):
        part = copy.copy(self)
        part.design, part.indicator, part._latest = design, indicator, (None, None)
        return part

    @property
    def n_scores(self):
        return self.indicator.shape[-2]

    @property
    def n_columns(self):
        return self.design.shape[1]

    @property
    def n_rows(self):
        return self.indicator.shape[-1]

    def scores(self, params):
        """Linear scores, shape (..., n_scores, n_rows)."""
        if self.is_dense:
            return params @ self.design.T
        if self.is_blocked:
            return self.design.matmul(params)
        return self._sparse(self.design, params)

    def adjoint(self, columns):
        """Transpose of `scores`."""
        if self.is_dense:
            return columns @ self.design
        if self.is_blocked:
            return self.design.rmatmul(columns)
        return self._sparse(self.design.T, columns)

    def zeros(self, n_candidates, n_folds):
        """Params of fits without anything known."""
        shape = (n_candidates, n_folds, self.n_scores, self.n_columns)
        return self.indicator.new_zeros(shape)

    def _sparse(self, matrix, tensor):
        """``tensor @ matrix.T`` through SciPy: several times faster than torch's sparse."""
        flat = tensor.reshape(-1, tensor.shape[-1]).cpu().numpy()
        product = torch.from_numpy(np.ascontiguousarray((matrix @ flat.T).T))
        return product.to(tensor).reshape(*tensor.shape[:-1], -1)

    def forward(self, params):
        """Scores at `params`; the last answer is kept for the next objective that asks."""
        if self._latest[0] is not params:
            self._latest = (params, self.scores(params))
        return self._latest[1]

    def cross_entropy(self, scores, targets=None):
        """Loss of the given labels (or targets), and the probabilities of the scored classes."""
        targets = self.indicator if targets is None else targets
        largest = scores.amax(-2, keepdim=True)
        if self.has_reference:
            largest = largest.clamp_min(0)
        probabilities = (scores - largest).exp_()
        total = probabilities.sum(-2, keepdim=True)
        if self.has_reference:
            total = total + (-largest).exp()
        log_normalizer = (largest + total.log())[..., 0, :]
        return log_normalizer - (scores * targets).sum(-2), probabilities / total

    def curvature(self, probabilities, direction):
        """Second derivative of the cross-entropy in the scores, times a direction."""
        product = probabilities * direction
        return product - probabilities * product.sum(-2, keepdim=True)

    def curvature_along(self, probabilities, direction):
        """Second derivative of the cross-entropy along a direction of the scores, twice."""
        product = probabilities * direction
        return (product * direction).sum(-2) - product.sum(-2).square()

    def penalized(self):
        """1 for each column that the ridge acts on, 0 for the intercept's."""
        mask = self.indicator.new_ones(self.n_columns)
        mask[-1] = 0.0
        return mask

    def penalty(self, ridge):
        """Weights of squared params for ridge strengths of shape (n_candidates,)."""
        mask = self.penalized()
        return ridge[:, None, None, None] * mask + INTERCEPT_RIDGE * (1 - mask)

    def column_squares(self, weight):
        """Weighted sum of squares of each column, for weights of shape (..., n_rows)."""
        if self.is_blocked:
            return self.design.column_squares(weight)
        if not self.is_dense:
            return self._sparse(self.design.multiply(self.design).T, weight)
        squares = weight.new_zeros(*weight.shape[:-1], self.n_columns)
        for start in range(0, len(self.design), SQUARED_ROWS):  # not a second design
            rows = slice(start, start + SQUARED_ROWS)
            squares += weight[..., rows] @ self.design[rows].square()
        return squares


@dataclass(frozen=True)
class BlockMetric:
    """Inverse of the class-wise blocks of the Hessian, at given weights and probabilities.

    All folds share the blocks of their mean: their rows are nearly the same, and blocks cost
    most. Up to that, exact for two classes; otherwise within a factor of 2 of the Hessian on
    directions that sum to zero over classes, which is where all gradients are.
    """

    factor: torch.Tensor
    centred: bool
    exact = False

    @classmethod
    def build(cls, rows, weights, probabilities, ridge):
        """`ridge` of shape (n_candidates,); `weights` (n_candidates, n_folds, n_rows)."""
        curvature = (weights[:, :, None] * probabilities * (1 - probabilities)).mean(1)
        blocks = weighted_squares(rows, curvature) + torch.diag_embed(rows.penalty(ridge)[:, 0])
        # Where a class has no mass left its block is the ridge's alone.
        size = blocks.diagonal(dim1=-2, dim2=-1).mean(-1)
        eye = torch.eye(rows.n_columns, dtype=blocks.dtype, device=blocks.device)
        factor = torch.linalg.cholesky_ex(blocks + 1e-12 * size[..., None, None] * eye)[0]
        return cls(factor, not rows.has_reference)

    def solve(self, vector):
        # Folds as the columns of one right-hand side.
        moved = torch.cholesky_solve(vector.permute(0, 2, 3, 1), self.factor).permute(0, 3, 1, 2)
        return moved - moved.mean(-2, keepdim=True) if self.centred else moved


@dataclass(frozen=True)
class DiagonalMetric:
    """Inverse of the Hessian's diagonal, for designs too wide for `BlockMetric`."""

    diagonal: torch.Tensor
    exact = False

    @classmethod
    def build(cls, rows, weights, probabilities, ridge):
        curvature = weights[:, :, None] * probabilities * (1 - probabilities)
        diagonal = rows.column_squares(curvature) + rows.penalty(ridge)
        return cls(diagonal.mean(2, keepdim=True))

    @classmethod
    def usual(cls, rows, weights, ridge):
        """That of predictions of usual sharpness, at any point."""
        squares = rows.column_squares(weights.mean((0, 1)))
        return cls(USUAL_CURVATURE * squares + rows.penalty(ridge))

    def solve(self, vector):
        return vector / self.diagonal


def weighted_squares(rows, curvature):
    """``X' diag(curvature) X`` for each leading index."""
    shape = curvature.shape[:-1]
    d = rows.n_columns
    blocks = curvature.new_empty(*shape, d, d)
    for index in np.ndindex(*shape):
        if rows.is_dense:
            half = rows.design * curvature[index].clamp_min(0).sqrt()[:, None]
            blocks[index] = half.T @ half
        elif rows.is_blocked:
            blocks[index] = rows.design.gram(curvature[index])
        else:
            weight = curvature[index].cpu().numpy()[:, None]
            product = rows.design.T @ rows.design.multiply(weight)
            blocks[index] = torch.from_numpy(product.toarray()).to(curvature)
    return blocks


def make_metric(rows, weights, probabilities, ridge):
    """The strongest metric that the number of columns allows."""
    kind = BlockMetric if rows.n_columns <= MAX_BLOCK else DiagonalMetric
    return kind.build(rows, weights, probabilities, ridge)


def minimize_cross_entropy(rows, weights, ridge, start, *, tol=1e-6, max_iter=300, metric=None):
    """Minimiser of ``sum_i weights_i CE_i + ridge |W|^2 / 2``, for each candidate and fold.

    Conjugate gradients in coordinates in which a usual Hessian is near the identity come near.
    Where that is cheap, those of the blocks of the Hessian end it: with few iterations left
    rounding does not grow, so that equal problems (weights written as repeated rows) get equal
    answers.

    `weights` sum to 1 over rows; `ridge` has shape (n_candidates,). `tol` is on the distance to
    the minimiser in units in which the Hessian is about the identity. With the `metric` of a point
    nearby, its coordinates alone are taken.
    """
    if metric is not None:
        return _conjugate_gradients(rows, weights, ridge, start, tol, max_iter, metric)
    usual = DiagonalMetric.usual(rows, weights, ridge)
    if tol >= NEAR or blocks_cost_much(rows):
        tol = max(tol, NEAR / 10)
        return _conjugate_gradients(rows, weights, ridge, start, tol, max_iter, usual)
    params = _conjugate_gradients(rows, weights, ridge, start, NEAR, max_iter, usual)
    _, probabilities = rows.cross_entropy(rows.scores(params))
    metric = make_metric(rows, weights, probabilities, ridge)
    return _conjugate_gradients(rows, weights, ridge, params, tol, max_iter, metric)


def blocks_cost_much(rows):
    """Whether the curvature blocks of all rows cost more than they save."""
    return rows.n_scores * rows.n_rows * rows.n_columns**2 > MAX_BLOCKS


def _conjugate_gradients(rows, weights, ridge, params, tol, max_iter, metric):
    """Nonlinear conjugate gradients (Polak, Ribiere), with the exact step on the local parabola.

    Scores move along with params: two products with the design an iteration.
    """
    penalty = rows.penalty(ridge)
    scores = rows.scores(params)
    loss, probabilities = rows.cross_entropy(scores)
    value = (weights * loss).sum(2) + sum_params(penalty * params.square()) / 2
    direction = previous = None
    for _ in range(max_iter):
        residual = probabilities - rows.indicator
        gradient = rows.adjoint(weights[:, :, None] * residual) + penalty * params
        steepest = metric.solve(gradient)
        decrement = sum_params(gradient * steepest)
        moving = decrement > tol**2
        if not moving.any():
            break
        direction = _conjugate(gradient, steepest, decrement, direction, previous)
        slope = sum_params(gradient * direction)
        ahead = rows.scores(direction)
        bend = (weights * rows.curvature_along(probabilities, ahead)).sum(2)
        bend = bend + sum_params(penalty * direction.square())
        step = (slope / bend.clamp_min(1e-300)).where(moving, bend * 0)[..., None, None]
        residual = probabilities = loss = None  # as large as all rows; others are made
        for _ in range(20):
            tried, tried_scores = params - step * direction, scores - step * ahead
            loss, probabilities = rows.cross_entropy(tried_scores)
            found = (weights * loss).sum(2) + sum_params(penalty * tried.square()) / 2
            risen = found > value * (1 + 1e-12)
            if not risen.any():
                break
            step = step.where(~risen[..., None, None], step / 2)
        params, scores, value = tried, tried_scores, found
        previous = gradient, decrement
    return params


def _conjugate(gradient, steepest, decrement, direction, previous):
    """The next direction; the steepest one where that would not go down."""
    if direction is None:
        return steepest
    last_gradient, last_decrement = previous
    change = decrement - sum_params(last_gradient * steepest)
    share = (change / last_decrement.clamp_min(1e-300)).clamp_min(0)[..., None, None]
    found = steepest + share * direction
    down = sum_params(gradient * found) > 0
    return found.where(down[..., None, None], steepest)


def sum_params(tensor):
    """Sum over all but candidates and folds."""
    return tensor.sum((2, 3))
