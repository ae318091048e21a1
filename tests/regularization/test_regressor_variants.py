"""What must not change a fit with a shaped penalty, exact zeros, positive or robust errors."""

import numpy as np
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor
from skbamm.regularization import _design, _large_design
from tests.regularization.regression_data import make_regression
from tests.tools import COPIES

# Few iterations: two runs are compared with each other, wherever they end.
VARIANTS = {
    "l1": {"penalty": "l1", "max_iter": 3},
    "l1 by group": {"penalty": "l1", "groups": [0, 1, 2, 0, 1, 2], "shrinkage": 0.1, "max_iter": 2},
    "positive": {"positive": True, "max_iter": 3},
    "exact zeros": {"exact_zeros": True, "max_iter": 3},
    "huber": {"loss": "huber", "max_iter": 3},
    "descriptions": {"alpha_features": np.arange(6) ** 1.5, "shrinkage": 0.1, "max_iter": 3},
}
# Two runs that rounding leads apart, to lower levels solved to 1e-5 relative to the cross-products.
LEARNED = {"rtol": 1e-4, "atol": 1e-4}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class SeparateDesign(_design.GramDesign):
    """A Gram matrix for each fold, followed from the same starts as shared ones."""

    n_initial = _large_design.SharedGramDesign.n_initial
    n_strength_steps = _large_design.SharedGramDesign.n_strength_steps


@pytest.fixture(params=VARIANTS)
def options(request):
    return VARIANTS[request.param]


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


def fit(options, X, y, weight=None, **more):
    return BilevelRegularizedRegressor(**{**options, **more}).fit(X, y, weight)


def test_permuted_features_permute_the_coefficients(options, data):
    order = np.array([3, 0, 5, 1, 4, 2])
    model = fit(options, data.X, data.y, cv=data.splits)
    options = {
        name: np.array(value)[order] if name in ("groups", "alpha_features") else value
        for name, value in options.items()
    }
    permuted = fit(options, data.X[:, order], data.y, cv=data.splits)
    np.testing.assert_allclose(permuted.coef_, model.coef_[order], **LEARNED)


def test_units_of_columns_do_not_matter(options, data):
    units = 10.0 ** np.random.default_rng(0).uniform(-6, 6, 6)
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X * units, data.y, cv=data.splits)
    np.testing.assert_allclose(other.coef_ * units, model.coef_, **LEARNED)


def test_coefficients_have_the_unit_of_y(options, data):
    unit = 1e-9
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X, unit * data.y, cv=data.splits)
    np.testing.assert_allclose(other.coef_ / unit, model.coef_, **LEARNED)
    np.testing.assert_allclose(other.intercept_ / unit, model.intercept_, **LEARNED)


def test_offsets_change_only_the_intercept(options, data):
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X + 100, data.y - 1000, cv=data.splits)
    np.testing.assert_allclose(other.coef_, model.coef_, **LEARNED)


def test_order_of_rows_does_not_matter_for_given_splits(options, data):
    order = np.random.default_rng(0).permutation(len(data.y))
    place = np.argsort(order)
    splits = [(place[train], place[test]) for train, test in data.splits]
    model = fit(options, data.X, data.y, data.weight, cv=data.splits)
    other = fit(options, data.X[order], data.y[order], data.weight[order], cv=splits)
    np.testing.assert_allclose(other.coef_, model.coef_, **LEARNED)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_integer_weights_are_repeated_rows(options, shape):
    data = make_regression(*shape, seed=2)
    options = stretched(options, shape[1])
    weight = np.random.default_rng(0).integers(0, 4, len(data.y))
    rows = np.repeat(np.arange(len(data.y)), weight)
    splits = [
        (np.flatnonzero(np.isin(rows, train)), np.flatnonzero(np.isin(rows, test)))
        for train, test in data.splits
    ]
    weighted = fit(options, data.X, data.y, weight, cv=data.splits)
    repeated = fit(options, data.X[rows], data.y[rows], cv=splits)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, **LEARNED)
    np.testing.assert_allclose(weighted.criterion_, repeated.criterion_, rtol=1e-5)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_sparse_equals_dense(options, shape):
    data = make_regression(*shape, seed=1)
    X = np.where(data.X > 0.5, data.X, 0)
    options = stretched(options, shape[1])
    dense = fit(options, X, data.y, data.weight, cv=data.splits)
    other = fit(options, sparse.csr_array(X), data.y, data.weight, cv=data.splits)
    np.testing.assert_allclose(other.coef_, dense.coef_, **LEARNED)
    np.testing.assert_allclose(other.criterion_, dense.criterion_, rtol=1e-5)


@pytest.mark.parametrize("n_targets", [None, 2])
def test_shared_gram_matrices_give_the_same_fit(options, n_targets, monkeypatch):
    """Those that large tables have."""
    data = make_regression(40, 6, n_targets, seed=1)
    monkeypatch.setattr(_design, "LARGE", 5)
    large = fit(options, data.X, data.y, data.weight, cv=data.splits)
    monkeypatch.setattr(_large_design, "SharedGramDesign", SeparateDesign)
    plain = fit(options, data.X, data.y, data.weight, cv=data.splits)
    np.testing.assert_allclose(large.coef_, plain.coef_, **LEARNED)


def test_alpha_per_target_equals_stacked_single_fits(options):
    data = make_regression(n_targets=2, seed=1)
    options = {**options, "cv": data.splits}
    model = fit(options, data.X, data.y, alpha_per_target=True)
    singles = [fit(options, data.X, y) for y in data.y.T]
    names = ("coef_", "intercept_", "alpha_", "hyper_", "shrinkage_", "criterion_")
    for name in names:
        stacked = np.stack([getattr(single, name) for single in singles])
        np.testing.assert_allclose(getattr(model, name), stacked, **LEARNED, err_msg=name)


def test_a_target_twice_is_a_target_once(options, data):
    y = np.column_stack([data.y, data.y])
    model = fit(options, data.X, y, cv=data.splits)
    single = fit(options, data.X, data.y, cv=data.splits)
    np.testing.assert_allclose(model.coef_, [single.coef_, single.coef_], **LEARNED)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_constant_y_is_predicted_by_the_intercept(options, shape):
    data = make_regression(*shape)
    model = fit(stretched(options, shape[1]), data.X, np.full(shape[0], 7.0))
    np.testing.assert_allclose(model.predict(data.X), 7.0)


def test_a_constant_column_gets_no_coefficient(options, data):
    X = data.X.copy()
    X[:, 2] = 5.0
    model = fit(options, X, data.y)
    np.testing.assert_allclose(model.coef_[2], 0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:cv=5 asks for more folds")
@pytest.mark.parametrize("shape", [(5, 3), (3, 8)])
def test_very_few_rows_give_a_finite_fit(options, shape):
    data = make_regression(*shape, n_folds=2)
    model = fit(stretched(options, shape[1]), data.X, data.y)
    assert np.isfinite(model.coef_).all() and np.isfinite(model.criterion_)


def test_a_second_fit_equals_the_first(options, data):
    model = fit(options, data.X, data.y)
    first = model.coef_
    np.testing.assert_array_equal(model.fit(data.X, data.y).coef_, first)


def test_a_copy_predicts_the_same(options, data):
    model = fit(options, data.X, data.y, max_iter=1)
    for copied in (copy(model) for copy in COPIES.values()):
        np.testing.assert_array_equal(copied.predict(data.X), model.predict(data.X))


def stretched(options, n_features):
    """The same for another number of features."""
    change = {"groups": np.arange(n_features) % 3, "alpha_features": np.arange(n_features) ** 1.5}
    return {**options, **{name: change[name] for name in change if name in options}}
