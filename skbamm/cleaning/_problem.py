"""Learning label weights: weighted softmax regression below, the loss of validation rows above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from ..linalg._softmax import (
    CrossEntropy,
    LabelledRows,
    curvature_product,
    make_metric,
    minimize,
)
from ..linalg._tensors import memo_last
from ..problems import CurvatureProducts, Gradients, Objective
from ._constants import TINY, LabelNumbers


class RowWeights(NamedTuple):
    """What a weighting makes of `hyper`."""

    weights: torch.Tensor  # (n_folds, n_rows), summing to at most 1 over rows
    ridge: torch.Tensor  # ()
    given: torch.Tensor | None  # (n_rows,), target probability of the given label; None: 1


class RowWeighting(Protocol):
    """A map from learned numbers to training weights; derivatives come from autograd."""

    def __call__(self, hyper: torch.Tensor) -> RowWeights: ...

    def label_weight(self, hyper: torch.Tensor) -> torch.Tensor:
        """Of each noisy row, in [0, 1]; (n_noisy,)."""


@dataclass(frozen=True, eq=False)
class QualityWeighting:
    r"""Label weights from label quality, :math:`s_i = \sigma(a + b \, e_i)`.

    `hyper` are `LabelNumbers`. A fold's weights are normalised by their sum. What a noisy row's
    label loses in weight goes to the labels that it probably has, by the factor `relabel`: the row
    trains with weight :math:`s_i + r (1 - s_i)`, and :math:`s_i` of that is its given label's.
    """

    log_odds: torch.Tensor  # (n_noisy,), log posterior odds that the given label is right
    noisy: torch.Tensor  # positions among all rows
    verified: torch.Tensor
    row_weight: torch.Tensor  # (n_rows,), the user's
    in_training: torch.Tensor  # (n_folds, n_rows), 1 where a row trains in a fold
    relabel: float = 0.0  # 0 for rows that only lose weight

    def label_weight(self, hyper):
        return torch.sigmoid(LabelNumbers.unpack(hyper).logit(self.log_odds))

    def __call__(self, hyper):
        numbers, label_weight = LabelNumbers.unpack(hyper), self.label_weight(hyper)
        kept = label_weight + self.relabel * (1 - label_weight)
        verified = numbers.log_verified_weight.exp().expand(len(self.verified))
        weights = hyper.new_zeros(len(self.row_weight)).index_copy(0, self.noisy, kept)
        weights = weights.index_copy(0, self.verified, verified)
        weights = (weights * self.row_weight) * self.in_training
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(TINY)
        given = None
        if self.relabel:
            given = hyper.new_ones(len(self.row_weight))
            given = given.index_copy(0, self.noisy, label_weight / kept)
        return RowWeights(weights, numbers.log_ridge.exp(), given)


@dataclass(frozen=True, eq=False)
class FreeWeighting:
    """One free logit for each noisy row, as in the papers; verified rows do not train.

    The lower level is the *mean* of ``sigmoid(logit) * loss`` over noisy rows.
    """

    noisy: torch.Tensor
    row_weight: torch.Tensor
    in_training: torch.Tensor
    ridge: float

    def label_weight(self, hyper):
        return torch.sigmoid(hyper)

    def __call__(self, hyper):
        weights = hyper.new_zeros(len(self.row_weight))
        weights = weights.index_copy(0, self.noisy, self.label_weight(hyper))
        base = self.row_weight * self.in_training
        total = base[:, self.noisy].sum(1, keepdim=True).clamp_min(TINY)
        return RowWeights(weights * base / total, hyper.new_tensor(self.ridge), None)


class _Weighted(NamedTuple):
    """A weighting at one point: a leaf, what depends on it, and the training loss there."""

    hyper: torch.Tensor
    found: RowWeights  # with a graph
    loss: CrossEntropy  # without


@dataclass(frozen=True, eq=False)
class TrainingLoss(Objective):
    """Cross-entropy of each fold's weighted rows, plus ridge.

    Where the weighting tells target probabilities of given labels, `suggested` labels get the rest.
    """

    rows: LabelledRows
    weighting: RowWeighting
    suggested: torch.Tensor | None = None  # (n_scores, n_rows), probabilities of classes

    @memo_last()
    def at(self, hyper) -> _Weighted:
        """The loss as a function of params alone."""
        with torch.enable_grad():
            leaf = hyper.detach().clone().requires_grad_()
            found = self.weighting(leaf)
        targets = self.rows.targets
        if found.given is not None and self.suggested is not None:
            targets = self.suggested + found.given.detach() * (targets - self.suggested)
        loss = CrossEntropy(self.rows, found.weights.detach(), found.ridge.detach(), targets)
        return _Weighted(leaf, found, loss)

    def value(self, hyper, params):
        return self.at(hyper).loss.value(params)

    def params_gradient(self, hyper, params):
        return self.at(hyper).loss.gradient(params)

    def gradients(self, hyper, params, *, differentiable=False):
        weighted = self.at(hyper)
        by_params, *partials = weighted.loss.gradients(params)
        return Gradients(self._vjp(weighted, *partials), by_params)

    def hessian_product(self, hyper, params, vector):
        return self.at(hyper).loss.hessian_product(params, vector)

    def curvature_products(self, hyper, params, vector):
        weighted = self.at(hyper)
        hessian, *partials = weighted.loss.curvature_products(params, vector)
        return CurvatureProducts(hessian, self._vjp(weighted, *partials))

    def _vjp(self, weighted, by_weights, by_ridge, scores):
        """Gradient in `hyper` from those in weights, ridge and (minus, weighted) targets."""
        leaf, (weights, ridge, given), _ = weighted
        partials = [(weights, by_weights), (ridge, by_ridge)]
        if given is not None and self.suggested is not None:
            gap = (scores * (self.rows.targets - self.suggested)).sum(-2)
            partials.append((given, -(weights.detach() * gap).sum(0)))
        outputs, gradients = zip(*(pair for pair in partials if pair[0].requires_grad), strict=True)
        return torch.autograd.grad(outputs, leaf, gradients, retain_graph=True)[0]


class Prior(NamedTuple):
    """Independent normal distributions of learned numbers: minus their log is a square."""

    precision: torch.Tensor  # (n_hyper,)
    mean: torch.Tensor  # (n_hyper,)


@dataclass(frozen=True, eq=False)
class ValidationLoss(Objective):
    r"""Mean loss of validation rows: verified ones, or noisy ones under a bounded loss.

    With ``bounded=True`` the loss is :math:`1 - p(y|x)`, which tolerates wrong labels; otherwise
    it is the cross-entropy of the predictions at the learned inverse temperature, where `hyper`
    are `LabelNumbers`. A prior keeps learned numbers near their initial values where there are
    few validation rows.
    """

    rows: LabelledRows  # only those that some fold validates on
    weight: torch.Tensor  # (n_folds, n_rows), sums to 1; positive where a fold holds a row out
    prior: Prior | None = None
    bounded: bool = False
    tempered: bool = False

    def _at(self, hyper, params):
        """The factor of scores, scores, losses and probabilities."""
        factor = 1.0
        if self.tempered:
            factor = LabelNumbers.unpack(hyper).log_inverse_temperature.exp()
        return factor, *self.rows.losses(params, factor)

    def _losses(self, hyper, params):
        _, _, loss, _ = self._at(hyper, params)
        return self.weight * (1 - (-loss).exp() if self.bounded else loss)

    def _gradient(self, loss, probabilities):
        """In the scores."""
        residual = probabilities - self.rows.targets
        return (-loss).exp()[..., None, :] * residual if self.bounded else residual

    def _hessian_product(self, loss, probabilities, direction):
        """In the scores."""
        product = curvature_product(probabilities, direction)
        if not self.bounded:
            return product
        residual = probabilities - self.rows.targets
        product = product - residual * (residual * direction).sum(-2, keepdim=True)
        return (-loss).exp()[..., None, :] * product

    def _by_hyper(self, hyper, by_log_inverse_temperature):
        """A gradient in `hyper` of which one entry is not zero."""
        if not self.tempered:
            return torch.zeros_like(hyper)
        zero = hyper.new_zeros(())
        return LabelNumbers(zero, zero, zero, zero, by_log_inverse_temperature()).pack()

    def value(self, hyper, params):
        value = self._losses(hyper, params).sum()
        if self.prior is None:
            return value
        return value + self.prior.precision @ (hyper - self.prior.mean).square() / 2

    def fold_losses(self, hyper, params):
        """Mean loss of each fold, (n_folds,)."""
        return self._losses(hyper, params).sum(1) / self.weight.sum(1)

    def gradients(self, hyper, params, *, differentiable=False):
        factor, scores, loss, probabilities = self._at(hyper, params)
        gradient = self.weight[:, None] * self._gradient(loss, probabilities)
        by_hyper = self._by_hyper(hyper, lambda: (gradient * scores).sum())
        if self.prior is not None:
            by_hyper = by_hyper + self.prior.precision * (hyper - self.prior.mean)
        return Gradients(by_hyper, self.rows.design.rmatmul(factor * gradient))

    def curvature_products(self, hyper, params, vector):
        factor, scores, loss, probabilities = self._at(hyper, params)
        jvp = factor * self.rows.design.matmul(vector)
        curved = self._hessian_product(loss, probabilities, jvp)

        def mixed():
            gradient = self._gradient(loss, probabilities)
            return (self.weight[:, None] * (gradient * jvp + curved * scores)).sum()

        hessian = self.rows.design.rmatmul(factor * self.weight[:, None] * curved)
        return CurvatureProducts(hessian, self._by_hyper(hyper, mixed))


class LowerLevel:
    """Metrics and minimisers of a `TrainingLoss`, for a `BilevelProblem`.

    `validation_weight`, of shape (n_folds, n_rows), are the weights of all rows in the upper level.
    The last metric is kept: near the point that it was made for it still serves.
    """

    def __init__(self, loss, validation_weight, tol=1e-5):
        self.loss = loss
        self.validation_weight = validation_weight
        self.tol = tol
        self._metric = None

    def metric(self, hyper, params, averaging):
        """Blocks of the averaged objective's Hessian."""
        loss = self.loss.at(hyper).loss
        weights = (1 - averaging) * loss.weights
        if averaging:
            weights = weights + averaging * self.validation_weight
        _, probabilities, _ = loss.losses(params)
        self._metric = make_metric(loss.rows, weights, probabilities, (1 - averaging) * loss.ridge)
        return self._metric

    def minimize(self, hyper, params, tol=None):
        """From params nearby."""
        loss = self.loss.at(hyper).loss
        return minimize(loss, params, tol=tol or self.tol, metric=self._metric)
