"""Learning a quadratic penalty: squared losses of all folds, their ridge path, and the problem.

`params` has shape (n_candidates, n_folds, n_targets, n_features). A loss, ``sum over folds of
w'Gw/2 - b'w + c``, knows its `n_folds` and answers

- ``value(params)``, of shape (n_candidates,), and ``by_fold(params)``, its parts but for constants;
- ``gradient(params)``, ``G w - b``, and ``product(vector)``, ``G v``;
- ``zeros()``, params of one candidate, and ``root_rows(fold)``, few rows A and targets t as arrays
  with ``A'A = G`` and ``A't = b``;
- ``combine(factor, other, other_factor)``, a weighted sum with another loss of the same folds;
- ``metric(penalty)``, the inverse of ``G + diag(penalty)``, for a penalty of shape (n_candidates,
  n_folds, [n_targets,] n_features). It has ``solve(vector)`` and ``minimizer(loss, like)``.

The solve is a Cholesky factor of a Gram matrix here, of a kernel of rows in `_rows`, which is how
no p x p matrix is ever formed for p > n. What a solver asks is answered in this file where it can
be: it asks often.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from ...linalg._tensors import memo_last
from ...problems import CurvatureProducts, Gradients, Objective
from ...problems._base import BilevelProblem
from .._constants import JITTER, SINGULAR


def fold_product(columns, matrices):
    """``columns @ matrices`` fold by fold, without a copy of the matrices for each candidate.

    Broadcasting would make these. `columns` has shape (n_candidates, n_folds, n_targets, n),
    `matrices` (n_folds, n, m).
    """
    n_candidates, n_folds, n_targets, n = columns.shape
    stacked = columns.transpose(0, 1).reshape(n_folds, n_candidates * n_targets, n)
    product = torch.bmm(stacked, matrices)
    shape = (n_folds, n_candidates, n_targets, matrices.shape[-1])
    return product.reshape(shape).transpose(0, 1)


class QuadraticLoss:
    """A loss that knows ``b`` of every fold, and products with ``G``."""

    cross: torch.Tensor  # b, products of targets and columns, (n_folds, n_targets, n_features)
    constant: torch.Tensor  # a scalar, summed over folds and targets

    def product(self, vector):
        raise NotImplementedError

    def matrix(self, fold):
        """One fold's ``G``."""
        raise NotImplementedError

    def value(self, params):
        return self.by_fold(params).sum(1) + self.constant

    def by_fold(self, params):
        return (params * (self.product(params) / 2 - self.cross)).sum((2, 3))

    def gradient(self, params):
        return self.product(params) - self.cross

    def zeros(self):
        return torch.zeros_like(self.cross)

    def root_rows(self, fold):
        values, vectors = torch.linalg.eigh(self.matrix(fold))
        kept = values > SINGULAR * values.max().clamp_min(0) if len(values) else values > 0
        root, vectors = values[kept].sqrt(), vectors[:, kept]
        targets = (self.cross[fold] @ vectors) / root
        return (root[:, None] * vectors.mT).cpu().numpy(), targets.mT.cpu().numpy()


@dataclass(frozen=True)
class GramLoss(QuadraticLoss):
    """Loss from the folds' Gram matrices: no cost in the number of rows."""

    gram: torch.Tensor  # (n_folds, n_features, n_features)
    cross: torch.Tensor  # (n_folds, n_targets, n_features)
    constant: torch.Tensor

    @property
    def n_folds(self):
        return len(self.gram)

    def combine(self, factor, other, other_factor):
        return GramLoss(
            factor * self.gram + other_factor * other.gram,
            factor * self.cross + other_factor * other.cross,
            factor * self.constant + other_factor * other.constant,
        )

    def matrix(self, fold):
        return self.gram[fold]

    def metric(self, penalty):
        return GramMetric.build(self.gram, penalty)

    def product(self, vector):
        return fold_product(vector, self.gram)


@dataclass(frozen=True)
class GramMetric:
    """Inverse of ``G + diag(penalty)`` for each candidate and fold, by Cholesky."""

    factor: torch.Tensor  # (n_candidates, n_folds, [n_targets,] n_features, n_features)
    exact = True

    @classmethod
    def build(cls, gram, penalty):
        if penalty.ndim == 4:
            gram = gram[:, None]
        matrix = gram + torch.diag_embed(penalty)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        for jitter in JITTER:
            if not bool(failed.any()):
                break
            # Rounding made a singular Gram matrix indefinite: a ridge of its own size helps.
            size = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
            added = (jitter * size * (failed > 0))[..., None]
            factor, failed = torch.linalg.cholesky_ex(
                matrix + torch.diag_embed(added.expand_as(penalty))
            )
        return cls(factor)

    def solve(self, vector):
        if self.factor.ndim == 5:
            return torch.cholesky_solve(vector[..., None], self.factor)[..., 0]
        return torch.cholesky_solve(vector.mT, self.factor).mT

    def minimizer(self, loss, like):
        return self.solve(loss.cross.expand_as(like))


def shrunken(values, target, log_strength):
    """``target / (values + strength)`` and its derivative in the log strength.

    `values` and `target` must broadcast to (n_folds, n_targets, n_values).
    """
    strength = log_strength.exp()[:, None, None, None]
    ratio = target / (values + strength)
    return ratio, -ratio * strength / (values + strength)


@dataclass(frozen=True)
class GramPath:
    """Ridge coefficients of all folds for any strength, from eigenvectors of Gram matrices.

    A path answers ``coefficients(log_strength)``, one for each candidate's strength and their
    derivatives, and ``compared(log_strength)``, coefficients alone, good enough to compare many.
    ``rounding(log_strength)`` is how far rounding may move them relative to their size, NaN if not
    known: that of a singular Gram matrix counts as much as a strength of its size.
    """

    values: torch.Tensor  # (n_folds, n_features)
    vectors: torch.Tensor  # (n_folds, n_features, n_features)
    target: torch.Tensor  # (n_folds, n_targets, n_features): ``b``, rotated

    @classmethod
    def build(cls, loss):
        values, vectors = torch.linalg.eigh(loss.gram)
        return cls(values.clamp_min(0), vectors, loss.cross @ vectors)

    def coefficients(self, log_strength):
        return tuple(
            fold_product(rotated, self.vectors.mT)
            for rotated in shrunken(self.values[:, None], self.target, log_strength)
        )

    def compared(self, log_strength):
        return self.coefficients(log_strength)[0]

    def rounding(self, log_strength):
        if not self.values.numel():  # nothing is penalized
            return torch.zeros_like(log_strength)
        largest, least = self.values.amax(1), self.values.amin(1)
        size = torch.finfo(largest.dtype).eps * self.values.shape[1] * largest
        return (size / (least + log_strength.exp()[:, None])).amax(1)


@dataclass(frozen=True)
class HeldOutError(Objective):
    """Mean squared error on the held-out rows of all folds; `loss` weighs the folds."""

    loss: Any  # half of it

    def by_fold(self, params):
        """The folds' parts of the value, but for a constant; shape (n_candidates, n_folds)."""
        return 2 * self.loss.by_fold(params)

    def exact(self, floor):
        """The criterion below which a fit is exact, given the mean square."""
        return floor

    def calibrated(self, params, exact):
        """The same: squares have no threshold to find."""
        return self

    def value(self, hyper, params):
        return 2 * self.loss.value(params)

    def gradients(self, hyper, params, *, differentiable=False):
        return Gradients(torch.zeros_like(hyper), 2 * self.loss.gradient(params))

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(2 * self.loss.product(vector), torch.zeros_like(hyper))


@dataclass(frozen=True)
class WithPrior(Objective):
    """``upper + strength / 2 * hyper' form hyper``: what is learned of groups stays together."""

    upper: Any  # HeldOutError or a RowError
    form: torch.Tensor  # (n_hyper, n_hyper), symmetric, not indefinite
    strength: torch.Tensor  # (n_candidates,) or ()

    @property
    def loss(self):
        return self.upper.loss

    def value(self, hyper, params):
        prior = (hyper * (hyper @ self.form)).sum(1) / 2
        return self.upper.value(hyper, params) + self.strength * prior

    def gradients(self, hyper, params, *, differentiable=False):
        found = self.upper.gradients(hyper, params, differentiable=differentiable)
        strength = self.strength.reshape(-1, 1)
        return Gradients(found.hyper + strength * (hyper @ self.form), found.params)

    def curvature_products(self, hyper, params, vector):
        return self.upper.curvature_products(hyper, params, vector)


@dataclass(frozen=True)
class Weights:
    """The penalty at one point of `hyper`."""

    alpha: torch.Tensor  # (n_candidates, n_folds, n_features)
    jacobian: torch.Tensor  # of log alpha, (n_candidates, n_hyper, n_folds, n_features)
    loss: Any

    @cached_property
    def metric(self):
        """Inverse Hessian of the loss and the penalty."""
        return self.loss.metric(self.alpha)

    def vjp(self, gradient):
        """The gradient in `hyper`, from the one in `alpha` (a vector-Jacobian product)."""
        return (self.jacobian * (self.alpha * gradient)[:, None]).sum((2, 3))


@dataclass(frozen=True)
class PenalizedError(Objective):
    """Half the mean squared error of each fold's training rows, plus the penalty."""

    loss: Any
    penalty: Any  # LinearPenalty or AdaptivePenalty

    @memo_last()
    def weights(self, hyper):
        """`Weights` at `hyper`."""
        log_weights, jacobian = self.penalty.log_weights(hyper)
        return Weights(log_weights.exp(), jacobian, self.loss)

    def majorizer(self, hyper, params):
        """Weights of the quadratic penalty, for each target."""
        return self.weights(hyper).alpha[:, :, None].expand_as(params)

    def value(self, hyper, params):
        alpha = self.weights(hyper).alpha
        penalty = (alpha[:, :, None] * params.square()).sum((1, 2, 3)) / 2
        return self.loss.value(params) + penalty

    def gradients(self, hyper, params, *, differentiable=False):
        weights = self.weights(hyper)
        return Gradients(
            weights.vjp(params.square().sum(2) / 2),
            self.loss.gradient(params) + weights.alpha[:, :, None] * params,
        )

    def params_gradient(self, hyper, params):
        return self.loss.gradient(params) + self.weights(hyper).alpha[:, :, None] * params

    def hessian_product(self, hyper, params, vector):
        return self.loss.product(vector) + self.weights(hyper).alpha[:, :, None] * vector

    def mixed_product(self, hyper, params, vector):
        return self.weights(hyper).vjp((params * vector).sum(2))

    def curvature_products(self, hyper, params, vector):
        weights = self.weights(hyper)
        return CurvatureProducts(
            self.loss.product(vector) + weights.alpha[:, :, None] * vector,
            weights.vjp((params * vector).sum(2)),
        )


@dataclass(frozen=True)
class PenaltyProblem:
    """Builds the `BilevelProblem` of a penalty, and its exact solves.

    `upper` has the quadratic `loss` that it is or that bounds its curvature from above.
    """

    lower: Any  # a PenalizedError, or another penalized loss
    upper: Any

    def with_prior(self, form, strength):
        """The same problem with a prior of `hyper` added to the upper objective."""
        return replace(self, upper=WithPrior(self.upper, form, strength))

    def criterion(self, hyper):
        """Upper objective at the lower level's solution."""
        zeros = self.lower.loss.zeros()
        return self.upper.value(hyper, self.solve_lower(hyper, zeros.repeat(len(hyper), 1, 1, 1)))

    def problem(self, initial_hyper, lower_bound, upper_bound, params=None):
        """The problem from an initialization of shape (1, n_hyper); `params` are solved there."""
        feasible = torch.minimum(torch.maximum(initial_hyper, lower_bound), upper_bound)
        if params is None or not torch.equal(feasible, initial_hyper):
            zeros = self.lower.loss.zeros()
            params = self.solve_lower(feasible, zeros.repeat(len(feasible), 1, 1, 1))
        return BilevelProblem(
            upper=self.upper,
            lower=self.lower,
            initial_hyper=feasible,
            initial_params=params,
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            strongly_convex=True,
            metric=self.metric,
            solve_lower=self.solve_lower,
        )

    def metric(self, hyper, params, averaging):
        """Inverse Hessian of the averaged objective; exact for any averaging."""
        weights = self.lower.weights(hyper)
        if not averaging:
            return weights.metric
        # The upper value is the mean square, the lower one half of it.
        loss = self.lower.loss.combine(1 - averaging, self.upper.loss, 2 * averaging)
        return loss.metric((1 - averaging) * weights.alpha)

    def solve_lower(self, hyper, params):
        return self.lower.weights(hyper).metric.minimizer(self.lower.loss, params)
