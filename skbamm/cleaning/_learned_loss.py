"""A loss that is learned: rows that fit badly count less, by their own loss under the fit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch.nn.functional import softplus

from ..linalg._softmax import LabelledRows, make_metric, minimize_loss
from ..problems._base import CurvatureProducts, Gradients, Objective
from ._problem import CleaningProblem


@dataclass
class LearnedLoss(Objective):
    r"""Mean of :math:`\rho(\ell_i)` of noisy rows and of :math:`\ell_j` of clean ones, plus ridge.

    .. math:: \rho(\ell) = \int_0^\ell \frac{\sigma(a - b t)}{\sigma(a)} \, dt

    so that a row counts by :math:`\rho'(\ell) = \sigma(a - b \ell) / \sigma(a)`: 1 where it fits
    perfectly, less the worse it does. The smaller b, the closer to the cross-entropy; otherwise
    the objective is not convex. `hyper` is :math:`(a, b, \log\lambda, \log c, \log\gamma)` as in
    `EvidenceWeighting`.

    Attributes
    ----------
    rows : LabelledRows
    noisy : Tensor of shape (n_rows,)
        1 for noisy rows, 0 for clean ones.
    weight : Tensor of shape (n_folds, n_rows)
        The user's weights where a row trains, else 0.
    """

    rows: LabelledRows
    noisy: torch.Tensor
    weight: torch.Tensor
    _latest: tuple = field(default=(None, None), repr=False)

    def base(self, hyper):
        """Weights of rows before their loss is looked at, (n_candidates, n_folds, n_rows)."""
        clean = hyper[:, 3].exp()[:, None, None]
        weights = self.weight * (self.noisy + clean * (1 - self.noisy))
        return weights / weights.sum(-1, keepdim=True).clamp_min(1e-300)

    def ridge(self, hyper):
        return hyper[:, 2].exp()

    def trust(self, hyper, loss):
        """How much rows count by their loss; 1 for clean ones."""
        threshold, slope = hyper[:, 0, None, None], hyper[:, 1, None, None]
        kept = torch.sigmoid(threshold - slope * loss) / torch.sigmoid(threshold)
        return torch.where(self.noisy > 0, kept, torch.ones_like(kept))

    def falling(self, hyper, loss):
        """Derivative of `trust` in the loss."""
        threshold, slope = hyper[:, 0, None, None], hyper[:, 1, None, None]
        left = 1 - torch.sigmoid(threshold - slope * loss)
        return -slope * self.trust(hyper, loss) * left * self.noisy

    def transformed(self, hyper, loss):
        """What rows add to the objective: rho of their cross-entropy, or just that."""
        threshold, slope = hyper[:, 0, None, None], hyper[:, 1, None, None]
        area = softplus(threshold) - softplus(threshold - slope * loss)
        return torch.where(self.noisy > 0, area / (slope * torch.sigmoid(threshold)), loss)

    def weights(self, hyper, params):
        """Weights of rows at a point."""
        return self.base(hyper) * self.trust(hyper, self._entropy(params)[0])

    def _entropy(self, params):
        """Cross-entropies and probabilities; the last answer is kept."""
        if self._latest[0] is not params:
            self._latest = (params, self.rows.cross_entropy(self.rows.forward(params)))
        return self._latest[1]

    def _square(self, first, second):
        return (first * second * self.rows.penalized()).sum((1, 2, 3))

    def value(self, hyper, params):
        loss, _ = self._entropy(params)
        total = (self.base(hyper) * self.transformed(hyper, loss)).sum((1, 2))
        return total + (self.rows.penalty(self.ridge(hyper)) * params.square() / 2).sum((1, 2, 3))

    def params_gradient(self, hyper, params):
        _, probabilities = self._entropy(params)
        residual = self.weights(hyper, params)[:, :, None] * (probabilities - self.rows.indicator)
        return self.rows.pull(params, residual) + self.rows.penalty(self.ridge(hyper)) * params

    def gradients(self, hyper, params, *, differentiable=False):
        loss, _ = self._entropy(params)
        square = self._square(params, params) / 2
        with torch.enable_grad():
            leaf = hyper.detach().clone().requires_grad_()
            total = (self.base(leaf) * self.transformed(leaf, loss)).sum()
            total = total + self.ridge(leaf) @ square
        return Gradients(torch.autograd.grad(total, leaf)[0], self.params_gradient(hyper, params))

    def curvature_products(self, hyper, params, vector):
        loss, probabilities = self._entropy(params)
        ahead = self.rows.push(params, vector)
        residual = probabilities - self.rows.indicator
        along = (residual * ahead).sum(-2)
        trust = self.trust(hyper, loss)
        falling = self.falling(hyper, loss)
        bend = trust[:, :, None] * self.rows.curvature(probabilities, ahead)
        bend = bend + (falling * along)[:, :, None] * residual
        base = self.base(hyper)[:, :, None]
        hessian = self.rows.pull_along(
            params, vector, lambda: base * trust[:, :, None] * residual, base * bend
        )
        with torch.enable_grad():
            leaf = hyper.detach().clone().requires_grad_()
            total = (self.base(leaf) * self.trust(leaf, loss) * along).sum()
            total = total + self.ridge(leaf) @ self._square(params, vector)
        penalty = self.rows.penalty(self.ridge(hyper))
        return CurvatureProducts(hessian + penalty * vector, torch.autograd.grad(total, leaf)[0])


class LearnedLossProblem(CleaningProblem):
    """`CleaningProblem` with a `LearnedLoss` below."""

    def __init__(self, rows, noisy, weight, upper, judging, *, tol=1e-5):
        self.rows = rows
        self.lower = LearnedLoss(rows, noisy, weight)
        self.upper = upper
        self.judging = judging
        # Not convex, but where a run is, curvature is positive: at a minimum of its valley.
        self.strongly_convex = False
        self.tol = tol

    def problem(self, initial_hyper, lower_bound, upper_bound, initial_params):
        bilevel = super().problem(initial_hyper, lower_bound, upper_bound, initial_params)
        return replace(bilevel, solve_lower=self.solve_lower)

    def metric(self, hyper, params, averaging):
        weights = (1 - averaging) * self.lower.weights(hyper, params)
        if averaging:
            weights = weights + averaging * self.judging
        _, probabilities = self.rows.cross_entropy(self.rows.forward(params))
        return make_metric(
            self.rows, weights, probabilities, (1 - averaging) * self.lower.ridge(hyper), params
        )

    def solve_lower(self, hyper, params, tol=None):
        """The minimum of the valley that params are in."""
        losses = _LossesAt(self.lower, hyper)
        ridge = self.lower.ridge(hyper)
        return minimize_loss(self.rows, losses, ridge, params, tol=tol or self.tol)


@dataclass(frozen=True)
class _LossesAt:
    """`LearnedLoss` at one hyper, as a function of the rows' cross-entropies."""

    objective: LearnedLoss
    hyper: torch.Tensor

    def value(self, loss):
        return (self.objective.base(self.hyper) * self.objective.transformed(self.hyper, loss)).sum(
            2
        )

    def slope(self, loss):
        return self.objective.base(self.hyper) * self.objective.trust(self.hyper, loss)

    def bend(self, loss):
        return self.objective.base(self.hyper) * self.objective.falling(self.hyper, loss)
