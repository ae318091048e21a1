"""Learning a quadratic penalty of logistic regression: log losses of all folds, and the problem.

`params` has shape (n_candidates, n_folds, n_scores, n_columns): penalized columns, unpenalized
ones, then the intercept. With two classes there is one score, with more one for each. The losses of
training and held-out rows have the same rows, with other weights: both levels share their scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...linalg._curvature import Curvature
from ...linalg._softmax import CrossEntropy, curvature_product, minimize
from ...linalg._tensors import memo_last
from ...problems import CurvatureProducts, Gradients, Objective
from ...solvers._linear_system import conjugate_gradient
from .._constants import (
    LOG_LOSS_CLOSER,
    LOG_LOSS_LINEAR,
    LOG_LOSS_REMEMBERED,
    LOG_LOSS_STEPS,
)
from ._quadratic import PenaltyProblem, Weights


@dataclass(frozen=True, eq=False)
class LogLoss:
    """``sum_i weight_i CE_i`` of each fold."""

    rows: Any  # LabelledRows
    weight: torch.Tensor  # (n_folds, n_rows)
    free_ridge: torch.Tensor  # of unpenalized columns and the intercept

    @property
    def n_folds(self):
        return len(self.weight)

    def zeros(self):
        return self.rows.zeros(self.n_folds)

    def by_fold(self, params):
        """Shape (n_candidates, n_folds)."""
        return (self.weight * self.rows.evaluated(params)[0]).sum(-1)

    def value(self, params):
        return self.by_fold(params).sum(1)

    def gradient(self, params):
        residual = self.rows.evaluated(params)[1] - self.rows.targets
        return self.rows.design.rmatmul(self.weight[:, None] * residual)

    def product(self, params, vector):
        """The Hessian at `params` times a vector."""
        curved = curvature_product(self.rows.evaluated(params)[1], self.rows.design.matmul(vector))
        return self.rows.design.rmatmul(self.weight[:, None] * curved)

    def curvature(self, params):
        """`Curvature` at params of one candidate."""
        return Curvature.of(self.rows, self.weight, self.rows.evaluated(params)[1][0])


@dataclass(frozen=True)
class HeldOutLogLoss(Objective):
    """Mean log loss of the held-out rows of all folds; `loss` weighs rows and folds."""

    loss: LogLoss

    def by_fold(self, params):
        """The folds' parts of the value; shape (n_candidates, n_folds)."""
        return self.loss.by_fold(params)

    def value(self, hyper, params):
        return self.loss.value(params)

    def gradients(self, hyper, params, *, differentiable=False):
        return Gradients(torch.zeros_like(hyper), self.loss.gradient(params))

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(self.loss.product(params, vector), torch.zeros_like(hyper))


@dataclass(frozen=True)
class PenalizedLogLoss(Objective):
    """Mean log loss of each fold's training rows, plus the penalty."""

    loss: LogLoss
    penalty: Any  # LinearPenalty or AdaptivePenalty

    @memo_last()
    def weights(self, hyper):
        """`Weights` at `hyper`."""
        log_weights, jacobian = self.penalty.log_weights(hyper)
        return Weights(log_weights.exp(), jacobian, self.loss)

    def full(self, alpha):
        """The penalty of all columns, (..., n_columns): next to none for those after `alpha`."""
        free = self.loss.free_ridge
        return torch.cat([alpha, free.expand(*alpha.shape[:-1], len(free))], dim=-1)

    def value(self, hyper, params):
        penalty = self._penalty(hyper) * params.square()
        return self.loss.value(params) + penalty.sum((1, 2, 3)) / 2

    def gradients(self, hyper, params, *, differentiable=False):
        by_hyper = self._vjp(hyper, params.square() / 2)
        return Gradients(by_hyper, self.params_gradient(hyper, params))

    def params_gradient(self, hyper, params):
        return self.loss.gradient(params) + self._penalty(hyper) * params

    def hessian_product(self, hyper, params, vector):
        return self.loss.product(params, vector) + self._penalty(hyper) * vector

    def mixed_product(self, hyper, params, vector):
        return self._vjp(hyper, params * vector)

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(
            self.hessian_product(hyper, params, vector), self.mixed_product(hyper, params, vector)
        )

    def _penalty(self, hyper):
        return self.full(self.weights(hyper).alpha)[:, :, None]

    def _vjp(self, hyper, by_weight):
        """The gradient in `hyper`, from the one in the penalty of each coefficient."""
        weights = self.weights(hyper)
        return weights.vjp(by_weight[..., : weights.alpha.shape[-1]].sum(2))


@dataclass(frozen=True)
class LogLossProblem(PenaltyProblem):
    """Builds the `BilevelProblem` of a `PenalizedLogLoss`, and solves its lower level.

    Whoever asks with params that know nothing gets a solution that began at the nearest one known.
    """

    curvature: Any  # near the solutions
    tol: float  # distance of solutions to the minimiser, as `minimize` has it
    known: dict = field(default_factory=dict, repr=False, compare=False)
    latest: list = field(default_factory=list, repr=False, compare=False)  # a curvature

    def problem(self, initial_hyper, lower_bound, upper_bound, params=None):
        # A run asks for derivatives, to which what is left in params counts more.
        closer = replace(self, tol=LOG_LOSS_CLOSER * self.tol, known=self.known.copy())
        closer.known.pop(initial_hyper.numpy(force=True).tobytes(), None)
        problem = super(LogLossProblem, closer).problem(
            initial_hyper, lower_bound, upper_bound, params
        )
        return replace(problem, follows=True)

    def metric(self, hyper, params, averaging):
        lower, upper = self.lower, self.upper

        def product(vector):
            found = (1 - averaging) * lower.hessian_product(hyper, params, vector)
            if averaging:
                found = found + averaging * upper.curvature_products(hyper, params, vector).hessian
            return found

        preconditioner = self._preconditioner(hyper, params, averaging)
        size = float(upper.gradients(hyper, params).params.norm())
        return NewtonMetric(product, preconditioner, LOG_LOSS_LINEAR * size)

    def solve_lower(self, hyper, params):
        keys = [row.numpy(force=True).tobytes() for row in hyper]
        if all(key in self.known for key in keys):
            return torch.cat([self.known[key][1] for key in keys])
        if not bool(params.any()):
            params = torch.cat([self._nearest(row) for row in hyper])
        found = self._solve(self.lower.weights(hyper).alpha, params)
        for key, row, one in zip(keys, hyper, found.split(1), strict=True):
            self.known[key] = row, one
            if len(self.known) > LOG_LOSS_REMEMBERED:
                self.known.pop(next(iter(self.known)))
        return found

    def _nearest(self, hyper):
        if not self.known:
            return self.lower.loss.zeros()[None]
        return min(self.known.values(), key=lambda one: float((one[0] - hyper).norm()))[1]

    def _preconditioner(self, hyper, params, averaging):
        alpha = (1 - averaging) * self.lower.weights(hyper).alpha
        return self._shared_metric(self.lower.full(alpha), params)

    def _shared_metric(self, penalty, params):
        """That of the latest curvature, as long as the one of the params is about the same."""
        loss = self.lower.loss
        weight = loss.weight.repeat(len(params), 1)
        given = weight, loss.rows.evaluated(params)[1].flatten(0, 1)
        latest = self.latest[0] if self.latest else self.curvature
        if not latest.is_near(*given):
            latest = Curvature.of(loss.rows, *given)
        self.latest[:] = [latest]
        return latest.shared_metric(penalty, len(loss.free_ridge))

    def _solve(self, alpha, params):
        loss = self.lower.loss
        penalty = self.lower.full(alpha)
        metric = self._shared_metric(penalty, params)
        penalty = penalty.flatten(0, 1)
        weight = loss.weight.repeat(len(alpha), 1)
        objective = CrossEntropy(loss.rows, weight, penalty[:, None])
        found = minimize(
            objective,
            params.flatten(0, 1),
            tol=self.tol,
            max_iter=LOG_LOSS_STEPS,
            metric=metric,
        )
        return found.reshape(params.shape)


@dataclass(frozen=True)
class NewtonMetric:
    """Inverse Hessian by conjugate gradients.

    As exact as a multiplier needs, whose equation has the upper gradient on its right-hand side.
    """

    product: Any
    preconditioner: Any  # of fits one after the other
    enough: float  # norm of what may be left
    exact = True

    def solve(self, vector):
        size = float(vector.norm())
        if size <= self.enough:
            return torch.zeros_like(vector)
        zeros, accuracy = torch.zeros_like(vector), self.enough / size
        system = self.product, vector, zeros, self._precondition
        return conjugate_gradient(*system, LOG_LOSS_STEPS, accuracy)[0]

    def _precondition(self, vector):
        return self.preconditioner.solve(vector.flatten(0, 1)).reshape(vector.shape)
