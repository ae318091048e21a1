"""Held-out errors that outlying rows cannot rule: loss="huber" and loss="absolute_error"."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import huber

from skbamm import BilevelRegularizedRegressor
from tests.reference import adaptive_ridge as reference
from tests.regularization.regression_data import make_regression

ALPHA = 0.1
SHAPES = [(40, 6), (12, 18)]

pytestmark = pytest.mark.filterwarnings(
    # Two runs are compared with each other, wherever they end.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def fit(data, penalty="l2", *, X=None, y=None, weight=None, **options):
    options = {"loss": "huber", "cv": data.splits, **options}
    model = BilevelRegularizedRegressor(penalty, **options)
    return model.fit(data.X if X is None else X, data.y if y is None else y, weight)


def threshold(residual, weight):
    """1.345 robust standard deviations."""
    size, weight = np.abs(residual).ravel(), np.broadcast_to(weight, residual.shape).ravel()
    order = size.argsort()
    reached = weight[order].cumsum()
    return 1.345 * 1.4826 * size[order][np.searchsorted(reached, reached[-1] / 2 * (1 - 1e-12))]


def huber_criterion(residual, weight):
    """Twice the mean Huber loss, with the threshold of these residuals."""
    weight = np.broadcast_to(weight, residual.shape)
    return 2 * np.average(huber(threshold(residual, weight), residual), weights=weight)


def held_out_residuals(data, weight, strength=ALPHA):
    """Of ridge, in units of the targets' standard deviations."""
    X, y = data.X, data.y.reshape(len(data.y), -1)
    X, y = X / reference.scales(X, weight), y / reference.scales(y, weight)
    parts = []
    for train, test in data.splits:
        coef, intercept = reference.ridge(X[train], y[train], strength, weight[train])
        parts.append(y[test] - X[test] @ coef.T - intercept)
    return np.vstack(parts)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("n_targets", [None, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_criterion_is_the_huber_loss_of_the_held_out_rows(shape, weighted, n_targets, container):
    data = make_regression(*shape, n_targets, seed=1)
    weight = data.weight if weighted else np.ones(shape[0])
    model = fit(data, X=container(data.X), weight=weight, alpha=ALPHA)
    held_out = np.concatenate([test for _, test in data.splits])
    expected = huber_criterion(held_out_residuals(data, weight), weight[held_out][:, None])
    assert_allclose(model.criterion_, expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_with_x_val_the_criterion_is_the_huber_loss_there(weighted):
    data, val = make_regression(seed=1), make_regression(25, seed=1)
    weight = val.weight if weighted else None
    model = BilevelRegularizedRegressor("l2", loss="huber", alpha=ALPHA)
    model.fit(data.X, data.y, X_val=val.X, y_val=val.y, sample_weight_val=weight)
    residual = (val.y - model.predict(val.X)) / data.y.std()
    expected = huber_criterion(residual, val.weight if weighted else 1.0)
    assert_allclose(model.criterion_, expected)


def test_fixed_alpha_is_fitted_as_without_it():
    data = make_regression(seed=1)
    model, plain = (fit(data, alpha=ALPHA, loss=loss) for loss in ("huber", "squared_error"))
    assert_array_equal(model.coef_, plain.coef_)


@pytest.mark.parametrize("penalty", ["l2", "adaptive", "l1"])
def test_learning_never_ends_above_its_start(penalty):
    data = make_regression(seed=1)
    model = fit(data, penalty, max_iter=3, standard_errors=0)
    assert model.criterion_ <= model.initial_criterion_


def test_learned_strength_reaches_the_best_of_a_fine_grid():
    """The threshold is that of the ridge fit with the least mean absolute error."""
    data, weight = make_regression(seed=1), np.ones(40)
    path = [held_out_residuals(data, weight, strength) for strength in np.logspace(4, -9, 53)]
    best = path[int(np.argmin([np.abs(residual).mean() for residual in path]))]
    limit = threshold(best, 1.0)
    grid = [held_out_residuals(data, weight, strength) for strength in np.logspace(-2, 1, 200)]
    lowest = min(2 * huber(limit, residual).mean() for residual in grid)
    learned = fit(data, tol=1e-6)
    # The run stops at a gradient of 1e-6, the grid has steps of 3 %.
    assert_allclose(learned.criterion_, lowest, rtol=1e-4)


@pytest.fixture(scope="module")
def contaminated():
    """Validation rows, a tenth of them off by a size to choose, and training rows."""
    data = make_regression(100, 12, seed=1)
    X_val, y_val = data.X[40:], data.y[40:]
    random = np.random.default_rng(0)
    error = (random.permutation(60) < 6) * random.choice([-1, 1], 60)

    def alpha(loss, size):
        model = BilevelRegularizedRegressor("l2", loss=loss, tol=1e-5)
        model.fit(data.X[:40], data.y[:40], X_val=X_val, y_val=y_val + size * error)
        return model.alpha_[0]

    return alpha


def test_gross_outliers_among_held_out_rows_barely_move_alpha(contaminated):
    robust, plain = (
        abs(np.log(contaminated(loss, 300.0) / contaminated(loss, 0.0)))
        for loss in ("huber", "squared_error")
    )
    assert robust < 0.3 and plain > 3


def test_the_size_of_gross_outliers_does_not_matter(contaminated):
    # They sit beyond the threshold, which the other rows set.
    assert_allclose(contaminated("huber", 1e3), contaminated("huber", 100.0), rtol=1e-2)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
@pytest.mark.parametrize("shape", SHAPES)
def test_integer_weights_of_held_out_rows_are_repeated_rows(shape, penalty):
    train, val = make_regression(*shape, seed=1), make_regression(20, shape[1], seed=2)
    weight = np.arange(20) % 3
    model = BilevelRegularizedRegressor(penalty, loss="huber")
    model.fit(train.X, train.y, X_val=val.X, y_val=val.y, sample_weight_val=weight)
    rows = np.repeat(np.arange(20), weight)
    other = BilevelRegularizedRegressor(penalty, loss="huber")
    other.fit(train.X, train.y, X_val=val.X[rows], y_val=val.y[rows])
    assert_allclose(other.coef_, model.coef_, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_units_of_the_targets_do_not_matter(penalty):
    data = make_regression(n_targets=2, seed=1)
    model = fit(data, penalty)
    other = fit(data, penalty, y=data.y * [1e-6, 1e6])
    assert_allclose(other.alpha_, model.alpha_, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_unpenalized_columns_work(shape):
    data = make_regression(*shape, seed=1)
    groups = np.where(np.arange(shape[1]) < 2, "free", "shrunk")
    model = fit(data, groups=groups, alpha={"free": 0})
    free = data.X[:, :2] - data.X[:, :2].mean(axis=0)
    assert_allclose(free.T @ (data.y - model.predict(data.X)), 0, atol=1e-9)


def test_exact_zeros_are_chosen_by_it_too():
    data = make_regression(seed=1)
    model = fit(data, "adaptive", exact_zeros=True, max_iter=3)
    plain = fit(data, "adaptive", exact_zeros=True, max_iter=3, loss="squared_error")
    assert model.support_.any() and (model.coef_ != plain.coef_).any()


def test_an_unknown_loss_is_an_error():
    with pytest.raises(ValueError, match="'loss' parameter"):
        fit(make_regression(), loss="quantile")


# The absolute error


@pytest.mark.parametrize("n_targets", [None, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_criterion_is_the_mean_absolute_error_of_the_held_out_rows(shape, n_targets):
    data = make_regression(*shape, n_targets, seed=1)
    model = fit(data, weight=data.weight, alpha=ALPHA, loss="absolute_error")
    weight = data.weight[np.concatenate([test for _, test in data.splits])]
    error = np.abs(held_out_residuals(data, data.weight)).mean(axis=1)
    assert_allclose(model.criterion_, np.average(error, weights=weight))


def test_the_strength_that_is_learned_has_the_least_mean_absolute_error():
    data, weight = make_regression(seed=1), np.ones(40)
    model = fit(data, loss="absolute_error")
    grid = np.logspace(-3, 1, 100)
    lowest = min(np.abs(held_out_residuals(data, weight, alpha)).mean() for alpha in grid)
    # Kinks end a run where the gradient is a hundredth of the error.
    assert_allclose(model.criterion_, lowest, rtol=2e-3)


@pytest.mark.parametrize("penalty", ["adaptive", "l1"])
@pytest.mark.parametrize("options", [{}, {"positive": True}, {"exact_zeros": True}], ids=str)
def test_absolute_errors_are_learned_from_with_every_penalty(penalty, options):
    data = make_regression(seed=1)
    model = fit(data, penalty, loss="absolute_error", **options)
    assert model.criterion_ <= model.initial_criterion_ < 1
    assert model.alpha_.min() > 0


def test_the_size_of_outliers_does_not_matter_to_absolute_errors(contaminated):
    found = [contaminated("absolute_error", size) for size in (100.0, 1e3)]
    assert_allclose(*found, rtol=1e-6)


def test_targets_without_noise_are_exact_in_absolute_errors_too():
    data = make_regression(noise=0)
    model = fit(data, "adaptive", loss="absolute_error", exact_zeros=True)
    assert "for rounding" in model.status_
    assert_allclose(model.predict(data.X), data.y, rtol=1e-6)
