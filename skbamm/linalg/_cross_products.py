"""Cross-products of all rows and of each fold's, in one pass; those of blocks add up."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg.blas import dsyrk
from sklearn import get_config

# A block of rows that stays in the cache between the passes over it ...
CACHED_BYTES = 2**21
# ... but with this many rows of each fold, below which products of wide blocks are slow.
FOLD_ROWS = 400
# So many rows tell roughly where the columns are.
SHIFT_ROWS = 1000
# Products of sparse rows are quicker where fewer entries than this share are stored.
SPARSE = 0.05
# Rows or columns of a large matrix that are worked on at a time.
PANEL = 256


@dataclass(frozen=True)
class CrossProducts:
    """Weighted cross-products of ``[X - shift, y - shift, 1]`` over sets of rows.

    The sufficient statistics of a squared error. The shift is taken off before multiplying, so
    that columns with a large mean keep their digits. Below, d is ``n_features + n_targets + 1``.
    """

    total: np.ndarray  # (d, d), of all training rows
    test: np.ndarray  # (n_folds, d, d), of the held-out rows
    shift: np.ndarray  # (d - 1,)
    # (n_folds, d, d), of the training rows; None where they are the total less the held-out ones.
    formed_train: np.ndarray | None = None

    @property
    def train(self):
        return self.total - self.test if self.formed_train is None else self.formed_train


def row_blocks(n_samples: int, n_columns: int, n_folds: int | None = None) -> Iterator[slice]:
    """Slices of rows whose float64 copy fits scikit-learn's ``working_memory``.

    With `n_folds` they are also no larger than is good for speed.
    """
    n_bytes = get_config()["working_memory"] * 2**20 / 4
    row_bytes = 8 * max(n_columns, 1)
    if n_folds is not None:
        n_bytes = min(n_bytes, max(CACHED_BYTES, FOLD_ROWS * n_folds * row_bytes))
    size = max(1, int(n_bytes // row_bytes))
    for start in range(0, n_samples, size):
        yield slice(start, min(start + size, n_samples))


def column_shift(X, y, fit_intercept: bool) -> np.ndarray:
    """Means of the first rows: near enough to the means to keep digits, at no extra pass.

    Of a sparse matrix only columns with all entries stored are shifted, as it stays sparse then:
    one with a zero varies by a noticeable part of its mean.
    """
    n_columns = X.shape[1] + y.shape[1]
    if not fit_intercept:
        return np.zeros(n_columns)
    first = slice(0, SHIFT_ROWS)
    if sparse.issparse(X):
        means = np.asarray(X[first].mean(axis=0, dtype=np.float64)).ravel()
        X_shift = np.where(full_columns(X), means, 0.0)
    else:
        X_shift = np.asarray(X[first], dtype=np.float64).mean(axis=0)
    return np.concatenate([X_shift, np.asarray(y[first], dtype=np.float64).mean(axis=0)])


def full_columns(X):
    """Which columns of a sparse matrix have every entry stored, once."""
    X = X.tocsr()
    if not X.has_canonical_format:
        return np.zeros(X.shape[1], dtype=bool)
    return np.bincount(X.indices, minlength=X.shape[1]) == X.shape[0]


def augmented(X, y, weight, shift, rows):
    """``sqrt(weight) * [X - shift, y - shift, 1]`` for some rows, as a new array."""
    n_features = X.shape[1]
    block = np.empty((len(y[rows]), n_features + y.shape[1] + 1))
    part = X[rows]
    block[:, :n_features] = part.toarray() if sparse.issparse(part) else part
    block[:, n_features:-1] = y[rows]
    block[:, :-1] -= shift
    block[:, -1] = 1.0
    if weight is not None:
        block *= np.sqrt(weight[rows])[:, None]
    return block


def split_cross_products(
    X, y, weight, splits: Sequence[tuple[np.ndarray, np.ndarray]], shift, validation=None
) -> CrossProducts:
    """For any train and test indices, each formed directly.

    With ``validation = (X_val, y_val, weight_val)``, test indices refer to its rows.
    """
    X_test, y_test, weight_test = (X, y, weight) if validation is None else validation

    def cross_products(X, y, weight, indices):
        d = X.shape[1] + y.shape[1] + 1
        result = np.zeros((d, d))
        for rows in row_blocks(len(indices), d):
            block = augmented(X, y, weight, shift, indices[rows])
            result += block.T @ block
        return result

    every = np.arange(len(y))
    total = cross_products(X, y, weight, every)
    train = [
        total if np.array_equal(np.sort(train), every) else cross_products(X, y, weight, train)
        for train, _ in splits
    ]
    test = [cross_products(X_test, y_test, weight_test, test) for _, test in splits]
    return CrossProducts(total, np.stack(test), shift, np.stack(train))


class FoldSums:
    """Weighted cross-products of ``[X, y, 1]`` over the rows of each fold.

    Every row belongs to one fold, in which it is held out. Objects add up in any order to the
    sums of all their rows. `shift`, (n_features + n_targets,), is taken off the columns. `edges`,
    (n_folds, n_targets + 1, d), d = n_features + n_targets + 1, are the products of y and 1 with
    everything. `grams`, (n_folds, d, d), are those of X, upper triangles only, without gaps at
    the beginning of each ``(d, d)``: there all sums will be, without a second copy.
    """

    def __init__(self, shift, n_targets, n_folds):
        d = len(shift) + 1
        self.shift = shift
        self.n_features = d - n_targets - 1
        self.grams = np.zeros((n_folds, d, d))
        self.edges = np.zeros((n_folds, n_targets + 1, d))

    def __len__(self):
        return len(self.grams)

    @property
    def n_targets(self):
        return self.edges.shape[1] - 1

    @property
    def weight(self):
        """Sum of the weights in each fold, shape (n_folds,)."""
        return self.edges[:, -1, -1]

    def add(self, X, y, weight, fold):
        """Add rows, in place: X dense or CSR, y 2-D, `weight` or None, the fold of each row.

        The rows of a block are sorted by fold while they are copied, so that no row is copied
        twice.
        """
        n_features, n_folds = self.n_features, len(self)
        packed = self._packed()
        is_sparse = sparse.issparse(X) and X.nnz < SPARSE * X.shape[0] * n_features
        if is_sparse and not self.shift[:n_features].any():
            return self._add_sparse(X, y, weight, fold)
        reader = _SortedRows(X, n_features)
        for rows in row_blocks(len(fold), self.grams.shape[1], n_folds):
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
                _add_gram(packed[k], block[part])
                for sums, column in zip(self.edges[k], edge[:, part], strict=True):
                    sums[:n_features] += column @ block[part]
                self.edges[k, :, n_features:] += edge[:, part] @ edge[:, part].T
        return self

    def _add_sparse(self, X, y, weight, fold):
        """The same of columns without a shift, by products of sparse matrices."""
        n_features = self.n_features
        targets = np.column_stack([y - self.shift[n_features:], np.ones(len(fold))])
        roots = np.ones(len(fold)) if weight is None else np.sqrt(weight)
        for k, packed in enumerate(self._packed()):
            rows = np.flatnonzero(fold == k)
            part = X[rows].astype(np.float64).multiply(roots[rows, None]).tocsr()
            edge = targets[rows] * roots[rows, None]
            gram = sparse.triu(part.T @ part).tocoo()
            packed[gram.row, gram.col] += gram.data
            self.edges[k, :, :n_features] += (part.T @ edge).T
            self.edges[k, :, n_features:] += edge.T @ edge
        return self

    def _packed(self):
        """The sums of X of each fold, as views."""
        n_features = self.n_features
        flat = self.grams.reshape(len(self), -1)[:, : n_features**2]
        return [sums.reshape(n_features, n_features) for sums in flat]

    def __add__(self, other):
        """The sums of the rows of both, as new arrays, with this shift."""
        other = other.shifted(self.shift)
        return self._like(self.grams + other.grams, self.edges + other.edges, self.shift)

    def shifted(self, shift):
        """The sums of the same rows with another shift, to rounding."""
        if np.array_equal(self.shift, shift):
            return self
        new = self._like(self.grams.copy(), self.edges.copy(), shift)
        # For z = [x, y, 1]: (z + step)(z + step)' = zz' + z step' + step z' + step step'.
        step = np.append(self.shift - shift, 0.0)
        for packed, edge in zip(new._packed(), new.edges, strict=True):
            half = np.outer(edge[-1] + edge[-1, -1] / 2 * step, step)
            packed += (half + half.T)[: self.n_features, : self.n_features]
            edge += (half + half.T)[self.n_features :]
        return new

    def _like(self, grams, edges, shift):
        new = copy.copy(self)
        new.grams, new.edges, new.shift = grams, edges, shift
        return new

    def cross_products(self, *, overwrite=False):
        """All sums; with `overwrite` where this object's were, which is of no further use."""
        test = self.grams if overwrite else self.grams.copy()
        for sums, edge in zip(test, self.edges, strict=True):
            _complete(sums, edge)
        return CrossProducts(test.sum(axis=0), test, self.shift)


def fold_cross_products(X, y, weight, fold: np.ndarray, n_folds: int, shift) -> CrossProducts:
    """Where every row is held out once, in the fold it is labelled with: in one pass.

    A fold's training sums are the total minus its held-out sums.
    """
    sums = FoldSums(shift, y.shape[1], n_folds)
    return sums.add(X, y, weight, fold).cross_products(overwrite=True)


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


def _add_gram(sums, block):
    """Add ``block' block`` to the upper triangle of `sums`, in place."""
    if len(block):
        dsyrk(1.0, block.T, beta=1.0, c=sums.T, overwrite_c=1, lower=1)


def _complete(sums, edge, size=PANEL):
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


def partial_out(train, test, n_eliminated: int):
    """Cross-products of what a regression on the last `n_eliminated` *training* columns leaves.

    Of the rows that are fitted and of rows that the fit is applied to, (..., d, d) each; and the
    coefficients of the eliminated columns, (..., n_eliminated, d - n_eliminated).
    """
    kept = slice(None, train.shape[-1] - n_eliminated)
    gone = slice(train.shape[-1] - n_eliminated, None)
    coefficients = np.linalg.pinv(train[..., gone, gone], hermitian=True) @ train[..., gone, kept]
    transposed = np.swapaxes(coefficients, -1, -2)

    def residual(products):
        cross = transposed @ products[..., gone, kept]
        inner = transposed @ products[..., gone, gone] @ coefficients
        return products[..., kept, kept] - cross - np.swapaxes(cross, -1, -2) + inner

    return residual(train), residual(test), coefficients


def partial_out_in_place(total, test, n_eliminated: int):
    """`partial_out` of all rows, (d, d), and of each fold's held-out ones, which add up to them.

    Afterwards the training rows' cross-products are ``total - test[k]``, those of the held-out
    rows ``test[k] + roots[k]' roots[k]``, but for the eliminated columns. Returns the roots,
    (n_folds, n_eliminated, d - n_eliminated), and the coefficients of the regression of all rows.
    """
    gone = slice(len(total) - n_eliminated, None)
    values, vectors = np.linalg.eigh(total[gone, gone])
    root = np.sqrt(values.clip(0))[:, None] * vectors.T
    centred = total.copy()
    coefficients = _eliminate(centred, n_eliminated)
    roots = np.empty((len(test), *coefficients.shape))
    train = np.empty_like(total)
    for k, held_out in enumerate(test):
        np.subtract(total, held_out, out=train)
        # The residuals of all rows are orthogonal to the eliminated columns: other
        # coefficients add the square of their difference.
        roots[k] = root @ (_eliminate(train, n_eliminated) - coefficients)
        np.subtract(centred, train, out=held_out)
    total[:] = centred
    return roots, coefficients


def _eliminate(square, n_eliminated, size=PANEL):
    """Regress the first columns on the last ones, in place; their coefficients."""
    n_kept = len(square) - n_eliminated
    inverse = np.linalg.pinv(square[n_kept:, n_kept:], hermitian=True)
    coefficients = inverse @ square[n_kept:, :n_kept]
    for start in range(0, n_kept, size):
        rows = slice(start, min(start + size, n_kept))
        square[rows, :n_kept] -= square[rows, n_kept:] @ coefficients
    return coefficients
