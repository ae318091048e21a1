"""What weights of the user mean: a row of weight 2 is two, one of 0 is none, and no unit counts."""

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut

from skbamm import HyperCleaningRegressor

N_ROWS = 90
# Minimizers of numerical derivatives end where rounding lets them.


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(1)
    X = generator.normal(size=(N_ROWS, 2))
    y = X[:, 0] + 0.3 * generator.normal(size=N_ROWS)
    y[::9] += 3
    return X, y


def fit(X, y, weight=None, **options):
    return HyperCleaningRegressor(max_iter=0, **options).fit(X, y, weight)


def splits(fold):
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]


@pytest.mark.parametrize("unit", [1e-9, 0.01, 7.0, 1e9])
def test_unit_of_weights_changes_nothing(table, unit):
    weight = np.random.default_rng(2).uniform(0.5, 2, N_ROWS)
    model, expected = fit(*table, unit * weight), fit(*table, weight)
    assert expected.sample_weight_[::9].mean() < 0.5 < 0.8 < expected.sample_weight_.mean()
    np.testing.assert_allclose(model.sample_weight_, expected.sample_weight_, atol=1e-6)
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-6)


@pytest.mark.parametrize("counts", [[2], [1, 2, 0], [3, 1]])
def test_a_row_of_weight_two_is_two_rows(table, counts):
    X, y = table
    count = np.resize(counts, N_ROWS)
    rows = np.repeat(np.arange(N_ROWS), count)
    fold = np.arange(N_ROWS) // 3 % 4
    model = fit(X, y, count, cv=splits(fold))
    twice = fit(X[rows], y[rows], cv=splits(fold[rows]))
    np.testing.assert_allclose(twice.sample_weight_, model.sample_weight_[rows], atol=1e-6)
    np.testing.assert_allclose(twice.coef_, model.coef_, atol=1e-6)
    assert twice.noise_rate_ == pytest.approx(model.noise_rate_)


def test_rows_that_differ_in_their_verification_or_fold_are_not_one(table):
    X, y = (np.repeat(array, 2, axis=0) for array in table)
    is_clean = np.arange(2 * N_ROWS) % 2 == 0
    model = HyperCleaningRegressor(max_iter=0).fit(X, y, is_clean=is_clean)
    assert (model.sample_weight_[is_clean] == 1).all()
    assert not (model.sample_weight_[~is_clean] == 1).all()


def test_rows_of_weight_zero_are_absent(table):
    X, y = table
    more = np.full((30, 2), 50.0)
    weight = np.append(np.ones(N_ROWS), np.zeros(30))
    order = np.argsort(np.append(np.arange(N_ROWS), np.linspace(5, 80, 30)), kind="stable")
    stacked = np.vstack([X, more])[order], np.append(y, np.full(30, -1e9))[order]
    model, expected = fit(*stacked, weight[order]), fit(X, y)
    given = order < N_ROWS
    np.testing.assert_allclose(model.sample_weight_[given], expected.sample_weight_, atol=1e-6)
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-6)


def test_few_rows_of_large_weight_are_few_rows(table):
    X, y = (array[:20] for array in table)
    assert fit(X, y, np.full(20, 100.0)).average_weights_ == {"plain": 1.0}


def test_many_folds_are_joined(table):
    joined = fit(*table, cv=splits(np.arange(N_ROWS) % 10))
    each = fit(*table, cv=LeaveOneOut())
    np.testing.assert_array_equal(each.sample_weight_, joined.sample_weight_)


@pytest.mark.parametrize(("weights", "message"), [("one", "has an entry"), ("fold", "of a fold")])
def test_weights_beside_which_others_are_nothing_are_refused(table, weights, message):
    X, y = table
    weight = np.ones(N_ROWS)
    fold = np.arange(N_ROWS) % 5
    weight[fold == 2] = 1e100 if weights == "fold" else 1.0
    weight[0] = 1e100 if weights == "one" else 1.0
    with pytest.raises(ValueError, match=message):
        fit(X, y, weight, cv=splits(fold))
