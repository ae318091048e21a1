"""Held-out errors that few outlying rows cannot rule: Huber's and the absolute one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ...linalg._design import Design
from ...problems import CurvatureProducts, Gradients, Objective
from .._constants import DEVIATION, EFFICIENT, HALF


@dataclass(frozen=True)
class HeldOutRows:
    """The held-out rows of one fold, ready for products.

    `effect` are the coefficients of the covariates for the design's columns in the training fit.
    """

    design: Design  # (n_rows, n_features)
    targets: torch.Tensor  # (n_targets, n_rows), the covariates partialled out
    partialled_out: torch.Tensor  # (n_rows, n_partialled_out): intercept and unpenalized columns
    effect: torch.Tensor  # (n_partialled_out, n_features)
    weight: torch.Tensor  # (n_rows,)

    def fitted(self, params):
        """From (n_candidates, n_targets, n_features) to (n_candidates, n_targets, n_rows)."""
        return self.design.matmul(params) - (params @ self.effect.mT) @ self.partialled_out.mT

    def adjoint(self, columns):
        """Transpose of `fitted`."""
        return self.design.rmatmul(columns) - (columns @ self.partialled_out) @ self.effect


@dataclass(frozen=True)
class RowError(Objective):
    """Mean over the held-out rows of all folds of a loss of their residuals.

    The weights of `folds` sum to 1 over all folds, for each target. `loss` is
    half the mean square of the same rows, which bounds the curvature from above. Residuals are in
    units of the scaled targets.
    """

    folds: tuple[HeldOutRows, ...]
    loss: Any

    @classmethod
    def of(cls, held_out, loss):
        """Of the rows of a `RowLoss`, and the `loss` that the design has for them."""
        rows, folds = held_out.rows, []
        for fold, weight in enumerate(held_out.weight):
            index = weight.nonzero()[:, 0]
            effect = rows.design.rmatmul(rows.regression[fold])
            targets = rows.targets[0, fold][:, index]
            design, covariates = rows.design.take(index), rows.partialled_out[index]
            folds.append(HeldOutRows(design, targets, covariates, effect, weight[index]))
        return cls(tuple(folds), loss)

    def losses(self, residual):
        """Of single residuals; `slopes` and `curvatures` are their derivatives."""
        raise NotImplementedError

    def slopes(self, residual):
        raise NotImplementedError

    def curvatures(self, residual):
        raise NotImplementedError

    def by_fold(self, params):
        """The folds' parts of the value, shape (n_candidates, n_folds)."""
        parts = []
        for fold, rows in enumerate(self.folds):
            losses = self.losses(self._residual(fold, params))
            parts.append((rows.weight * losses).sum((1, 2)))
        return torch.stack(parts, dim=1)

    def value(self, hyper, params):
        return self.by_fold(params).sum(1)

    def gradients(self, hyper, params, *, differentiable=False):
        def gradient(fold, rows):
            return -rows.adjoint(rows.weight * self.slopes(self._residual(fold, params)))

        return Gradients(torch.zeros_like(hyper), self._stacked(gradient))

    def curvature_products(self, hyper, params, vector):
        def curved(fold, rows):
            curvature = self.curvatures(self._residual(fold, params))
            return rows.adjoint(rows.weight * curvature * rows.fitted(vector[:, fold]))

        return CurvatureProducts(self._stacked(curved), torch.zeros_like(hyper))

    def _residual(self, fold, params):
        rows = self.folds[fold]
        return rows.targets - rows.fitted(params[:, fold])

    def _stacked(self, part):
        return torch.stack([part(fold, rows) for fold, rows in enumerate(self.folds)], dim=1)


@dataclass(frozen=True)
class HuberError(RowError):
    r"""Huber's loss, with a threshold delta.

    .. math:: \rho(r) = r^2 \text{ for } |r| \le \delta, \quad
        2 \delta |r| - \delta^2 \text{ beyond}
    """

    threshold: float = float("inf")

    def exact(self, floor):
        """The criterion below which a fit is exact, given the mean square."""
        return floor

    def calibrated(self, params, exact):
        """The same with the threshold for the errors of the best of some candidates.

        It is 1.345 robust standard deviations of the errors of the candidate whose mean
        absolute error is least. Mean squares below `exact`, one for each candidate, are rounding.
        """
        exact = exact.sqrt()
        residuals = [self._residual(fold, params) for fold in range(len(self.folds))]
        mean = sum(
            (rows.weight * residual.abs()).sum((1, 2))
            for rows, residual in zip(self.folds, residuals, strict=True)
        )
        best = int(mean.maximum(exact).argmin())
        size = torch.cat([residual[best].abs().flatten() for residual in residuals])
        weight = torch.cat(
            [
                rows.weight.expand_as(residual[best]).flatten()
                for rows, residual in zip(self.folds, residuals, strict=True)
            ]
        )
        middle = _weighted_median(size, weight)
        # More than half of the errors may be zero but for rounding: then there is no scale.
        has_scale = middle > float(exact[best])
        threshold = EFFICIENT * DEVIATION * middle if has_scale else float("inf")
        return replace(self, threshold=threshold)

    def losses(self, residual):
        size = residual.abs()
        inside = size.clamp_max(self.threshold)
        # The same as the definition, without infinity times zero.
        beyond = size - inside
        return inside.square() + 2 * inside * beyond

    def slopes(self, residual):
        return 2 * residual.clamp(-self.threshold, self.threshold)

    def curvatures(self, residual):
        return 2 * (residual.abs() <= self.threshold)


class AbsoluteError(RowError):
    """The absolute error. Its curvature is at kinks alone, where no step ends."""

    def exact(self, floor):
        return floor.sqrt()

    def calibrated(self, params, exact):
        """The same: sizes have no threshold to find."""
        return self

    def losses(self, residual):
        return residual.abs()

    def slopes(self, residual):
        return residual.sign()

    def curvatures(self, residual):
        return torch.zeros_like(residual)


ROW_ERRORS: dict[str, type[RowError]] = {"huber": HuberError, "absolute_error": AbsoluteError}


def _weighted_median(values, weight):
    """Smallest value with half of the weight at or below it."""
    order = values.argsort()
    reached = weight[order].cumsum(0)
    return float(values[order][int((reached >= float(reached[-1]) * HALF).to(torch.int8).argmax())])
