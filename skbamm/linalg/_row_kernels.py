"""Products with the rows of all folds, and kernels of those that train."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from ._cholesky import factorize, solve_factorized
from ._design import DenseDesign, add_row_gram, as_design
from ._tensors import memo_last

# Rounding guard: features whose kernels add less than this to the identity are left out.
NEGLIGIBLE = 1e-15
# Up to so many numbers the rows of all folds are kept, so that calls are as many as for one fold.
KEPT_NUMBERS = 2**20


class FoldRows:
    """Design, targets and the partialled-out covariates, fold by fold.

    `design`, (n_rows, n_features), is an array, a sparse matrix or a `Design`, `targets` have shape
    (n_targets, n_rows), `train_weight` (n_folds, n_rows) with sum 1 in each fold. `partialled_out`,
    (n_rows, n_partialled_out), are intercept and unpenalized columns: fitted without a penalty on
    each fold's training rows, applied to all rows.
    """

    def __init__(self, design, targets, partialled_out, train_weight):
        self.design = as_design(design, targets)
        self.partialled_out = partialled_out
        self.train_weight = train_weight
        weighted = train_weight[:, :, None] * partialled_out
        gram = partialled_out.T @ weighted
        #: Coefficients of the covariates for columns of rows: a pseudoinverse.
        self.regression = torch.linalg.pinv(gram, hermitian=True) @ weighted.mT
        self.targets = self.residual(targets.expand(1, len(train_weight), *targets.shape))

    def residual(self, columns):
        """What the training fit on the covariates leaves; shape (..., n_folds, T, n_rows)."""
        return columns - (columns @ self.regression.mT) @ self.partialled_out.T

    @memo_last(2)
    def fitted(self, params):
        """``X w`` with the covariates partialled out; both levels ask for the same."""
        return self.residual(self.design.matmul(params))

    def adjoint(self, columns):
        """Transpose of `fitted`."""
        columns = columns - (columns @ self.partialled_out) @ self.regression
        return self.design.rmatmul(columns)


class CountedRows:
    """The rows that count in each fold, as many in each, the last ones with weight zero.

    `rows` are `FoldRows`, `weight` has shape (n_folds, n_rows).
    """

    def __init__(self, rows, weight):
        self.rows = rows
        counted = (weight > 0) | (rows.train_weight > 0)
        most = int(counted.sum(1).max())
        self.index = (~counted).to(torch.uint8).sort(dim=1, stable=True).indices[:, :most]
        self.root = weight.gather(1, self.index).sqrt()
        self._partialled_out = rows.partialled_out[self.index]
        self._regression = rows.regression.gather(
            2, self.index[:, None].expand(-1, rows.regression.shape[1], -1)
        )

    def gather(self, columns):
        """Counted rows of columns of shape (n_candidates, n_folds, n_targets, n_rows), weighted."""
        index = self.index[None, :, None].expand(*columns.shape[:3], -1)
        return self.root[:, None] * columns.gather(3, index)

    def scatter(self, columns):
        """Transpose of `gather`."""
        index = self.index[None, :, None].expand(*columns.shape[:3], -1)
        full = columns.new_zeros(*columns.shape[:3], self.rows.train_weight.shape[1])
        return full.scatter(3, index, self.root[:, None] * columns)

    @cached_property
    def halves(self):
        """Weighted residuals of all columns, (n_folds, n_counted, n_features); None of many."""
        n_features = self.rows.design.shape[1]
        is_dense = isinstance(self.rows.design, DenseDesign)
        if not is_dense or self.index.numel() * n_features > KEPT_NUMBERS:
            return None
        every = torch.arange(n_features, device="cpu")
        return torch.stack([self.half(fold, every) for fold in range(len(self.index))])

    def kernel(self, fold, plain):
        """Weighted kernel of residuals from the plain one of a fold's rows, in its memory."""
        covariates, regression = self._partialled_out[fold], self._regression[fold]
        fit = regression @ plain
        fit -= (fit @ regression.mT) @ covariates.mT / 2
        left, right = torch.cat([covariates, fit.mT], dim=1), torch.cat([fit, covariates.mT])
        plain.addmm_(left, right, alpha=-1)
        return plain.mul_(self.root[fold]).mul_(self.root[fold][:, None])

    def half(self, fold, columns):
        """Weighted residuals of some columns in a fold's rows."""
        half = self.rows.design.block(self.index[fold], columns)
        half -= self._partialled_out[fold] @ (self._regression[fold] @ half)
        return half.mul_(self.root[fold][:, None])


@dataclass(frozen=True)
class StackedFactors:
    """Inverses of ``I + B B'`` of all folds at once, for scales (n_candidates, n_folds, 1, n)."""

    halves: torch.Tensor
    factor: torch.Tensor  # (n_candidates, n_folds, n_counted, n_counted)

    @classmethod
    def build(cls, counted, scale):
        """None where these do not suit: too many numbers, few noticeable scales, or rounding."""
        halves = counted.halves
        if halves is None or scale.shape[2] > 1:
            return None
        noticeable = (scale * scale.shape[-1] > NEGLIGIBLE).sum(-1)
        if int(noticeable.min()) < halves.shape[1]:
            return None
        half = halves * scale.sqrt()
        kernel = half @ half.mT
        kernel.diagonal(dim1=-2, dim2=-1).add_(1)
        factor, failed = torch.linalg.cholesky_ex(kernel)
        return None if bool(failed.any()) else cls(halves, factor)

    def fitted(self, params):
        """Counted rows of what params fit, weighted."""
        return params @ self.halves.mT

    def back(self, columns):
        """Inverses times counted rows, then the transpose of `fitted`."""
        return torch.cholesky_solve(columns.mT, self.factor).mT @ self.halves


@dataclass(frozen=True)
class KernelFactor:
    """Inverse of ``I + B B'``, B being a fold's weighted rows times ``scale ** 0.5``.

    Where fewer features than rows have a noticeable scale, by way of ``I + B' B``.
    """

    factor: torch.Tensor | None
    half: torch.Tensor | None

    @classmethod
    def build(cls, counted, fold, scale):
        columns = torch.nonzero(scale * len(scale) > NEGLIGIBLE)[:, 0]
        if not len(columns):
            return cls(None, None)
        if len(columns) < len(counted.index[fold]):
            half = counted.half(fold, columns) * scale[columns].sqrt()
            matrix = half.new_zeros(len(columns), len(columns))
            add_row_gram(matrix, half.mT)
        else:
            half = None
            plain = counted.rows.design.row_gram(counted.index[fold], scale)
            matrix = counted.kernel(fold, plain)
        matrix.diagonal().add_(1)
        factorize(matrix)
        return cls(matrix, half)

    def solve(self, columns):
        """For right-hand sides of shape (n_columns, n_counted)."""
        if self.factor is None:
            return columns
        if self.half is None:
            return solve_factorized(self.factor, columns)
        return columns - solve_factorized(self.factor, columns @ self.half) @ self.half.mT
