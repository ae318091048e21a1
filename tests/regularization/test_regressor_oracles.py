"""BilevelRegularizedRegressor against answers known by other means."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, Ridge

from skbamm import BilevelRegularizedRegressor
from skbamm.regularization._constants import EXPONENT_BOUNDS, SHARE_BOUNDS
from tests.reference import adaptive_ridge as reference
from tests.regularization.regression_data import make_regression

ALPHA = 0.3
SHAPES = {"tall": (40, 6), "wide": (12, 30)}


def assert_same_fit(model, coef, intercept):
    """To 1e-8 of the largest coefficient: two factorisations in double precision."""
    scale = np.abs(coef).max()
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-8, atol=1e-8 * scale)
    size = np.abs(intercept).max() if np.any(intercept) else 1.0
    np.testing.assert_allclose(model.intercept_, intercept, rtol=1e-8, atol=1e-8 * size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, sparse.csc_array])
# Each pair of two of these occurs.
@pytest.mark.parametrize(
    ("weighted", "n_targets", "fit_intercept"),
    [(False, None, True), (True, 3, True), (True, None, False), (False, 3, False)],
)
def test_fixed_alpha_is_ridge(shape, container, weighted, n_targets, fit_intercept):
    data = make_regression(*SHAPES[shape], n_targets)
    weight = data.weight if weighted else None
    total = data.weight.sum() if weighted else len(data.y)
    options = {"fit_intercept": fit_intercept}
    model = BilevelRegularizedRegressor(alpha=ALPHA, standardize=False, **options)
    model.fit(container(data.X), data.y, weight)
    oracle = Ridge(ALPHA * total, solver="svd", **options).fit(data.X, data.y, weight)
    assert_same_fit(model, oracle.coef_, oracle.intercept_)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_standardized_fixed_alpha_is_ridge_on_scaled_columns(shape, weighted):
    data = make_regression(*SHAPES[shape])
    weight = data.weight if weighted else np.ones(len(data.y))
    model = BilevelRegularizedRegressor(alpha=ALPHA)
    model.fit(data.X, data.y, weight if weighted else None)
    scale = reference.scales(data.X, weight)
    oracle = Ridge(ALPHA * weight.sum(), solver="svd").fit(data.X / scale, data.y, weight)
    assert_same_fit(model, oracle.coef_ / scale, oracle.intercept_)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_fixed_alpha_is_ridge_at_any_unit_of_y(shape, unit):
    data = make_regression(*SHAPES[shape])
    model = BilevelRegularizedRegressor(alpha=ALPHA, standardize=False).fit(data.X, unit * data.y)
    oracle = Ridge(ALPHA * len(data.y), solver="svd").fit(data.X, unit * data.y)
    assert_same_fit(model, oracle.coef_, oracle.intercept_)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_fixed_alpha_is_ridge_at_any_unit_of_x(shape, unit):
    data = make_regression(*SHAPES[shape])
    alpha = ALPHA * unit**2
    model = BilevelRegularizedRegressor(alpha=alpha, standardize=False).fit(unit * data.X, data.y)
    oracle = Ridge(alpha * len(data.y), solver="svd").fit(unit * data.X, data.y)
    assert_same_fit(model, oracle.coef_, oracle.intercept_)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(("n_targets", "fit_intercept"), [(None, True), (2, False)])
def test_unpenalized_columns_are_least_squares(shape, container, n_targets, fit_intercept):
    data = make_regression(*SHAPES[shape], n_targets)
    free = np.arange(data.X.shape[1]) % 5 == 1
    model = BilevelRegularizedRegressor(
        groups=np.where(free, "free", "shrunk"),
        alpha={"free": 0, "shrunk": ALPHA},
        standardize=False,
        fit_intercept=fit_intercept,
    ).fit(container(data.X), data.y, data.weight)
    alpha = np.where(free, 0.0, ALPHA)
    coef, intercept = reference.ridge(data.X, data.y, alpha, data.weight, fit_intercept)
    assert_same_fit(model, coef, intercept)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("units", [np.ones(2), np.array([1e-6, 1e6])])
def test_units_of_unpenalized_columns_do_not_matter(shape, units):
    data = make_regression(*SHAPES[shape])
    X = np.array(data.X)
    X[:, :2] *= units
    labels = np.where(np.arange(X.shape[1]) < 2, "free", "shrunk")
    model = BilevelRegularizedRegressor(groups=labels, alpha={"free": 0, "shrunk": ALPHA})
    coef = model.fit(X, data.y).coef_.copy()
    expected = model.fit(data.X, data.y).coef_
    coef[:2] *= units
    np.testing.assert_allclose(coef, expected, rtol=1e-7)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("standardize", [True, False])
def test_alpha_zero_is_linear_regression(container, standardize):
    data = make_regression()
    model = BilevelRegularizedRegressor(alpha=0, standardize=standardize)
    model.fit(container(data.X), data.y, data.weight)
    oracle = LinearRegression().fit(data.X, data.y, data.weight)
    assert_same_fit(model, oracle.coef_, oracle.intercept_)


def test_alpha_zero_with_more_features_than_rows_interpolates():
    data = make_regression(8, 12)
    model = BilevelRegularizedRegressor(alpha=0).fit(data.X, data.y)
    np.testing.assert_allclose(model.predict(data.X), data.y, rtol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_learned_strength_reaches_the_best_of_a_fine_grid(shape, unit):
    data = make_regression(*SHAPES[shape])
    y = unit * data.y
    model = BilevelRegularizedRegressor("l2", cv=data.splits).fit(data.X, y)
    X = data.X / data.X.std(axis=0)

    def errors(alpha):
        squares = []
        for train, test in data.splits:
            # One target for each strength.
            ridge = Ridge(alpha * len(train), solver="svd")
            ridge.fit(X[train], np.tile(y[train, None], len(alpha)))
            squares.append((ridge.predict(X[test]) - y[test, None]) ** 2)
        return np.concatenate(squares).mean(axis=0)

    best = errors(np.logspace(-6, 4, 200)).min()
    # The grid misses the minimum by less than this; a gradient run must not do worse.
    assert errors(model.alpha_[:2])[0] <= 1.001 * best


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("groups", [None, "thirds", "feature"])
@pytest.mark.parametrize("weighted", [False, True])
def test_criterion_is_the_held_out_error_of_the_learned_strengths(shape, groups, weighted):
    data = make_regression(*SHAPES[shape])
    weight = data.weight if weighted else None
    labels = np.arange(data.X.shape[1]) % 3 if groups == "thirds" else groups
    model = BilevelRegularizedRegressor("l2", groups=labels, cv=data.splits, max_iter=0)
    model.fit(data.X, data.y, weight)
    expected = reference.held_out_error(
        data.X, data.y, data.splits, lambda *_: model.alpha_, weight
    )
    np.testing.assert_allclose(model.criterion_, expected, rtol=1e-8)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("groups", [None, "thirds"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # wherever it ends
def test_criterion_is_never_above_that_of_plain_ridge(penalty, shape, groups):
    data = make_regression(*SHAPES[shape])
    labels = np.arange(data.X.shape[1]) % 3 if groups else None
    model = BilevelRegularizedRegressor(penalty, groups=labels, cv=data.splits)
    model.fit(data.X, data.y)
    assert model.criterion_ <= model.initial_criterion_


def test_initial_criterion_is_the_best_of_the_ridge_path():
    data = make_regression()
    model = BilevelRegularizedRegressor(cv=data.splits, max_iter=0).fit(data.X, data.y)
    errors = [
        reference.held_out_error(data.X, data.y, data.splits, lambda *_, alpha=alpha: alpha)
        for alpha in np.logspace(-6, 4, 200)
    ]
    # The path has fewer strengths than this grid.
    np.testing.assert_allclose(model.initial_criterion_, min(errors), rtol=5e-3)


@pytest.fixture(
    scope="module", params=[(s, g, t) for s in SHAPES for g in (0, 3) for t in (None, 2)]
)
def adaptive(request):
    """A fitted adaptive model and what it was fitted to."""
    shape, n_groups, n_targets = request.param
    data = make_regression(*SHAPES[shape], n_targets, seed=3)
    groups = np.arange(data.X.shape[1]) % n_groups if n_groups else None
    model = BilevelRegularizedRegressor(
        groups=groups, cv=data.splits, standard_errors=0, tol=1e-6, max_iter=300
    )
    with warnings.catch_warnings():
        # A minimum may be flat; what is compared holds wherever the run ends in it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(data.X, data.y, data.weight), data, groups


def test_adaptive_criterion_equals_the_plain_implementation(adaptive):
    model, data, groups = adaptive
    expected = reference.adaptive_criterion(
        data.X, data.y, data.splits, model.hyper_, groups, data.weight
    )
    np.testing.assert_allclose(model.criterion_, expected, rtol=1e-8)


def adaptive_refit(model, data, groups):
    trains = [train for train, _ in data.splits]
    return reference.adaptive_refit(data.X, data.y, trains, model.hyper_, groups, data.weight)


def test_adaptive_refit_equals_the_plain_implementation(adaptive):
    model, data, groups = adaptive
    coef, _ = adaptive_refit(model, data, groups)
    # Large exponents amplify the rounding of the pilot coefficients.
    atol = 1e-7 * np.abs(coef).max()
    np.testing.assert_allclose(np.atleast_2d(model.coef_), coef, rtol=1e-7, atol=atol)


def test_adaptive_alpha_equals_the_plain_implementation(adaptive):
    model, data, groups = adaptive
    _, alpha = adaptive_refit(model, data, groups)
    np.testing.assert_allclose(model.alpha_, alpha, rtol=1e-6)


def test_no_local_search_improves_the_learned_numbers(adaptive):
    model, data, groups = adaptive
    shape = [EXPONENT_BOUNDS, SHARE_BOUNDS][: len(model.hyper_) - 2]
    low, high = np.transpose([np.log([1e-8, 1e6])] * 2 + shape)

    def criterion(hyper):
        hyper = hyper.clip(low, high)
        return reference.adaptive_criterion(data.X, data.y, data.splits, hyper, groups, data.weight)

    simplex = model.hyper_ + np.vstack([np.zeros(len(low)), -0.1 * np.eye(len(low))])
    options = {"maxfev": 120, "initial_simplex": simplex}
    found = minimize(criterion, model.hyper_, method="Nelder-Mead", options=options)
    # The run stops at a gradient norm of 1e-6 (`tol`), or where the criterion is flat.
    assert found.fun > (1 - 1e-4) * model.criterion_
