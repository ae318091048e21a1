"""Few learned numbers that generate a penalty weight for every feature.

Each class is a smooth map from `hyper`, of shape (n_candidates, n_hyper), to the weights
alpha of shape (n_candidates, n_folds, n_features); the penalty is
``sum_j alpha_j w_j^2 / 2``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from ._ridge_path import RidgePath

# A feature's magnitude never counts as less than this fraction of the root mean square.
MAGNITUDE_FLOOR = 1e-3


class Penalty(Protocol):
    """A map from learned numbers to the features' penalty weights."""

    n_hyper: int

    def log_weights(self, hyper: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log weights and their Jacobian.

        Returns
        -------
        log_weights : Tensor of shape (n_candidates, n_folds, n_features)
        jacobian : Tensor of shape (n_candidates, n_hyper, n_folds, n_features)
        """


@dataclass(frozen=True)
class LinearPenalty:
    """Log weights and powers that are linear in `hyper`: of groups, or of descriptions.

    Attributes
    ----------
    basis : Tensor of shape (n_hyper, n_features)
        A row for each learned number; of a group's log strength it is 1 on the group.

    fixed : Tensor of shape (n_features,)
        What is added to the log weights.

    n_folds : int

    power_basis : Tensor of shape (n_hyper, n_features) or None
        The same for the power of the penalty; None where that is 2, a square.

    fixed_power : Tensor of shape (n_features,) or None
    """

    basis: torch.Tensor
    fixed: torch.Tensor
    n_folds: int
    power_basis: torch.Tensor | None = None
    fixed_power: torch.Tensor | None = None

    @property
    def n_hyper(self):
        return len(self.basis)

    def log_weights(self, hyper):
        log_weights = (hyper @ self.basis + self.fixed)[:, None]
        shape = (len(hyper), self.n_hyper, self.n_folds, len(self.fixed))
        jacobian = self.basis[None, :, None].expand(shape)
        return log_weights.expand(len(hyper), self.n_folds, -1), jacobian

    def powers(self, hyper):
        """Power of each feature's penalty, shape (n_candidates, 1, 1, n_features)."""
        return (hyper @ self.power_basis + self.fixed_power)[:, None, None]


@dataclass(frozen=True)
class AdaptivePenalty:
    r"""Weights that fall with the size of a pilot fit's coefficients.

    .. math:: \alpha_j = e^{a + z_j^T c} (m_j / m)^{-e_1} (m_{g(j)} / m)^{-e_2}

    where :math:`m_j` is the magnitude of the coefficient of feature j in a ridge fit of
    strength :math:`e^{l}` on the same training rows (root mean square over targets,
    floored), :math:`m_g` its root mean square over the group of j, and :math:`m` over all
    features. `hyper` is :math:`(l, a, e_1)`, :math:`e_2` where groups are given, and
    :math:`c` where there is a basis z. With exponents 0 it is ridge, 2 adaptive ridge; more
    is close to subset selection.

    Attributes
    ----------
    path : RidgePath
    membership : Tensor of shape (n_groups, n_features) or None
        Rows sum to 1: they average over a group.
    learned : Tensor of shape (n_features,)
        1 where the weight is learned, 0 where it is fixed.
    fixed : Tensor of shape (n_features,)
        Log weight where fixed, 0 elsewhere.
    limit : tuple of float
        Bounds of the log weights.
    basis : Tensor of shape (n_terms, n_features) or None
        Further terms of the log weights, one learned number each.
    positive : bool
        Whether only positive coefficients of the pilot count.
    """

    path: RidgePath
    learned: torch.Tensor
    fixed: torch.Tensor
    limit: tuple[float, float]
    membership: torch.Tensor | None = None
    basis: torch.Tensor | None = None
    positive: bool = False

    @property
    def n_hyper(self):
        return 2 + self.n_exponents + (0 if self.basis is None else len(self.basis))

    @property
    def n_exponents(self):
        return 1 if self.membership is None else 2

    def magnitudes(self, log_strength):
        """Log magnitudes beside the root mean square, and their slopes in `log_strength`.

        Returns a list of pairs: of the features, then of their groups where given.
        """
        coefficients, slope = self.path.coefficients(log_strength)
        if self.positive:
            coefficients = coefficients.clamp_min(0)
        square = coefficients.square().mean(2) * self.learned
        growth = 2 * (coefficients * slope).mean(2) * self.learned
        n_learned = self.learned.sum()
        mean = square.sum(-1, keepdim=True) / n_learned
        mean_growth = growth.sum(-1, keepdim=True) / n_learned
        floor = MAGNITUDE_FLOOR**2

        def relative(square, growth):
            floored = square + floor * mean
            known = floored > 0  # a pilot that is zero everywhere says nothing
            safe = floored.where(known, torch.ones_like(floored))
            log = ((safe / mean.where(mean > 0, torch.ones_like(mean))).log() / 2).where(
                known, 0 * safe
            )
            rate = (growth + floor * mean_growth) / safe - mean_growth / mean.where(
                mean > 0, torch.ones_like(mean)
            )
            return log, (rate / 2).where(known, 0 * safe)

        pairs = [relative(square, growth)]
        if self.membership is not None:
            spread = (self.membership > 0).to(square)
            pairs.append(
                relative(square @ self.membership.mT @ spread, growth @ self.membership.mT @ spread)
            )
        return pairs

    def log_weights(self, hyper):
        pairs = self.magnitudes(hyper[:, 0])
        strength = hyper[:, 1, None, None]
        if self.basis is not None:
            strength = strength + (hyper[:, 2 + self.n_exponents :] @ self.basis)[:, None]
        exponents = [hyper[:, 2 + i, None, None] for i in range(len(pairs))]
        log_weights = strength - sum(e * log for e, (log, _) in zip(exponents, pairs, strict=True))
        by_pilot = -sum(e * rate for e, (_, rate) in zip(exponents, pairs, strict=True))
        jacobian = torch.stack(
            [by_pilot, torch.ones_like(by_pilot), *(-log for log, _ in pairs)], dim=1
        )
        if self.basis is not None:
            terms = self.basis[None, :, None].expand(len(hyper), -1, jacobian.shape[2], -1)
            jacobian = torch.cat([jacobian, terms], dim=1)
        inside = (log_weights >= self.limit[0]) & (log_weights <= self.limit[1])
        log_weights = log_weights.clamp(*self.limit) * self.learned + self.fixed
        return log_weights, jacobian * (inside * self.learned)[:, None]
