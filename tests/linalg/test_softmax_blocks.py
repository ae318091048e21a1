"""Softmax fits on a design that is made block by block, against those on the whole design."""

import numpy as np
import pytest
import torch

from skbamm.linalg import _design, _softmax
from skbamm.linalg._design import BlockedDesign
from skbamm.linalg._softmax import CrossEntropy, LabelledRows, minimize
from tests.reference.cleaning import CPU, random_params, random_weights

N_ROWS, N_FEATURES = 53, 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_design, "BLOCK_BYTES", 8 * 7 * (N_FEATURES + 1))


@pytest.fixture(params=["few axes", "not rotated"])
def pair(request):
    """The same rows with a whole design and with a blocked one."""
    random = np.random.default_rng(0)
    X = random.normal(size=(N_ROWS, N_FEATURES)) * [1, 10, 0.1, 1] + [0, 1e3, 1, 0]
    rotation = np.linalg.qr(random.normal(size=(N_FEATURES, N_FEATURES)))[0]
    if request.param == "few axes":
        rotation = rotation[:, :2]
    if request.param == "not rotated":
        rotation = None
    mean, scale = X.mean(axis=0, dtype=np.float64), np.array([1.0, 10.0, 0.1, 2.0])
    columns = (X - mean) / scale
    columns = columns if rotation is None else columns @ rotation
    labels = (columns[:, 0] + random.normal(size=N_ROWS) > 0).astype(int) + (columns[:, 1] > 1)
    whole = np.hstack([columns, np.ones((N_ROWS, 1))])
    designs = whole, BlockedDesign(X, mean, scale, rotation, CPU)
    return [LabelledRows(design, labels, 3, CPU) for design in designs]


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_subset_is_that_of_the_whole_design(pair):
    whole, blocked = (rows.subset(torch.arange(N_ROWS) % 3 == 0) for rows in pair)
    params = random_params(whole)
    assert_close(blocked.scores(params), whole.scores(params))


@pytest.mark.parametrize("most", [2e7, 0], ids=["by blocks of the Hessian", "by its diagonal"])
def test_a_fit_is_that_of_the_whole_design(pair, most, monkeypatch):
    monkeypatch.setattr(_softmax, "MAX_BLOCKS", most)
    weights, ridge = random_weights(N_ROWS, 1), torch.tensor(0.1, dtype=torch.float64)
    whole, blocked = (
        minimize(CrossEntropy(rows, weights, ridge, rows.smoothed(0.01)), rows.zeros(1), tol=1e-9)
        for rows in pair
    )
    torch.testing.assert_close(blocked, whole, rtol=1e-9, atol=1e-9)
