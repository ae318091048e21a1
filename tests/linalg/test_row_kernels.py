"""Kernels of the rows that train, by way of rows or of features."""

import numpy as np
import pytest
import torch
from scipy import sparse

from skbamm.linalg._row_kernels import (
    CountedRows,
    FoldRows,
    KernelFactor,
    StackedFactors,
)

N_ROWS, N_FEATURES = 12, 40


def make_counted(container=np.asarray):
    """Counted rows of three folds, of 8, 8 and 9 training rows, and one weight of zero."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(N_ROWS, N_FEATURES)) * (generator.random((N_ROWS, 1)) < 0.9)
    weight = generator.uniform(0.5, 1.5, size=(3, N_ROWS))
    weight[np.arange(N_ROWS) % 3, np.arange(N_ROWS)] = 0
    weight[2, 2] = 1
    weight = torch.tensor(weight / weight.sum(axis=1, keepdims=True))
    covariates = torch.tensor(np.column_stack([generator.normal(size=N_ROWS), np.ones(N_ROWS)]))
    targets = torch.tensor(generator.normal(size=(2, N_ROWS)))
    return CountedRows(FoldRows(container(X), targets, covariates, weight), weight), X


def dense_kernel(counted, X, fold, scale):
    """Of all rows, weighted: those that do not count are zero."""
    rows = counted.rows
    residual = torch.tensor(X) - rows.partialled_out @ (rows.regression[fold] @ torch.tensor(X))
    half = rows.train_weight[fold].sqrt()[:, None] * residual * scale.sqrt()
    return half @ half.T


containers = pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])


@containers
@pytest.mark.parametrize("n_noticeable", [0, 3, N_FEATURES])
@pytest.mark.parametrize("fold", [0, 2])
def test_kernel_factor_is_the_inverse_of_the_kernel_and_one(container, n_noticeable, fold):
    counted, X = make_counted(container)
    scale = torch.full((N_FEATURES,), 1e-20, dtype=torch.float64)
    scale[:n_noticeable] = torch.logspace(1, -1, n_noticeable, dtype=torch.float64)
    columns = counted.gather(counted.rows.targets)[0, fold]
    found = KernelFactor.build(counted, fold, scale).solve(columns)
    index = counted.index[fold]
    matrix = dense_kernel(counted, X, fold, scale)[index[:, None], index]
    expected = torch.linalg.solve(matrix + torch.eye(len(index), dtype=torch.float64), columns.T).T
    torch.testing.assert_close(found, expected)


def test_few_noticeable_features_make_a_small_factor():
    counted, _ = make_counted()
    scale = torch.full((N_FEATURES,), 1e-20, dtype=torch.float64)
    scale[:3] = 1.0
    assert KernelFactor.build(counted, 0, scale).factor.shape == (3, 3)


def test_factors_of_all_folds_at_once_are_those_of_each():
    counted, _ = make_counted()
    scale = torch.rand(2, 3, 1, N_FEATURES, dtype=torch.float64) + 0.1
    stacked = StackedFactors.build(counted, scale)
    columns = counted.gather(counted.rows.targets.expand(2, -1, -1, -1))
    for candidate, fold in np.ndindex(2, 3):
        factor = KernelFactor.build(counted, fold, scale[candidate, fold, 0])
        expected = (
            counted.half(fold, torch.arange(N_FEATURES)).T
            @ factor.solve(columns[candidate, fold]).mT
        )
        torch.testing.assert_close(stacked.back(columns)[candidate, fold], expected.mT)
    params = torch.rand(2, 3, 2, N_FEATURES, dtype=torch.float64)
    torch.testing.assert_close(stacked.fitted(params), counted.gather(counted.rows.fitted(params)))


def test_few_noticeable_features_are_left_to_each_fold():
    counted, _ = make_counted()
    scale = torch.full((1, 3, 1, N_FEATURES), 1e-20, dtype=torch.float64)
    assert StackedFactors.build(counted, scale) is None


def test_fitted_is_new_after_a_change_in_place():
    counted, _ = make_counted()
    params = torch.ones(1, 3, 2, N_FEATURES, dtype=torch.float64)
    first = counted.rows.fitted(params)
    params *= 2
    torch.testing.assert_close(counted.rows.fitted(params), 2 * first)
