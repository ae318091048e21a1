"""The two kinds of loss answer alike, and as the rows themselves do."""

import numpy as np
import pytest
import torch

from skbamm.regularization.losses._quadratic import GramLoss, GramMetric
from tests.reference.regression import losses, make_data, partialled_out, ridge_path

TARGET = {"train": 0, "test": 1}


def random(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


PARAMS = random(2, 3, 2, 5, seed=4)
LOG_STRENGTH = torch.tensor([-1.0, 0.5], dtype=torch.float64)


def loss(kind, part):
    return losses(kind, make_data())[TARGET[part]]


@pytest.mark.parametrize("part", TARGET)
@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_value_is_the_weighted_squared_error_of_the_rows(kind, part):
    data = make_data()
    expected = np.zeros(2)
    for fold, weight in enumerate(getattr(data, part)):
        X, y = partialled_out(data, fold, data.X), partialled_out(data, fold, data.y)
        for candidate in range(2):
            error = y - X @ PARAMS[candidate, fold].numpy().T
            expected[candidate] += (weight[:, None] * error**2).sum() / 2
    torch.testing.assert_close(loss(kind, part).value(PARAMS), torch.from_numpy(expected))


@pytest.mark.parametrize("question", ["value", "gradient", "product"])
@pytest.mark.parametrize("part", TARGET)
@pytest.mark.parametrize("kind", ["rows", "sparse"])
def test_rows_answer_as_gram_matrices_do(kind, part, question):
    found = getattr(loss(kind, part), question)(PARAMS)
    torch.testing.assert_close(found, getattr(loss("gram", part), question)(PARAMS))


@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_number_of_folds_is_known(kind):
    assert loss(kind, "train").n_folds == 3


@pytest.mark.parametrize("kind", ["rows", "sparse"])
def test_adjoint_is_the_transpose(kind):
    rows = loss(kind, "train").rows
    columns = random(2, 3, 2, 14, seed=5)
    torch.testing.assert_close(
        (rows.fitted(PARAMS) * columns).sum(), (PARAMS * rows.adjoint(columns)).sum()
    )


def test_metric_of_a_singular_gram_matrix_is_finite():
    column = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    gram = torch.outer(column, column)[None]
    metric = GramMetric.build(gram, torch.zeros(1, 1, 3, dtype=torch.float64))
    assert metric.solve(torch.ones(1, 1, 1, 3, dtype=torch.float64)).isfinite().all()


def direct_ridge(kind, log_strength):
    """Ridge coefficients of every fold by a dense solve."""
    gram_loss = loss("gram", "train")
    eye = torch.eye(5, dtype=torch.float64)
    grams = [gram_loss.gram + strength * eye for strength in log_strength.exp()]
    return torch.stack([torch.linalg.solve(gram, gram_loss.cross.mT).mT for gram in grams])


@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_ridge_path_equals_direct_solves(kind):
    found, _ = ridge_path(loss(kind, "train")).coefficients(LOG_STRENGTH)
    torch.testing.assert_close(found, direct_ridge(kind, LOG_STRENGTH))


@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_derivative_of_the_ridge_path_equals_finite_differences(kind):
    path, h = ridge_path(loss(kind, "train")), 1e-5
    _, derivative = path.coefficients(LOG_STRENGTH)
    forward, backward = (path.coefficients(LOG_STRENGTH + sign * h)[0] for sign in (1, -1))
    # Central differences are good to h^2, and to rounding over h.
    torch.testing.assert_close(derivative, (forward - backward) / (2 * h), rtol=1e-6, atol=1e-9)


def test_ridge_path_of_a_singular_gram_matrix_is_finite():
    gram = torch.ones(1, 3, 3, dtype=torch.float64)
    cross = torch.ones(1, 1, 3, dtype=torch.float64)
    path = ridge_path(GramLoss(gram, cross, torch.tensor(1.0, dtype=torch.float64)))
    coefficients, derivative = path.coefficients(torch.tensor([-30.0], dtype=torch.float64))
    assert coefficients.isfinite().all() and derivative.isfinite().all()


def dense_hessians(kind, part, penalty):
    """``G + diag(penalty)`` for each candidate, fold and target."""
    gram = loss("gram", part).gram
    return gram[None, :, None] + torch.diag_embed(penalty)


def own_penalties(huge):
    """Of each target; a few entries 1e8 times the others."""
    penalty = random(2, 3, 2, 5, seed=6).exp()
    if huge:
        penalty[..., 1::3] *= 1e8
    return penalty


@pytest.mark.parametrize("huge", [False, True])
@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_metric_takes_a_penalty_for_each_target(kind, huge):
    penalty = own_penalties(huge)
    hessians = dense_hessians(kind, "train", penalty)
    found = loss(kind, "train").metric(penalty).solve(PARAMS)
    torch.testing.assert_close(found, torch.linalg.solve(hessians, PARAMS))


@pytest.mark.parametrize("huge", [False, True])
@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_minimizer_takes_a_penalty_for_each_target(kind, huge):
    penalty, train = own_penalties(huge), loss(kind, "train")
    cross = loss("gram", "train").cross
    expected = torch.linalg.solve(dense_hessians(kind, "train", penalty), cross.expand_as(PARAMS))
    torch.testing.assert_close(train.metric(penalty).minimizer(train, PARAMS), expected)


@pytest.mark.parametrize("kind", ["gram", "rows", "sparse"])
def test_one_penalty_for_each_target_is_the_shared_one_if_they_are_equal(kind):
    train, penalty = loss(kind, "train"), own_penalties(True)[:, :, 0]
    shared = train.metric(penalty).solve(PARAMS)
    own = train.metric(penalty[:, :, None].expand(-1, -1, 2, -1)).solve(PARAMS)
    torch.testing.assert_close(own, shared)


def test_metric_follows_the_candidates_that_move():
    train, penalty = loss("rows", "train"), own_penalties(False)[:, :, 0]
    train.metric(penalty)
    moved = penalty.clone()
    moved[1] *= 3
    found = train.metric(moved).solve(PARAMS)
    torch.testing.assert_close(found, loss("rows", "train").metric(moved).solve(PARAMS))
