"""Cholesky factors that take no memory but the matrix's own."""

from __future__ import annotations

import torch
from scipy.linalg import get_blas_funcs, get_lapack_funcs

from ._tensors import as_tensor

# Up to so many right-hand sides, solving one after the other is faster.
FEW_COLUMNS = 4


def factorize(matrix: torch.Tensor) -> bool:
    """Replace the upper triangle of a symmetric matrix by its Cholesky factor.

    The rest is left as it is. Returns whether the matrix was positive definite.
    """
    if matrix.device.type != "cpu":
        factor, failed = torch.linalg.cholesky_ex(matrix)
        matrix.copy_(factor.mT)
        return not bool(failed)
    array = matrix.numpy()
    (potrf,) = get_lapack_funcs(("potrf",), (array,))
    # LAPACK counts by columns: to it, the upper triangle is the lower one.
    _, info = potrf(array.T, lower=1, overwrite_a=1, clean=0)
    return info == 0


def solve_factorized(factor: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Solutions for right-hand sides of shape (n_rows, n), `factor` coming from `factorize`."""
    if factor.device.type != "cpu":
        return torch.cholesky_solve(rows.mT, factor.triu(), upper=True).mT
    array = factor.numpy().T
    if len(rows) > FEW_COLUMNS:
        (potrs,) = get_lapack_funcs(("potrs",), (array,))
        return as_tensor(potrs(array, rows.numpy().T, lower=1)[0].T)
    (trsv,) = get_blas_funcs(("trsv",), (array,))
    solution = torch.empty_like(rows)
    for index, row in enumerate(rows.numpy()):
        half = trsv(array, row, lower=1)
        solution[index] = as_tensor(trsv(array, half, lower=1, trans=1, overwrite_x=1))
    return solution
