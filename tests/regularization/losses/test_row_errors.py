"""Losses of held-out rows: formulas, derivatives, and Huber's threshold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import huber

from skbamm.linalg._design import as_design
from skbamm.problems import FunctionObjective
from skbamm.regularization.losses._quadratic import HeldOutError
from skbamm.regularization.losses._row_errors import (
    AbsoluteError,
    HeldOutRows,
    HuberError,
    _weighted_median,
)
from tests.reference.regression import losses, make_data, partialled_out

THRESHOLD = 0.8
HYPER = torch.zeros(2, 1, dtype=torch.float64)
NOTHING = torch.zeros(4, dtype=torch.float64)  # no error is taken for rounding


def make_error(threshold=THRESHOLD, container=np.asarray, data=None):
    """The held-out rows of each fold, formed from the definition of `HeldOutRows`."""
    data = make_data() if data is None else data
    folds = []
    for fold, weight in enumerate(data.test):
        rows = np.flatnonzero(weight)
        root = np.sqrt(data.train[fold])[:, None]
        effect = np.linalg.lstsq(root * data.covariates, root * data.X, rcond=None)[0]
        targets = partialled_out(data, fold, data.y)[rows]
        parts = (targets.T, data.covariates[rows], effect, weight[rows])
        tensors = [torch.tensor(part) for part in parts]
        folds.append(HeldOutRows(as_design(container(data.X[rows]), tensors[0]), *tensors))
    return HuberError(tuple(folds), losses("rows", data)[1], threshold)


def random_params(seed=2, n_candidates=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_candidates, 3, 2, 5, generator=generator, dtype=torch.float64)


def residuals(params, data):
    """Residuals of the held-out rows of one candidate, and their weights, in one row."""
    parts = []
    for fold, weight in enumerate(data.test):
        rows = np.flatnonzero(weight)
        X, y = (partialled_out(data, fold, columns)[rows] for columns in (data.X, data.y))
        residual = y - X @ params[fold].numpy().T
        parts.append((residual.ravel(), np.repeat(weight[rows], residual.shape[1])))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@pytest.fixture(params=[THRESHOLD, np.inf, "absolute"])
def error(request):
    if request.param == "absolute":
        huber = make_error()
        return AbsoluteError(huber.folds, huber.loss)
    return make_error(request.param)


def test_value_is_twice_the_mean_of_scipys_huber_loss():
    params, data = random_params(), make_data()
    residual, weight = residuals(params[0], data)
    expected = 2 * weight @ huber(THRESHOLD, residual)
    np.testing.assert_allclose(make_error().value(HYPER, params)[0], expected)


def test_value_is_the_mean_absolute_error():
    params, data, known = random_params(), make_data(), make_error()
    residual, weight = residuals(params[0], data)
    found = AbsoluteError(known.folds, known.loss).value(HYPER, params)[0]
    np.testing.assert_allclose(found, weight @ np.abs(residual))


def test_an_infinite_threshold_is_the_squared_error():
    params = random_params()
    expected = HeldOutError(losses("gram", make_data())[1]).value(HYPER, params)
    torch.testing.assert_close(make_error(np.inf).value(HYPER, params), expected)


def test_parts_of_the_folds_sum_to_the_value(error):
    params = random_params()
    torch.testing.assert_close(error.by_fold(params).sum(1), error.value(HYPER, params))


def test_fast_gradients_agree_with_autograd(error):
    slow = FunctionObjective(error.value).gradients(HYPER, random_params())
    torch.testing.assert_close(tuple(error.gradients(HYPER, random_params())), tuple(slow))


def test_fast_curvature_products_agree_with_autograd(error):
    params, vector = random_params(), random_params(3)
    slow = FunctionObjective(error.value).curvature_products(HYPER, params, vector)
    fast = error.curvature_products(HYPER, params, vector)
    torch.testing.assert_close(tuple(fast), tuple(slow))


def test_squares_bound_the_curvature():
    error, params, vector = make_error(), random_params(), random_params(3)
    curvature = (error.curvature_products(HYPER, params, vector).hessian * vector).sum((1, 2, 3))
    bound = (2 * error.loss.product(vector) * vector).sum((1, 2, 3))
    assert (curvature >= 0).all() and (curvature < bound).all()


@pytest.mark.parametrize("question", ["value", "gradients", "curvature_products"])
def test_sparse_rows_answer_as_dense_ones(question):
    params, more = random_params(), ()
    if question == "curvature_products":
        more = (random_params(3),)
    dense = getattr(make_error(), question)(HYPER, params, *more)
    other = getattr(make_error(container=sparse.csr_matrix), question)(HYPER, params, *more)
    torch.testing.assert_close(other, dense)


def test_a_gross_outlier_has_no_more_influence_than_the_threshold():
    data = make_data()
    gradients = []
    for size in (1e3, 1e9):
        y = data.y.copy()
        row = np.flatnonzero(data.test[0])[0]
        y[row] += size
        error = make_error(data=replace(data, y=y))
        # The first fold holds the row out; its training rows do not include it.
        gradients.append(error.gradients(HYPER, random_params()).params[:, 0])
    torch.testing.assert_close(gradients[1], gradients[0])


# The threshold


def test_calibrated_threshold_is_that_of_normal_errors():
    params, data = random_params(n_candidates=1), make_data()
    size, weight = residuals(params[0], data)
    size = np.abs(size)
    order = size.argsort()
    reached = weight[order].cumsum()
    median = size[order][np.searchsorted(reached, reached[-1] / 2)]
    found = make_error(np.inf).calibrated(params, NOTHING[:1]).threshold
    np.testing.assert_allclose(found, 1.345 * 1.4826 * median)


def test_threshold_is_that_of_the_candidate_with_the_least_mean_absolute_error():
    candidates = random_params(n_candidates=4)
    data = make_data()
    means = [weight @ np.abs(size) for size, weight in (residuals(p, data) for p in candidates)]
    best = candidates[[int(np.argmin(means))]]
    error = make_error(np.inf)
    among, alone = (
        error.calibrated(params, NOTHING[: len(params)]) for params in (candidates, best)
    )
    assert among.threshold == alone.threshold


def test_threshold_of_a_perfect_fit_is_infinite():
    data = make_data()
    data = replace(data, y=np.zeros_like(data.y))
    error = make_error(1.0, data=data)
    assert error.calibrated(0 * random_params(), NOTHING[:2]).threshold == np.inf


def test_errors_that_are_rounding_give_no_scale():
    error, params = make_error(np.inf), random_params(n_candidates=1)
    typical = error.calibrated(params, NOTHING[:1]).threshold / (1.345 * 1.4826)
    for size, has_scale in ((0.99, True), (1.01, False)):
        exact = torch.tensor([(size * typical) ** 2], dtype=torch.float64)
        assert np.isfinite(error.calibrated(params, exact).threshold) == has_scale


def test_calibration_leaves_the_error_itself_alone():
    error = make_error()
    error.calibrated(random_params(), NOTHING[:2])
    assert error.threshold == THRESHOLD


@pytest.mark.parametrize(
    ("values", "weight", "expected"),
    [
        ([3.0, 1.0, 2.0], [1.0, 1.0, 1.0], 2.0),
        ([4.0, 1.0, 3.0, 2.0], [1.0, 1.0, 1.0, 1.0], 2.0),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 5.0], 3.0),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 5.0], 3.0),
    ],
    ids=["odd", "even", "weighted", "zero weights"],
)
def test_weighted_median_is_the_first_value_with_half_of_the_weight(values, weight, expected):
    assert _weighted_median(*(torch.tensor(part) for part in (values, weight))) == expected


def test_integer_weights_of_the_median_are_repetitions():
    values = torch.tensor([0.3, 2.0, 1.1, 0.7, 5.0], dtype=torch.float64)
    weight = torch.tensor([2, 1, 3, 1, 4])
    repeated = values.repeat_interleave(weight)
    found = _weighted_median(values, weight.double() / 11)
    assert found == _weighted_median(repeated, torch.ones_like(repeated))
