"""What looks wrong and is right, and wrong targets among skewed or heavy-tailed ones."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from skbamm import HyperCleaningRegressor

N_ROWS = 400


@pytest.fixture(scope="module")
def columns():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(N_ROWS, 4))
    return X, X @ [1.0, -0.8, 0.6, 0.0], generator.normal(size=N_ROWS)


def fit(X, y, **options):
    return HyperCleaningRegressor(max_iter=0, **options).fit(X, y)


def plain(X, y):
    return RidgeCV(np.logspace(-3, 4, 20)).fit(X, y)


@pytest.mark.parametrize("kind", ["step", "corner"])
def test_jumps_that_columns_tell_are_right(columns, kind):
    X, signal, noise = columns
    jump = {"step": X[:, 0] > 1.3, "corner": (X[:, 0] > 0.8) & (X[:, 1] > 0)}[kind]
    y = signal + 4 * jump + 0.3 * noise
    model = fit(X, y)
    assert "targets far off are those of certain rows" in model.status_
    assert not model.target_report()["is_issue"].any()
    np.testing.assert_allclose(model.predict(X), plain(X, y).predict(X), atol=0.1)


def test_jumps_that_columns_do_not_tell_are_flagged(columns):
    X, signal, noise = columns
    jump = np.random.default_rng(1).permutation(X[:, 0] > 1.3)
    model = fit(X, signal + 4 * jump + 0.3 * noise)
    assert ((model.sample_weight_ < 0.5) == jump).mean() > 0.99


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e6])
def test_wrong_decimal_points_of_skewed_targets_are_found(columns, unit):
    X, signal, _ = columns
    generator = np.random.default_rng(1)
    right = unit * np.exp(0.9 * signal + 0.3 * generator.normal(size=N_ROWS))
    is_wrong = generator.random(N_ROWS) < 0.2
    given = np.where(is_wrong, right * 10 ** generator.choice([-1.0, 1.0], N_ROWS), right)
    model = fit(X, given)
    assert "of logarithms" in next(iter(model.average_weights_))
    assert ((model.sample_weight_ < 0.5) == is_wrong).mean() > 0.95
    fixed = model.fix_targets()
    off = [np.abs(np.log(one / right))[is_wrong].mean() for one in (fixed, given)]
    assert off[0] < 0.2 * off[1]


@pytest.mark.parametrize("kind", ["skewed", "skewed with zeros", "normal"])
def test_clean_targets_are_not_flagged(columns, kind):
    X, signal, _ = columns
    y = signal + 0.4 * np.random.default_rng(2).normal(size=N_ROWS)
    if kind != "normal":
        y = np.exp(y)
    if kind == "skewed with zeros":
        y = np.where(y < np.quantile(y, 0.05), 0.0, y)
    model = fit(X, y)
    assert "no wrong targets show" in model.status_
    error = np.mean((model.predict(X) - y) ** 2) / np.mean((plain(X, y).predict(X) - y) ** 2)
    assert error < 1.02


def test_wrong_targets_are_found_among_heavy_tails(columns):
    X, signal, _ = columns
    generator = np.random.default_rng(3)
    right = signal + 0.3 * generator.standard_t(3, size=N_ROWS)
    is_wrong = generator.random(N_ROWS) < 0.2
    model = fit(X, right + 3 * is_wrong)
    flagged = model.sample_weight_ < 0.5
    assert flagged[is_wrong].mean() > 0.95
    errors = [
        np.mean((one.predict(X) - signal) ** 2) for one in (model, plain(X, right + 3 * is_wrong))
    ]
    assert errors[0] < 0.1 * errors[1]
