"""Certificates of estimators are of the point they return: against finite differences there."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.cleaning import _search as cleaning_search
from skbamm.regularization import _search as regularization_search
from skbamm.solvers import Status, solve


@pytest.fixture
def runs(monkeypatch):
    """Problem, solution and tol of each run whose answer an estimator may report."""
    kept = []

    def kept_solve(problem, solver, *, tol, verify=True, **options):
        solution = solve(problem, solver, tol=tol, verify=verify, **options)
        if verify:
            kept.append((problem, solution, tol))
        return solution

    for module in (cleaning_search, regularization_search):
        monkeypatch.setattr(module, "solve", kept_solve)
    return kept


def slope(problem, solution, n_newton):
    """Norm of the projected derivative of the criterion, by one- or two-sided differences."""
    hyper, params = solution.hyper, solution.params

    def criterion(hyper):
        solved = problem.solve_lower(hyper, params)
        for _ in range(n_newton):
            metric = problem.metric(hyper, solved, 0.0)
            solved = solved - metric.solve(problem.lower.params_gradient(hyper, solved))
        return float(problem.upper.value(hyper, solved))

    gradient = torch.zeros_like(hyper)
    for index in range(hyper.numel()):
        unit = torch.zeros_like(hyper)
        unit.view(-1)[index] = 1e-6 if n_newton == 0 else 1e-4
        # One-sided at a bound.
        ahead, behind = (problem.project_hyper(hyper + sign * unit) for sign in (1, -1))
        distance = float((ahead - behind).sum())
        if distance:  # it is not fixed
            gradient.view(-1)[index] = (criterion(ahead) - criterion(behind)) / distance
    return float((hyper - problem.project_hyper(hyper - gradient)).norm())


def wide(seed, n_rows=40, n_features=60):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_rows, n_features))
    coef = generator.normal(size=n_features) * (generator.random(n_features) < 0.1)
    return X, X @ coef + (0.3 + seed % 5) * generator.normal(size=n_rows)


def check(runs, n_newton=0):
    for problem, solution, tol in runs:
        if solution.status is Status.CONVERGED:
            assert solution.residual <= tol
        if solution.n_iter:
            norm = solution.hypergradient_norm
            assert norm <= solution.residual
            assert slope(problem, solution, n_newton) == pytest.approx(
                norm, rel=0.02, abs=0.02 * tol
            )
    assert runs


@pytest.mark.parametrize("max_iter", [3, 100])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"groups": np.arange(60) // 5},
        {"groups": "feature"},
        {"penalty": "l2", "groups": np.arange(60) % 7},
        {"penalty": "l1", "groups": np.arange(60) % 3},
        {"loss": "huber"},
        {"positive": True},
        {"solver": "meha"},
        {"shrinkage": 0.1, "groups": np.arange(60) % 3},
    ],
    ids=["default", "groups", "feature", "l2", "l1", "huber", "positive", "meha", "prior"],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_regressor_tells_how_stationary_its_point_is(options, max_iter, runs):
    X, y = wide(2)
    model = BilevelRegularizedRegressor(max_iter=max_iter, **options).fit(X, y)
    check(runs)
    assert model.criterion_ <= model.initial_criterion_


@pytest.mark.parametrize("max_iter", [3, 100])
@pytest.mark.parametrize("options", [{}, {"is_clean": True}, {"relabel": True}], ids=str)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_classifier_tells_how_stationary_its_point_is(options, max_iter, runs):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X)[:150, :8], y[:150].copy()
    generator = np.random.default_rng(0)
    wrong = generator.random(150) < 0.2
    y[wrong] = 1 - y[wrong]
    is_clean = ~wrong & (np.arange(150) < 40) if options.get("is_clean") else None
    options = {name: value for name, value in options.items() if name != "is_clean"}
    model = HyperCleaningClassifier(max_iter=max_iter, **options).fit(X, y, is_clean=is_clean)
    check(runs, n_newton=20)  # `solve_lower` is less exact
    assert model.criterion_ <= model.initial_criterion_
