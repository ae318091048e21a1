"""Few learned numbers that generate a penalty weight for every feature.

Each class is a smooth map from `hyper`, of shape (n_candidates, n_hyper), to the weights
alpha of shape (n_candidates, n_folds, n_features); the penalty is
``sum_j alpha_j w_j^2 / 2``. ``log_weights(hyper)`` returns their logarithms and the Jacobian of
these, of shape (n_candidates, n_hyper, n_folds, n_features).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..losses._quadratic import RidgePath

# A feature's magnitude never counts as less than this fraction of the root mean square.
MAGNITUDE_FLOOR = 1e-3


@dataclass(frozen=True)
class LinearPenalty:
    """Log weights and powers that are linear in `hyper`: of groups, or of descriptions.

    A row of `basis` belongs to a learned number; of a group's log strength it is 1 on the group.
    `power_basis` and `fixed_power` are the same for the power of the penalty; None where that is
    2, a square.
    """

    basis: torch.Tensor  # (n_hyper, n_features)
    fixed: torch.Tensor  # (n_features,), added to the log weights
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

    .. math::

        \alpha_j = e^{a + z_j^T c} (m_j / m)^{-e}, \qquad
        m_j^2 = (1 - t) \, w_j^2 + t \, \overline{w^2}_{g(j)} + \delta^2 m^2

    where :math:`w_j^2` is the squared coefficient of feature j in a ridge fit of strength
    :math:`e^{l}` on the same training rows (mean over targets), the bar its mean over the
    group of j, and :math:`m^2` its mean over all features. `hyper` is :math:`(l, a, e)`,
    :math:`t` where groups are given, and :math:`c` where there is a basis z. With exponent 0
    it is ridge, 2 adaptive ridge; more is close to subset selection. With share t = 1 a group
    has one strength, with 0 groups make no difference.
    """

    path: RidgePath
    learned: torch.Tensor  # (n_features,), 1 where the weight is learned, 0 where it is fixed
    fixed: torch.Tensor  # (n_features,), log weight where fixed, 0 elsewhere
    limit: tuple[float, float]  # of the log weights
    # (n_groups, n_features); rows sum to 1: they average over a group.
    membership: torch.Tensor | None = None
    # (n_terms, n_features): further terms of the log weights, one learned number each.
    basis: torch.Tensor | None = None
    positive: bool = False  # whether only positive coefficients of the pilot count

    @property
    def n_hyper(self):
        return self._n_common + (0 if self.basis is None else len(self.basis))

    @property
    def _n_common(self):
        """How many numbers come before those of the basis."""
        return 3 if self.membership is None else 4

    def log_weights(self, hyper):
        strength, exponent = hyper[:, 1, None, None], hyper[:, 2, None, None]
        if self.basis is not None:
            strength = strength + (hyper[:, self._n_common :] @ self.basis)[:, None]
        share = hyper[:, 3, None, None] if self.membership is not None else None
        log, by_pilot, by_share = self._magnitudes(hyper[:, 0], share)
        log_weights = strength - exponent * log
        derivatives = [-exponent * by_pilot, torch.ones_like(log), -log]
        if share is not None:
            derivatives.append(-exponent * by_share)
        jacobian = torch.stack(derivatives, dim=1)
        if self.basis is not None:
            terms = self.basis[None, :, None].expand(len(hyper), -1, jacobian.shape[2], -1)
            jacobian = torch.cat([jacobian, terms], dim=1)
        inside = (log_weights >= self.limit[0]) & (log_weights <= self.limit[1])
        log_weights = log_weights.clamp(*self.limit) * self.learned + self.fixed
        return log_weights, jacobian * (inside * self.learned)[:, None]

    def _magnitudes(self, log_strength, share):
        """Log magnitudes relative to the root mean square, and their two derivatives."""
        square, growth = self._squares(log_strength)
        n_learned = self.learned.sum()
        mean = square.sum(-1, keepdim=True) / n_learned
        mean_growth = growth.sum(-1, keepdim=True) / n_learned
        by_share = torch.zeros_like(square)
        if share is not None:
            by_share = self._group_means(square) - square
            growth = growth + share * (self._group_means(growth) - growth)
            square = square + share * by_share
        floored = square + MAGNITUDE_FLOOR**2 * mean
        known = floored > 0  # a pilot that is zero everywhere says nothing
        safe = floored.where(known, torch.ones_like(floored))
        safe_mean = mean.where(mean > 0, torch.ones_like(mean))
        rate = (growth + MAGNITUDE_FLOOR**2 * mean_growth) / safe - mean_growth / safe_mean
        found = (safe / safe_mean).log(), rate, by_share / safe
        return tuple((part / 2).where(known, 0 * safe) for part in found)

    def _squares(self, log_strength):
        """Squared coefficients of the pilot, mean over targets, and their derivatives."""
        coefficients, derivative = self.path.coefficients(log_strength)
        if self.positive:
            coefficients = coefficients.clamp_min(0)
        square = coefficients.square().mean(2) * self.learned
        return square, 2 * (coefficients * derivative).mean(2) * self.learned

    def _group_means(self, values):
        """The mean over its group for each learned feature, 0 for others."""
        if self.membership is None:
            return values
        return values @ self.membership.mT @ (self.membership > 0).to(values)
