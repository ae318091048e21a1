"""Squared losses of all folds from the rows themselves, for more features than rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ...linalg._row_kernels import CountedRows, FoldRows, KernelFactor, StackedFactors
from ._quadratic import fold_product, shrunken


@dataclass(frozen=True)
class RowLoss:
    """Loss by products with X, which cost n_rows * n_features."""

    rows: FoldRows
    weight: torch.Tensor  # (n_folds, n_rows)

    @property
    def n_folds(self):
        return len(self.weight)

    def value(self, params):
        return self.by_fold(params).sum(1)

    def by_fold(self, params):
        residual = self.rows.targets - self.rows.fitted(params)
        return (self.weight[:, None] * residual.square()).sum((2, 3)) / 2

    def zeros(self):
        n_folds, n_targets = self.rows.targets.shape[1:3]
        return self.weight.new_zeros(n_folds, n_targets, self.rows.design.shape[1])

    def combine(self, factor, other, other_factor):
        return RowLoss(self.rows, factor * self.weight + other_factor * other.weight)

    def metric(self, penalty):
        return RowMetric.build(self.counted, penalty, self._latest)

    def root_rows(self, fold):
        counted = self.counted
        half = counted.half(fold, torch.arange(self.rows.design.shape[1], device="cpu"))
        targets = self.rows.targets[0, fold][:, counted.index[fold]] * counted.root[fold]
        return half.cpu().numpy(), targets.mT.cpu().numpy()

    @cached_property
    def counted(self):
        return CountedRows(self.rows, self.weight)

    @cached_property
    def _latest(self):
        """The last metric's penalties and factors, for candidates that have not changed."""
        return {}

    def gradient(self, params):
        residual = self.rows.fitted(params) - self.rows.targets
        return self.rows.adjoint(self.weight[:, None] * residual)

    def product(self, vector):
        return self.rows.adjoint(self.weight[:, None] * self.rows.fitted(vector))


@dataclass(frozen=True)
class RowMetric:
    """Inverse of ``B'B + diag(penalty)``, B of shape (n_rows, n_features), by Woodbury."""

    counted: CountedRows
    inverse_penalty: torch.Tensor  # (n_candidates, n_folds, n_targets or 1, n_features)
    factors: dict | StackedFactors  # by candidate, fold and target; or of all
    exact = True

    @classmethod
    def build(cls, counted, penalty, latest):
        inverse = 1 / (penalty if penalty.ndim == 4 else penalty[:, :, None])
        stacked = StackedFactors.build(counted, inverse)
        if stacked is not None:
            return cls(counted, inverse, stacked)
        factors = {}
        for place in np.ndindex(*inverse.shape[:3]):
            scale, factor = latest.get(place, (None, None))
            if scale is None or not torch.equal(scale, inverse[place]):
                factor = KernelFactor.build(counted, place[1], inverse[place])
                latest[place] = inverse[place].clone(), factor
            factors[place] = factor
        return cls(counted, inverse, factors)

    def solve(self, vector):
        scaled = self.inverse_penalty * vector
        if isinstance(self.factors, StackedFactors):
            return scaled - self.inverse_penalty * self.factors.back(self.factors.fitted(scaled))
        return scaled - self._back(self.counted.gather(self.counted.rows.fitted(scaled)))

    def minimizer(self, loss, like):
        targets = self.counted.rows.targets.expand(*like.shape[:-1], -1)
        return self._back(self.counted.gather(targets))

    def _back(self, columns):
        if isinstance(self.factors, StackedFactors):
            return self.inverse_penalty * self.factors.back(columns)
        solved = torch.empty_like(columns)
        for (candidate, fold, target), factor in self.factors.items():
            own = slice(None) if self.inverse_penalty.shape[2] == 1 else slice(target, target + 1)
            solved[candidate, fold, own] = factor.solve(columns[candidate, fold, own])
        return self.inverse_penalty * self.counted.rows.adjoint(self.counted.scatter(solved))


@dataclass(frozen=True)
class RowPath:
    """Ridge path from the eigenvectors of the folds' kernels of rows."""

    counted: CountedRows
    values: torch.Tensor  # (n_folds, n_counted)
    vectors: torch.Tensor  # (n_folds, n_counted, n_counted)
    target: torch.Tensor  # (n_folds, n_targets, n_counted)

    @classmethod
    def build(cls, loss):
        rows, counted = loss.rows, loss.counted
        plain = rows.design.row_gram(torch.arange(rows.design.shape[0], device="cpu"))
        kernels = [
            counted.kernel(fold, plain[index[:, None], index])
            for fold, index in enumerate(counted.index)
        ]
        values, vectors = torch.linalg.eigh(torch.stack(kernels))
        targets = counted.gather(rows.targets)[0]
        return cls(counted, values.clamp_min(0), vectors, targets @ vectors)

    def coefficients(self, log_strength):
        return tuple(
            self.counted.rows.adjoint(self.counted.scatter(fold_product(rotated, self.vectors.mT)))
            for rotated in shrunken(self.values[:, None], self.target, log_strength)
        )

    def compared(self, log_strength):
        return self.coefficients(log_strength)[0]

    def rounding(self, log_strength):
        # A kernel of rows is singular in directions only that have no effect.
        return torch.zeros_like(log_strength)
