"""Lassos: exact zeros, and runs that rounding does not turn."""

import numpy as np
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor
from skbamm.regularization._constants import LASSO_FINAL
from skbamm.regularization._lasso import weighted_lasso
from tests.reference.regression import losses, make_data


def splits(n_rows, n_folds=3, seed=0):
    fold = np.random.default_rng(seed).integers(n_folds, size=n_rows)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


# What is the same table gives the same fit


def wide(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, 30))
    y = X[:, :3] @ (2 * rng.normal(size=3)) + rng.normal(size=len(X))
    return X, y, (np.arange(30) >= 3).astype(int), splits(len(X))


def fitted(X, y, groups, cv, **options):
    return BilevelRegularizedRegressor("l1", groups=groups, cv=cv, **options).fit(X, y)


@pytest.mark.parametrize(("seed", "shrinkage"), [(0, 0.0), (2, 0.1), (5, 0.1)])
def test_a_run_on_groups_is_no_matter_of_rounding(seed, shrinkage):
    X, y, groups, cv = wide(seed)
    expected = fitted(X, y, groups, cv, shrinkage=shrinkage).coef_
    options = {"cv": cv, "shrinkage": shrinkage}
    # float32 rounds by 6e-8; the run may enlarge that by a thousand.
    single = fitted(X.astype("f"), y.astype("f"), groups, **options).coef_
    assert relative(single, expected) < 1e-4
    scaled = fitted(X, y * 3e100, groups, **options).coef_ / 3e100
    assert relative(scaled, expected) < 1e-7
    reverse = fitted(X[:, ::-1], y, groups[::-1], **options).coef_[::-1]
    assert relative(reverse, expected) < 1e-7
    assert relative(fitted(X, y, 1 - groups, **options).coef_, expected) < 1e-7


# Exact zeros


def complementary(rng):
    dummy = (rng.random(120) < 0.4).astype(float)
    X = np.column_stack([dummy, 1 - dummy, rng.integers(0, 4, size=(120, 5))])
    return X, 2 * dummy + X[:, 2] + rng.normal(size=120)


def one_hot(rng):
    X = np.hstack([np.eye(k)[rng.integers(0, k, 120)] for k in (3, 4)])
    return X, 2 * X[:, 0] - X[:, 4] + rng.normal(size=120)


def copies(rng):
    X = rng.normal(size=(120, 4)).astype("f").astype(float)
    return np.hstack([X, X[:, :2], -4 * X[:, 1:3]]), 2 * X[:, 0] + X[:, 1] + rng.normal(size=120)


@pytest.mark.parametrize("options", [{"exact_zeros": True}, {"penalty": "l1"}], ids=str)
@pytest.mark.parametrize("convert", [np.asarray, np.float32, sparse.csr_array])
@pytest.mark.parametrize("make", [complementary, one_hot, copies])
def test_columns_that_determine_each_other_get_no_rounding_errors(make, convert, options):
    for seed in range(2):
        X, y = make(np.random.default_rng(seed))
        for positive in (False, True):
            model = BilevelRegularizedRegressor(**options, positive=positive, n_repeats=1)
            model.fit(convert(X), y)
            effect = np.abs(model.coef_) * X.std(axis=0) / y.std()
            assert (effect[model.support_] > 1e-6).all()


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("strength", [1e-3, 0.05, 0.3])
def test_the_last_lasso_meets_the_optimality_conditions(strength, positive):
    loss, _ = losses("gram", make_data())
    weights = np.random.default_rng(0).uniform(0.5, 2, loss.zeros().shape[1:])
    strengths = np.geomspace(1, strength, 5)
    coef = weighted_lasso(loss, 0, weights, strengths, positive=positive, **LASSO_FINAL)[-1]
    gram, cross = loss.matrix(0).numpy(), loss.cross[0].numpy()
    slope = (cross - coef @ gram) / (strength * weights)
    np.testing.assert_allclose(slope[coef != 0], np.sign(coef[coef != 0]), rtol=1e-9)
    assert (np.where(coef == 0, slope, 0) <= 1 + 1e-6).all()
    assert positive or (np.where(coef == 0, slope, 0) >= -1 - 1e-6).all()


@pytest.mark.parametrize("noise", [0, 1e-6])
@pytest.mark.parametrize(("positive", "effects"), [(False, [1, -2, 0.5]), (True, [1, 2, 0.5])])
@pytest.mark.parametrize("shape", [(40, 6), (120, 40)])
def test_an_exact_fit_keeps_its_columns_and_all_of_their_effects(shape, positive, effects, noise):
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape)
    y = X[:, :3] @ effects + 1 + noise * rng.normal(size=len(X))
    model = BilevelRegularizedRegressor(exact_zeros=True, positive=positive).fit(X, y)
    np.testing.assert_array_equal(np.flatnonzero(model.support_), [0, 1, 2])
    np.testing.assert_allclose(model.coef_[:3], effects, rtol=0, atol=max(noise, 1e-12))


# NumPy's own generator

REGRESSIONS = [
    {},
    {"penalty": "l2"},
    {"penalty": "l1"},
    {"penalty": "l1", "positive": True, "groups": [0, 0, 1, 1]},
    {"exact_zeros": True},
    {"loss": "huber"},
]


@pytest.mark.parametrize("options", REGRESSIONS, ids=str)
def test_the_global_generator_stays(options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    np.random.seed(0)
    before = np.random.get_state()
    BilevelRegularizedRegressor(tol=100, **options).fit(X, X[:, 0] + rng.normal(size=40))
    after = np.random.get_state()
    assert after[2] == before[2]
    np.testing.assert_array_equal(after[1], before[1])
