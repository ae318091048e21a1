"""Learning a quadratic penalty: ridge with generated weights below, held-out error above."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ...problems._base import BilevelProblem, CurvatureProducts, Gradients, Objective
from ..penalties._prior import Pulled
from ..penalties._weights import Penalty
from ._quadratic import QuadraticLoss


@dataclass(frozen=True)
class HeldOutError(Objective):
    """Mean squared error on the held-out rows of all folds.

    Attributes
    ----------
    loss : QuadraticLoss
        Weighs the folds; its value is half the mean held-out error.
    """

    loss: QuadraticLoss

    def by_fold(self, params):
        """The folds' parts of the value, but for a constant; shape (n_candidates, n_folds)."""
        return 2 * self.loss.by_fold(params)

    def calibrated(self, params):
        """The same: squares have no threshold to find."""
        return self

    def value(self, hyper, params):
        return 2 * self.loss.value(params)

    def gradients(self, hyper, params, *, differentiable=False):
        return Gradients(torch.zeros_like(hyper), 2 * self.loss.gradient(params))

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(2 * self.loss.product(vector), torch.zeros_like(hyper))


@dataclass
class PenalizedError(Objective):
    """Half the mean squared error of each fold's training rows, plus the penalty."""

    loss: QuadraticLoss
    penalty: Penalty
    _latest: tuple = field(default=(None, None), init=False, repr=False)

    def weights(self, hyper):
        """Penalty weights at `hyper`, and the Jacobian of their logarithms.

        The last answer is kept: a solver asks several times at the same point.
        """
        if self._latest[0] is not hyper:
            log_weights, jacobian = self.penalty.log_weights(hyper)
            self._latest = (hyper, (log_weights.exp(), jacobian))
        return self._latest[1]

    def majorizer(self, hyper, params):
        """Weights of the quadratic penalty, for each target."""
        return self.weights(hyper)[0][:, :, None].expand_as(params)

    def value(self, hyper, params):
        weights, _ = self.weights(hyper)
        penalty = (weights[:, :, None] * params.square()).sum((1, 2, 3)) / 2
        return self.loss.value(params) + penalty

    def gradients(self, hyper, params, *, differentiable=False):
        return Gradients(
            self._pull_back(hyper, params.square().sum(2) / 2),
            self.params_gradient(hyper, params),
        )

    def params_gradient(self, hyper, params):
        return self.loss.gradient(params) + self.weights(hyper)[0][:, :, None] * params

    def hessian_product(self, hyper, params, vector):
        return self.loss.product(vector) + self.weights(hyper)[0][:, :, None] * vector

    def mixed_product(self, hyper, params, vector):
        return self._pull_back(hyper, (params * vector).sum(2))

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(
            self.hessian_product(hyper, params, vector),
            self.mixed_product(hyper, params, vector),
        )

    def _pull_back(self, hyper, slope):
        """Gradient in `hyper` from the slope in the weights of features."""
        weights, jacobian = self.weights(hyper)
        return (jacobian * (weights * slope)[:, None]).sum((2, 3))


class PenaltyProblem:
    """Builds the `BilevelProblem` of a penalty, and its exact solves.

    Parameters
    ----------
    lower : PenalizedError
    upper : Objective
        With the quadratic `loss` that it is or that bounds its curvature from above.
    """

    def __init__(self, lower, upper):
        self.lower = lower
        self.upper = upper
        self._factor = (None, None)

    def pulled(self, form, strength):
        """The same problem with a pull of `hyper` added to the upper objective."""
        return type(self)(self.lower, Pulled(self.upper, form, strength))

    def criterion(self, hyper):
        """Upper objective at the lower level's solution."""
        zeros = self.lower.loss.zeros()
        return self.upper.value(hyper, self.solve_lower(hyper, zeros.repeat(len(hyper), 1, 1, 1)))

    def problem(self, initial_hyper, lower_bound, upper_bound):
        """The problem for some starts, of shape (n_candidates, n_hyper)."""
        initial_hyper = torch.minimum(torch.maximum(initial_hyper, lower_bound), upper_bound)
        zeros = self.lower.loss.zeros()
        start = self.solve_lower(initial_hyper, zeros.repeat(len(initial_hyper), 1, 1, 1))
        return BilevelProblem(
            upper=self.upper,
            lower=self.lower,
            initial_hyper=initial_hyper,
            initial_params=start,
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            strongly_convex=True,
            n_candidates=len(initial_hyper),
            metric=self.metric,
            solve_lower=self.solve_lower,
        )

    def metric(self, hyper, params, averaging):
        if averaging == 0:
            return self._exact_metric(hyper)
        return self._build(hyper, averaging)

    def _exact_metric(self, hyper):
        if self._factor[0] is not hyper:
            self._factor = (hyper, self._build(hyper, 0.0))
        return self._factor[1]

    def _build(self, hyper, averaging):
        """Inverse Hessian of the averaged objective; exact for any averaging."""
        loss = self.lower.loss
        if averaging:
            # The upper value is the mean square, the lower one half of it.
            loss = loss.combine(1 - averaging, self.upper.loss, 2 * averaging)
        return loss.metric((1 - averaging) * self.lower.weights(hyper)[0])

    def solve_lower(self, hyper, params):
        return self._exact_metric(hyper).minimizer(self.lower.loss, params)
