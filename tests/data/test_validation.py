"""Sizes of values that both estimators take."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.data._validation import column_ranges

X = np.random.default_rng(0).normal(size=(30, 3))
TARGET = {
    BilevelRegularizedRegressor: X @ [1.0, 0.5, 0.0],
    HyperCleaningClassifier: (X[:, 0] > 0).astype(int),
}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("size", [1e155, 1e-155])
def test_weights_whose_sums_overflow_are_an_error_that_names_them(size):
    labels, weight = TARGET[HyperCleaningClassifier], np.full(30, size)
    with pytest.raises(ValueError, match=r"sample_weight"):
        HyperCleaningClassifier(max_iter=2).fit(X, labels, weight)
    with pytest.raises(ValueError, match=r"^Input X has columns of values too large"):
        HyperCleaningClassifier(max_iter=2).fit(1e90 * X, labels, 1e130 * np.ones(30))
    rows = {"X_val": X, "y_val": labels, "sample_weight_val": weight}
    with pytest.raises(ValueError, match=r"sample_weight"):
        HyperCleaningClassifier(max_iter=2).fit(X, labels, **rows)


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_blocks_whose_sums_overflow_are_an_error_that_names_them(name):
    block = {"X": X, "y": TARGET[BilevelRegularizedRegressor], "sample_weight": np.ones(30)}
    block[name] = 1e155 * block[name]
    with pytest.raises(ValueError, match=name):
        BilevelRegularizedRegressor().partial_fit(**block)


@pytest.mark.parametrize("size", [1e-135, 1e-30, 1e30, 1e90, 1e150])
def test_predictions_do_not_hang_on_the_size_of_values(size):
    y = TARGET[BilevelRegularizedRegressor]
    expected = BilevelRegularizedRegressor().fit(X, y).predict(X)
    for unit in (1.0, size):
        model = BilevelRegularizedRegressor().fit(size * X, unit * y)
        np.testing.assert_allclose(model.predict(size * X) / unit, expected, rtol=1e-6)
    if size > 1e100:
        return
    labels = TARGET[HyperCleaningClassifier]
    expected = HyperCleaningClassifier(max_iter=3).fit(X, labels).predict_proba(X)
    model = HyperCleaningClassifier(max_iter=3).fit(size * X, labels)
    np.testing.assert_allclose(model.predict_proba(size * X), expected, rtol=1e-6)


def test_single_precision_holds_less():
    labels = TARGET[HyperCleaningClassifier]
    with pytest.raises(ValueError, match=r"Input X has columns of values too large"):
        HyperCleaningClassifier().fit(1e20 * X.astype(np.float32), labels)
    y = TARGET[BilevelRegularizedRegressor]
    model = BilevelRegularizedRegressor().fit(
        1e30 * X.astype(np.float32), y, X_val=1e30 * X, y_val=y
    )
    assert np.isfinite(model.coef_).all()


def test_a_constant_sparse_column_has_no_variance_below_zero():
    """Weighted sums of a constant leave a variance of -1e-17 or so."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        weight = np.random.default_rng(seed).random(30)
        columns = sparse.csr_matrix(np.column_stack([X, np.full(30, 0.1 + seed / 7)]))
        labels = (rng.random(30) < 0.5).astype(int)
        model = HyperCleaningClassifier(max_iter=1).fit(columns, labels, weight)
        assert np.isfinite(model.coef_).all()


def test_a_class_of_rows_without_weight_among_verified_ones_is_no_overflow():
    labels = np.arange(30) % 3
    is_clean = (labels < 2) & (np.arange(30) < 20)
    weight = np.where(labels == 2, 0, 1e30)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model = HyperCleaningClassifier(max_iter=1).fit(X, labels, weight, is_clean=is_clean)
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 5000), (40_000, 7), (341 * 64 + 5, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ranges_of_columns_do_not_depend_on_how_rows_lie_in_memory(shape, dtype):
    table = np.random.default_rng(0).normal(size=shape).astype(dtype)
    table[-1, 0] = 9
    for rows in (table, np.asfortranarray(table), table[::2], table[:, ::-1]):
        least, most = column_ranges(rows)
        assert least.dtype == dtype
        assert np.array_equal(least, rows.min(axis=0))
        assert np.array_equal(most, rows.max(axis=0))
