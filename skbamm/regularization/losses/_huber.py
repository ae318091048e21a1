"""A held-out error that few outlying rows cannot rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...problems._base import CurvatureProducts, Gradients, Objective

# Times the standard deviation of normal errors: 95 % as efficient as squares where errors are
# normal (Huber, "Robust Estimation of a Location Parameter", 1964).
EFFICIENT = 1.345
# Standard deviation of a normal error beside the median of its size.
DEVIATION = 1.4826


@dataclass(frozen=True)
class HeldOutRows:
    """The held-out rows of one fold, ready for products.

    Attributes
    ----------
    design : Tensor or sparse matrix of shape (n_rows, n_features)
    targets : Tensor of shape (n_targets, n_rows)
        Without what the training fit on the nuisance columns explains.
    nuisance : Tensor of shape (n_rows, n_nuisance)
        Intercept and unpenalized columns.
    effect : Tensor of shape (n_nuisance, n_features)
        Coefficients of the design's columns in the training fit on the nuisance columns.
    weight : Tensor of shape (n_rows,)
    """

    design: Any
    targets: torch.Tensor
    nuisance: torch.Tensor
    effect: torch.Tensor
    weight: torch.Tensor

    def fitted(self, params):
        """From (n_candidates, n_targets, n_features) to (n_candidates, n_targets, n_rows)."""
        return self._times(params, self.design.T) - (params @ self.effect.mT) @ self.nuisance.mT

    def adjoint(self, columns):
        """Transpose of `fitted`."""
        return self._times(columns, self.design) - (columns @ self.nuisance) @ self.effect

    def _times(self, columns, matrix):
        if isinstance(matrix, torch.Tensor):
            return columns @ matrix
        flat = columns.reshape(-1, columns.shape[-1]).cpu().numpy()
        product = np.ascontiguousarray((matrix.T @ flat.T).T)
        return torch.from_numpy(product).to(columns).reshape(*columns.shape[:-1], -1)


@dataclass(frozen=True)
class HuberError(Objective):
    r"""Mean Huber loss on the held-out rows of all folds.

    .. math:: \rho(r) = r^2 \text{ for } |r| \le \delta, \quad
        2 \delta |r| - \delta^2 \text{ beyond}

    Attributes
    ----------
    folds : tuple of HeldOutRows
        Their weights sum to 1 over all folds, for each target.
    loss : QuadraticLoss
        Half the mean square of the same rows, which bounds the curvature from above.
    threshold : float
        :math:`\delta`, in units of the scaled targets.
    """

    folds: tuple[HeldOutRows, ...]
    loss: Any
    threshold: float = float("inf")

    def calibrated(self, params):
        """The same with the threshold for the errors of the best of some candidates.

        It is 1.345 robust standard deviations of the errors of the candidate whose mean
        absolute error is least.
        """
        residuals = [self._residual(fold, params) for fold in range(len(self.folds))]
        mean = sum(
            (rows.weight * residual.abs()).sum((1, 2))
            for rows, residual in zip(self.folds, residuals, strict=True)
        )
        best = int(mean.argmin())
        size = torch.cat([residual[best].abs().flatten() for residual in residuals])
        weight = torch.cat(
            [
                rows.weight.expand_as(residual[best]).flatten()
                for rows, residual in zip(self.folds, residuals, strict=True)
            ]
        )
        middle = _weighted_median(size, weight)
        # More than half of the errors are zero: no scale to go by.
        threshold = EFFICIENT * DEVIATION * middle if middle > 0 else float("inf")
        return replace(self, threshold=threshold)

    def by_fold(self, params):
        """The folds' parts of the value, shape (n_candidates, n_folds)."""
        parts = []
        for fold, rows in enumerate(self.folds):
            size = self._residual(fold, params).abs()
            inside = size.clamp_max(self.threshold)
            # The same as the definition, without infinity times zero.
            beyond = size - inside
            huber = inside.square() + 2 * inside * beyond
            parts.append((rows.weight * huber).sum((1, 2)))
        return torch.stack(parts, dim=1)

    def value(self, hyper, params):
        return self.by_fold(params).sum(1)

    def gradients(self, hyper, params, *, differentiable=False):
        def slope(fold, rows):
            held = self._residual(fold, params).clamp(-self.threshold, self.threshold)
            return -2 * rows.adjoint(rows.weight * held)

        return Gradients(torch.zeros_like(hyper), self._stacked(slope))

    def curvature_products(self, hyper, params, vector):
        def bend(fold, rows):
            inside = self._residual(fold, params).abs() <= self.threshold
            return 2 * rows.adjoint(rows.weight * inside * rows.fitted(vector[:, fold]))

        return CurvatureProducts(self._stacked(bend), torch.zeros_like(hyper))

    def _residual(self, fold, params):
        rows = self.folds[fold]
        return rows.targets - rows.fitted(params[:, fold])

    def _stacked(self, part):
        return torch.stack([part(fold, rows) for fold, rows in enumerate(self.folds)], dim=1)


def _weighted_median(values, weight):
    """Smallest value with half of the weight at or below it."""
    order = values.argsort()
    reached = weight[order].cumsum(0)
    # Rounding of the sums must not decide between two values in the middle.
    half = float(reached[-1]) / 2 * (1 - 1e-12)
    return float(values[order][int((reached >= half).to(torch.int8).argmax())])
