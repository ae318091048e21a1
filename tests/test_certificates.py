"""What estimators say of their runs is true of the points they return: differences tell."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.cleaning import _search as cleaning_search
from skbamm.regularization import _search as regularization_search
from skbamm.solvers import SOLVERS, SlBamm, Status, solve

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def runs(monkeypatch):
    """Problem, solution and tol of each run of an estimator."""
    kept = []

    def kept_solve(problem, solver, *, tol, **options):
        solution = solve(problem, solver, tol=tol, **options)
        kept.append((problem, solution, tol))
        return solution

    for module in (cleaning_search, regularization_search):
        monkeypatch.setattr(module, "solve", kept_solve)
    return kept


def slope(problem, hyper, params, *, step, n_newton):
    """Norm of the projected derivative of the criterion; the lower level is solved anew."""

    def newton(hyper, params):
        for _ in range(n_newton):
            metric = problem.metric(hyper, params, 0.0)
            params = params - metric.solve(problem.lower.params_gradient(hyper, params))
        return params

    params = newton(hyper, newton(hyper, params))

    def criterion(hyper):
        solved = newton(hyper, params if n_newton else problem.solve_lower(hyper, params))
        return float(problem.upper.value(hyper, solved))

    gradient = torch.zeros_like(hyper)
    for index in range(hyper.numel()):
        unit = torch.zeros_like(hyper)
        unit.view(-1)[index] = step
        # One-sided at a bound.
        ahead, behind = (problem.project_hyper(hyper + sign * unit) for sign in (1, -1))
        distance = float((ahead - behind).sum())
        if distance:  # it is not fixed
            gradient.view(-1)[index] = (criterion(ahead) - criterion(behind)) / distance
    return float((hyper - problem.project_hyper(hyper - gradient)).norm())


def check(runs, *, step=1e-5, n_newton=0):
    """Numbers of the solution and of the history's last row, against the truth."""
    assert runs
    for problem, solution, tol in runs:
        last = {name: rows[-1] for name, rows in solution.history.records.items()}
        assert last["residual"] == solution.residual
        assert last["hypergradient_norm"] == solution.hypergradient_norm
        assert last["criterion"] == float(solution.criterion)
        np.testing.assert_array_equal(last["hyper"], solution.hyper)
        assert solution.criterion <= solution.initial_criterion
        if solution.status is Status.CONVERGED:
            assert solution.residual <= tol
        found = slope(problem, solution.hyper, solution.params, step=step, n_newton=n_newton)
        # As exact as the residual says, and as differences are.
        error = solution.residual - solution.hypergradient_norm + 0.1 * tol
        assert found == pytest.approx(solution.hypergradient_norm, rel=0.02, abs=error)


def wide(seed, n_rows=40, n_features=60):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_rows, n_features))
    coef = generator.normal(size=n_features) * (generator.random(n_features) < 0.1)
    return X, X @ coef + (0.3 + seed % 5) * generator.normal(size=n_rows)


def fit(seed=2, shape=(40, 60), **options):
    return BilevelRegularizedRegressor(random_state=0, n_repeats=1, **options).fit(
        *wide(seed, *shape)
    )


@pytest.mark.parametrize("shape", [(40, 60), (100, 20)])
@pytest.mark.parametrize("seed", [0, 11])
def test_of_regressors_of_several_tables(seed, shape, runs):
    fit(seed, shape)
    fit(seed, shape, penalty="l2", groups=np.arange(shape[1]) % 7, shrinkage=0.0)
    check(runs)
    assert all(solution.status is Status.CONVERGED for _, solution, _ in runs)


@pytest.mark.parametrize("max_iter", [1, 3, 100])
@pytest.mark.parametrize(
    "options",
    [
        {"penalty": "l1"},
        {"loss": "huber"},
        {"positive": True},
        {"shrinkage": 0.1, "groups": np.arange(60) % 3},
        {"tol": 1e-6},
    ],
    ids=["l1", "huber", "positive", "prior", "tight"],
)
def test_of_a_regressor_with_options(options, max_iter, runs):
    fit(max_iter=max_iter, **options)
    check(runs)


@pytest.mark.parametrize("name", SOLVERS)
def test_of_a_regressor_with_each_solver(name, runs):
    fit(solver=name)
    fit(solver=SOLVERS[name](), positive=True)
    check(runs)


def mislabelled(seed, is_wide=False):
    """Rows of two classes, 20 % of them with the other label, and which are known to be right."""
    generator = np.random.default_rng(seed)
    if is_wide:
        X = generator.normal(size=(60, 90))
        y = (X[:, :3].sum(1) + 0.5 * generator.normal(size=60) > 0).astype(int)
    else:
        X, y = load_breast_cancer(return_X_y=True)
        rows = generator.permutation(len(y))[:150]
        X, y = scale(X)[rows, :8], y[rows].copy()
    wrong = generator.random(len(y)) < 0.2
    y[wrong] = 1 - y[wrong]
    return X, y, ~wrong & (np.arange(len(y)) < len(y) // 4)


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("options", [{}, {"max_iter": 3}, {"tol": 1e-5}], ids=str)
def test_of_a_classifier(options, is_wide, runs):
    X, y, is_clean = mislabelled(4, is_wide)
    model = HyperCleaningClassifier(random_state=0, **options)
    model.fit(X, y)
    model.fit(X, y, is_clean=is_clean)
    # Its `solve_lower` is less exact.
    check(runs, step=1e-4, n_newton=40)


@pytest.mark.parametrize("name", SOLVERS)
def test_of_a_classifier_with_each_solver(name, runs):
    X, y, _ = mislabelled(0)
    HyperCleaningClassifier(solver=name, random_state=0).fit(X, y)
    check(runs, step=1e-4, n_newton=40)


def test_exactly_fitted_rows_are_no_unsolved_ones(runs):
    X = np.abs(wide(0, 30, 5)[0])
    for options in ({}, {"positive": True}, {"solver": SlBamm()}):
        BilevelRegularizedRegressor(**options).fit(X, X @ np.arange(5.0))
    known = {Status.EXACT, Status.CONVERGED, Status.FROZEN}
    assert {solution.status for _, solution, _ in runs} <= known


def test_a_run_that_a_callback_stops_tells_of_its_answer():
    X, y = wide(2)
    kept = []

    def kept_solve(problem, *args, **options):
        kept.append(problem)
        return solve(problem, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regularization_search, "solve", kept_solve)
        BilevelRegularizedRegressor(n_repeats=1, penalty="l1", max_iter=1).fit(X, y)
    problem = kept[-1]
    stopped = solve(problem, tol=0.0, verify=False, callback=lambda state, row: state.iteration > 2)
    assert stopped.status is Status.STOPPED
    check([(problem, stopped, 1e-3)])
