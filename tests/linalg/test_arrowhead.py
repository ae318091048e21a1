"""Matrices with a diagonal block, against dense ones."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import LinAlgError

from skbamm.linalg._arrowhead import Arrowhead, ArrowheadFactor, disjoint_columns

RANDOM = np.random.default_rng(0)
N_ROWS = 400


def indicators(n_levels):
    return np.eye(n_levels)[RANDOM.integers(n_levels, size=N_ROWS)]


COLUMNS = np.hstack([indicators(30), indicators(5), RANDOM.normal(size=(N_ROWS, 2))])
COLUMNS = COLUMNS[:, RANDOM.permutation(37)]
GRAM = COLUMNS.T @ COLUMNS
ADDED = RANDOM.random(37) + 0.1
ROWS = RANDOM.normal(size=(3, 37))


def test_levels_of_the_larger_category_are_disjoint():
    found = disjoint_columns(GRAM)
    assert len(found) == 30
    block = GRAM[np.ix_(found, found)]
    assert_array_equal(block, np.diag(np.diag(block)))


def test_products_and_sums_are_those_of_dense_matrices():
    found = disjoint_columns(GRAM)
    one, other = Arrowhead.of(GRAM, found), Arrowhead.of(np.diag(ADDED), found)
    assert_allclose(one.product(ROWS), ROWS @ GRAM, atol=1e-10)
    mixed = one.combine(2.0, other, -3.0)
    assert_allclose(mixed.product(ROWS), ROWS @ (2 * GRAM - 3 * np.diag(ADDED)), atol=1e-10)


@pytest.mark.parametrize("factors", [[0.0, 0.0], [-0.9, 0.5], [0.0, 2.0]])
def test_solutions_are_those_of_dense_matrices(factors):
    low = np.stack([COLUMNS.sum(axis=0) / np.sqrt(N_ROWS), RANDOM.normal(size=37)])
    dense = GRAM + np.diag(ADDED) + low.T @ (np.array(factors)[:, None] * low)
    arrowhead = Arrowhead.of(GRAM, disjoint_columns(GRAM))
    factor = ArrowheadFactor(arrowhead, ADDED, low, np.array(factors))
    assert_allclose(factor.solve(ROWS), np.linalg.solve(dense, ROWS.T).T, rtol=1e-9, atol=1e-12)


def test_singular_matrices_are_refused():
    arrowhead = Arrowhead.of(GRAM, disjoint_columns(GRAM))
    none = np.zeros((0, 37)), np.zeros(0)
    with pytest.raises(LinAlgError):  # two sets of indicators have the same sum
        ArrowheadFactor(arrowhead, np.zeros(37), *none)
    diagonal = np.append(0.0, arrowhead.diagonal[1:])
    with pytest.raises(LinAlgError, match="diagonal"):  # a level without rows
        ArrowheadFactor(replace(arrowhead, diagonal=diagonal), np.zeros(37), *none)
    means = COLUMNS.sum(axis=0)[None] / np.sqrt(N_ROWS)
    with pytest.raises(LinAlgError, match="too little"):  # indicators span the constant
        ArrowheadFactor(arrowhead, np.full(37, 1e-9), means, -np.ones(1))
