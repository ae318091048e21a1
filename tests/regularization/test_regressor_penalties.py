"""The weighted lasso and positive coefficients against other solvers."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import nnls
from sklearn.linear_model import Lasso, Ridge

from skbamm import BilevelRegularizedRegressor
from tests.reference import adaptive_ridge as reference
from tests.regularization.regression_data import make_regression

ALPHA = 0.1
SHAPES = [(40, 6), (12, 18)]
# The lasso's coordinate descent ends at a duality gap of 1e-10 relative to y'y.
LASSO = {"rtol": 1e-5, "atol": 1e-5}

pytestmark = pytest.mark.filterwarnings(
    # What is reported must be right wherever the run ends.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def fit(penalty, data, weight=None, **options):
    model = BilevelRegularizedRegressor(penalty, cv=data.splits, **options)
    return model.fit(data.X, data.y, weight)


def lasso(X, y, strength, weight=None, **options):
    """scikit-learn's lasso with a strength for each column, through columns divided by them."""
    model = Lasso(1.0, tol=1e-12, max_iter=100000, **options)
    return model.fit(X / strength, y, weight).coef_ / strength


def thirds(n_features):
    """Labels of three groups."""
    return np.arange(n_features) % 3


# The weighted lasso


@pytest.mark.parametrize("groups", [None, thirds], ids=["one strength", "by group"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_l1_is_the_lasso_at_the_alpha_that_is_reported(shape, weighted, groups):
    data = make_regression(*shape, seed=1)
    weight = data.weight if weighted else None
    options = {} if groups is None else {"groups": groups(shape[1]), "shrinkage": 0.01}
    model = fit("l1", data, weight, max_iter=4, **options)
    strength = model.alpha_ * reference.scales(data.X, weight)
    np.testing.assert_allclose(model.coef_, lasso(data.X, data.y, strength, weight), **LASSO)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_l1_of_a_fixed_alpha_is_the_lasso(shape, fit_intercept, container):
    data = make_regression(*shape)
    X = np.where(data.X > 0.3, data.X, 0)
    options = {"fit_intercept": fit_intercept, "standardize": False}
    model = BilevelRegularizedRegressor("l1", alpha=ALPHA, **options).fit(container(X), data.y)
    strength = np.full(shape[1], ALPHA)
    expected = lasso(X, data.y, strength, fit_intercept=fit_intercept)
    np.testing.assert_allclose(model.coef_, expected, **LASSO)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_l1_of_a_fixed_alpha_is_the_lasso_at_any_unit_of_y(unit):
    data = make_regression(seed=1)
    model = BilevelRegularizedRegressor("l1", alpha=ALPHA * unit, standardize=False)
    model.fit(data.X, unit * data.y)
    np.testing.assert_allclose(
        model.coef_ / unit, lasso(data.X, data.y, np.full(6, ALPHA)), **LASSO
    )


def test_l1_of_several_targets_is_a_lasso_for_each():
    data = make_regression(n_targets=3)
    model = BilevelRegularizedRegressor("l1", alpha=ALPHA, standardize=False, alpha_per_target=True)
    model.fit(data.X, data.y)
    expected = [lasso(data.X, y, np.full(6, ALPHA)) for y in data.y.T]
    np.testing.assert_allclose(model.coef_, expected, **LASSO)


@pytest.mark.parametrize("shape", SHAPES)
def test_unpenalized_columns_of_l1_have_no_gradient(shape):
    data = make_regression(*shape)
    labels = np.where(np.arange(shape[1]) < 2, "free", "shrunk")
    model = BilevelRegularizedRegressor(
        "l1", groups=labels, alpha={"free": 0, "shrunk": ALPHA}, standardize=False
    ).fit(data.X, data.y)
    gradient = data.X.T @ (data.y - model.predict(data.X)) / shape[0]
    np.testing.assert_allclose(gradient[:2], 0, atol=1e-8)
    held = np.sign(model.coef_[2:]) * ALPHA
    nonzero = model.coef_[2:] != 0
    np.testing.assert_allclose(gradient[2:][nonzero], held[nonzero], rtol=1e-4)
    assert (np.abs(gradient[2:]) <= ALPHA * (1 + 1e-4)).all()


def test_features_without_effect_get_zeros_of_l1():
    random = np.random.default_rng(0)
    X = random.normal(size=(100, 8))
    y = 3 * X[:, 0] - 2 * X[:, 1] + 0.5 * random.normal(size=100)
    groups = [0, 0, 1, 1, 1, 1, 1, 1]
    # Close to the optimum: the default tolerance leaves small coefficients.
    model = BilevelRegularizedRegressor("l1", groups=groups, shrinkage=0, tol=1e-4).fit(X, y)
    np.testing.assert_array_equal(model.support_, [True, True] + [False] * 6)


@pytest.mark.parametrize("shape", SHAPES)
def test_criterion_never_ends_above_that_of_the_best_lasso(shape):
    data = make_regression(*shape, seed=1)
    model = fit("l1", data, max_iter=4, groups=thirds(shape[1]), shrinkage=0)
    assert model.criterion_ <= model.initial_criterion_


def test_learning_strengths_of_groups_beats_their_initialization():
    data = make_regression(seed=1)
    options = {"groups": thirds(6), "shrinkage": 0}
    frozen = fit("l1", data, max_iter=0, **options)
    assert fit("l1", data, max_iter=20, **options).criterion_ < frozen.criterion_


# Positive coefficients


def nonnegative_ridge(X, y, alpha):
    """By nonnegative least squares, a row for each penalized coefficient."""
    centred = X - X.mean(axis=0)
    rows = np.vstack([centred / np.sqrt(len(y)), np.diag(np.sqrt(alpha))])
    target = np.append((y - y.mean()) / np.sqrt(len(y)), np.zeros(X.shape[1]))
    return nnls(rows, target)[0]


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
@pytest.mark.parametrize("shape", SHAPES)
def test_positive_ridge_is_nonnegative_least_squares(penalty, shape):
    data = make_regression(*shape, seed=1)
    model = fit(penalty, data, positive=True, max_iter=5, standard_errors=0)
    alpha = model.alpha_ * reference.scales(data.X) ** 2
    expected = nonnegative_ridge(data.X, data.y, alpha)
    # The active set is found through a barrier, then solved for exactly.
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_positive_ridge_of_a_fixed_alpha_is_scikit_learns(shape):
    data = make_regression(*shape, seed=1)
    model = BilevelRegularizedRegressor("l2", alpha=ALPHA, positive=True, standardize=False)
    model.fit(data.X, data.y)
    oracle = Ridge(ALPHA * shape[0], positive=True, tol=1e-10).fit(data.X, data.y)
    # As far as its L-BFGS gets.
    np.testing.assert_allclose(model.coef_, oracle.coef_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_positive_l1_is_the_positive_lasso(shape):
    data = make_regression(*shape, seed=1)
    model = BilevelRegularizedRegressor("l1", alpha=ALPHA, positive=True, standardize=False)
    model.fit(data.X, data.y)
    expected = lasso(data.X, data.y, np.full(shape[1], ALPHA), positive=True)
    np.testing.assert_allclose(model.coef_, expected, **LASSO)


@pytest.mark.parametrize("exact_zeros", [False, True])
@pytest.mark.parametrize("n_targets", [None, 2])
@pytest.mark.parametrize("penalty", ["adaptive", "l2", "l1"])
@pytest.mark.parametrize("shape", SHAPES)
def test_positive_leaves_no_negative_coefficient(shape, penalty, n_targets, exact_zeros):
    data = make_regression(*shape, n_targets, seed=1)
    model = fit(penalty, data, positive=True, exact_zeros=exact_zeros, max_iter=3)
    assert (model.coef_ >= 0).all()


def test_negative_coefficients_of_the_pilot_count_as_none():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 4))
    y = X @ [3.0, -3.0, 0.1, 2.0] + random.normal(size=60)
    model = BilevelRegularizedRegressor(positive=True).fit(X, y)
    assert model.exponents_[0] > 0
    assert model.alpha_.argmax() == 1


def test_positive_changes_nothing_where_all_coefficients_are_positive():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 3))
    y = X @ [1.0, 2.0, 3.0] + 0.1 * random.normal(size=60)
    plain, positive = (
        BilevelRegularizedRegressor("l2", alpha=ALPHA, positive=on).fit(X, y)
        for on in (False, True)
    )
    np.testing.assert_allclose(positive.coef_, plain.coef_, rtol=1e-8)


def test_criterion_of_positive_ridge_is_its_held_out_error():
    data = make_regression(seed=1)
    model = fit("l2", data, alpha=ALPHA, positive=True, standardize=False)
    error = 0.0
    for train, test in data.splits:
        X, y = data.X[train], data.y[train]
        coef = nonnegative_ridge(X, y, np.full(6, ALPHA))
        predicted = y.mean() + (data.X[test] - X.mean(axis=0)) @ coef
        error += np.sum((data.y[test] - predicted) ** 2)
    # The barrier that is there while learning gives way by about a millionth.
    np.testing.assert_allclose(model.criterion_, error / 40 / data.y.var(), rtol=1e-4)


@pytest.mark.parametrize("penalty", ["adaptive", "l2", "l1"])
def test_positive_leaves_unpenalized_columns_free(penalty):
    data = make_regression(seed=1)
    model = fit(penalty, data, positive=True, alpha=0)
    free = fit(penalty, data, alpha=0)
    assert (free.coef_ < 0).any()
    np.testing.assert_allclose(model.coef_, free.coef_)


def test_positive_with_a_tiny_alpha_is_nonnegative_least_squares():
    data = make_regression(seed=1)
    model = fit("l2", data, positive=True, alpha=1e-9)
    expected = nonnegative_ridge(data.X, data.y, np.zeros(6))
    # As far as a penalty of 1e-9 moves them.
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-6, atol=1e-8)
