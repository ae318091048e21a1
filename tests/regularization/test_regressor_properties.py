"""What must not change a fit of BilevelRegularizedRegressor, and what must."""

import numpy as np
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor
from tests.regularization.regression_data import make_regression

# Penalties that learn; the tolerance of comparisons between two runs is that of an optimum
# that rounding reaches by slightly different iterates.
LEARNING = {
    "l2": {"penalty": "l2"},
    "adaptive": {"penalty": "adaptive"},
    "l2 by group": {"penalty": "l2", "groups": [0, 1, 2, 0, 1, 2]},
    "adaptive by group": {"penalty": "adaptive", "groups": [0, 1, 2, 0, 1, 2]},
}
LEARNED = {"rtol": 1e-5, "atol": 1e-6}
EXACT = {"rtol": 1e-8, "atol": 1e-10}

pytestmark = pytest.mark.filterwarnings(
    # Two runs are compared with each other, wherever they end.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def fit(options, X, y, weight=None, **more):
    return BilevelRegularizedRegressor(**{**options, **more}).fit(X, y, weight)


@pytest.fixture(params=LEARNING)
def options(request):
    return LEARNING[request.param]


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


def test_permuted_features_permute_the_coefficients(options, data):
    order = np.array([3, 0, 5, 1, 4, 2])
    model = fit(options, data.X, data.y, cv=data.splits)
    if "groups" in options:
        options = {**options, "groups": np.array(options["groups"])[order]}
    permuted = fit(options, data.X[:, order], data.y, cv=data.splits)
    np.testing.assert_allclose(permuted.coef_, model.coef_[order], **LEARNED)
    np.testing.assert_allclose(permuted.alpha_, model.alpha_[order], rtol=1e-4)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_names_of_groups_do_not_matter(penalty, data):
    model = fit({"penalty": penalty, "groups": list("abcabc")}, data.X, data.y, cv=data.splits)
    other = fit({"penalty": penalty, "groups": [7, 5, 6, 7, 5, 6]}, data.X, data.y, cv=data.splits)
    np.testing.assert_array_equal(model.coef_, other.coef_)
    assert list(other.group_alpha_) == [7, 5, 6]


def test_units_of_columns_do_not_matter(options, data):
    units = 10.0 ** np.random.default_rng(0).uniform(-6, 6, 6)
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X * units, data.y, cv=data.splits)
    np.testing.assert_allclose(other.coef_ * units, model.coef_, **LEARNED)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_coefficients_have_the_unit_of_y(options, data, unit):
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X, unit * data.y, cv=data.splits)
    np.testing.assert_allclose(other.coef_ / unit, model.coef_, **LEARNED)
    np.testing.assert_allclose(other.intercept_ / unit, model.intercept_, **LEARNED)


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_learned_alpha_has_no_unit(options, data, unit):
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, unit * data.X, unit * data.y, cv=data.splits)
    np.testing.assert_allclose(other.alpha_, model.alpha_, rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_without_standardizing_alpha_has_the_squared_unit_of_the_columns(data, unit):
    options = {"penalty": "l2", "standardize": False, "cv": data.splits}
    model = fit(options, data.X, data.y)
    other = fit(options, unit * data.X, data.y)
    np.testing.assert_allclose(other.alpha_, unit**2 * model.alpha_, rtol=1e-5)


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
    if "groups" in options:
        options = {**options, "groups": np.arange(shape[1]) % 3}
    weight = np.random.default_rng(0).integers(0, 4, len(data.y))
    rows = np.repeat(np.arange(len(data.y)), weight)
    splits = [
        (np.flatnonzero(np.isin(rows, train)), np.flatnonzero(np.isin(rows, test)))
        for train, test in data.splits
    ]
    weighted = fit(options, data.X, data.y, weight, cv=data.splits)
    repeated = fit(options, data.X[rows], data.y[rows], cv=splits)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, **LEARNED)
    np.testing.assert_allclose(weighted.criterion_, repeated.criterion_, rtol=1e-6)


@pytest.mark.parametrize(
    "shape",
    [(40, 6), (12, 18)],
)
def test_a_row_twice_in_a_split_is_a_row_of_twice_the_weight(shape):
    data = make_regression(*shape, seed=2)
    n_train = 3 * len(data.y) // 4
    drawn = np.random.default_rng(0).integers(0, n_train, len(data.y))  # a bootstrap sample
    rows = np.arange(len(data.y))
    kept = np.concatenate([drawn, rows[n_train:]])
    spelled = [(rows, np.arange(len(rows), len(kept)))]
    # The scales of columns come from all rows: write them into the data.
    X, y = data.X / data.X.std(axis=0), data.y / data.y.std()
    options = {"standardize": False, "alpha": 0.1}
    bootstrap = fit(options, X, y, cv=[(drawn, rows[n_train:])])
    expected = fit(options, X[kept], y[kept], cv=spelled)
    np.testing.assert_allclose(bootstrap.criterion_, expected.criterion_ * y[kept].var(), rtol=1e-8)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_rescaled_weights_change_nothing(options, data, factor):
    model = fit(options, data.X, data.y, data.weight, cv=data.splits)
    other = fit(options, data.X, data.y, factor * data.weight, cv=data.splits)
    np.testing.assert_allclose(other.coef_, model.coef_, **LEARNED)


def test_equal_weights_are_no_weights(options, data):
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X, data.y, np.full(len(data.y), 2), cv=data.splits)
    np.testing.assert_allclose(other.coef_, model.coef_, **LEARNED)


def test_a_row_of_weight_zero_may_hold_anything(options, data):
    weight = data.weight.copy()
    weight[::5] = 0
    X, y = data.X.copy(), data.y.copy()
    X[::5], y[::5] = 1e3, -1e3
    model = fit(options, data.X, data.y, weight, cv=data.splits)
    other = fit(options, X, y, weight, cv=data.splits)
    np.testing.assert_allclose(other.coef_, model.coef_, **LEARNED)


def test_offsets_of_columns_change_only_the_intercept(options, data):
    offset = 1e6
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X + offset, data.y, cv=data.splits)
    # A column of size 1e6 has lost six digits before the estimator sees it.
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-4, atol=1e-5)


def test_an_offset_of_y_changes_only_the_intercept(options, data):
    offset = -1e6
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X, data.y + offset, cv=data.splits)
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other.intercept_ - offset, model.intercept_, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_column_gets_no_coefficient(options, data, value):
    X = data.X.copy()
    X[:, 2] = value
    # 1e-9: the mean of 40 equal numbers is rounded.
    assert abs(fit(options, X, data.y, cv=data.splits).coef_[2]) <= 1e-9


def test_a_duplicated_column_shares_its_coefficient(options, data):
    X = data.X.copy()
    X[:, 3] = X[:, 0]  # of the same group where there are groups
    model = fit(options, X, data.y, cv=data.splits)
    np.testing.assert_allclose(model.coef_[3], model.coef_[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("alpha", [0, 1e-8, "learn"])
def test_collinear_columns_give_a_finite_fit_of_the_same_rows(alpha, data):
    X = data.X.copy()
    X[:, 5] = X[:, 0] - 2 * X[:, 1]
    model = fit({"penalty": "l2"}, X, data.y, alpha=alpha, cv=data.splits)
    assert np.isfinite(model.coef_).all()
    assert model.score(X, data.y) > 0.2


@pytest.mark.filterwarnings("ignore:cv=5 asks for more folds")
@pytest.mark.parametrize(("n_samples", "n_features"), [(2, 1), (2, 5), (3, 2), (4, 2), (4, 5)])
def test_very_few_rows_give_a_finite_fit(options, n_samples, n_features):
    data = make_regression(n_samples, n_features, n_folds=2)
    if "groups" in options:
        options = {**options, "groups": np.arange(n_features) % 3}
    model = fit(options, data.X, data.y)
    assert np.isfinite(model.coef_).all() and np.isfinite(model.criterion_)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
@pytest.mark.parametrize("value", [0.0, -1e6])
def test_constant_y_is_predicted_by_the_intercept(options, shape, value):
    data = make_regression(*shape)
    if "groups" in options:
        options = {**options, "groups": np.arange(shape[1]) % 3}
    model = fit(options, data.X, np.full(len(data.X), value))
    np.testing.assert_allclose(model.coef_, 0, atol=1e-9 * max(1, abs(value)))
    np.testing.assert_allclose(model.intercept_, value, rtol=1e-9, atol=1e-9)


def test_a_perfect_fit_is_found(options, data):
    y = data.X @ [1.0, 0, 0, 2.0, 0, 0] + 5
    model = fit(options, data.X, y, cv=data.splits)
    # Down to the smallest alpha of the search.
    np.testing.assert_allclose(model.predict(data.X), y, rtol=1e-4)


@pytest.mark.parametrize(("shape", "n_targets"), [((40, 6), 2), ((12, 18), None)])
def test_sparse_equals_dense(options, shape, n_targets):
    data = make_regression(*shape, n_targets, seed=1)
    X = np.where(data.X > 0.5, data.X, 0)
    if "groups" in options:
        options = {**options, "groups": np.arange(shape[1]) % 3}
    dense = fit(options, X, data.y, data.weight, cv=data.splits)
    other = fit(options, sparse.csr_array(X), data.y, data.weight, cv=data.splits)
    np.testing.assert_allclose(other.coef_, dense.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other.criterion_, dense.criterion_, rtol=1e-6)


@pytest.mark.parametrize("options", [{"penalty": "l2"}, {"alpha": 0.1}], ids=str)
def test_rows_and_gram_matrices_give_the_same_fit(options):
    """One more column of zeros than rows switches to kernels of rows."""
    data = make_regression(12, 10, seed=1)
    gram = fit(options, data.X, data.y, cv=data.splits)
    wide = np.hstack([data.X, np.zeros((12, 3))])
    rows = fit(options, wide, data.y, cv=data.splits)
    np.testing.assert_allclose(rows.coef_[:10], gram.coef_, **LEARNED)


def test_float32_is_close_to_float64(options, data):
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X.astype(np.float32), data.y.astype(np.float32), cv=data.splits)
    # Input rounded to seven digits, at an optimum that is flat.
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(other.criterion_, model.criterion_, rtol=1e-4)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_float32_rows_are_summed_in_float64(shape):
    data = make_regression(*shape)
    X = data.X.astype(np.float32)
    model = fit({"alpha": 0.1}, X, data.y)
    other = fit({"alpha": 0.1}, X.astype(np.float64), data.y)
    np.testing.assert_allclose(model.coef_, other.coef_, **EXACT)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_alpha_per_target_equals_stacked_single_fits(options, shape):
    data = make_regression(*shape, 3, seed=1)
    if "groups" in options:
        options = {**options, "groups": np.arange(shape[1]) % 3}
    options = {**options, "cv": data.splits}
    model = fit(options, data.X, data.y, data.weight, alpha_per_target=True)
    singles = [fit(options, data.X, y, data.weight) for y in data.y.T]
    for name in ("coef_", "intercept_", "alpha_", "hyper_", "criterion_", "exponents_"):
        stacked = np.stack([getattr(single, name) for single in singles])
        np.testing.assert_allclose(getattr(model, name), stacked, **LEARNED, err_msg=name)


def test_shared_alpha_does_not_depend_on_the_units_of_targets(options):
    data = make_regression(n_targets=2, seed=1)
    model = fit(options, data.X, data.y, cv=data.splits)
    other = fit(options, data.X, data.y * [1e-6, 1e6], cv=data.splits)
    np.testing.assert_allclose(other.alpha_, model.alpha_, rtol=1e-4)


def test_a_target_twice_is_a_target_once(options, data):
    y = np.column_stack([data.y, data.y])
    model = fit(options, data.X, y, cv=data.splits)
    single = fit(options, data.X, data.y, cv=data.splits)
    np.testing.assert_allclose(model.coef_, [single.coef_, single.coef_], **LEARNED)


def test_near_duplicate_targets_get_near_duplicate_coefficients(options, data):
    y = np.column_stack([data.y, data.y + 1e-9 * data.X[:, 0]])
    model = fit(options, data.X, y, cv=data.splits)
    np.testing.assert_allclose(model.coef_[0], model.coef_[1], rtol=1e-5, atol=1e-6)


def test_a_second_fit_equals_the_first(options, data):
    model = fit(options, data.X, data.y)
    first = model.coef_
    np.testing.assert_array_equal(model.fit(data.X, data.y).coef_, first)
