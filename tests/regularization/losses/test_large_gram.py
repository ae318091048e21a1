"""Large Gram matrices: one for all folds, in little memory, and without eigenvectors."""

import numpy as np
import pytest
import torch

from skbamm.linalg._cholesky import FEW_COLUMNS, factorize, solve_factorized
from skbamm.linalg._scaled_solutions import MOST_SOLVES, ScaledSolutions
from skbamm.regularization.losses._large_gram import (
    PenalizedFactor,
    RationalPath,
    SharedGramLoss,
    SharedGrams,
)
from skbamm.regularization.losses._quadratic import GramLoss, GramPath

N_FOLDS, N_TARGETS, N_FEATURES = 3, 2, 30


def random(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def make_losses(n_features=N_FEATURES, seed=0):
    """Training and held-out loss."""
    rows = random(N_FOLDS, 3 * n_features, n_features, seed=seed)
    part = rows.mT @ rows
    # Spread over many orders of magnitude, as correlated columns are.
    scale = torch.logspace(0, -3, n_features, dtype=torch.float64)
    part = part * scale * scale[:, None] / part.diagonal(dim1=1, dim2=2).mean()
    shared = SharedGrams(part.sum(0), part, random(N_FOLDS, 2, n_features, seed=1) / 10)
    share = torch.tensor([1.4, 1.5, 1.6], dtype=torch.float64)
    nothing, constant = share * 0, torch.tensor(1.5, dtype=torch.float64)
    cross = [random(N_FOLDS, N_TARGETS, n_features, seed=seed) * scale for seed in (2, 3)]
    train = SharedGramLoss(shared, share, -share, nothing, cross[0], constant)
    return train, SharedGramLoss(shared, nothing, share + 1, share + 2, cross[1], constant)


def plain(loss):
    shared = loss.shared
    gram = [
        loss.share[k] * shared.total
        + loss.part_share[k] * shared.part[k]
        + loss.root_share[k] * shared.root[k].T @ shared.root[k]
        for k in range(N_FOLDS)
    ]
    return GramLoss(torch.stack(gram), loss.cross, loss.constant)


PARAMS = random(2, N_FOLDS, N_TARGETS, N_FEATURES, seed=4)
PENALTY = random(2, N_FOLDS, N_FEATURES, seed=5).mul(3).exp()


@pytest.fixture(params=["train", "test", "both"])
def loss(request):
    train, test = make_losses()
    return {"train": train, "test": test, "both": train.combine(0.7, test, 0.3)}[request.param]


@pytest.mark.parametrize("question", ["value", "by_fold", "gradient", "product"])
def test_shared_matrices_answer_as_separate_ones(loss, question):
    found = getattr(loss, question)(PARAMS)
    torch.testing.assert_close(found, getattr(plain(loss), question)(PARAMS))


def test_matrices_are_the_sums_they_stand_for(loss):
    torch.testing.assert_close(loss.gram, plain(loss).gram)


def test_a_sum_with_a_loss_of_another_kind_is_their_sum():
    train, test = make_losses()
    expected = plain(train).combine(0.7, plain(test), 0.3)
    torch.testing.assert_close(train.combine(0.7, plain(test), 0.3).gram, expected.gram)


def test_a_product_is_new_after_a_change_in_place():
    loss, vector = make_losses()[0], PARAMS.clone()
    loss.product(vector)
    vector *= 2
    torch.testing.assert_close(loss.product(vector), 2 * loss.product(PARAMS))


def test_metric_inverts_the_hessian(loss):
    product = loss.product(PARAMS) + PENALTY[:, :, None] * PARAMS
    torch.testing.assert_close(loss.metric(PENALTY).solve(product), PARAMS)


def test_an_older_metric_remains_right():
    loss = make_losses()[0]
    older, newer = loss.metric(PENALTY), loss.metric(2 * PENALTY)
    first = older.solve(PARAMS)
    newer.solve(PARAMS)
    torch.testing.assert_close(older.solve(PARAMS), first)


def test_factors_of_other_penalties_take_no_further_memory():
    loss = make_losses()[0]
    loss.metric(PENALTY).solve(PARAMS)
    place = loss.store.factor(loss, (0, 0), PENALTY[0, 0]).matrix.data_ptr()
    loss.metric(PENALTY + 1).solve(PARAMS)
    factor = loss.store.factor(loss, (0, 0), PENALTY[0, 0] + 1)
    assert factor.matrix.data_ptr() == place


@pytest.mark.parametrize("ratio", [1.0, 1.16, 0.7, 20.0, 1e6])
def test_minimizer_is_that_of_a_multiple_of_the_penalty(ratio):
    loss = make_losses()[0]
    loss.metric(PENALTY).minimizer(loss, PARAMS)
    found = loss.metric(ratio * PENALTY).minimizer(loss, PARAMS)
    expected = plain(loss).metric(ratio * PENALTY).minimizer(loss, PARAMS)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)  # ACCURACY is 1e-9


def test_multiples_of_a_penalty_take_few_solves():
    loss = make_losses(200)[0]
    penalty = random(200, seed=6).mul(3).exp()
    factor = PenalizedFactor.build(loss, 0, penalty)
    scaled = ScaledSolutions(factor, loss.cross[0, 0])
    for ratio in (1.16, 1.35, 1.57):
        expected = PenalizedFactor.build(loss, 0, ratio * penalty).solve(loss.cross[0])[0]
        torch.testing.assert_close(scaled.solution(ratio), expected, rtol=1e-6, atol=1e-8)
    assert len(scaled._vectors) < MOST_SOLVES
    assert scaled.solution(1e9) is None


def test_right_sides_that_are_zero_have_zero_solutions():
    loss = make_losses()[0]
    factor = PenalizedFactor.build(loss, 0, PENALTY[0, 0])
    scaled = ScaledSolutions(factor, torch.zeros(N_FEATURES, dtype=torch.float64))
    assert (scaled.solution(2.0) == 0).all()


def test_singular_matrix_without_penalty_has_a_finite_factor():
    ones = torch.ones(1, 3, 3, dtype=torch.float64)
    one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    shared = SharedGrams(2 * ones[0], ones, ones[:, :0])
    loss = SharedGramLoss(shared, one, -one, none, ones[:, :1], none[0])
    found = loss.metric(torch.zeros(1, 1, 3, dtype=torch.float64)).solve(ones[None, :, :1])
    assert found.isfinite().all()


@pytest.mark.parametrize("n_rows", [1, FEW_COLUMNS + 1])
def test_factor_in_place_solves(n_rows):
    rows = random(9, 6, seed=7)
    matrix, right = rows.T @ rows, random(n_rows, 6, seed=8)
    expected = torch.linalg.solve(matrix, right.T).T
    assert factorize(matrix)
    torch.testing.assert_close(solve_factorized(matrix, right), expected)


def test_factor_of_an_indefinite_matrix_is_refused():
    assert not factorize(torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)))


@pytest.mark.parametrize("n_features", [20, 120])  # the first has no room for a subspace
@pytest.mark.parametrize("log_strength", [[-20.0, 6.0], [-4.0, -4.1], [-1.0, -9.0, 2.0]])
def test_rational_path_equals_the_path_from_eigenvectors(n_features, log_strength):
    loss = make_losses(n_features)[0]
    log_strength = torch.tensor(log_strength, dtype=torch.float64)
    path, oracle = RationalPath(loss), GramPath.build(plain(loss))
    for one in log_strength:  # as in a run; the last answers must not depend on that
        path.coefficients(one[None])
    for found, expected in zip(
        path.coefficients(log_strength), oracle.coefficients(log_strength), strict=True
    ):
        size = float(expected.abs().max())
        # Residuals are below 1e-8 of the cross-products, and weak penalties enlarge them.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * size)


def test_coarse_comparison_of_a_rational_path_is_good_to_three_digits():
    loss = make_losses(120)[0]
    log_strength = torch.linspace(9, -12, 30, dtype=torch.float64)
    found = RationalPath(loss).compared(log_strength)
    fitted = loss.product(found) + log_strength.exp()[:, None, None, None] * found
    residual = (fitted - loss.cross).norm(dim=-1) / loss.cross.norm(dim=-1)
    assert float(residual.max()) <= 1e-3


def test_rational_path_of_zero_cross_products_is_zero():
    train = make_losses(40)[0]
    loss = SharedGramLoss(
        train.shared, train.share, train.part_share, train.root_share, 0 * train.cross,
        train.constant,
    )  # fmt: skip
    coefficients, derivative = RationalPath(loss).coefficients(torch.zeros(1, dtype=torch.float64))
    assert (coefficients == 0).all() and (derivative == 0).all()


def test_penalties_of_each_target_have_factors_of_their_own(loss):
    penalty = random(2, N_FOLDS, N_TARGETS, N_FEATURES, seed=9).mul(3).exp()
    penalty[..., ::7] *= 1e8
    metric = loss.metric(penalty)
    gram = plain(loss).gram
    for place in np.ndindex(*penalty.shape[:3]):
        matrix = gram[place[1]] + torch.diag(penalty[place])
        expected = torch.linalg.solve(matrix, PARAMS[place])
        torch.testing.assert_close(metric.solve(PARAMS)[place], expected)
        expected = torch.linalg.solve(matrix, loss.cross[place[1:]])
        torch.testing.assert_close(metric.minimizer(loss, PARAMS)[place], expected)
