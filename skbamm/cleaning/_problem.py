"""Learning which labels to believe: weighted softmax regression below, trusted loss above."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..linalg._softmax import LabelledRows, make_metric, minimize_cross_entropy
from ..problems._base import BilevelProblem, CurvatureProducts, Gradients, Objective
from ._weighting import RowWeighting


@dataclass
class WeightedCrossEntropy(Objective):
    """Cross-entropy of each fold's weighted rows, plus ridge.

    Where the weighting tells shares of given labels, rows are trained to be `suggested` for the
    rest.
    """

    rows: LabelledRows
    weighting: RowWeighting
    suggested: torch.Tensor | None = None  # (n_scores, n_rows), shares of classes
    _latest: tuple = field(default=(None, None), repr=False)
    _latest_losses: tuple = field(default=(None, None, None), repr=False)

    def weights(self, hyper):
        """Row weights and ridge strengths, without a graph."""
        return tuple(tensor.detach() for tensor in self._weighted(hyper)[1][:2])

    def targets(self, hyper):
        """Shares of classes that rows are trained to be, without a graph."""
        return self._weighted(hyper)[2]

    def _weighted(self, hyper):
        """A leaf copy of `hyper`, what depends on it, targets; the last answer is kept."""
        if self._latest[0] is not hyper:
            with torch.enable_grad():
                leaf = hyper.detach().clone().requires_grad_()
                found = self.weighting(leaf)
            self._latest = (hyper, (leaf, found, self._mixture(found[2])))
        return self._latest[1]

    def _mixture(self, share):
        if share is None or self.suggested is None:
            return self.rows.indicator
        gap = self.rows.indicator - self.suggested
        return self.suggested + share.detach()[:, None, None] * gap

    def _losses(self, hyper, params):
        """Losses of rows and probabilities; the last answer is kept."""
        if self._latest_losses[0] is not hyper or self._latest_losses[1] is not params:
            found = self.rows.cross_entropy(self.rows.forward(params), self.targets(hyper))
            self._latest_losses = (hyper, params, found)
        return self._latest_losses[2]

    def value(self, hyper, params):
        weights, ridge = self.weights(hyper)
        loss, _ = self._losses(hyper, params)
        penalty = self.rows.penalty(ridge) * params.square() / 2
        return (weights * loss).sum((1, 2)) + penalty.sum((1, 2, 3))

    def params_gradient(self, hyper, params):
        weights, ridge = self.weights(hyper)
        _, probabilities = self._losses(hyper, params)
        residual = probabilities - self.targets(hyper)
        gradient = self.rows.adjoint(weights[:, :, None] * residual)
        return gradient + self.rows.penalty(ridge) * params

    def gradients(self, hyper, params, *, differentiable=False):
        loss, _ = self._losses(hyper, params)
        square = (params.square() * self.rows.penalized()).sum((1, 2, 3)) / 2
        by_hyper = self._pull_back(hyper, loss, square, self.rows.forward(params))
        return Gradients(by_hyper, self.params_gradient(hyper, params))

    def _hessian(self, hyper, probabilities, vector, ahead):
        weights, ridge = self.weights(hyper)
        curved = weights[:, :, None] * self.rows.curvature(probabilities, ahead)
        return self.rows.adjoint(curved) + self.rows.penalty(ridge) * vector

    def hessian_product(self, hyper, params, vector):
        _, probabilities = self._losses(hyper, params)
        return self._hessian(hyper, probabilities, vector, self.rows.scores(vector))

    def _mixed(self, hyper, params, probabilities, vector, ahead):
        by_weight = ((probabilities - self.targets(hyper)) * ahead).sum(-2)
        by_ridge = (params * vector * self.rows.penalized()).sum((1, 2, 3))
        return self._pull_back(hyper, by_weight, by_ridge, ahead)

    def mixed_product(self, hyper, params, vector):
        _, probabilities = self._losses(hyper, params)
        return self._mixed(hyper, params, probabilities, vector, self.rows.scores(vector))

    def curvature_products(self, hyper, params, vector):
        _, probabilities = self._losses(hyper, params)
        ahead = self.rows.scores(vector)
        return CurvatureProducts(
            self._hessian(hyper, probabilities, vector, ahead),
            self._mixed(hyper, params, probabilities, vector, ahead),
        )

    def _pull_back(self, hyper, by_weight, by_ridge, scores):
        """Gradient in `hyper` from the slopes in row weights, ridge strengths and targets.

        The slope in the targets is minus the weighted scores (or their derivatives).
        """
        leaf, (weights, ridge, share), _ = self._weighted(hyper)
        total = [(weights, by_weight.detach()), (ridge, by_ridge.detach())]
        if share is not None and self.suggested is not None:
            gap = (scores * (self.rows.indicator - self.suggested)).sum(-2)
            total.append((share, -(weights.detach() * gap).sum(1)))
        outputs, slopes = zip(*(pair for pair in total if pair[0].requires_grad), strict=True)
        return torch.autograd.grad(outputs, leaf, slopes, retain_graph=True)[0]


@dataclass(frozen=True)
class TrustedLoss(Objective):
    r"""Mean loss of rows that judge: clean ones, or noisy ones under a bounded loss.

    With ``bounded=True`` the loss is :math:`1 - p(y|x)`, which tolerates wrong labels;
    otherwise the cross-entropy of the predictions sharpened by :math:`\gamma`. A quadratic
    pull, ``pull @ (hyper - centre)^2 / 2``, keeps learned numbers near their start where few rows
    judge.
    """

    rows: LabelledRows  # only those that judge in some fold
    weight: torch.Tensor  # (n_folds, n_rows), sums to 1; positive where a fold holds a row out
    pull: torch.Tensor  # (n_hyper,)
    centre: torch.Tensor  # (n_hyper,)
    bounded: bool = False
    sharpness: int | None = None  # column of log gamma in `hyper`; None for 1

    def _scores(self, hyper, params):
        scores = self.rows.forward(params)
        if self.sharpness is None:
            return scores, 1.0
        factor = hyper[:, self.sharpness, None, None, None].exp()
        return factor * scores, factor

    def _slope(self, scores):
        """Loss, its derivative in the scores, and what `_bend` needs."""
        loss, probabilities = self.rows.cross_entropy(scores)
        residual = probabilities - self.rows.indicator
        if not self.bounded:
            return loss, residual, (probabilities, None, residual)
        given = (-loss).exp()[..., None, :]
        return 1 - given[..., 0, :], given * residual, (probabilities, given, residual)

    def _bend(self, state, direction):
        """Second derivative in the scores times a direction."""
        probabilities, given, residual = state
        curvature = self.rows.curvature(probabilities, direction)
        if given is None:
            return curvature
        return given * (curvature - residual * (residual * direction).sum(-2, keepdim=True))

    def value(self, hyper, params):
        loss, _, _ = self._slope(self._scores(hyper, params)[0])
        pulled = (self.pull * (hyper - self.centre).square()).sum(1) / 2
        return (self.weight * loss).sum((1, 2)) + pulled

    def fold_losses(self, hyper, params):
        """Mean loss of each fold, (n_candidates, n_folds)."""
        loss, _, _ = self._slope(self._scores(hyper, params)[0])
        return (self.weight * loss).sum(2) / self.weight.sum(1)

    def gradients(self, hyper, params, *, differentiable=False):
        scores, factor = self._scores(hyper, params)
        _, slope, _ = self._slope(scores)
        slope = self.weight[:, None] * slope
        by_hyper = self.pull * (hyper - self.centre)
        if self.sharpness is not None:
            by_hyper = by_hyper.clone()
            by_hyper[:, self.sharpness] += (slope * scores).sum((1, 2, 3))
        return Gradients(by_hyper, self.rows.adjoint(factor * slope))

    def curvature_products(self, hyper, params, vector):
        scores, factor = self._scores(hyper, params)
        ahead = factor * self.rows.scores(vector)
        _, slope, state = self._slope(scores)
        bend = self._bend(state, ahead)
        mixed = torch.zeros_like(hyper)
        if self.sharpness is not None:
            along = self.weight[:, None] * (slope * ahead + bend * scores)
            mixed[:, self.sharpness] = along.sum((1, 2, 3))
        weight = factor * self.weight[:, None]
        return CurvatureProducts(self.rows.adjoint(weight * bend), mixed)


class CleaningProblem:
    """Builds the `BilevelProblem` of a weighting, and its solves.

    `judging`, of shape (n_folds, n_rows), are the weights of all rows in the upper level.
    """

    def __init__(
        self,
        rows,
        weighting,
        upper,
        judging,
        *,
        strongly_convex,
        averaging=None,
        suggested=None,
        tol=1e-5,
    ):
        self.rows = rows
        self.judging = judging
        self.lower = WeightedCrossEntropy(rows, weighting, suggested)
        self.upper = upper
        self.strongly_convex = strongly_convex
        self.averaging = averaging
        self.tol = tol
        self._metric = None

    def problem(self, initial_hyper, lower_bound, upper_bound, initial_params):
        start = torch.minimum(torch.maximum(initial_hyper, lower_bound), upper_bound)
        return BilevelProblem(
            upper=self.upper,
            lower=self.lower,
            initial_hyper=start,
            initial_params=initial_params,
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            strongly_convex=self.strongly_convex,
            averaging=self.averaging,
            metric=self.metric,
            solve_lower=self.solve_lower if self.strongly_convex else None,
        )

    def metric(self, hyper, params, averaging):
        """Blocks of the averaged objective's Hessian."""
        weights, ridge = self.lower.weights(hyper)
        weights = (1 - averaging) * weights
        if averaging:
            weights = weights + averaging * self.judging
        _, probabilities = self.rows.cross_entropy(self.rows.forward(params))
        self._metric = make_metric(self.rows, weights, probabilities, (1 - averaging) * ridge)
        return self._metric

    def solve_lower(self, hyper, params, tol=None):
        weights, ridge = self.lower.weights(hyper)
        rows = self.rows.with_targets(self.lower.targets(hyper))
        # Near an earlier point its metric still serves.
        return minimize_cross_entropy(
            rows, weights, ridge, params, tol=tol or self.tol, metric=self._metric
        )
