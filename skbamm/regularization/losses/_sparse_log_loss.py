"""Learning the lasso's strengths for a log loss: the lower level is solved with its exact zeros.

Where coefficients are zero they stay so for a while as strengths change: derivatives are those on
the others, on which the lower level is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ...linalg._softmax import CrossEntropy
from ...linalg._sparse_softmax import EXCLUDED, minimize_sparse, pseudo_gradient
from .._constants import LOG_LOSS_STEPS
from ._log_loss import LogLossProblem, PenalizedLogLoss


@dataclass(frozen=True)
class SparseLogLoss(PenalizedLogLoss):
    """Mean log loss of each fold's training rows, plus ``sum_j alpha_j |w_j|``."""

    def value(self, hyper, params):
        free = self._ridge() * params.square() / 2
        penalty = self._absolute(hyper) * params.abs() + free
        return self.loss.value(params) + penalty.sum((1, 2, 3))

    def params_gradient(self, hyper, params):
        gradient = self.loss.gradient(params) + self._ridge() * params
        return pseudo_gradient(gradient, self._absolute(hyper), params)

    def gradients(self, hyper, params, *, differentiable=False):
        found = super().gradients(hyper, params)
        return found._replace(hyper=self._vjp(hyper, params.abs()))

    def hessian_product(self, hyper, params, vector):
        free = self.is_free(params)
        product = self.loss.product(params, vector * free) + self._ridge() * vector
        # The identity elsewhere, so that there is an inverse.
        return product.where(free, vector)

    def mixed_product(self, hyper, params, vector):
        return self._vjp(hyper, params.sign() * vector)

    def is_free(self, params):
        """Which coefficients are not held at zero."""
        return (params != 0) | (self._ridge() > 0)

    def _absolute(self, hyper):
        return self.absolute(self.weights(hyper).alpha)[:, :, None]

    def absolute(self, alpha):
        """Weights of the absolute values of all columns."""
        n_free = len(self.loss.free_ridge)
        return torch.nn.functional.pad(alpha, (0, n_free))

    def _ridge(self):
        n_free = len(self.loss.free_ridge)
        n_penalized = self.loss.rows.n_columns - n_free
        return torch.nn.functional.pad(self.loss.free_ridge, (n_penalized, 0))


@dataclass(frozen=True)
class SparseProblem(LogLossProblem):
    """The same for a `SparseLogLoss`."""

    def metric(self, hyper, params, averaging):
        return FreeMetric(super().metric(hyper, params, averaging), self.lower.is_free(params))

    def _preconditioner(self, hyper, params, averaging):
        excluded = EXCLUDED * ~self.lower.is_free(params).flatten(0, 1)
        # Coefficients of a lasso do not sum to zero over the classes.
        curvature = replace(self.curvature, centred=False)
        return curvature.metric(self.lower._ridge() + excluded)

    def _solve(self, alpha, params):
        loss = self.lower.loss
        weight = loss.weight.repeat(len(alpha), 1)
        objective = CrossEntropy(loss.rows, weight, self.lower._ridge())
        weights = self.lower.absolute(alpha).flatten(0, 1)[:, None]
        found = minimize_sparse(
            objective,
            weights,
            params.flatten(0, 1),
            self.curvature,
            tol=self.tol,
            max_iter=LOG_LOSS_STEPS,
        )
        return found.reshape(params.shape)


@dataclass(frozen=True)
class FreeMetric:
    """An inverse Hessian on free coefficients, and the identity on others."""

    metric: Any
    free: torch.Tensor
    exact = True

    def solve(self, vector):
        return self.metric.solve(vector * self.free).where(self.free, vector)
