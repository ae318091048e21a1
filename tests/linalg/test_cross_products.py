"""Cross-products of rows, against the sums written out."""

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context

from skbamm.linalg._cross_products import (
    FoldSums,
    column_shift,
    fold_cross_products,
    partial_out,
    row_blocks,
    split_cross_products,
)

N_ROWS, N_FOLDS = 11, 3
generator = np.random.default_rng(0)
X = generator.normal(size=(N_ROWS, 4)) * (generator.random((N_ROWS, 4)) < 0.7)
Y = generator.normal(size=(N_ROWS, 2))
WEIGHT = generator.uniform(0.5, 2.0, size=N_ROWS)
FOLD = np.arange(N_ROWS) % N_FOLDS
SPLITS = [(np.flatnonzero(k != FOLD), np.flatnonzero(k == FOLD)) for k in range(N_FOLDS)]
SHIFT = generator.normal(size=6)

weights = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])


def direct(X, y, weight, shift, rows):
    M = np.hstack([X - shift[: X.shape[1]], y - shift[X.shape[1] :], np.ones((len(y), 1))])[rows]
    W = np.diag(np.ones(len(y)) if weight is None else weight)[np.ix_(rows, rows)]
    return M.T @ W @ M


def assert_products_are_direct(products, X, weight, splits, held_out=None):
    X_test, y_test, weight_test = (X, Y, weight) if held_out is None else held_out
    np.testing.assert_allclose(products.total, direct(X, Y, weight, SHIFT, np.arange(len(Y))))
    for k, (train, test) in enumerate(splits):
        np.testing.assert_allclose(
            products.train[k],
            direct(X, Y, weight, SHIFT, train),
            atol=1e-12,  # differences of sums
        )
        np.testing.assert_allclose(
            products.test[k], direct(X_test, y_test, weight_test, SHIFT, test), atol=1e-12
        )


@weights
def test_fold_cross_products_are_the_sums_over_their_rows(weight):
    products = fold_cross_products(X, Y, weight, FOLD, N_FOLDS, SHIFT)
    assert_products_are_direct(products, X, weight, SPLITS)


@weights
def test_split_cross_products_are_the_sums_over_their_rows(weight):
    products = split_cross_products(X, Y, weight, SPLITS, SHIFT)
    assert_products_are_direct(products, X, weight, SPLITS)


def test_split_cross_products_count_repeated_rows():
    bootstrap = [(np.array([0, 0, 3, 5, 5, 5]), np.array([1, 2]))]
    products = split_cross_products(X, Y, WEIGHT, bootstrap, SHIFT)
    expected = sum(direct(X, Y, WEIGHT, SHIFT, np.array([i])) for i in bootstrap[0][0])
    np.testing.assert_allclose(products.train[0], expected)


@weights
def test_split_cross_products_take_held_out_rows_of_their_own(weight):
    held_out = (X[:4] + 1, Y[:4] - 1, None if weight is None else weight[:4] + 1)
    splits = [(np.arange(N_ROWS), np.arange(4))]
    products = split_cross_products(X, Y, weight, splits, SHIFT, held_out)
    assert_products_are_direct(products, X, weight, splits, held_out)


@pytest.mark.parametrize("form", ["folds", "splits"])
def test_cross_products_of_sparse_rows_are_those_of_dense_rows(form):
    if form == "folds":
        dense, rows = (
            fold_cross_products(design, Y, WEIGHT, FOLD, N_FOLDS, SHIFT)
            for design in (X, sparse.csr_matrix(X))
        )
    else:
        dense, rows = (
            split_cross_products(design, Y, WEIGHT, SPLITS, SHIFT)
            for design in (X, sparse.csr_matrix(X))
        )
    for name in ("total", "train", "test"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(dense, name))


def test_cross_products_do_not_depend_on_the_working_memory():
    expected = fold_cross_products(X, Y, WEIGHT, FOLD, N_FOLDS, SHIFT)
    with config_context(working_memory=0):  # blocks of a single row
        found = fold_cross_products(X, Y, WEIGHT, FOLD, N_FOLDS, SHIFT)
    np.testing.assert_allclose(found.train, expected.train, atol=1e-12)  # order of the sums


@pytest.mark.parametrize("working_memory", [0, 1])
def test_blocks_cover_every_row_once(working_memory):
    with config_context(working_memory=working_memory):
        blocks = list(row_blocks(5000, 20))
    rows = np.concatenate([np.arange(5000)[block] for block in blocks])
    np.testing.assert_array_equal(rows, np.arange(5000))


def test_cross_products_of_columns_with_a_huge_mean_keep_their_digits():
    # Whole numbers: float64 holds them exactly next to 1e8, so that the truth is known.
    columns = np.random.default_rng(1).integers(-9, 10, size=(50, 4)).astype(float)
    raw = columns + 1e8
    shift = column_shift(raw[:, :3], raw[:, 3:], fit_intercept=True)
    products = fold_cross_products(raw[:, :3], raw[:, 3:], None, np.arange(50) % 2, 2, shift)
    centred, _, _ = partial_out(products.total, products.total, 1)
    # The shift itself is rounded to 1e-8, which is regressed out again. Without a shift the
    # sums would be of size 1e17 and nothing would be left.
    np.testing.assert_allclose(centred, 50 * np.cov(columns.T, bias=True), rtol=1e-9, atol=1e-6)


def test_nothing_is_shifted_without_an_intercept():
    assert (column_shift(X + 5, Y + 5, fit_intercept=False) == 0).all()


def test_columns_of_a_sparse_design_are_not_shifted():
    shift = column_shift(sparse.csr_matrix(X), Y, fit_intercept=True)
    assert (shift[:4] == 0).all()
    np.testing.assert_allclose(shift[4:], Y.mean(axis=0))


@pytest.mark.parametrize("n_eliminated", [0, 1, 3])
class TestPartialOut:
    """Against weighted least squares on the rows."""

    def parts(self, n_eliminated):
        M = np.hstack([X, Y, np.ones((N_ROWS, 1))])
        train, test = WEIGHT * (FOLD != 0), WEIGHT * (FOLD == 0)
        found = partial_out(M.T @ (train[:, None] * M), M.T @ (test[:, None] * M), n_eliminated)
        kept, gone = M[:, : 7 - n_eliminated], M[:, 7 - n_eliminated :]
        root = np.sqrt(train)[:, None]
        fit = np.linalg.lstsq(root * gone, root * kept, rcond=None)[0]
        return found, kept - gone @ fit, fit, train, test

    def test_training_cross_products_are_those_of_the_residuals(self, n_eliminated):
        (found, _, _), residual, _, train, _ = self.parts(n_eliminated)
        np.testing.assert_allclose(found, residual.T @ (train[:, None] * residual), atol=1e-12)

    def test_held_out_cross_products_are_those_of_the_residuals(self, n_eliminated):
        (_, found, _), residual, _, _, test = self.parts(n_eliminated)
        np.testing.assert_allclose(found, residual.T @ (test[:, None] * residual), atol=1e-12)

    def test_coefficients_are_those_of_least_squares(self, n_eliminated):
        (_, _, found), _, fit, _, _ = self.parts(n_eliminated)
        np.testing.assert_allclose(found, fit, atol=1e-12)


def test_collinear_eliminated_columns_are_no_obstacle():
    M = np.hstack([X, Y, np.ones((N_ROWS, 1)), np.ones((N_ROWS, 1))])
    twice, _, _ = partial_out(M.T @ M, M.T @ M, 2)
    once, _, _ = partial_out(M[:, :-1].T @ M[:, :-1], M[:, :-1].T @ M[:, :-1], 1)
    np.testing.assert_allclose(twice, once, atol=1e-12)


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda X: X.astype(np.float32),
        lambda X: np.asfortranarray(X.astype(np.float32)),
    ],
    ids=["columns first", "single precision", "both"],
)
def test_cross_products_do_not_depend_on_how_the_numbers_are_stored(convert):
    exact = X.astype(np.float32).astype(float)  # these numbers have no further digits
    expected = fold_cross_products(exact, Y, WEIGHT, FOLD, N_FOLDS, SHIFT)
    found = fold_cross_products(convert(exact), Y, WEIGHT, FOLD, N_FOLDS, SHIFT)
    np.testing.assert_allclose(found.test, expected.test)


def test_cross_products_of_a_wide_table_in_several_blocks_are_symmetric_sums():
    wide = np.random.default_rng(2).normal(size=(700, 300))
    y, fold = wide[:, :1] * 2, np.arange(700) % 2
    with config_context(working_memory=1):  # a few blocks
        products = fold_cross_products(wide, y, None, fold, 2, np.zeros(301))
    columns = np.hstack([wide, y, np.ones((700, 1))])
    np.testing.assert_allclose(products.total, columns.T @ columns, atol=1e-10)
    np.testing.assert_array_equal(products.test, products.test.swapaxes(1, 2))


@weights
def test_sums_of_shards_add_up_whatever_was_taken_off(weight):
    both = []
    for rows, shift in ((slice(0, 4), SHIFT), (slice(4, None), 3 - SHIFT)):
        shard_weight = None if weight is None else weight[rows]
        sums = FoldSums(shift, Y.shape[1], N_FOLDS)
        both.append(sums.add(X[rows], Y[rows], shard_weight, FOLD[rows]))
    expected = fold_cross_products(X, Y, weight, FOLD, N_FOLDS, SHIFT)
    for found in (both[0] + both[1], (both[1] + both[0]).shifted(SHIFT)):
        np.testing.assert_allclose(found.cross_products().test, expected.test, atol=1e-12)
