"""Lasso fits of softmax models: the conditions of the optimum."""

import numpy as np
import pytest
import torch

from skbamm.linalg._curvature import Curvature, minimize_closely
from skbamm.linalg._softmax import CrossEntropy, LabelledRows
from skbamm.linalg._sparse_softmax import minimize_sparse, pseudo_gradient


def make_rows(n_classes, n_rows=60, n_features=8):
    random = np.random.default_rng(0)
    X = random.normal(size=(n_rows, n_features))
    y = (2 * X[:, :n_classes] + random.gumbel(size=(n_rows, n_classes))).argmax(axis=1)
    rows = LabelledRows(np.column_stack([X, np.ones(n_rows)]), y, n_classes, None)
    rows.penalized = torch.ones_like(rows.penalized)
    weights = random.uniform(size=(2, n_rows))
    return rows, torch.tensor(weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("strength", [0.1, 0.01, 1e-4])
def test_no_subgradient_is_left(n_classes, strength):
    rows, weight = make_rows(n_classes)
    ridge = torch.zeros(rows.n_columns, dtype=torch.float64)
    ridge[-1] = 1e-9
    weights = strength * (ridge == 0)[None, None].to(ridge)
    objective = CrossEntropy(rows, weight, ridge)
    params = rows.zeros(2)
    curvature = Curvature.of(rows, weight, rows.evaluated(params)[1])
    options = {"tol": 1e-9, "max_iter": 200, "polish": True}
    found = minimize_sparse(objective, weights, params, curvature, **options)
    left = pseudo_gradient(objective.gradient(found), weights, found)
    torch.testing.assert_close(left, torch.zeros_like(left), rtol=0, atol=1e-9)
    if strength > 0.01:
        assert (found[..., :-1] == 0).any()


@pytest.mark.parametrize("n_columns", [8, 300])  # whole Hessians, and blocks
def test_last_fits_leave_no_gradient(n_columns):
    rows, weight = make_rows(3, n_features=n_columns)
    penalty = torch.full((1, rows.n_columns), 0.01, dtype=torch.float64)
    found = minimize_closely(rows, weight[:1], penalty, rows.zeros(1))
    left = CrossEntropy(rows, weight[:1], penalty[:, None]).gradient(found)
    torch.testing.assert_close(left, torch.zeros_like(left), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_columns", [8, 300])  # blocks, and their diagonals
def test_two_classes_have_exact_blocks(n_columns):
    rows, weight = make_rows(2, n_features=n_columns)
    params = torch.full_like(rows.zeros(1), 0.1)
    penalty = torch.full((1, rows.n_columns), 0.5, dtype=torch.float64)
    curvature = Curvature.of(rows, weight[:1], rows.evaluated(params)[1])
    objective = CrossEntropy(rows, weight[:1], penalty[:, None])
    vector = torch.linspace(-1, 1, rows.n_columns, dtype=torch.float64)[None, None]
    solved = curvature.metric(penalty).solve(objective.hessian_product(params, vector))
    if n_columns == 8:
        torch.testing.assert_close(solved, vector, rtol=1e-6, atol=1e-6)
    else:
        assert (solved * vector).sum() > 0
