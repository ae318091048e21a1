"""Weighted softmax regression of many folds: products, metrics, exact fits."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from skbamm.linalg import _softmax
from skbamm.linalg._softmax import (
    INTERCEPT_RIDGE,
    BlockMetric,
    CrossEntropy,
    DiagonalMetric,
    LabelledRows,
    make_metric,
    minimize,
)
from tests.reference.cleaning import make_rows, random_params, random_weights

RIDGE = torch.tensor(0.05, dtype=torch.float64)


@pytest.fixture(params=[2, 4], ids="{} classes".format)
def n_classes(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["dense", "sparse"])
def rows(request, n_classes):
    return make_rows(n_classes, sparse_design=request.param)


def plain(rows):
    """The design as a dense array, and the labels."""
    design = rows.design.X
    design = design.numpy() if isinstance(design, torch.Tensor) else design.toarray()
    targets = rows.targets.numpy()
    labels = targets[0] if rows.has_reference else targets.argmax(0)
    return design, labels.astype(int)


def hessian(objective, params):
    """The Hessian of one fold, (n_scores n_columns) squared."""
    units = torch.eye(params.numel(), dtype=torch.float64)
    products = [objective.hessian_product(params, unit.reshape(params.shape)) for unit in units]
    return torch.stack([product.flatten() for product in products])


# Products


def test_scores_are_the_products_with_the_design(rows):
    params = random_params(rows)
    expected = params @ torch.from_numpy(plain(rows)[0]).T
    torch.testing.assert_close(rows.scores(params), expected)


def test_cross_entropy_is_that_of_the_given_class(rows, n_classes):
    design, labels = plain(rows)
    params = random_params(rows)
    scores = torch.from_numpy(params.numpy() @ design.T)
    if n_classes == 2:
        scores = torch.cat([torch.zeros_like(scores), scores], 1)
    expected = -torch.log_softmax(scores, 1)[:, labels, np.arange(24)]
    torch.testing.assert_close(rows.cross_entropy(rows.scores(params))[0], expected)


def test_cross_entropy_of_huge_scores_is_finite(rows):
    loss, probabilities = rows.cross_entropy(rows.scores(1e6 * random_params(rows)))
    assert loss.isfinite().all() and probabilities.isfinite().all()


def test_scores_at_new_params_are_new(rows):
    first, second = random_params(rows), random_params(rows, seed=5)
    rows.scores(first)
    torch.testing.assert_close(rows.scores(second), rows.design.matmul(second))


def test_a_subset_has_the_rows_of_its_mask(rows):
    mask = torch.arange(24) % 3 == 0
    params = random_params(rows)
    expected, _ = rows.cross_entropy(rows.scores(params))
    part = rows.subset(mask)
    found, _ = part.cross_entropy(part.scores(params))
    torch.testing.assert_close(found, expected[..., mask])


def test_losses_are_of_scores_times_the_factor(rows):
    scores, loss, probabilities = rows.losses(random_params(rows), 1.7)
    torch.testing.assert_close(scores, 1.7 * rows.scores(random_params(rows)))
    torch.testing.assert_close((loss, probabilities), rows.cross_entropy(scores))


def test_smoothed_targets_of_all_classes_sum_to_one(rows):
    targets = rows.smoothed(0.2)
    if rows.has_reference:
        targets = torch.cat([1 - targets, targets])
    torch.testing.assert_close(targets.sum(0), torch.ones(24, dtype=torch.float64))
    assert float(targets.min()) > 0


def test_the_intercept_is_all_but_free_of_ridge(rows):
    penalty = rows.penalty(RIDGE)
    assert (penalty[:-1] == RIDGE).all()
    assert penalty[-1] == INTERCEPT_RIDGE


# Metrics


def one_fit(rows):
    """Weights, probabilities and ridge of one fold."""
    _, probabilities = rows.cross_entropy(rows.scores(random_params(rows, 1)))
    return random_weights(24, 1), probabilities, RIDGE


def like_gradient(rows, seed):
    """A random vector that sums to zero over classes, as all gradients do."""
    vector = random_params(rows, 1, seed=seed)
    return vector if rows.has_reference else vector - vector.mean(1, keepdim=True)


@pytest.mark.parametrize("sparse_design", [False, True])
def test_block_metric_of_two_classes_inverts_the_hessian(sparse_design):
    rows = make_rows(2, sparse_design=sparse_design)
    weights, probabilities, ridge = one_fit(rows)
    vector = random_params(rows, 1, seed=3)
    objective = CrossEntropy(rows, weights, ridge)
    product = objective.hessian_product(random_params(rows, 1), vector)
    found = BlockMetric.build(rows, weights, probabilities, ridge).solve(product)
    torch.testing.assert_close(found, vector)


@pytest.mark.parametrize("kind", [BlockMetric, DiagonalMetric])
def test_metrics_are_symmetric_and_positive_on_gradients(rows, kind):
    metric = kind.build(rows, *one_fit(rows))
    first, second = like_gradient(rows, 3), like_gradient(rows, 4)
    torch.testing.assert_close(
        (metric.solve(first) * second).sum(), (metric.solve(second) * first).sum()
    )
    for seed in range(5):
        vector = like_gradient(rows, seed)
        assert float((metric.solve(vector) * vector).sum()) > 0


def test_block_metric_is_within_a_factor_of_two_of_the_hessian():
    """On directions that sum to zero over classes; the diagonal blocks exceed no half of it."""
    rows = make_rows(4)
    metric = BlockMetric.build(rows, *one_fit(rows))
    full = hessian(CrossEntropy(rows, random_weights(24, 1), RIDGE), random_params(rows, 1))
    for seed in range(5):
        vector = like_gradient(rows, seed)
        product = (full @ vector.flatten()).reshape(vector.shape)
        # With M the blocks: v'Hv <= 2 v'Mv, so M^-1 H has no eigenvalue above 2.
        ratio = float((metric.solve(product) * product).sum() / (product * vector).sum())
        assert 0 < ratio <= 2


def test_folds_share_the_mean_of_their_blocks(rows):
    weights = random_weights(24)
    vector, params = random_params(rows, seed=3), random_params(rows, 1)
    # The same fit in all folds: the mean of their blocks is that of their mean weights.
    _, probabilities = rows.cross_entropy(rows.scores(params))
    shared = make_metric(rows, weights, probabilities.expand(3, -1, -1), RIDGE)
    mean = make_metric(rows, weights.mean(0, keepdim=True), probabilities, RIDGE)
    for fold in range(3):
        torch.testing.assert_close(shared.solve(vector)[fold], mean.solve(vector[[fold]])[0])


@pytest.mark.parametrize(("limit", "kind"), [(4, BlockMetric), (3, DiagonalMetric)])
def test_wide_designs_get_a_diagonal_metric(monkeypatch, limit, kind):
    monkeypatch.setattr(_softmax, "MAX_BLOCK", limit)
    rows = make_rows(2, n_columns=4)
    assert type(make_metric(rows, *one_fit(rows))) is kind


def test_a_class_without_mass_leaves_the_metric_finite():
    rows = make_rows(4)
    weights, probabilities, ridge = one_fit(rows)
    probabilities[:, 2] = 0.0
    metric = BlockMetric.build(rows, weights, probabilities, ridge)
    assert metric.solve(random_params(rows, 1)).isfinite().all()


# Fits


def logistic_regression(rows, weight, ridge):
    """scikit-learn's coefficients for weights that sum to 1: ``C = 1 / ridge``."""
    design, labels = plain(rows)
    model = LogisticRegression(C=1 / ridge, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(design[:, :-1], labels, sample_weight=weight)
    return np.hstack([model.coef_, model.intercept_[:, None]])


def fit(rows, weights, tol=1e-10, ridge=RIDGE):
    return minimize(CrossEntropy(rows, weights, ridge), rows.zeros(len(weights)), tol=tol)


def test_fits_are_those_of_logistic_regression(rows, n_classes):
    weights = random_weights(24)
    found = fit(rows, weights).numpy()
    for fold in range(3):
        expected = logistic_regression(rows, weights[fold].numpy(), float(RIDGE))
        if n_classes > 2:
            # Only differences between classes count; ours sum to zero by the ridge.
            expected[:, -1] -= expected[:, -1].mean()
        # The ridge of 1e-6 on intercepts is ours alone.
        np.testing.assert_allclose(found[fold], expected, rtol=1e-5, atol=2e-5)


def test_a_batch_of_fits_equals_single_ones(rows):
    weights = random_weights(24)
    both = fit(rows, weights)
    alone = fit(rows, weights[1:2])
    # Both are within the tolerance of the fits of the same minimiser.
    torch.testing.assert_close(both[1:2], alone, rtol=1e-7, atol=1e-8)


def test_rows_without_weight_do_not_matter(rows):
    weights = random_weights(24, 1)
    mask = torch.arange(24) % 4 != 3
    weights = weights * mask
    weights = weights / weights.sum()
    torch.testing.assert_close(
        fit(rows, weights), fit(rows.subset(mask), weights[..., mask]), rtol=1e-7, atol=1e-8
    )


def test_an_integer_weight_is_a_repeated_row(rows):
    count = torch.arange(24) % 3
    index = torch.repeat_interleave(torch.arange(24), count)
    design, labels = plain(rows)
    n_classes = max(2, rows.n_scores)
    repeated = LabelledRows(design[index], labels[index], n_classes, torch.device("cpu"))
    weights = (count / count.sum()).double()[None]
    equal = torch.full((1, len(index)), 1 / len(index), dtype=torch.float64)
    torch.testing.assert_close(fit(rows, weights), fit(repeated, equal), rtol=1e-7, atol=1e-8)


def test_soft_targets_are_a_row_for_each_class(n_classes):
    rows = make_rows(n_classes)
    weights, probabilities = random_weights(24, 1), random_weights(n_classes, 24)
    targets = probabilities.T[1:] if rows.has_reference else probabilities.T
    found = minimize(CrossEntropy(rows, weights, RIDGE, targets), rows.zeros(1), tol=1e-10)
    design, labels = np.tile(plain(rows)[0], (n_classes, 1)), np.repeat(np.arange(n_classes), 24)
    once_for_each = LabelledRows(design, labels, n_classes, torch.device("cpu"))
    weights = (weights * probabilities.T).reshape(1, -1)
    torch.testing.assert_close(found, fit(once_for_each, weights), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("tol", [1e-2, 1e-10])
def test_fits_are_stationary_to_their_tolerance(rows, tol):
    weights = random_weights(24)
    params = fit(rows, weights, tol=tol)
    gradient = CrossEntropy(rows, weights, RIDGE).gradient(params)
    _, probabilities = rows.cross_entropy(rows.scores(params))
    step = make_metric(rows, weights, probabilities, RIDGE).solve(gradient)
    # The promise is in coordinates of a usual Hessian, which is not exactly this one.
    assert float((gradient * step).sum((1, 2)).sqrt().max()) <= 3 * tol


def test_a_fit_that_starts_at_its_end_stays_there(rows):
    weights = random_weights(24)
    params = fit(rows, weights)
    again = minimize(CrossEntropy(rows, weights, RIDGE), params, tol=1e-8)
    torch.testing.assert_close(again, params, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ridge", [1e-8, 1e-4])
def test_separable_rows_have_a_finite_fit(ridge):
    design = np.column_stack([np.linspace(-1, 1, 10), np.ones(10)])
    rows = LabelledRows(design, (design[:, 0] > 0).astype(int), 2, torch.device("cpu"))
    weights = torch.full((1, 10), 0.1, dtype=torch.float64)
    params = fit(rows, weights, tol=1e-8, ridge=torch.tensor(ridge, dtype=torch.float64))
    assert params.isfinite().all()
    assert torch.equal(rows.scores(params)[0, 0] > 0, rows.targets[0] > 0)


def test_a_class_that_does_not_occur_has_no_chance():
    rows = make_rows(4)
    weights = random_weights(24) * (rows.targets[2] == 0)
    weights = weights / weights.sum(-1, keepdim=True)
    _, probabilities = rows.cross_entropy(rows.scores(fit(rows, weights)))
    # What the ridge on the intercept allows.
    assert float(probabilities[:, 2].max()) < 1e-3


def test_large_fits_without_blocks_come_near_the_same(monkeypatch, rows):
    exact = fit(rows, random_weights(24))
    monkeypatch.setattr(_softmax, "MAX_BLOCKS", 0)
    near = fit(rows, random_weights(24))
    # They stop at NEAR / 10 in units in which the Hessian is about the identity, and a
    # direction of curvature 0.05 is 1 / sqrt(0.05) as long.
    torch.testing.assert_close(near, exact, rtol=0, atol=1e-3)


def test_fits_need_few_products_with_the_design(monkeypatch, rows):
    calls = []
    matmul = rows.design.matmul

    def counted(params):
        calls.append(1)
        return matmul(params)

    monkeypatch.setattr(rows.design, "matmul", counted)
    fit(rows, random_weights(24))
    assert 0 < len(calls) < 60
