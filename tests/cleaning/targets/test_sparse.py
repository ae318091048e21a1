"""Sparse rows, and sparse rows of many columns."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingRegressor

from skbamm import HyperCleaningRegressor
from skbamm.cleaning.targets import _columns


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    X = sparse.random(250, 30, density=0.2, random_state=0, format="csr")
    y = 3 * (X @ np.ones(30)) + 0.3 * generator.normal(size=250)
    y[::6] += 5
    return X, y


def test_sparse_rows_are_fitted_as_dense_ones(table):
    X, y = table
    is_clean = np.arange(250) % 7 == 0
    model, dense = (
        HyperCleaningRegressor(max_iter=0).fit(one, y, is_clean=is_clean)
        for one in (X, X.toarray())
    )
    np.testing.assert_allclose(model.sample_weight_, dense.sample_weight_)
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.predict(X), dense.predict(X.toarray()), rtol=1e-6, atol=1e-6)


def test_validation_rows_may_be_sparse_or_dense(table):
    X, y = table
    given = {"X_val": X[:40], "y_val": y[:40] - 5 * (np.arange(40) % 6 == 0)}
    one = HyperCleaningRegressor(max_iter=0).fit(X[40:], y[40:], **given)
    for rows, apart in ((X[40:], X[:40].toarray()), (X[40:].toarray(), X[:40])):
        other = HyperCleaningRegressor(max_iter=0).fit(rows, y[40:], **given | {"X_val": apart})
        np.testing.assert_allclose(other.coef_, one.coef_, rtol=1e-6, atol=1e-6)


def test_many_sparse_columns_are_turned_without_being_dense(table, monkeypatch):
    X, y = table
    dense = HyperCleaningRegressor(max_iter=0).fit(X, y)
    monkeypatch.setattr(_columns, "MOST_DENSE", 20)
    model = HyperCleaningRegressor(max_iter=0).fit(X, y)
    # All thirty directions: a rotation, but for penalties of columns that are not centred.
    np.testing.assert_allclose(model.sample_weight_, dense.sample_weight_, atol=0.05)
    np.testing.assert_allclose(model.predict(X), dense.predict(X), atol=0.1)


def test_equal_sparse_rows_are_one_row(table):
    X, y = table
    fold = np.arange(250) % 5
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(5)]
    twice = [tuple(np.sort(np.r_[one, one + 250]) for one in pair) for pair in splits]
    model = HyperCleaningRegressor(max_iter=0, cv=twice).fit(sparse.vstack([X, X]), np.r_[y, y])
    expected = HyperCleaningRegressor(max_iter=0, cv=splits).fit(X, y)
    np.testing.assert_allclose(model.sample_weight_[250:], expected.sample_weight_, atol=1e-6)


def test_a_final_estimator_that_takes_no_sparse_rows_says_so(table):
    with pytest.raises(TypeError, match=r"dense data is required") as caught:
        HyperCleaningRegressor(HistGradientBoostingRegressor(), max_iter=0).fit(*table)
    assert "final_estimator" in caught.value.__notes__[0]
