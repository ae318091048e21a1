"""Squared losses of all folds at once, from Gram matrices or from rows.

`params` has shape (n_candidates, n_folds, n_targets, n_features). Both kinds of loss
answer the same questions; the solve of ``(Hessian + diag(penalty)) w = r`` is a Cholesky
factor of a Gram matrix in one, of a kernel of rows in the other, which is how no
p x p matrix is ever formed for p > n.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from ...linalg._row_kernels import CountedRows, KernelFactor, Rows

# Added to a Gram matrix that rounding made indefinite, beside its mean diagonal.
JITTER = (1e-10, 1e-6)


def fold_product(columns, matrices):
    """``columns @ matrices`` fold by fold, without a copy of the matrices for each candidate.

    Broadcasting would make these. `columns` has shape (n_candidates, n_folds, n_targets, n),
    `matrices` (n_folds, n, m).
    """
    n_candidates, n_folds, n_targets, n = columns.shape
    stacked = columns.transpose(0, 1).reshape(n_folds, n_candidates * n_targets, n)
    product = torch.bmm(stacked, matrices)
    shape = (n_folds, n_candidates, n_targets, matrices.shape[-1])
    return product.reshape(shape).transpose(0, 1)


class QuadraticLoss(Protocol):
    """``sum over folds of w'Gw/2 - b'w + c``, one value for each candidate."""

    def value(self, params: torch.Tensor) -> torch.Tensor:
        """Value, shape (n_candidates,)."""

    def by_fold(self, params: torch.Tensor) -> torch.Tensor:
        """The folds' parts of it, but for constants, shape (n_candidates, n_folds)."""

    def gradient(self, params: torch.Tensor) -> torch.Tensor:
        """``G w - b``."""

    def product(self, vector: torch.Tensor) -> torch.Tensor:
        """``G v``."""

    def zeros(self) -> torch.Tensor:
        """Params of one candidate, all zero."""

    def combine(self, factor: float, other, other_factor: float):
        """A weighted sum of two losses of the same folds."""

    def metric(self, penalty: torch.Tensor):
        """Inverse of ``G + diag(penalty)``, exact.

        Parameters
        ----------
        penalty : Tensor of shape (n_candidates, n_folds, [n_targets,] n_features)
            One for all targets, or one for each.
        """

    def root_rows(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Few rows A and targets t with ``A'A = G`` and ``A't = b`` of one fold.

        As least squares solvers want them, of shapes (n, n_features) and (n, n_targets).
        """


class MomentLoss:
    """What losses share that hold the moments ``b`` and can multiply by ``G``.

    Attributes
    ----------
    moment : Tensor of shape (n_folds, n_targets, n_features)
    constant : Tensor, scalar
        Summed over folds and targets.
    """

    moment: torch.Tensor
    constant: torch.Tensor

    def product(self, vector):
        raise NotImplementedError

    def value(self, params):
        return self.by_fold(params).sum(1) + self.constant

    def by_fold(self, params):
        return (params * (self.product(params) / 2 - self.moment)).sum((2, 3))

    def gradient(self, params):
        return self.product(params) - self.moment

    def zeros(self):
        return torch.zeros_like(self.moment)

    def matrix(self, fold):
        """One fold's ``G``."""
        raise NotImplementedError

    def root_rows(self, fold):
        values, vectors = torch.linalg.eigh(self.matrix(fold))
        kept = values > 1e-13 * values.max().clamp_min(0) if len(values) else values > 0
        root, vectors = values[kept].sqrt(), vectors[:, kept]
        targets = (self.moment[fold] @ vectors) / root
        return (root[:, None] * vectors.mT).cpu().numpy(), targets.mT.cpu().numpy()


@dataclass(frozen=True)
class GramLoss(MomentLoss):
    """Loss from the folds' Gram matrices: no cost in the number of rows."""

    gram: torch.Tensor  # (n_folds, n_features, n_features)
    moment: torch.Tensor
    constant: torch.Tensor

    @property
    def n_folds(self):
        return len(self.gram)

    def combine(self, factor, other, other_factor):
        return GramLoss(
            factor * self.gram + other_factor * other.gram,
            factor * self.moment + other_factor * other.moment,
            factor * self.constant + other_factor * other.constant,
        )

    def matrix(self, fold):
        return self.gram[fold]

    def metric(self, penalty):
        return GramMetric.build(self.gram, penalty)

    def product(self, vector):
        return fold_product(vector, self.gram)


@dataclass(frozen=True)
class GramMetric:
    """Inverse of ``G + diag(penalty)`` for each candidate and fold, by Cholesky."""

    factor: torch.Tensor  # (n_candidates, n_folds, [n_targets,] n_features, n_features)
    exact = True

    @classmethod
    def build(cls, gram, penalty):
        if penalty.ndim == 4:
            gram = gram[:, None]
        matrix = gram + torch.diag_embed(penalty)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        for jitter in JITTER:
            if not bool(failed.any()):
                break
            # Rounding made a singular Gram matrix indefinite: a ridge of its own size helps.
            size = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
            added = (jitter * size * (failed > 0))[..., None]
            factor, failed = torch.linalg.cholesky_ex(
                matrix + torch.diag_embed(added.expand_as(penalty))
            )
        return cls(factor)

    def solve(self, vector):
        if self.factor.ndim == 5:
            return torch.cholesky_solve(vector[..., None], self.factor)[..., 0]
        return torch.cholesky_solve(vector.mT, self.factor).mT

    def minimizer(self, loss, like):
        return self.solve(loss.moment.expand_as(like))


@dataclass(frozen=True)
class RowLoss:
    """Loss from the rows themselves: products with X cost n_rows * n_features."""

    rows: Rows
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
        half = counted.half(fold, torch.arange(self.rows.design.shape[1]))
        targets = self.rows.targets[0, fold][:, counted.index[fold]] * counted.root[fold]
        return half.cpu().numpy(), targets.mT.cpu().numpy()

    @cached_property
    def counted(self):
        return CountedRows(self.rows, self.weight)

    @cached_property
    def _latest(self):
        """The last metric's penalties and factors, for candidates that have not moved."""
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
    factors: dict  # by candidate, fold and target
    exact = True

    @classmethod
    def build(cls, counted, penalty, latest):
        inverse = 1 / (penalty if penalty.ndim == 4 else penalty[:, :, None])
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
        return scaled - self._back(self.counted.gather(self.counted.rows.fitted(scaled)))

    def minimizer(self, loss, like):
        targets = self.counted.rows.targets.expand(*like.shape[:-1], -1)
        return self._back(self.counted.gather(targets))

    def _back(self, columns):
        solved = torch.empty_like(columns)
        for (candidate, fold, target), factor in self.factors.items():
            own = slice(None) if self.inverse_penalty.shape[2] == 1 else slice(target, target + 1)
            solved[candidate, fold, own] = factor.solve(columns[candidate, fold, own])
        return self.inverse_penalty * self.counted.rows.adjoint(self.counted.scatter(solved))
