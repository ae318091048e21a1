"""Kernel models that score labels."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

from skbamm.cleaning._constants import N_FEATURES
from skbamm.cleaning.label_quality import _kernel
from skbamm.cleaning.label_quality._kernel import (
    KERNEL_RIDGES,
    KernelRows,
    random_directions,
)

N_ROWS, N_COLUMNS = 60, 4
X = np.random.default_rng(0).normal(size=(N_ROWS, N_COLUMNS)) + 1.0
TARGETS = np.eye(3)[np.arange(N_ROWS) % 3]
# Two folds, some rows in both, and weights of their own.
WEIGHTS = np.stack([np.arange(N_ROWS) % 2 == 0, np.arange(N_ROWS) % 3 > 0]) * np.linspace(
    0.5, 2, N_ROWS
)


def kernel_rows(design=X, weight=None):
    directions = random_directions(N_COLUMNS, N_FEATURES // 2)
    return KernelRows(design, directions, np.ones(N_ROWS) if weight is None else weight)


def test_directions_are_orthogonal_in_blocks():
    directions = random_directions(7, 10)
    for block in (directions[:7], directions[7:]):
        gram = block @ block.T
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    assert directions.shape == (10, 7)


def test_products_of_features_are_near_a_gaussian_kernel():
    features = kernel_rows().features(np.arange(N_ROWS))[:, :-1]
    distance = np.square(X[:, None] - X[None]).sum(2)
    kernel = np.exp(-distance / (2 * X.var(0).sum()))
    # 150 directions: an error of 1 / sqrt(150) at most, on average much less.
    assert np.abs(features @ features.T - kernel).mean() < 0.04


@pytest.mark.parametrize(
    "kind", [np.asarray, np.float32, sparse.csr_array], ids=lambda kind: kind.__name__
)
def test_products_of_features_are_made_in_pieces(kind, monkeypatch):
    monkeypatch.setattr(_kernel, "PRODUCT_ROWS", 7)
    features, rows = kernel_rows().map, kind(X)
    coef = np.random.default_rng(1).normal(size=(N_FEATURES + 1, 3))
    np.testing.assert_allclose(features.product(rows, coef), features(rows) @ coef, rtol=1e-10)
    assert features.product(rows[:0], coef).shape == (0, 3)


def test_fits_are_ridge_regressions_of_every_fold():
    rows = kernel_rows()
    coef = rows.fit(WEIGHTS, TARGETS)
    features = rows.features(np.arange(N_ROWS))
    for fold in range(2):
        weight = WEIGHTS[fold]
        plain = Ridge(KERNEL_RIDGES[1] * weight.sum(), solver="cholesky")
        plain.fit(features[:, :-1], TARGETS, sample_weight=weight)
        found = rows.scores(coef[1], np.full(N_ROWS, fold), np.arange(N_ROWS))
        # The intercept has a ridge of 1e-9, and a square of 1/150.
        np.testing.assert_allclose(found, plain.predict(features[:, :-1]), atol=1e-5)


def test_each_row_is_scored_by_the_fold_that_is_asked():
    rows = kernel_rows()
    coef = rows.fit(WEIGHTS, TARGETS)[0]
    fold = np.arange(N_ROWS) % 2
    found = rows.scores(coef, fold, np.arange(N_ROWS))
    for index in range(2):
        alone = rows.scores(coef, np.full(N_ROWS, index), np.arange(N_ROWS))
        np.testing.assert_allclose(found[fold == index], alone[fold == index])


def test_blocks_of_rows_change_nothing(monkeypatch):
    whole = kernel_rows()
    coef = whole.fit(WEIGHTS, TARGETS)
    monkeypatch.setattr(_kernel, "BLOCK_ROWS", 7)
    monkeypatch.setattr(_kernel, "MAX_KEPT", 10)
    parts = kernel_rows()
    np.testing.assert_allclose(parts.fit(WEIGHTS, TARGETS), coef, rtol=1e-6, atol=1e-9)
    asked = np.zeros(N_ROWS, dtype=int), np.arange(N_ROWS)
    np.testing.assert_allclose(parts.scores(coef[0], *asked), whole.scores(coef[0], *asked))


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
def test_sparse_rows_have_the_features_of_dense_ones(container):
    found = kernel_rows(container(X)).features(np.arange(N_ROWS))
    np.testing.assert_allclose(found, kernel_rows().features(np.arange(N_ROWS)))


def test_the_scale_of_weights_does_not_matter():
    found = kernel_rows(weight=np.full(N_ROWS, 7.0)).fit(1e3 * WEIGHTS, TARGETS)
    np.testing.assert_allclose(found, kernel_rows().fit(WEIGHTS, TARGETS), rtol=1e-6, atol=1e-9)


def test_a_nonlinear_boundary_is_learned():
    """A ring inside a ring, which no linear model tells apart."""
    random = np.random.default_rng(1)
    points = random.normal(size=(400, 2))
    inside = np.square(points).sum(1) < 1.4
    rows = KernelRows(points, random_directions(2, N_FEATURES // 2), np.ones(400))
    train = np.arange(400) < 200
    coef = rows.fit(train[None].astype(float), np.eye(2)[inside.astype(int)])
    test = np.flatnonzero(~train)
    found = rows.scores(coef[0], np.zeros(200, dtype=int), test).argmax(1)
    assert np.mean(found == inside[test]) > 0.9
