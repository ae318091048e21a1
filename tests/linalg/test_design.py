"""The design operator: dense, sparse and blocked ones answer as the matrix itself does."""

import numpy as np
import pytest
import torch
from scipy import sparse

from skbamm.linalg import _design
from skbamm.linalg._design import BlockedDesign, Design, as_design

N_ROWS, N_FEATURES = 53, 4
CPU = torch.device("cpu")
LIKE = torch.zeros(0, dtype=torch.float64)


def random(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def raw_rows():
    X = np.random.default_rng(0).normal(size=(N_ROWS, N_FEATURES))
    return X * [1, 10, 0.1, 1] + [0, 1e3, 1, 0]


class DesignCase:
    """What every design promises; a case says how one is made from which matrix."""

    def pair(self):
        """A design, and its matrix as a tensor."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def small_pieces(self, monkeypatch):
        monkeypatch.setattr(_design, "BLOCK_BYTES", 8 * 7 * (N_FEATURES + 1))
        monkeypatch.setattr(_design, "SQUARED_ROWS", 7)
        monkeypatch.setattr(_design, "KERNEL_NUMBERS", 1)

    def test_shape_is_that_of_the_matrix(self):
        design, X = self.pair()
        assert isinstance(design, Design) and tuple(design.shape) == tuple(X.shape)

    def test_products_are_those_of_the_matrix(self):
        design, X = self.pair()
        for leading in [(), (3,), (2, 3), (0,), (2, 0)]:
            params, columns = random(*leading, X.shape[1]), random(*leading, N_ROWS)
            assert_close(design.matmul(params), params @ X.T)
            assert_close(design.rmatmul(columns), columns @ X)

    def test_no_rows_sum_to_zero(self):
        design, X = self.pair()
        nothing = design.take(torch.zeros(N_ROWS, dtype=torch.bool))
        assert_close(nothing.rmatmul(random(2, 3, 0)), torch.zeros(2, 3, X.shape[1], dtype=X.dtype))

    def test_the_gram_matrix_weighs_the_rows(self):
        design, X = self.pair()
        weight = random(N_ROWS).abs()
        assert_close(design.gram(weight), X.T @ (weight[:, None] * X))

    def test_column_squares_weigh_the_rows(self):
        design, X = self.pair()
        for leading in [(), (2, 3)]:
            weight = random(*leading, N_ROWS).abs()
            assert_close(design.column_squares(weight), weight @ X.square())

    def test_rows_are_taken_by_mask_and_by_position(self):
        design, X = self.pair()
        for rows in (torch.arange(N_ROWS) % 3 == 0, torch.tensor([7, 2, 40])):
            part, params = design.take(rows), random(2, X.shape[1])
            assert part.shape[0] == len(X[rows])
            assert_close(part.matmul(params), params @ X[rows].T)
            weight = random(len(X[rows])).abs()
            assert_close(part.column_squares(weight), weight @ X[rows].square())

    def test_a_block_is_a_dense_copy(self):
        design, X = self.pair()
        rows = torch.tensor([7, 2, 40])
        for columns in ([1, 2], [2, 0], [0, 1, 2, 3], []):
            columns = torch.tensor(columns, dtype=torch.int64)
            block = design.block(rows, columns)
            assert_close(block, X[rows][:, columns])
            block *= 2
            assert_close(design.block(rows, columns), X[rows][:, columns])

    def test_the_gram_matrix_of_rows_weighs_the_columns(self):
        design, X = self.pair()
        rows, scale = torch.tensor([4, 1, 7]), random(X.shape[1]).abs()
        assert_close(design.row_gram(rows, scale), X[rows] * scale @ X[rows].T)
        assert_close(design.row_gram(rows), X[rows] @ X[rows].T)


class TestDense(DesignCase):
    def pair(self):
        X = raw_rows() / [1, 1e3, 1, 1]
        return as_design(X, LIKE), torch.tensor(X)


class TestColumnOrder(DesignCase):
    def pair(self):
        X = raw_rows() / [1, 1e3, 1, 1]
        return as_design(np.asfortranarray(X), LIKE), torch.tensor(X)


class TestSparse(DesignCase):
    def pair(self):
        X = np.where(raw_rows() > 0.5, raw_rows() / [1, 1e3, 1, 1], 0)
        return as_design(sparse.csr_matrix(X), LIKE), torch.tensor(X)


class TestVerySparse(TestSparse):
    """Kernels of rows from products of sparse matrices, not of dense blocks."""

    @pytest.fixture(autouse=True)
    def every_matrix_is_very_sparse(self, monkeypatch):
        monkeypatch.setattr(_design, "SPARSE_DENSITY", 1.1)


class TestBlocked(DesignCase):
    n_axes = N_FEATURES

    def stored(self, X):
        return X

    def pair(self):
        X = self.stored(raw_rows())
        mean, scale = X.mean(axis=0, dtype=np.float64), np.array([1.0, 10.0, 0.1, 2.0])
        axes = np.random.default_rng(3).normal(size=(N_FEATURES, N_FEATURES))
        rotation = np.linalg.qr(axes)[0][:, : self.n_axes] if self.n_axes else None
        columns = (X - mean) / scale
        columns = columns if rotation is None else columns @ rotation
        matrix = torch.tensor(np.hstack([columns, np.ones((N_ROWS, 1))]))
        return BlockedDesign(X, mean, scale, rotation, CPU), matrix


class TestBlockedFewAxes(TestBlocked):
    n_axes = 3


class TestBlockedNotRotated(TestBlocked):
    n_axes = None


class TestBlockedSinglePrecision(TestBlocked):
    def stored(self, X):
        return X.astype(np.float32)


class TestBlockedColumnOrder(TestBlocked):
    def stored(self, X):
        return np.asfortranarray(X)
