"""The last fit of BilevelRegularizedRegressor: exact zeros, the support, and their conditions."""

import numpy as np
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor
from skbamm.regularization._lasso import half_standard_error_rule, strength_grid, weighted_lasso
from tests.reference import adaptive_ridge as reference
from tests.reference.regression import losses, make_data
from tests.regularization.regression_data import make_regression

SHAPES = [(40, 7), (12, 18)]
SQUARES = ("adaptive", "l2")
PENALTIES = (*SQUARES, "l1")

pytestmark = pytest.mark.filterwarnings(
    # What is reported must be right wherever the run ends.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def fit(penalty, data, weight=None, **options):
    options = {"cv": data.splits, "exact_zeros": True, "max_iter": 3, **options}
    return BilevelRegularizedRegressor(penalty, **options).fit(data.X, data.y, weight)


def sparse_regression(n_samples=60, n_features=8, seed=0):
    """Three strong effects, and columns without any."""
    data = make_regression(n_samples, n_features, seed=seed)
    random = np.random.default_rng(seed + 100)
    effects = np.zeros(n_features)
    effects[[0, 3, 6]] = 4.0, -3.0, 2.0
    y = data.X @ effects + 0.3 * random.normal(size=n_samples)
    return type(data)(data.X, y, data.weight, data.splits)


# Exact zeros


def assert_adaptive_lasso(model, plain, data, weight, *, positive=False):
    """By its optimality conditions: they hold whatever common strength the folds chose."""
    scales = reference.scales(data.X, weight)
    size = np.abs(plain.coef_) * scales
    residual = weight / weight.sum() * (data.y - model.predict(data.X))
    gradient = data.X.T @ residual / scales * np.maximum(size, 1e-3 * size.max())
    active = model.coef_ != 0
    assert active.any()
    strength = np.abs(gradient[active]).max()
    # The coordinate descent ends at a duality gap of 1e-10 relative to the square of y.
    np.testing.assert_allclose(gradient[active], strength * np.sign(model.coef_[active]), rtol=1e-3)
    steepest = gradient if positive else np.abs(gradient)
    assert (steepest <= strength * (1 + 1e-3)).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("penalty", SQUARES)
@pytest.mark.parametrize("shape", SHAPES)
def test_coefficients_are_an_adaptive_lasso_on_those_without_zeros(
    shape, penalty, positive, weighted
):
    data = sparse_regression(*shape)
    weight = data.weight if weighted else np.ones(len(data.y))
    options = {"positive": positive, "groups": np.arange(shape[1]) % 3, "shrinkage": 0}
    plain, model = (fit(penalty, data, weight, exact_zeros=on, **options) for on in (False, True))
    assert_adaptive_lasso(model, plain, data, weight, positive=positive)


@pytest.mark.parametrize("penalty", SQUARES)
def test_repeats_leave_one_lasso(penalty):
    """A mean of several would have the zeros of all of them only."""
    data = sparse_regression()
    plain, model = (fit(penalty, data, exact_zeros=on, cv=4, n_repeats=3) for on in (False, True))
    assert_adaptive_lasso(model, plain, data, np.ones(len(data.y)))
    assert not model.support_.all()


def test_columns_without_effect_get_exact_zeros():
    model = fit("adaptive", sparse_regression(), max_iter=20)
    assert model.support_[[0, 3, 6]].all() and not model.support_.all()


@pytest.mark.parametrize("penalty", SQUARES)
def test_without_exact_zeros_no_coefficient_is_zero(penalty):
    assert fit(penalty, sparse_regression(), exact_zeros=False).support_.all()


def test_exact_zeros_change_nothing_of_a_lasso():
    data = make_regression(seed=1)
    models = [fit("l1", data, exact_zeros=on) for on in (False, True)]
    np.testing.assert_array_equal(models[0].coef_, models[1].coef_)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_exact_zeros_leave_what_is_learned_alone(penalty):
    data = make_regression(seed=1)
    models = [fit(penalty, data, exact_zeros=on) for on in (False, True)]
    np.testing.assert_array_equal(models[0].alpha_, models[1].alpha_)


@pytest.mark.parametrize("shape", SHAPES)
def test_unpenalized_columns_keep_their_least_squares_fit(shape):
    data = make_regression(*shape, seed=1)
    labels = np.where(np.arange(shape[1]) < 2, "free", "shrunk")
    model = fit("adaptive", data, groups=labels, alpha={"free": 0})
    free = data.X[:, :2] - data.X[:, :2].mean(axis=0)
    residual = data.y - model.predict(data.X)
    np.testing.assert_allclose(free.T @ residual, 0, atol=1e-9)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_exact_zeros_have_nothing_to_do_without_penalized_columns(penalty):
    data = make_regression()
    model = fit(penalty, data, alpha=0)
    expected = np.linalg.lstsq(data.X - data.X.mean(axis=0), data.y - data.y.mean(), rcond=None)
    np.testing.assert_allclose(model.coef_, expected[0])


@pytest.mark.parametrize("penalty", SQUARES)
@pytest.mark.parametrize("shape", SHAPES)
def test_zeros_of_sparse_data_are_those_of_dense_data(penalty, shape):
    data = make_regression(*shape, seed=1)
    X = np.where(data.X > 0.5, data.X, 0)
    options = {"exact_zeros": True, "cv": data.splits, "max_iter": 3}
    dense = BilevelRegularizedRegressor(penalty, **options).fit(X, data.y)
    other = BilevelRegularizedRegressor(penalty, **options).fit(sparse.csr_array(X), data.y)
    np.testing.assert_array_equal(other.support_, dense.support_)
    np.testing.assert_allclose(other.coef_, dense.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("penalty", SQUARES)
def test_zeros_of_several_targets_may_differ(penalty):
    data = make_regression(60, 6, 2, seed=0)
    random = np.random.default_rng(0)
    y = np.column_stack([4 * data.X[:, 0], 4 * data.X[:, 3]]) + 0.3 * random.normal(size=(60, 2))
    model = fit(penalty, type(data)(data.X, y, data.weight, data.splits))
    assert model.coef_[0, 0] != 0 and model.coef_[1, 3] != 0
    assert (model.coef_ == 0).any()


# The support


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("n_targets", [None, 2])
def test_support_is_where_any_target_has_a_coefficient(penalty, n_targets):
    data = make_regression(40, 6, n_targets, seed=2)
    model = fit(penalty, data)
    assert model.support_.dtype == bool
    np.testing.assert_array_equal(model.support_, (np.atleast_2d(model.coef_) != 0).any(axis=0))


# Its parts


@pytest.mark.parametrize(("increase", "expected"), [(0.49, 2.0), (0.51, 1.0)])
def test_a_strength_within_half_a_standard_error_of_the_best_is_preferred(increase, expected):
    # The mean of these is 0, and its standard error 1.
    noise = np.array([-1, 0, 1]) * 3**0.5
    errors = 10 + np.array([[9, 9, 9], increase + noise, [0, 0, 0]])
    assert half_standard_error_rule(np.array([3.0, 2.0, 1.0]), errors, 0.0) == expected


@pytest.mark.parametrize(("margin", "expected"), [(1e-9, 2.0), (0.0, 1.0)])
def test_rounding_does_not_make_a_strength_the_best(margin, expected):
    errors = 10 + np.array([[9, 9, 9], [1e-10, 1e-10, 1e-10], [0, 0, 0]])
    assert half_standard_error_rule(np.array([3.0, 2.0, 1.0]), errors, margin) == expected


def test_two_folds_have_no_standard_error():
    errors = np.array([[10.0, 30.0], [10.0, 20.0], [20.0, 10.1]])
    assert half_standard_error_rule(np.array([3.0, 2.0, 1.0]), errors, 0.0) == 2.0


@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_largest_strength_of_the_grid_is_the_least_that_gives_only_zeros(kind):
    train, _ = losses(kind, make_data())
    weights = np.random.default_rng(0).uniform(0.5, 2, (3, 2, 5))
    largest = strength_grid(train, weights)[0]
    found = [
        [
            weighted_lasso(train, fold, weights[fold], np.array([s]), positive=False, tol=1e-12)
            for fold in range(3)
        ]
        for s in (1.001 * largest, 0.999 * largest)
    ]
    assert not np.any(found[0]) and np.any(found[1])


@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_root_rows_have_the_matrix_and_the_cross_products_of_the_loss(kind):
    train, _ = losses(kind, make_data())
    zeros = train.zeros()[None]
    for fold in range(3):
        design, targets = train.root_rows(fold)
        cross = -train.gradient(zeros)[0, fold].numpy()
        np.testing.assert_allclose(targets.T @ design, cross, atol=1e-12)
        columns = []
        for column in range(5):
            unit = zeros.clone()
            unit[0, fold, 0, column] = 1
            columns.append(train.product(unit)[0, fold, 0].numpy())
        np.testing.assert_allclose(design.T @ design, columns, atol=1e-12)
