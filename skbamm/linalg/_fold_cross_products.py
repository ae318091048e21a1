"""Sums of squares and products of rows by fold, in one pass; those of blocks add up."""

from __future__ import annotations

import copy

import numpy as np
from scipy import sparse
from scipy.linalg.blas import dsyrk

from ._cross_products import Moments, row_blocks


class FoldSums:
    """Weighted sums over the rows of each fold of squares and products of ``[X, y, 1]``.

    Every row belongs to one fold, in which it is held out. Objects add up, in any order, to the
    sums of all their rows.

    Parameters
    ----------
    shift : ndarray of shape (n_features + n_targets,)
        Taken off the columns before they are multiplied.
    n_targets, n_folds : int

    Attributes
    ----------
    squares : ndarray of shape (n_folds, d, d), d = n_features + n_targets + 1
        The sums of X, upper triangles only, without gaps at the beginning of each ``(d, d)``: there
        all sums will be, without a second copy.
    edges : ndarray of shape (n_folds, n_targets + 1, d)
        Sums of the products of y and 1 with everything.
    """

    def __init__(self, shift, n_targets, n_folds):
        d = len(shift) + 1
        self.shift = shift
        self.n_features = d - n_targets - 1
        self.squares = np.zeros((n_folds, d, d))
        self.edges = np.zeros((n_folds, n_targets + 1, d))

    def __len__(self):
        return len(self.squares)

    @property
    def n_targets(self):
        return self.edges.shape[1] - 1

    @property
    def weight(self):
        """Sum of the weights in each fold, shape (n_folds,)."""
        return self.edges[:, -1, -1]

    def add(self, X, y, weight, fold):
        """Add rows, in place.

        The rows of a block are sorted by fold while they are copied, so that no row is copied
        twice.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
        y : ndarray of shape (n_samples, n_targets)
        weight : ndarray of shape (n_samples,) or None
        fold : ndarray of int of shape (n_samples,)

        Returns
        -------
        self : FoldSums
        """
        n_features, n_folds = self.n_features, len(self)
        packed = self._packed()
        reader = _SortedRows(X, n_features)
        for rows in row_blocks(len(fold), self.squares.shape[1], n_folds):
            labels = fold[rows]
            # Small integers are sorted by counting.
            order = np.argsort(labels.astype(np.uint16), kind="stable")
            edge = np.ones((self.edges.shape[1], len(order)))
            edge[:-1] = (y[rows][order] - self.shift[n_features:]).T
            block = reader.read(rows, order, self.shift[:n_features])
            if weight is not None:
                root = np.sqrt(weight[rows][order])
                block *= root[:, None]
                edge *= root
            sizes = np.bincount(labels, minlength=n_folds)
            for k, stop in enumerate(np.cumsum(sizes)):
                part = slice(stop - sizes[k], stop)
                _add_square(packed[k], block[part])
                for sums, column in zip(self.edges[k], edge[:, part], strict=True):
                    sums[:n_features] += column @ block[part]
                self.edges[k, :, n_features:] += edge[:, part] @ edge[:, part].T
        return self

    def _packed(self):
        """The sums of X of each fold, as views."""
        n_features = self.n_features
        flat = self.squares.reshape(len(self), -1)[:, : n_features**2]
        return [sums.reshape(n_features, n_features) for sums in flat]

    def __add__(self, other):
        """The sums of the rows of both, as new arrays, with this shift."""
        other = other.shifted(self.shift)
        return self._like(self.squares + other.squares, self.edges + other.edges, self.shift)

    def shifted(self, shift):
        """The sums of the same rows with another shift, to rounding."""
        if np.array_equal(self.shift, shift):
            return self
        new = self._like(self.squares.copy(), self.edges.copy(), shift)
        # For z = [x, y, 1]: (z + step)(z + step)' = zz' + z step' + step z' + step step'.
        step = np.append(self.shift - shift, 0.0)
        for packed, edge in zip(new._packed(), new.edges, strict=True):
            half = np.outer(edge[-1] + edge[-1, -1] / 2 * step, step)
            packed += (half + half.T)[: self.n_features, : self.n_features]
            edge += (half + half.T)[self.n_features :]
        return new

    def _like(self, squares, edges, shift):
        new = copy.copy(self)
        new.squares, new.edges, new.shift = squares, edges, shift
        return new

    def moments(self, *, overwrite=False):
        """All sums, as they are used.

        With `overwrite` they stand where this object's were, which is of no further use.
        """
        test = self.squares if overwrite else self.squares.copy()
        for sums, edge in zip(test, self.edges, strict=True):
            _complete(sums, edge)
        return Moments(test.sum(axis=0), test)


def fold_moments(X, y, weight, fold: np.ndarray, n_folds: int, shift) -> Moments:
    """Moments where every row is held out once, in the fold it is labelled with.

    One pass: a fold's training sums are the total minus its held-out sums.
    """
    sums = FoldSums(shift, y.shape[1], n_folds)
    return sums.add(X, y, weight, fold).moments(overwrite=True)


class _SortedRows:
    """Copies blocks of rows of X in a given order, always into the same memory.

    New memory for every block would cost more than the copies.
    """

    def __init__(self, X, n_features):
        self.X = X
        self._copy = self._block = np.empty((0, n_features))

    def read(self, rows, order, shift):
        part = self.X[rows]
        if sparse.issparse(part):
            return part[order].toarray() - shift
        # Each along its memory: across it, taking rows is up to ten times slower.
        by_column = part.strides[0] < part.strides[1]
        if len(self._block) < len(order):
            self._block = self._copy = np.empty(part.shape)
            if by_column or part.dtype != np.float64:
                self._copy = np.empty(part.size, dtype=part.dtype)
        block = self._block[: len(order)]
        # With another mode, `out` would be buffered.
        if by_column:
            copy = self._copy[: part.size].reshape(part.shape[::-1])
            np.take(part.T, order, axis=1, out=copy, mode="clip")
            return np.subtract(copy.T, shift, out=block)
        copy = block if self._copy is self._block else self._copy[: part.size].reshape(part.shape)
        np.take(part, order, axis=0, out=copy, mode="clip")
        return np.subtract(copy, shift, out=block)


def _add_square(sums, block):
    """Add ``block' block`` to the upper triangle of `sums`, in place."""
    if len(block):
        dsyrk(1.0, block.T, beta=1.0, c=sums.T, overwrite_c=1, lower=1)


def _complete(sums, edge, size=256):
    """From the upper triangle of X's sums and the last rows to a whole matrix, in place.

    X's sums stand without gaps at the beginning of `sums`.
    """
    n_features = len(sums) - len(edge)
    packed = sums.reshape(-1)[: n_features**2].reshape(n_features, n_features)
    for row in reversed(range(n_features)):  # each to a later place, the last one first
        sums[row, :n_features] = packed[row]
    sums[:, n_features:] = edge.T
    for start in range(0, len(sums), size):
        stop = start + size
        corner = sums[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
        sums[stop:, start:stop] = sums[start:stop, stop:].T
