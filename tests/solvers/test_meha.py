"""Where MEHA says that it has converged, against closed forms, SciPy and float64."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from skbamm.problems import BilevelProblem, Box, weighted_lasso_problem
from skbamm.solvers import Status, solve
from skbamm.solvers._envelope import EnvelopeLevels, worst_norm

single, double = torch.float32, torch.float64
both_precisions = pytest.mark.parametrize("dtype", [single, double])
# In single precision the default `tol` is below rounding there, and a run may say so.
ENDED = {single: {Status.CONVERGED, Status.STALLED}, double: {Status.CONVERGED}}


@both_precisions
@pytest.mark.parametrize("n_hyper", [10, 700, 5000])
def test_the_lasso_problem_is_solved_at_any_size(n_hyper, dtype):
    run = solve(weighted_lasso_problem(n_hyper, dtype=dtype), "meha")
    assert run.status in ENDED[dtype]
    assert float(run.criterion) == pytest.approx(-0.5, abs=1e-4)


@both_precisions
@pytest.mark.parametrize("initial", [1e-3, 0.5, 1.0])
def test_the_lasso_problem_is_solved_from_where_its_criterion_is_flat(initial, dtype):
    # Weights above 1 / n keep all params at zero, whatever the upper objective wants.
    problem = weighted_lasso_problem(1000, dtype=dtype)
    problem = dataclasses.replace(problem, initial_hyper=torch.full((1000,), initial, dtype=dtype))
    run = solve(problem, "meha")
    assert run.status in ENDED[dtype]
    assert float(run.criterion) == pytest.approx(-0.5, abs=1e-4)


class Ridge:
    """One strength of a ridge regression, also a non-negative one, and its exact criterion."""

    def __init__(self, n_samples, n_features, positive, seed=0):
        generator = np.random.default_rng(seed)
        self.X = generator.normal(size=(2 * n_samples, n_features))
        self.y = self.X @ generator.normal(size=n_features) + generator.normal(size=2 * n_samples)
        self.n, self.positive = n_samples, positive

    def problem(self, dtype, initial=0.0):
        X, y, n = torch.tensor(self.X, dtype=dtype), torch.tensor(self.y, dtype=dtype), self.n
        return BilevelProblem(
            lambda hyper, params: (X[n:] @ params - y[n:]).square().mean() / 2,
            lambda hyper, params: (
                (X[:n] @ params - y[:n]).square().mean() / 2
                + hyper.exp().sum() * params.square().sum() / 2
            ),
            torch.tensor([initial], dtype=dtype),
            torch.zeros(X.shape[1], dtype=dtype),
            lower_bound=-8.0,
            upper_bound=5.0,
            strongly_convex=True,
            nonsmooth=Box(0.0, math.inf) if self.positive else None,
        )

    def criterion(self, log_strength):
        n, n_features = self.n, self.X.shape[1]
        root = math.exp(log_strength / 2) * math.sqrt(n)
        A = np.vstack([self.X[:n], root * np.eye(n_features)])
        b = np.append(self.y[:n], np.zeros(n_features))
        coef = nnls(A, b)[0] if self.positive else np.linalg.lstsq(A, b)[0]
        return np.mean((self.X[n:] @ coef - self.y[n:]) ** 2) / 2

    def derivative(self, log_strength):
        return (self.criterion(log_strength + 1e-4) - self.criterion(log_strength - 1e-4)) / 2e-4


@pytest.mark.parametrize("initial", [0.0, -4.0])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize(("dtype", "tol"), [(single, 1e-6), (single, 1e-3), (double, 1e-4)])
def test_a_run_on_a_ridge_that_converged_is_stationary(dtype, tol, positive, initial):
    ridge = Ridge(100, 10, positive)
    run = solve(ridge.problem(dtype, initial), "meha", tol=tol)
    found = run.state.hyper.item()
    # In float32 gradients that differ by the weight tell the derivative to some 1e-3.
    precision = 1e-6 if dtype == double else 2e-3
    assert abs(ridge.derivative(found)) <= max(10 * tol, precision)
    if run.status is Status.CONVERGED:
        assert abs(ridge.derivative(found)) <= 10 * tol
    if dtype == double:
        assert run.status is Status.CONVERGED


def test_more_columns_than_rows_do_not_use_up_the_iterations():
    ridge = Ridge(15, 30, positive=True)
    run = solve(ridge.problem(double), "meha", tol=1e-4)
    assert run.status is Status.CONVERGED
    assert abs(ridge.derivative(run.hyper.item())) <= 1e-3


@pytest.mark.parametrize("weight", [1e-2, 1e-4, 1e-6])
def test_rounding_of_the_hypergradient_is_known(weight):
    ridge, generator = Ridge(100, 10, positive=False), torch.Generator().manual_seed(0)
    hyper = torch.tensor([0.3])
    params = torch.randn(10, generator=generator)
    other = params + weight * torch.randn(10, generator=generator)
    rounded, exact = (
        EnvelopeLevels.at(ridge.problem(dtype), *(tensor.to(dtype) for tensor in point))
        for dtype, point in ((single, (hyper, params, other)), (double, (hyper, params, other)))
    )
    error = (rounded.hypergradient(weight) - exact.hypergradient(weight)).abs()
    assert (error <= rounded.rounding(weight, rounded.mixed(0.0))).all()


def test_points_that_rounding_cannot_tell_apart_leave_the_hypergradient_open():
    problem = Ridge(100, 10, positive=False).problem(single)
    params = torch.ones(10)
    levels = EnvelopeLevels.at(problem, torch.tensor([0.3]), params, params * (1 + 1e-7))
    known = levels.mixed(known=2.0)
    assert known == 2.0
    # The displacement could have been rounding's, which the small weight enlarges.
    assert levels.rounding(1e-6, known) >= torch.finfo(single).eps * 2.0 / 1e-6


def test_the_worst_norm_counts_a_bound_that_an_error_would_leave():
    problem = dataclasses.replace(weighted_lasso_problem(4), initial_hyper=torch.zeros(4).double())
    hyper = torch.tensor([0.0, 0.0, 0.5, 1.0], dtype=double)
    gradient = torch.tensor([0.3, 0.3, 0.0, -0.2], dtype=double)
    error = torch.tensor([0.1, 0.5, 0.1, 0.1], dtype=double)
    # Held by its bound for certain, perhaps not, free, and held again.
    assert worst_norm(problem, hyper, gradient, error) == pytest.approx(math.hypot(0.2, 0.1))
    assert worst_norm(problem, hyper, gradient, 0 * error) == 0
