"""Products with the rows of a design, and the kernels of those that train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg.blas import dsyrk

from ._cholesky import factorize, solve_factorized

# Features whose kernels add less than this to the identity are left out: rounding adds more.
NEGLIGIBLE = 1e-15
# Numbers that are made dense at a time.
BLOCK = 2**21
# Products of sparse matrices are slower than those of dense blocks above this density.
SPARSE_DENSITY = 0.05


class Rows:
    """Design, targets and the columns that are regressed out, fold by fold.

    Parameters
    ----------
    design : ndarray or sparse matrix of shape (n_rows, n_features)
        Only products with it are taken.
    targets : Tensor of shape (n_targets, n_rows)
    nuisance : Tensor of shape (n_rows, n_nuisance)
        Intercept and unpenalized columns: fitted without a penalty on each fold's
        training rows, applied to all rows.
    train_weight : Tensor of shape (n_folds, n_rows)
        Sums to 1 in each fold.
    """

    def __init__(self, design, targets, nuisance, train_weight):
        self.is_dense = isinstance(design, np.ndarray)
        self.design: Any = torch.as_tensor(design).to(targets) if self.is_dense else design.tocsr()
        self.nuisance = nuisance
        self.train_weight = train_weight
        weighted = train_weight[:, :, None] * nuisance
        self.regression = torch.linalg.pinv(nuisance.T @ weighted, hermitian=True) @ weighted.mT
        self.targets = self.residual(targets.expand(1, len(train_weight), *targets.shape))
        self._columns: Any = None if self.is_dense else design.tocsc()
        self._latest: list = []

    def residual(self, columns):
        """What the training fit on the nuisance columns leaves; shape (..., n_folds, T, n_rows)."""
        return columns - (columns @ self.regression.mT) @ self.nuisance.T

    def residual_adjoint(self, columns):
        return columns - (columns @ self.nuisance) @ self.regression

    def fitted(self, params):
        """``X w`` with the nuisance columns regressed out.

        The latest answers are kept: both levels ask for the same.
        """
        for known, version, fitted in self._latest:
            if known is params and version == params._version:
                return fitted
        fitted = self._fitted(params)
        if not params.requires_grad:
            self._latest[:] = [*self._latest[-1:], (params, params._version, fitted)]
        return fitted

    def _fitted(self, params):
        if self.is_dense:
            return self.residual(params @ self.design.T)
        flat = params.reshape(-1, params.shape[-1]).cpu().numpy()
        product = torch.from_numpy(np.ascontiguousarray((self.design @ flat.T).T)).to(params)
        return self.residual(product.reshape(*params.shape[:-1], -1))

    def adjoint(self, columns):
        """Transpose of `fitted`."""
        columns = self.residual_adjoint(columns)
        if self.is_dense:
            return columns @ self.design
        flat = columns.reshape(-1, columns.shape[-1]).cpu().numpy()
        product = torch.from_numpy(np.ascontiguousarray((self.design.T @ flat.T).T)).to(columns)
        return product.reshape(*columns.shape[:-1], -1)

    def kernel(self, index, scale=None):
        """``X diag(scale) X'`` of some rows."""
        if not self.is_dense and self.design.nnz < SPARSE_DENSITY * np.prod(self.design.shape):
            part = self.design[index.cpu().numpy()]
            scaled = part if scale is None else part.multiply(scale.cpu().numpy()).tocsr()
            return torch.from_numpy((scaled @ part.T).toarray()).to(self.train_weight)
        kernel = self.train_weight.new_zeros(len(index), len(index))
        n_features = self.design.shape[1]
        size = max(256, BLOCK // len(index))
        for start in range(0, n_features, size):
            columns = torch.arange(start, min(start + size, n_features))
            half = self.submatrix(index, columns)
            if scale is not None:
                half *= scale[columns].sqrt()
            _add_kernel(kernel, half)
        return kernel.triu() + kernel.triu(1).mT

    def submatrix(self, index, columns):
        """Some rows and columns of X, as a dense tensor of its own."""
        if not self.is_dense:
            part = self._columns[:, columns.cpu().numpy()][index.cpu().numpy()]
            return torch.from_numpy(part.toarray(order="C")).to(self.train_weight)
        if len(columns) == self.design.shape[1]:
            return self.design[index]
        if len(columns) and len(columns) == int(columns[-1] - columns[0]) + 1:
            return self.design[:, int(columns[0]) : int(columns[-1]) + 1][index]
        return self.design[index[:, None], columns]


def _add_kernel(kernel, half):
    """Add ``half half'`` to the upper triangle of `kernel`, in place."""
    if kernel.device.type != "cpu" or kernel.dtype != torch.float64:
        kernel += half @ half.mT
    else:
        rows = np.ascontiguousarray(half.numpy())
        dsyrk(1.0, rows.T, beta=1.0, c=kernel.numpy().T, overwrite_c=1, lower=1, trans=1)


class CountedRows:
    """The rows that count in each fold, as many in each, the last ones with weight zero.

    Parameters
    ----------
    rows : Rows
    weight : Tensor of shape (n_folds, n_rows)
    """

    def __init__(self, rows, weight):
        self.rows = rows
        counted = (weight > 0) | (rows.train_weight > 0)
        most = int(counted.sum(1).max())
        self.index = (~counted).to(torch.uint8).sort(dim=1, stable=True).indices[:, :most]
        self.root = weight.gather(1, self.index).sqrt()
        self.nuisance = rows.nuisance[self.index]
        self.regression = rows.regression.gather(
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

    def kernel(self, fold, plain):
        """Weighted kernel of residuals from the plain one of a fold's rows, in its memory."""
        nuisance, regression = self.nuisance[fold], self.regression[fold]
        fit = regression @ plain
        fit -= (fit @ regression.mT) @ nuisance.mT / 2
        plain.addmm_(torch.cat([nuisance, fit.mT], dim=1), torch.cat([fit, nuisance.mT]), alpha=-1)
        return plain.mul_(self.root[fold]).mul_(self.root[fold][:, None])

    def half(self, fold, columns):
        """Weighted residuals of some columns in a fold's rows."""
        half = self.rows.submatrix(self.index[fold], columns)
        half -= self.nuisance[fold] @ (self.regression[fold] @ half)
        return half.mul_(self.root[fold][:, None])


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
            _add_kernel(matrix, half.mT)
        else:
            half = None
            matrix = counted.kernel(fold, counted.rows.kernel(counted.index[fold], scale))
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
