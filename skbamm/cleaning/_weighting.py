"""Learned numbers that generate the training weight of every row.

Each class maps `hyper`, of shape (n_candidates, n_hyper), to the rows' weights of shape
(n_candidates, n_folds, n_rows), summing to at most 1 over rows, to the ridge strength of
shape (n_candidates,), and to the share of the given label in what a row is trained to be, of
shape (n_candidates, n_rows), None for all of it. Derivatives come from autograd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch


class RowWeighting(Protocol):
    """A map from learned numbers to training weights."""

    def __call__(
        self, hyper: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Weights of rows, ridge strengths, shares of the given labels."""

    def trust(self, hyper: torch.Tensor) -> torch.Tensor:
        """How far each noisy row's label is believed, in [0, 1]; (n_candidates, n_noisy)."""


@dataclass(frozen=True)
class EvidenceWeighting:
    r"""Trust as a function of evidence, :math:`s_i = \sigma(a + b \, e_i)`.

    `hyper` is :math:`(a, b, \log\lambda, \log c, \log\gamma)`: threshold and slope of the
    trust, ridge strength, weight of a clean row beside a trusted noisy one, and (used by the
    upper level only) the inverse temperature of the predictions. A fold's weights are
    normalised by their sum.

    What a noisy row's label loses in trust goes to the labels that it probably has, by the
    factor `relabel`: the row trains with weight :math:`s_i + r (1 - s_i)`, of which the given
    label has the share that is due to :math:`s_i`.
    """

    THRESHOLD: ClassVar[int] = 0
    SLOPE: ClassVar[int] = 1
    LOG_RIDGE: ClassVar[int] = 2
    LOG_CLEAN: ClassVar[int] = 3
    LOG_SHARPNESS: ClassVar[int] = 4

    evidence: torch.Tensor  # (n_noisy,), log odds that the given label is right
    noisy: torch.Tensor  # positions among all rows
    clean: torch.Tensor
    row_weight: torch.Tensor  # (n_rows,), the user's
    in_training: torch.Tensor  # (n_folds, n_rows), 1 where a row trains in a fold
    relabel: float = 0.0  # 0 for rows that only lose weight

    def trust(self, hyper):
        threshold, slope = hyper[:, self.THRESHOLD, None], hyper[:, self.SLOPE, None]
        return torch.sigmoid(threshold + slope * self.evidence)

    def __call__(self, hyper):
        trust = self.trust(hyper)
        kept = trust + self.relabel * (1 - trust)
        weights = hyper.new_zeros(len(hyper), len(self.row_weight))
        weights = weights.index_copy(1, self.noisy, kept)
        clean = hyper[:, self.LOG_CLEAN, None].exp().expand(-1, len(self.clean))
        weights = weights.index_copy(1, self.clean, clean)
        weights = (weights * self.row_weight)[:, None] * self.in_training
        total = weights.sum(-1, keepdim=True).clamp_min(1e-300)
        share = None
        if self.relabel:
            share = hyper.new_ones(len(hyper), len(self.row_weight))
            share = share.index_copy(1, self.noisy, trust / kept)
        return weights / total, hyper[:, self.LOG_RIDGE].exp(), share


@dataclass(frozen=True)
class FreeWeighting:
    """One free logit for each noisy row, as in the papers; clean rows do not train.

    The lower level is the *mean* of ``sigmoid(logit) * loss`` over noisy rows.
    """

    noisy: torch.Tensor
    row_weight: torch.Tensor
    in_training: torch.Tensor
    ridge: float

    def trust(self, hyper):
        return torch.sigmoid(hyper)

    def __call__(self, hyper):
        weights = hyper.new_zeros(len(hyper), len(self.row_weight))
        weights = weights.index_copy(1, self.noisy, self.trust(hyper))
        base = self.row_weight * self.in_training
        total = base[:, self.noisy].sum(1)[:, None].clamp_min(1e-300)
        return weights[:, None] * base / total, hyper.new_full((len(hyper),), self.ridge), None
