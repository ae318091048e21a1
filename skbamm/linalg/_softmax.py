"""Weighted softmax regression of all folds at once.

`params` has shape (n_folds, n_scores, n_columns), the last column being the intercept. With two
classes there is one score, the other being zero; with more, one for each class. Weights of rows
have shape (n_folds, n_rows).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from ._design import as_design
from ._tensors import as_tensor, memo_last

# Ridge of the intercepts: keeps those of separable or absent classes finite.
INTERCEPT_RIDGE = 1e-6
# Mean of p (1 - p) at usual predictions; sets the scale of first steps only.
USUAL_CURVATURE = 0.2
# Distance to the minimiser at which coordinates of the diagonal hand over to those of the blocks,
NEAR = 1e-3
# unless the blocks take more operations than this, and columns are more than these: blocks take as
# long as a twentieth of the columns in iterations, of which they save a few dozen.
MAX_BLOCKS, FEW_COLUMNS = 2e7, 100
# A curvature matrix of more columns than this is replaced by its diagonal.
MAX_BLOCK = 1000
# Halvings of a step before it is taken as it is.
MAX_HALVINGS = 20
# Guards against rounding: of divisors, of a Cholesky factorisation, of compared values.
TINY, JITTER, ROUNDING = 1e-300, 1e-12, 1e-12


class LabelledRows:
    """Design and targets, and the products that every objective on them needs.

    `design`, an ndarray, a sparse matrix or a `Design`, has a column of ones last. `targets`, of
    shape (n_scores, n_rows), are 1 for the given label.
    """

    def __init__(self, design, labels, n_classes, device):
        self.has_reference = n_classes == 2
        indicator = torch.nn.functional.one_hot(as_tensor(labels, device), n_classes)
        indicator = indicator.T.to(torch.float64)
        self.targets = (indicator[1:] if self.has_reference else indicator).contiguous()
        self.design = as_design(design, self.targets)
        # 1 for each column that the ridge acts on, 0 for the intercept's.
        self.penalized = self.targets.new_ones(self.n_columns)
        self.penalized[-1] = 0.0

    def subset(self, mask):
        """Only the rows of a boolean mask."""
        part = copy.copy(self)
        part.design, part.targets = self.design.take(mask), self.targets[..., mask]
        return part

    @property
    def n_scores(self):
        return self.targets.shape[-2]

    @property
    def n_columns(self):
        return self.design.shape[1]

    @property
    def n_rows(self):
        return self.targets.shape[-1]

    def zeros(self, n_folds):
        """Params of fits without anything known."""
        return self.targets.new_zeros(n_folds, self.n_scores, self.n_columns)

    def smoothed(self, share):
        """Targets with a small share of every label spread over all classes.

        Keeps the intercept of a class without rows finite.
        """
        n_classes = self.n_scores + self.has_reference
        return (self.targets + share / n_classes) / (1 + share)

    @memo_last()
    def scores(self, params):
        """Linear scores, shape (..., n_scores, n_rows), kept for the next objective that asks."""
        return self.design.matmul(params)

    def cross_entropy(self, scores, targets=None):
        """Loss of the given labels (or targets), and the probabilities of the scored classes."""
        targets = self.targets if targets is None else targets
        largest = scores.amax(-2, keepdim=True)
        if self.has_reference:
            largest = largest.clamp_min(0)
        probabilities = (scores - largest).exp_()
        total = probabilities.sum(-2, keepdim=True)
        if self.has_reference:
            total = total + (-largest).exp()
        log_normalizer = (largest + total.log())[..., 0, :]
        return log_normalizer - (scores * targets).sum(-2), probabilities / total

    @memo_last()
    def evaluated(self, params):
        """Losses of rows, and probabilities of the scored classes, kept like the scores."""
        return self.cross_entropy(self.design.matmul(params))

    def losses(self, params, factor=1.0):
        """Scores times a factor, their cross-entropy, and probabilities."""
        scores = factor * self.scores(params)
        return scores, *self.cross_entropy(scores)

    def penalty(self, ridge):
        """Weights of squared params."""
        return ridge * self.penalized + INTERCEPT_RIDGE * (1 - self.penalized)


def curvature_product(probabilities, direction):
    """Second derivative of the cross-entropy in the scores, times a direction."""
    product = probabilities * direction
    return product - probabilities * product.sum(-2, keepdim=True)


class Partials(NamedTuple):
    """Derivatives of a `CrossEntropy`, or of its gradient in params along a vector."""

    params: torch.Tensor
    weights: torch.Tensor  # (n_folds, n_rows)
    ridge: torch.Tensor  # ()
    scores: torch.Tensor  # (n_folds, n_scores, n_rows), minus those in weighted targets


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """``sum_i weights_i CE_i + ridge |W|^2 / 2`` of every fold, as a function of params."""

    rows: LabelledRows
    weights: torch.Tensor  # (n_folds, n_rows)
    ridge: torch.Tensor  # (), or one for each column, (n_folds, 1, n_columns)
    targets: torch.Tensor | None = None  # (n_scores, n_rows); None: those of the rows

    def __post_init__(self):
        if self.targets is None:
            object.__setattr__(self, "targets", self.rows.targets)

    @cached_property
    def penalty(self):
        return self.rows.penalty(self.ridge)

    @memo_last()
    def losses(self, params):
        """Losses of rows, probabilities of classes, and scores."""
        scores = self.rows.scores(params)
        return *self.rows.cross_entropy(scores, self.targets), scores

    def value(self, params):
        """Summed over folds."""
        return self.fold_values(params, self.losses(params)[0]).sum()

    def fold_values(self, params, loss):
        """Values, given the losses of rows."""
        return (self.weights * loss).sum(1) + sum_params(self.penalty * params.square()) / 2

    def gradient(self, params):
        return self.gradient_of(params, self.losses(params)[1])

    def gradient_of(self, params, probabilities):
        """Gradient, given the probabilities."""
        residual = probabilities - self.targets
        products = self.rows.design.rmatmul(self.weights[:, None] * residual)
        return products + self.penalty * params

    def gradients(self, params) -> Partials:
        loss, probabilities, scores = self.losses(params)
        square = (params.square() * self.rows.penalized).sum() / 2
        return Partials(self.gradient_of(params, probabilities), loss, square, scores)

    def hessian_product(self, params, vector):
        return self._hessian(self.losses(params)[1], vector, self.rows.design.matmul(vector))

    def curvature_products(self, params, vector) -> Partials:
        probabilities, jvp = self.losses(params)[1], self.rows.design.matmul(vector)
        by_weights = ((probabilities - self.targets) * jvp).sum(-2)
        by_ridge = (params * vector * self.rows.penalized).sum()
        return Partials(self._hessian(probabilities, vector, jvp), by_weights, by_ridge, jvp)

    def _hessian(self, probabilities, vector, jvp):
        curved = self.weights[:, None] * curvature_product(probabilities, jvp)
        return self.rows.design.rmatmul(curved) + self.penalty * vector


@dataclass(frozen=True)
class BlockMetric:
    """Inverse of the class-wise blocks of the Hessian, at given weights and probabilities.

    All folds share the blocks of their mean: their rows are nearly the same, and blocks cost
    most. Up to that, exact for two classes; otherwise within a factor of 2 of the Hessian on
    directions that sum to zero over classes, which is where all gradients are.
    """

    factor: torch.Tensor  # (n_scores, n_columns, n_columns)
    centred: bool
    exact = False

    @classmethod
    def build(cls, rows, weights, probabilities, ridge):
        curvature = (weights[:, None] * probabilities * (1 - probabilities)).mean(0)
        blocks = torch.stack([rows.design.gram(weight) for weight in curvature])
        blocks = blocks + torch.diag_embed(rows.penalty(ridge))
        # Where a class has no mass left its block is the ridge's alone.
        size = blocks.diagonal(dim1=-2, dim2=-1).mean(-1)
        eye = torch.eye(rows.n_columns, dtype=blocks.dtype, device=blocks.device)
        factor = torch.linalg.cholesky_ex(blocks + JITTER * size[..., None, None] * eye)[0]
        return cls(factor, not rows.has_reference)

    def solve(self, vector):
        # Folds as the columns of one right-hand side.
        solution = torch.cholesky_solve(vector.permute(1, 2, 0), self.factor).permute(2, 0, 1)
        return solution - solution.mean(-2, keepdim=True) if self.centred else solution


@dataclass(frozen=True)
class DiagonalMetric:
    """Inverse of the Hessian's diagonal, for designs too wide for `BlockMetric`."""

    diagonal: torch.Tensor
    exact = False

    @classmethod
    def build(cls, rows, weights, probabilities, ridge):
        curvature = weights[:, None] * probabilities * (1 - probabilities)
        diagonal = rows.design.column_squares(curvature) + rows.penalty(ridge)
        return cls(diagonal.mean(1, keepdim=True))

    @classmethod
    def usual(cls, rows, weights, ridge):
        """That of usual predictions, at any point."""
        squares = rows.design.column_squares(weights.mean(0))
        return cls(USUAL_CURVATURE * squares + rows.penalty(ridge))

    def solve(self, vector):
        return vector / self.diagonal


def make_metric(rows, weights, probabilities, ridge):
    """The strongest metric that the number of columns allows."""
    kind = BlockMetric if rows.n_columns <= MAX_BLOCK else DiagonalMetric
    return kind.build(rows, weights, probabilities, ridge)


def minimize(objective, params, *, tol=1e-6, max_iter=300, metric=None):
    """Minimiser of a `CrossEntropy` whose weights sum to 1 over rows, for each fold.

    Conjugate gradients in coordinates in which a usual Hessian is near the identity come near.
    Where that is cheap, those of the blocks of the Hessian end it: with few iterations left
    rounding does not grow, so that equal problems (weights written as repeated rows) get equal
    answers. Params that know something, as of another ridge, have blocks to begin with.

    `tol` is on the distance to the minimiser in units in which the Hessian is about the identity.
    With the `metric` of a point nearby, its coordinates alone are taken.
    """
    rows, weights, ridge = objective.rows, objective.weights, objective.ridge
    if metric is not None:
        return _conjugate_gradients(objective, params, tol, max_iter, metric)
    usual = DiagonalMetric.usual(rows, weights, ridge)
    if tol >= NEAR or (rows.n_columns > FEW_COLUMNS and blocks_cost_much(rows)):
        return _conjugate_gradients(objective, params, max(tol, NEAR / 10), max_iter, usual)

    def blocks(params):
        _, probabilities = rows.cross_entropy(rows.design.matmul(params))
        return make_metric(rows, weights, probabilities, ridge)

    first = blocks(params) if params.any() else usual
    params = _conjugate_gradients(objective, params, NEAR, max_iter, first)
    return _conjugate_gradients(objective, params, tol, max_iter, blocks(params))


def blocks_cost_much(rows):
    """Whether the curvature blocks of all rows cost more than they save."""
    return rows.n_scores * rows.n_rows * rows.n_columns**2 > MAX_BLOCKS


def _conjugate_gradients(objective, params, tol, max_iter, metric):
    """Nonlinear conjugate gradients (Polak, Ribiere), with the exact step on the local parabola.

    Scores move along with params: two products with the design an iteration.
    """
    rows, weights = objective.rows, objective.weights
    penalty, targets = objective.penalty, objective.targets
    scores = rows.design.matmul(params)
    loss, probabilities = rows.cross_entropy(scores, targets)
    value = objective.fold_values(params, loss)
    direction = previous = None
    for _ in range(max_iter):
        gradient = objective.gradient_of(params, probabilities)
        steepest = metric.solve(gradient)
        decrement = sum_params(gradient * steepest)
        moving = decrement > tol**2
        if not moving.any():
            break
        direction = _conjugate(gradient, steepest, decrement, direction, previous)
        jvp = rows.design.matmul(direction)
        curvature = (weights * _curvature_along(probabilities, jvp)).sum(1)
        curvature = curvature + sum_params(penalty * direction.square())
        step = sum_params(gradient * direction) / curvature.clamp_min(TINY)
        step = step.where(moving, curvature * 0)[:, None, None]
        probabilities = loss = None  # as large as all rows; others are made
        for _ in range(MAX_HALVINGS):
            tried, tried_scores = params - step * direction, scores - step * jvp
            loss, probabilities = rows.cross_entropy(tried_scores, targets)
            found = objective.fold_values(tried, loss)
            risen = found > value * (1 + ROUNDING)
            if not risen.any():
                break
            step = step.where(~risen[:, None, None], step / 2)
        params, scores, value = tried, tried_scores, found
        previous = gradient, decrement
    return params


def _curvature_along(probabilities, direction):
    """Second derivative of the cross-entropy along a direction of the scores, twice."""
    product = probabilities * direction
    return (product * direction).sum(-2) - product.sum(-2).square()


def _conjugate(gradient, steepest, decrement, direction, previous):
    """The next direction; the steepest one where that would not go down."""
    if direction is None:
        return steepest
    last_gradient, last_decrement = previous
    change = decrement - sum_params(last_gradient * steepest)
    factor = (change / last_decrement.clamp_min(TINY)).clamp_min(0)[:, None, None]
    found = steepest + factor * direction
    down = sum_params(gradient * found) > 0
    return found.where(down[:, None, None], steepest)


def sum_params(tensor):
    """Sum over all but folds."""
    return tensor.sum((1, 2))
