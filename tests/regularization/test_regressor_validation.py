"""Which rows validate a fit of BilevelRegularizedRegressor: folds, or X_val."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)

from tests.reference import adaptive_ridge as reference
from tests.regularization.regression_data import make_regression, regressor


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


@pytest.fixture(scope="module")
def held_out():
    """Rows of the same distribution."""
    data = make_regression(70, seed=1)
    X, y, weight = data.X[40:], data.y[40:], data.weight[40:]
    return data.X[:40], data.y[:40], data.weight[:40], X, y, weight


# Folds


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3),
        LeaveOneOut(),
        TimeSeriesSplit(3),
        ShuffleSplit(3, random_state=0),
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    ],
    ids=lambda cv: type(cv).__name__,
)
@pytest.mark.parametrize("shape", [(30, 4), (10, 14)])
def test_criterion_is_the_error_on_the_rows_that_the_splitter_holds_out(cv, shape):
    data = make_regression(*shape)
    model = regressor(cv=cv, alpha=0.1).fit(data.X, data.y, data.weight)
    expected = reference.held_out_error(
        data.X, data.y, list(cv.split(data.X)), lambda *_: 0.1, data.weight
    )
    np.testing.assert_allclose(model.criterion_, expected, rtol=1e-8)


def test_a_generator_of_splits_equals_their_list(data):
    model = regressor(cv=(split for split in data.splits)).fit(data.X, data.y)
    expected = regressor(cv=data.splits).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_boolean_splits_equal_positions(data):
    rows = np.arange(len(data.y))
    masks = [(np.isin(rows, train), np.isin(rows, test)) for train, test in data.splits[:2]]
    model = regressor(cv=masks).fit(data.X, data.y)
    expected = regressor(cv=data.splits[:2]).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_random_state_seeds_the_folds(data):
    criteria = [
        regressor(alpha=0.1, random_state=seed).fit(data.X, data.y).criterion_
        for seed in (0, 0, 1, np.random.RandomState(0))
    ]
    assert criteria[0] == criteria[1]
    assert len(set(criteria)) == 3


def test_sorted_rows_are_no_pitfall():
    random = np.random.default_rng(0)
    X = np.sort(random.normal(size=(60, 1)), axis=0)
    y = X[:, 0] + 0.1 * random.normal(size=60)
    assert regressor().fit(X, y).criterion_ < 0.02


# Validation rows


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_with_x_val_the_criterion_is_the_error_there(shape, weighted, container):
    n_samples = shape[0]
    data = make_regression(n_samples + 9, shape[1])
    X, y = data.X[:n_samples], data.y[:n_samples]
    X_val, y_val, weight_val = (part[n_samples:] for part in (data.X, data.y, data.weight))
    validation = {"X_val": container(X_val), "y_val": y_val}
    if weighted:
        validation["sample_weight_val"] = weight_val
    model = regressor().fit(container(X), y, **validation)
    square = (model.predict(X_val) - y_val) ** 2
    error = np.average(square, weights=weight_val if weighted else None)
    np.testing.assert_allclose(model.criterion_, error / y.var(), rtol=1e-8)


def test_with_x_val_coefficients_are_fitted_on_x_alone(held_out):
    X, y, weight, X_val, y_val, weight_val = held_out
    model = regressor(standardize=False)
    model.fit(X, y, weight, X_val=X_val, y_val=y_val, sample_weight_val=weight_val)
    oracle = Ridge(model.alpha_[0] * weight.sum(), solver="svd").fit(X, y, weight)
    np.testing.assert_allclose(model.coef_, oracle.coef_, rtol=1e-8)


def test_x_val_equals_a_single_split(held_out):
    X, y, _, X_val, y_val, _ = held_out
    # Units are those of X alone with X_val, those of all rows with a split.
    options = {"standardize": False, "alpha_bounds": (1e-12, 1e12), "tol": 1e-8}
    model = regressor(**options).fit(X, y, X_val=X_val, y_val=y_val)
    both, target = np.vstack([X, X_val]), np.append(y, y_val)
    split = [(np.arange(40), np.arange(40, 70))]
    other = regressor(**options, cv=split).fit(both, target)
    # The run stops at a gradient of 1e-8, at an optimum that is flat.
    np.testing.assert_allclose(other.alpha_, model.alpha_, rtol=1e-3)
    np.testing.assert_allclose(
        other.criterion_ * target.var(), model.criterion_ * y.var(), rtol=1e-7
    )


def test_x_val_replaces_cv(held_out):
    X, y, _, X_val, y_val, _ = held_out
    model = regressor(cv=2).fit(X, y, X_val=X_val, y_val=y_val)
    other = regressor(cv=7).fit(X, y, X_val=X_val, y_val=y_val)
    np.testing.assert_array_equal(model.coef_, other.coef_)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
@pytest.mark.parametrize(
    ("train", "val"),
    [(np.asarray, sparse.csr_matrix), (sparse.csr_matrix, np.asarray)],
    ids=["sparse X_val", "sparse X"],
)
def test_x_val_may_be_sparse_where_x_is_dense_and_the_reverse(shape, train, val):
    data = make_regression(shape[0] + 9, shape[1])
    X, y = data.X[: shape[0]], data.y[: shape[0]]
    X_val, y_val = data.X[shape[0] :], data.y[shape[0] :]
    validation = {"y_val": y_val, "sample_weight_val": data.weight[shape[0] :]}
    model = regressor(alpha=0.1).fit(train(X), y, X_val=val(X_val), **validation)
    expected = regressor(alpha=0.1).fit(X, y, X_val=X_val, **validation)
    np.testing.assert_allclose(model.criterion_, expected.criterion_)


def test_integer_weights_of_x_val_are_repeated_rows(held_out):
    X, y, _, X_val, y_val, _ = held_out
    weight = np.arange(len(y_val)) % 3
    model = regressor().fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    X_val, y_val = np.repeat(X_val, weight, axis=0), np.repeat(y_val, weight)
    other = regressor().fit(X, y, X_val=X_val, y_val=y_val)
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=1e-6)
