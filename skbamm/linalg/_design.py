"""The rows of a design as an operator: dense, sparse, or made block by block."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy import sparse
from scipy.linalg.blas import dsyrk

from ._tensors import as_tensor

# Numbers of a dense block of which the kernel of rows is made: what one block may take.
KERNEL_NUMBERS = 2**21
# Products of sparse matrices are slower than those of dense blocks above this density (measured).
SPARSE_DENSITY = 0.05
# Rows that are squared at a time, so that no second design is made.
SQUARED_ROWS = 2**12
# Bytes of the one block of a `BlockedDesign` that is in double precision: it stays in the cache.
BLOCK_BYTES = 2**20


class Design:
    """A matrix X of which products are taken: tensors in, tensors out.

    Leading axes of an argument are kept. `rows` is a mask or positions, as a tensor.
    """

    shape: tuple[int, int]

    def matmul(self, params):
        """``params @ X.T``, from (..., n_columns) to (..., n_rows)."""
        raise NotImplementedError

    def rmatmul(self, columns):
        """``columns @ X``, the transpose of `matmul`."""
        raise NotImplementedError

    def gram(self, weight):
        """``X.T @ diag(weight) @ X``, for weights of shape (n_rows,), none of them negative."""
        raise NotImplementedError

    def column_squares(self, weight):
        """``weight @ X ** 2``, for weights of shape (..., n_rows)."""
        raise NotImplementedError

    def take(self, rows):
        """A design of some of the rows."""
        raise NotImplementedError

    def block(self, rows, columns):
        """Some rows and columns, as a dense tensor of its own."""
        raise NotImplementedError

    def row_gram(self, rows, scale=None):
        """``X @ diag(scale) @ X.T`` of some rows."""
        total = self.block(rows, torch.arange(0, device="cpu")).new_zeros(len(rows), len(rows))
        size = max(256, KERNEL_NUMBERS // len(rows))
        for start in range(0, self.shape[1], size):
            columns = torch.arange(start, min(start + size, self.shape[1]), device="cpu")
            half = self.block(rows, columns)
            if scale is not None:
                half *= scale[columns].sqrt()
            add_row_gram(total, half)
        return total.triu() + total.triu(1).mT


class DenseDesign(Design):
    """A tensor of shape (n_rows, n_columns)."""

    def __init__(self, X):
        self.X = X
        self.shape = tuple(X.shape)
        # torch's own products: a fit takes hundreds.
        self.matmul = partial(torch.matmul, other=X.T)  # type: ignore[method-assign]
        self.rmatmul = partial(torch.matmul, other=X)  # type: ignore[method-assign]

    def gram(self, weight):
        half = self.X * weight.clamp_min(0).sqrt()[:, None]
        return half.T @ half

    def column_squares(self, weight):
        squares = weight.new_zeros(*weight.shape[:-1], self.shape[1])
        for start in range(0, self.shape[0], SQUARED_ROWS):
            rows = slice(start, start + SQUARED_ROWS)
            squares += weight[..., rows] @ self.X[rows].square()
        return squares

    def take(self, rows):
        return DenseDesign(self.X[rows])

    def block(self, rows, columns):
        if len(columns) == self.shape[1]:
            return self.X[rows]
        if len(columns) and len(columns) == int(columns[-1] - columns[0]) + 1:
            return self.X[:, int(columns[0]) : int(columns[-1]) + 1][rows]
        return self.X[rows][:, columns]


class SparseDesign(Design):
    """A SciPy matrix, whose products are several times faster than those of torch's."""

    def __init__(self, X, like):
        self.X = X.tocsr()
        self.shape = self.X.shape
        self._like = like.new_zeros(0)
        self._columns = None

    def matmul(self, params):
        return _times(self.X, params)

    def rmatmul(self, columns):
        return _times(self.X.T, columns)

    def gram(self, weight):
        product = self.X.T @ self.X.multiply(weight.cpu().numpy()[:, None])
        return as_tensor(product.toarray(), weight)

    def column_squares(self, weight):
        return _times(self.X.multiply(self.X).T, weight)

    def take(self, rows):
        return SparseDesign(self.X[rows.cpu().numpy()], self._like)

    def block(self, rows, columns):
        if self._columns is None:
            self._columns = self.X.tocsc()
        part = self._columns[:, columns.cpu().numpy()][rows.cpu().numpy()]
        return as_tensor(part.toarray(order="C"), self._like)

    def row_gram(self, rows, scale=None):
        if self.X.nnz >= SPARSE_DENSITY * np.prod(self.shape):
            return super().row_gram(rows, scale)
        part = self.X[rows.cpu().numpy()]
        scaled = part if scale is None else part.multiply(scale.cpu().numpy()).tocsr()
        return as_tensor((scaled @ part.T).toarray(), self._like)


class BlockedDesign(Design):
    """``[(X - mean) / scale @ rotation, 1]`` without a second X in memory.

    A block of X, an array of any precision that may be memory-mapped, is only converted and
    centred; scales and rotation (or None) act on what it is multiplied with, which has far
    fewer rows.
    """

    def __init__(self, X, mean, scale, rotation, device):
        self._X, self._mean = X, mean
        self._scale = as_tensor(scale, device)
        self._rotation = None if rotation is None else as_tensor(rotation, device)
        n_columns = X.shape[1] if rotation is None else rotation.shape[1]
        self.shape = (X.shape[0], n_columns + 1)

    def matmul(self, params):
        raw = self._raw(params).reshape(-1, self._X.shape[1] + 1)
        found = raw.new_empty(len(raw), len(self._X))
        for rows, block in self._blocks():
            found[:, rows] = raw @ block.T
        return found.reshape(*params.shape[:-1], found.shape[1])

    def rmatmul(self, columns):
        flat = _flat(columns)
        total = flat.new_zeros(len(flat), self._X.shape[1] + 1)
        for rows, block in self._blocks():
            total.addmm_(flat[:, rows], block)
        turned = self._turned(total)
        return turned.reshape(*columns.shape[:-1], turned.shape[1])

    def gram(self, weight):
        total = weight.new_zeros((self._X.shape[1] + 1,) * 2)
        for rows, block in self._blocks():
            half = block * weight[rows].clamp_min(0).sqrt()[:, None]
            total.addmm_(half.T, half)
        return self._turned(self._turned(total).T)

    def column_squares(self, weight):
        total = weight.new_zeros(*weight.shape[:-1], self.shape[1])
        for rows, block in self._blocks():
            total += weight[..., rows] @ self._turned(block).square()
        return total

    def take(self, rows):
        """A `DenseDesign`: whoever takes rows wants few of them."""
        if rows.dtype != torch.bool:
            mask = torch.zeros(self.shape[0], dtype=torch.bool, device=rows.device)
            mask[rows] = True
            ranks = mask.cumsum(0)[rows] - 1
            return DenseDesign(self.take(mask).X[ranks])
        return DenseDesign(
            torch.cat([self._turned(block[rows[some]]) for some, block in self._blocks()])
        )

    def block(self, rows, columns):
        return self.take(rows).X[:, columns]

    def _blocks(self):
        """Slices of rows, and their centred columns and ones: good until the next block."""
        n_rows, n_features = self._X.shape
        size = max(1, BLOCK_BYTES // (8 * (n_features + 1)))
        memory = np.ones((min(size, n_rows), n_features + 1))
        for start in range(0, n_rows, size):
            rows = slice(start, min(start + size, n_rows))
            block = memory[: rows.stop - start]
            block[:, :-1] = self._X[rows]
            block[:, :-1] -= self._mean
            yield rows, as_tensor(block, self._scale.device)

    def _raw(self, params):
        """What params of shape (..., n_columns) are for centred columns."""
        coef = params[..., :-1]
        coef = coef if self._rotation is None else coef @ self._rotation.T
        return torch.cat([coef / self._scale, params[..., -1:]], dim=-1)

    def _turned(self, columns):
        """Transpose of `_raw`."""
        scaled = columns[..., :-1] / self._scale
        scaled = scaled if self._rotation is None else scaled @ self._rotation
        return torch.cat([scaled, columns[..., -1:]], dim=-1)


def as_design(X, like):
    """The operator of an array, a sparse matrix or a `Design`; its tensors are like `like`."""
    if isinstance(X, Design):
        return X
    if sparse.issparse(X):
        return SparseDesign(X, like)
    return DenseDesign(as_tensor(np.asarray(X), like))


def add_row_gram(total, half):
    """Add ``half @ half.T`` to the upper triangle of `total`, in place."""
    if total.device.type != "cpu" or total.dtype != torch.float64:
        total += half @ half.mT
    else:
        rows = np.ascontiguousarray(half.numpy())
        dsyrk(1.0, rows.T, beta=1.0, c=total.numpy().T, overwrite_c=1, lower=1, trans=1)


def _flat(tensor):
    """As a matrix; also of no columns, which `reshape` cannot tell."""
    return tensor.flatten(end_dim=-2) if tensor.ndim > 1 else tensor[None]


def _times(matrix, tensor):
    """``tensor @ matrix.T`` for a sparse matrix."""
    flat = _flat(tensor).cpu().numpy()
    product = as_tensor(np.ascontiguousarray((matrix @ flat.T).T), tensor)
    return product.reshape(*tensor.shape[:-1], matrix.shape[0])
