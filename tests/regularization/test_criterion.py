"""What criterion_ and initial_criterion_ of the regressor are, whatever the options."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skbamm import BilevelRegularizedRegressor
from skbamm.data._folds import position_folds
from tests.reference.adaptive_ridge import adaptive_criterion, held_out_error
from tests.regularization.regression_data import make_regression

pytestmark = [
    # What holds of a criterion holds wherever a run ends.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Learned strengths lie at alpha_bounds:UserWarning"),
]

NARROW = {"alpha_bounds": (1e-3, 1e-2)}
HARD = {**NARROW, "loss": "huber", "positive": True, "fit_intercept": False, "standard_errors": 0}
OPTIONS = {
    "default": {},
    "l2": {"penalty": "l2"},
    "l1": {"penalty": "l1"},
    "groups": {"groups": [0, 0, 1, 1, 1]},
    "l2 groups": {"penalty": "l2", "groups": "feature", "shrinkage": 0},
    "shrinkage": {"groups": "feature", "shrinkage": 0.1},
    "narrow": {**NARROW},
    "strong": {"alpha_bounds": (1e2, 1e3)},
    "one run": {**NARROW, "n_repeats": 1, "standard_errors": 0},
    "positive": {**NARROW, "positive": True},
    "huber": {"loss": "huber"},
    "implicit": {"solver": "implicit"},
    "hard": HARD,
    "hard meha": {**HARD, "solver": "meha"},
    "hard iaptt": {**HARD, "solver": "iaptt-gm"},
    "zeros": {"exact_zeros": True},
    "targets": {"alpha_per_target": True},
    "wide mean": {"standard_errors": 3.0},
    "best alone": {"standard_errors": 0},
    "short": {"max_iter": 1},
    "raw": {"standardize": False, "fit_intercept": False},
}


def rows(seed, n_targets=1):
    """Few rows, two of whose columns are rare or constant."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 30))
    X = rng.normal(size=(n, 5))
    X[:, 1], X[:, 2] = rng.random(n) < 0.1, 1e10
    y = X[:, [0, 3, 4]] @ rng.normal(size=(3, n_targets)) + 0.1 * rng.normal(size=(n, n_targets))
    return X, y.squeeze(), (rng.random(n) < 0.6).astype(float)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("seed", [2, 5])
def test_no_mean_ends_above_what_max_iter_0_reaches(name, seed):
    options = {"max_iter": 20, **OPTIONS[name]}
    data = rows(seed, n_targets=2 if name == "targets" else 1)
    model = BilevelRegularizedRegressor(**options).fit(*data)
    without = BilevelRegularizedRegressor(**{**options, "max_iter": 0}).fit(*data)
    assert np.all(model.criterion_ <= model.initial_criterion_)
    assert_allclose(model.initial_criterion_, without.criterion_, rtol=1e-12)
    assert_allclose(without.initial_criterion_, without.criterion_, rtol=1e-12)


@pytest.mark.parametrize("standard_errors", [0, 1])
def test_repeats_of_no_learning_learn_nothing(standard_errors):
    """Numbers of the first assignment to folds are no candidates on the next without learning."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(40, 10))
    y = X[:, :3].sum(axis=1) + 2 * rng.normal(size=40)
    options = {"positive": True, "standard_errors": standard_errors}
    learned = BilevelRegularizedRegressor(**options).fit(X, y)
    without = BilevelRegularizedRegressor(max_iter=0, **options).fit(X, y)
    assert_allclose(without.initial_criterion_, without.criterion_, rtol=1e-12)
    assert_allclose(learned.initial_criterion_, without.criterion_, rtol=1e-12)


def folds_of_repeats(n_samples, n_repeats, n_folds=5):
    """Splits of each of the assignments to folds that an int cv makes."""
    for seed in range(n_repeats):
        label = position_folds(n_samples, n_folds, seed)
        yield [(np.flatnonzero(label != k), np.flatnonzero(label == k)) for k in range(n_folds)]


@pytest.mark.parametrize("n_repeats", [1, 3])
@pytest.mark.parametrize("max_iter", [0, 50])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("groups", [None, "feature"])
def test_criterion_is_the_cross_validated_error_at_alpha(n_repeats, max_iter, weighted, groups):
    data = make_regression(seed=3)
    weight = np.random.default_rng(0).uniform(0.2, 2, len(data.y)) if weighted else None
    options = {"groups": groups, "shrinkage": 0.0, "n_repeats": n_repeats, "max_iter": max_iter}
    model = BilevelRegularizedRegressor("l2", **options).fit(data.X, data.y, weight)
    expected = [
        held_out_error(data.X, data.y, splits, lambda *rows: model.alpha_, weight)
        for splits in folds_of_repeats(len(data.y), n_repeats)
    ]
    assert_allclose(model.criterion_, np.mean(expected), rtol=1e-9)


@pytest.mark.parametrize("max_iter", [0, 50])
def test_criterion_of_the_best_alone_is_that_of_the_learned_numbers(max_iter):
    data = make_regression(seed=3)
    options = {"n_repeats": 1, "max_iter": max_iter, "standard_errors": 0}
    model = BilevelRegularizedRegressor(**options).fit(data.X, data.y)
    [splits] = folds_of_repeats(len(data.y), 1)
    expected = adaptive_criterion(data.X, data.y, splits, model.hyper_)
    assert_allclose(model.criterion_, expected, rtol=1e-9)


def test_bounds_hold_for_what_max_iter_0_takes():
    data = make_regression(seed=3)
    bounds = {"alpha_bounds": (1e-3, 1e-2), "n_repeats": 1, "max_iter": 0}
    hyper = BilevelRegularizedRegressor(**bounds).fit(data.X, data.y).hyper_[:2]
    assert (np.log(1e-3) <= hyper).all() and (hyper <= np.log(1e-2)).all()


# Lines


@pytest.mark.parametrize("options", [{}, {"penalty": "l2"}, {"groups": np.arange(6) // 2}])
def test_lines_tell_residuals_in_the_unit_of_tol(options, capsys):
    data = make_regression(noise=30, seed=1)
    model = BilevelRegularizedRegressor(verbose=2, n_repeats=1, cv=data.splits, **options)
    model.fit(data.X, data.y)
    *lines, last = [line for line in capsys.readouterr().out.splitlines() if "fold" not in line]
    assert len(lines) == len(model.history_)
    for line, residual in zip(lines, model.history_["residual"], strict=True):
        assert (f", residual {residual:.1e}" in line) == np.isfinite(residual)
    assert f"(residual {model.residual_:.1e} <= tol={model.tol:.1e})" in last


@pytest.mark.parametrize("max_iter", [0, 50])
def test_the_last_line_explains_a_mean(max_iter, capsys):
    data = make_regression(seed=1)
    options = {"n_repeats": 1, "max_iter": max_iter, "verbose": 1}
    best = BilevelRegularizedRegressor(standard_errors=0, **options).fit(data.X, data.y)
    assert "standard_errors" not in capsys.readouterr().out
    model = BilevelRegularizedRegressor(standard_errors=0.5, **options).fit(data.X, data.y)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith(
        f"; criterion {model.criterion_:.6g} (of a mean of fits that standard_errors=0.5 cannot "
        f"tell from the best one, which has {best.criterion_:.6g}), "
        f"without learning (max_iter=0) {model.initial_criterion_:.6g}"
    )


def test_the_last_line_says_that_it_is_of_several_runs(capsys):
    data = make_regression(seed=3)
    BilevelRegularizedRegressor("l2", n_repeats=3, verbose=1).fit(data.X, data.y)
    assert " (of the mean of 3 runs), " in capsys.readouterr().out.splitlines()[-1]
