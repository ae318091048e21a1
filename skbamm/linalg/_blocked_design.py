"""A design of many rows, of which only products are taken, block by block."""

from __future__ import annotations

import numpy as np
import torch

# Of the one block that is in double precision at a time: it stays in the processor's cache.
BLOCK_BYTES = 2**20


class BlockedDesign:
    """``[(X - mean) / scale @ rotation, 1]`` without a second X in memory.

    A block of X is only converted and centred; scales and rotation act on what it is multiplied
    with, which has far fewer rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Of any precision; it may be memory-mapped.
    mean, scale : ndarray of shape (n_features,)
    rotation : ndarray of shape (n_features, n_columns - 1) or None
    device : torch.device
    """

    def __init__(self, X, mean, scale, rotation, device):
        self._X, self._mean = X, mean
        self._scale = torch.from_numpy(scale).to(device)
        self._rotation = None if rotation is None else torch.from_numpy(rotation).to(device)
        n_columns = X.shape[1] if rotation is None else rotation.shape[1]
        self.shape = (X.shape[0], n_columns + 1)

    def product(self, params):
        """``params @ design.T``, for params of shape (..., n_columns)."""
        raw = self._raw(params).reshape(-1, self._X.shape[1] + 1)
        found = raw.new_empty(len(raw), len(self._X))
        for rows, block in self._blocks():
            found[:, rows] = raw @ block.T
        return found.reshape(*params.shape[:-1], -1)

    def adjoint(self, columns):
        """``columns @ design``, for columns of shape (..., n_rows)."""
        flat = columns.flatten(end_dim=-2)  # also of no rows
        total = flat.new_zeros(len(flat), self._X.shape[1] + 1)
        for rows, block in self._blocks():
            total.addmm_(flat[:, rows], block)
        return self._turned(total).reshape(*columns.shape[:-1], -1)

    def column_squares(self, weight):
        """``weight @ design ** 2``, for weights of shape (..., n_rows)."""
        total = weight.new_zeros(*weight.shape[:-1], self.shape[1])
        for rows, block in self._blocks():
            total += weight[..., rows] @ self._turned(block).square()
        return total

    def weighted_square(self, weight):
        """``design.T @ diag(weight) @ design``, for weights of shape (n_rows,)."""
        total = weight.new_zeros((self._X.shape[1] + 1,) * 2)
        for rows, block in self._blocks():
            half = block * weight[rows].clamp_min(0).sqrt()[:, None]
            total.addmm_(half.T, half)
        return self._turned(self._turned(total).T)

    def __getitem__(self, mask):
        """Only the rows of a boolean mask, as a design that is made whole."""
        parts = [self._turned(block[mask[rows]]) for rows, block in self._blocks()]
        return torch.cat(parts)

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
            yield rows, torch.from_numpy(block).to(self._scale.device)

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
