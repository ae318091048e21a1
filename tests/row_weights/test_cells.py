import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skbamm.row_weights._cells import (
    MAX_COLUMNS,
    Cells,
    leading_directions,
    ridge_path,
    squared_errors,
)


@pytest.fixture
def table():
    generator = np.random.default_rng(0)
    X = 5 + generator.normal(size=(60, 3)) * [1, 10, 0.1]
    y = np.column_stack([X.sum(axis=1), generator.normal(size=60)])
    return X, y, generator.uniform(0.5, 2, 60), np.arange(60) % 6


def direct(X, y, weight, strength):
    """A weighted ridge fit to standardized columns, its coefficients and intercept."""
    return Ridge(strength).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("strength", [0.1, 30.0])
def test_weighted_cells_are_a_direct_weighted_fit(table, strength):
    X, y, weight, label = table
    cells = Cells.of(X, y, weight, label, 6)
    Z, targets = cells.standardized(X, y)
    np.testing.assert_allclose(np.average(Z, axis=0, weights=weight), [0, 0, 0, 1], atol=1e-12)
    of_cells = np.array([1.0, 0.0, 0.5, 2.0, 0.1, 1.0])
    coef = ridge_path(cells.combined(of_cells), 2, [1.0, strength])[1]
    expected = direct(Z[:, :-1], targets, weight * of_cells[label], strength)
    np.testing.assert_allclose(coef[:-1], expected.coef_.T, rtol=1e-8)
    np.testing.assert_allclose(coef[-1], expected.intercept_, rtol=1e-8, atol=1e-10)


def test_errors_of_cells_are_those_of_their_rows(table):
    X, y, weight, label = table
    cells = Cells.of(X, y, weight, label, 6)
    Z, targets = cells.standardized(X, y)
    coef = ridge_path(cells.combined(np.ones(6)), 2, [1.0, 10.0])
    found = squared_errors(coef, cells.products[3], 2)
    held_out = label == 3
    for one, error in zip(coef, found, strict=True):
        squares = (Z[held_out] @ one - targets[held_out]) ** 2
        expected = np.average(squares.mean(axis=1), weights=weight[held_out])
        np.testing.assert_allclose(error, expected)


def test_a_constant_column_is_left_alone():
    X = np.column_stack([np.ones(20), np.arange(20.0)])
    cells = Cells.of(X, np.arange(20.0)[:, None], np.ones(20), np.arange(20) % 2, 2)
    coef = ridge_path(cells.combined(np.ones(2)), 1, [1.0])
    assert np.isfinite(coef).all() and coef[0, 0, 0] == 0


def test_few_columns_stay_and_many_become_directions():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(50, 4))
    assert leading_directions(X, np.ones(50)) is X
    factors = generator.normal(size=(300, 5))
    wide = factors @ generator.normal(size=(5, MAX_COLUMNS + 50)) + 3
    found = leading_directions(wide, np.ones(300))
    assert found.shape == (300, MAX_COLUMNS)
    # All there is lies in five directions: a fit to them is exact.
    y = factors[:, 0]
    residual = y - found @ np.linalg.lstsq(found, y, rcond=None)[0]
    assert np.abs(residual - residual.mean()).max() < 1e-6
