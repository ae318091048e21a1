"""Targets that the features give exactly, or all but: rounding must not choose the answer."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from skbamm import BilevelRegularizedRegressor

OPTIONS = {
    "defaults": {},
    "l2": {"penalty": "l2"},
    "exact_zeros": {"exact_zeros": True},
    "positive": {"positive": True},
    "huber": {"loss": "huber"},
    "meha": {"solver": "meha"},
    "iaptt-gm": {"solver": "iaptt-gm"},
}
# Noise relative to the deviation of y: none, and about as much as is below the floor.
NOISE = (0.0, 1e-6)
# More rows than features, and fewer.
SHAPES = ((40, 6), (15, 30))
N_FOLDS = 4
# What is promised where weights, order and units are promised not to matter; in units of y.
PROMISED = 1e-7


def make_data(shape, noise, seed=0):
    rng = np.random.default_rng(seed)
    n_samples, n_features = shape
    X = rng.random((n_samples, n_features))
    y = X @ (rng.random(n_features) * (rng.random(n_features) < 0.5)) + 1
    y = y / y.std()
    return X, y + noise * rng.standard_normal(n_samples), np.arange(n_samples) % N_FOLDS


def fitted(option, X, y, fold, sample_weight=None):
    cv = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(N_FOLDS)]
    model = BilevelRegularizedRegressor(**OPTIONS[option], cv=cv)
    return model.fit(X, y, sample_weight=sample_weight)


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=PROMISED)


every_case = pytest.mark.parametrize(
    ("option", "noise", "shape"),
    [
        (option, noise, shape)
        for option in OPTIONS
        for noise in NOISE
        for shape in SHAPES
        # MEHA does not converge on few rows, where nothing fits the held-out ones.
        if option != "meha" or shape == SHAPES[0]
    ],
)


@every_case
def test_a_weight_is_a_number_of_equal_rows(option, noise, shape):
    X, y, fold = make_data(shape, noise)
    weight = np.random.default_rng(1).integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    weighted = fitted(option, X, y, fold, weight.astype(float))
    repeated = fitted(option, X[rows], y[rows], fold[rows])
    assert_same(weighted.predict(X), repeated.predict(X))


@every_case
def test_the_order_of_rows_does_not_matter(option, noise, shape):
    X, y, fold = make_data(shape, noise)
    order = np.random.default_rng(2).permutation(len(y))
    found = fitted(option, X[order], y[order], fold[order])
    assert_same(found.predict(X), fitted(option, X, y, fold).predict(X))


@every_case
def test_the_unit_of_the_target_does_not_matter(option, noise, shape):
    X, y, fold = make_data(shape, noise)
    expected = fitted(option, X, y, fold).predict(X)
    for unit in (1e-5, 1e3):
        assert_same(fitted(option, X, y * unit, fold).predict(X) / unit, expected)


# Rows that are repeated in other folds, as in scikit-learn's check of weights


@pytest.mark.parametrize("option", OPTIONS)
def test_weights_are_repetitions_where_held_out_rows_are_also_fitted(option):
    rng = np.random.default_rng(0)
    X, y = rng.random((15, 30)), rng.integers(0, 3, 15).astype(float)
    weight = rng.integers(0, 4, 15)
    own = np.repeat(np.arange(15), weight)

    def three_folds(rows, weight=None):
        every = np.concatenate([rows, np.arange(15), np.arange(15)])
        fold = np.repeat([0, 1, 2], [len(rows), 15, 15])
        if weight is not None:
            weight = np.concatenate([weight, np.ones(30)])
        cv = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
        model = BilevelRegularizedRegressor(**OPTIONS[option], cv=cv)
        return model.fit(X[every], y[every], sample_weight=weight).predict(X)

    # Where a target is 0, scikit-learn allows 1e-9.
    expected = three_folds(own)
    np.testing.assert_allclose(three_folds(np.arange(15), weight), expected, 1e-7, 1e-9)


# What an exact fit says of itself


@pytest.mark.parametrize("option", ["defaults", "huber", "meha"])
def test_an_exact_fit_is_not_searched(option):
    X, y, fold = make_data((40, 6), 0.0)
    model = fitted(option, X, y, fold)
    assert model.n_iter_ == 1
    assert "nothing to learn" in model.status_
    assert model.criterion_ == model.initial_criterion_ < 1e-8
    # The root of the floor: as near as a held-out error tells.
    np.testing.assert_allclose(model.predict(X), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("option", ["defaults", "huber"])
def test_what_is_far_above_rounding_is_searched(option):
    X, y, fold = make_data((40, 6), 1e-3)
    assert fitted(option, X, y, fold).n_iter_ > 1


@pytest.mark.parametrize("seed", [0, 5])
def test_an_exact_fit_does_not_hang_on_its_initial_point(seed):
    X, y, fold = make_data((40, 6), 0.0)
    cold = fitted("defaults", X, y, fold)
    warm = fitted("defaults", *make_data((40, 6), 0.3, seed=seed))
    warm.set_params(warm_start=True, cv=cold.cv).fit(X, y)
    np.testing.assert_array_equal(warm.coef_, cold.coef_)


# Another processor

PREDICT = """
import sys
import numpy as np
from tests.regularization.test_exact_fits import predictions

np.save(sys.argv[1], predictions())
"""


def predictions():
    found = []
    for option in ("defaults", "exact_zeros", "huber", "positive"):
        for shape in SHAPES:
            for noise in NOISE:
                X, y, fold = make_data(shape, noise)
                found.append(fitted(option, X, y, fold).predict(X))
    return np.concatenate(found)


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="names kernels of x86 processors"
)
def test_kernels_of_other_processors_give_the_same(tmp_path):
    path = tmp_path / "found.npy"
    # The oldest, which run on every processor, against those of this process.
    kernels = {"OPENBLAS_CORETYPE": "Nehalem", "ATEN_CPU_CAPABILITY": "default"}
    subprocess.run(
        [sys.executable, "-c", PREDICT, str(path)], env={**os.environ, **kernels}, check=True
    )
    assert_same(np.load(path), predictions())


@pytest.mark.parametrize("groups", [None, "feature"])
@pytest.mark.parametrize("shape", [(60, 8), (40, 6), (15, 30)])
def test_errors_are_never_negative(shape, groups):
    X, y, _ = make_data(shape, 0.0)
    model = BilevelRegularizedRegressor(groups=groups).fit(X, y)
    assert model.initial_criterion_ >= 0
    assert 0 <= model.criterion_ <= model.initial_criterion_
