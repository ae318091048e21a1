"""Approximate inverse Hessians of softmax regressions."""

import numpy as np
import pytest
import torch

from skbamm.linalg._curvature import Curvature
from skbamm.linalg._softmax import LabelledRows

N_FOLDS, N_FREE = 3, 2


def curvature_of(n_classes, shift=0.0):
    """Of rows whose last two columns are free, and penalties of two candidates and three folds."""
    random = np.random.default_rng(0)
    design = np.column_stack([random.normal(size=(60, 5)) + shift, np.ones(60)])
    rows = LabelledRows(design, np.arange(60) % n_classes, n_classes, "cpu")
    weights = torch.as_tensor(random.uniform(size=(N_FOLDS, 60)) / 60)
    scores = torch.as_tensor(random.normal(size=(N_FOLDS, rows.n_scores, 60)))
    curvature = Curvature.of(rows, weights, scores.softmax(1) / 2)
    penalty = torch.as_tensor(np.exp(random.normal(size=(2, N_FOLDS, 6))))
    penalty[..., -N_FREE:] = 1e-12
    vector = torch.as_tensor(random.normal(size=(2, N_FOLDS, rows.n_scores, 6)))
    return curvature, penalty, vector


@pytest.mark.parametrize("n_classes", [2, 3])
def test_folds_of_the_same_penalty_have_their_own_inverse(n_classes):
    curvature, penalty, vector = curvature_of(n_classes)
    penalty = penalty[:, :1].expand(-1, N_FOLDS, -1)
    found = curvature.shared_metric(penalty, N_FREE).solve(vector)
    expected = curvature.metric(penalty.flatten(0, 1)).solve(vector.flatten(0, 1))
    torch.testing.assert_close(found.flatten(0, 1), expected)


def test_where_blocks_are_diagonal_each_fold_has_its_own_inverse():
    curvature, penalty, vector = curvature_of(3)
    blocks = torch.diag_embed(curvature.blocks.diagonal(dim1=-2, dim2=-1))
    curvature = Curvature(blocks, curvature.centred, curvature.by_row)
    found = curvature.shared_metric(penalty, N_FREE).solve(vector)
    expected = curvature.metric(penalty.flatten(0, 1)).solve(vector.flatten(0, 1))
    torch.testing.assert_close(found.flatten(0, 1), expected)


def test_centring_columns_moves_the_intercept_alone():
    """Or what is stored as sparse columns would take other steps than dense ones."""
    (curvature, penalty, vector), (moved, _, _) = curvature_of(2), curvature_of(2, shift=0.5)
    found = curvature.shared_metric(penalty, N_FREE).solve(vector)
    # A gradient in columns with a shift has that of the intercept added.
    along = vector.clone()
    along[..., :-1] += 0.5 * vector[..., -1:]
    torch.testing.assert_close(
        moved.shared_metric(penalty, N_FREE).solve(along)[..., :-N_FREE], found[..., :-N_FREE]
    )


def test_a_curvature_serves_near_its_own_probabilities():
    random = np.random.default_rng(0)
    rows = LabelledRows(np.ones((20, 1)), np.arange(20) % 2, 2, "cpu")
    weights = torch.full((1, 20), 1 / 20, dtype=torch.float64)
    probabilities = torch.as_tensor(random.uniform(0.4, 0.6, size=(1, 1, 20)))
    curvature = Curvature.of(rows, weights, probabilities)
    assert curvature.is_near(weights, probabilities + 0.01)
    assert not curvature.is_near(weights, probabilities / 4)
