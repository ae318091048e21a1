"""Noise models, folded ridge, and the bilevel problem of their numbers."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.linear_model import Ridge

from skbamm.cleaning.targets._learning import problem_of
from skbamm.cleaning.targets._noise import Mixture, Normal, SkewedStudent, Student
from skbamm.cleaning.targets._ridge import FoldedRidge, rotation, standardized
from skbamm.cleaning.targets._search import Fitted, TargetRows

N_ROWS, N_FOLDS = 60, 4


@pytest.fixture
def ridge():
    generator = np.random.default_rng(0)
    X, _, _ = standardized(generator.standard_normal((N_ROWS, 3)), np.ones(N_ROWS))
    y = X @ [1.0, 0.5, 0.0] + 0.3 * generator.standard_normal(N_ROWS)
    y[::7] += 2
    bounds = np.linspace(0, N_ROWS, N_FOLDS + 1).astype(int)
    weight = generator.uniform(0.5, 2, N_ROWS)
    return FoldedRidge(np.hstack([X, np.ones((N_ROWS, 1))]), y, weight, bounds)


@pytest.fixture
def rows(ridge):
    return TargetRows(ridge.y, ridge.weight, np.arange(N_ROWS) % 10 == 0)


def test_out_of_fold_predictions_are_those_of_scikit_learn(ridge):
    label_weight = np.random.default_rng(1).uniform(0.1, 1, N_ROWS)
    found = ridge.out_of_fold(label_weight, 0.1)
    weight = label_weight * ridge.weight
    for own in ridge.folds:
        rest = np.setdiff1d(np.arange(N_ROWS), np.arange(N_ROWS)[own])
        model = Ridge(0.1 * weight[rest].sum())
        model.fit(ridge.X[rest, :-1], ridge.y[rest], sample_weight=weight[rest])
        np.testing.assert_allclose(found[own], model.predict(ridge.X[own, :-1]))


def test_search_predicts_as_the_strength_that_it_chose(ridge):
    label_weight = np.random.default_rng(1).uniform(0.1, 1, N_ROWS)
    strength, found = ridge.search(label_weight)
    np.testing.assert_allclose(found, ridge.out_of_fold(label_weight, strength), atol=1e-8)


def test_rows_are_left_out_one_by_one(ridge):
    label_weight = np.random.default_rng(1).uniform(0.1, 1, N_ROWS)
    weight = label_weight * ridge.weight
    found = ridge.left_out(label_weight, np.array([1e-3, 0.5]))
    for column, strength in enumerate((1e-3, 0.5)):
        for row in (0, 7, 30):
            rest = np.arange(N_ROWS) != row
            model = Ridge(strength * weight.sum())
            model.fit(ridge.X[rest, :-1], ridge.y[rest], sample_weight=weight[rest])
            residual = ridge.y[row] - model.predict(ridge.X[[row], :-1])[0]
            np.testing.assert_allclose(found[row, column], residual)


def test_rows_of_other_folds_are_the_same_fit(ridge):
    rest, kept = ridge.without(1)
    assert len(rest.folds) == N_FOLDS - 1
    np.testing.assert_allclose(
        rest.coef(np.ones(len(kept)), 0.1), ridge.coefs(np.ones(N_ROWS), 0.1)[1]
    )


def test_turned_columns_give_the_same_ridge():
    generator = np.random.default_rng(2)
    X, y = generator.standard_normal((20, 50)), generator.standard_normal(20)
    turned = X @ rotation(X, np.ones(20))
    assert turned.shape == (20, 20)
    plain, other = (Ridge(3.0, fit_intercept=False).fit(Z, y).predict(Z) for Z in (X, turned))
    np.testing.assert_allclose(other, plain)


MODELS = [
    Normal(0.3),
    Student(0.3, 3.0),
    SkewedStudent((0.1, -1.0, 0.3, 1.5, 0.0)),
    Mixture(0.2, 0.1, 1.0, 0.5),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_density_of_errors_integrates_to_one(model):
    def density(residual):
        row = TargetRows(np.array([residual]), np.ones(1), np.zeros(1, bool))
        return np.exp(model.log_density(np.array([residual]), row))[0]

    assert integrate.quad(density, -np.inf, np.inf)[0] == pytest.approx(1, abs=1e-6)


def test_student_density_is_that_of_scipy():
    residual = np.linspace(-3, 3, 7)
    found = Student(0.25, 4.0).log_density(residual, None)
    np.testing.assert_allclose(found, stats.t.logpdf(residual, 4, scale=0.5))


def test_most_targets_are_right(ridge):
    rows = TargetRows(ridge.y, ridge.weight, np.zeros(N_ROWS, bool))
    residual = np.random.default_rng(1).standard_normal(N_ROWS)
    residual[::4] *= 0.01  # the likeliest model has three wrong ones in four
    model = Mixture(0.3, 1e-2, 0.0, 1.0)
    for _ in range(20):
        model = model.fit(residual, rows, None)
    assert model.rate == 0.5
    found = Fitted(model, np.ones(N_ROWS), 0.1, residual, model.log_density(residual, rows))
    assert problem_of(ridge, rows, found)[0].upper_bound[0] == 0.0


@pytest.mark.parametrize("is_marginal", [False, True])
def test_steps_of_em_raise_the_likelihood_of_many_rows(rows, ridge, is_marginal):
    residual = ridge.y - ridge.out_of_fold(np.ones(N_ROWS), 0.01)
    many = TargetRows(rows.y, 1e6 * rows.weight, rows.is_clean)  # beside which priors are nothing
    model = Mixture(0.3, 0.5 * residual.var(), 0.0, 2 * residual.var(), is_marginal)
    totals = []
    for _ in range(100):
        model = model.fit(residual, many, None)
        totals.append(rows.weight @ model.log_density(residual, many))
    # Where the spread of wrong targets is at its bound, a step is no maximum.
    assert np.diff(totals).min() > -0.01
    assert totals[-1] > totals[0] + 0.1


def test_verified_rows_are_right_to_every_model(rows, ridge):
    for model in (MODELS[0], MODELS[1], MODELS[3]):
        weight = model.label_weight(np.full(N_ROWS, 5.0), rows)
        assert (weight[rows.is_clean] == 1).all()


@pytest.mark.parametrize(
    "model",
    [Student(0.2, 4.0), Mixture(0.2, 0.1, 1.0, 0.5), Mixture(0.2, 0.1, 0.2, 1.0, True)],
    ids=["heavy tails", "shifted", "unrelated"],
)
def test_hypergradient_is_that_of_finite_differences(ridge, rows, model):
    residual = ridge.y - ridge.out_of_fold(np.ones(N_ROWS), 0.05)
    problem, _ = problem_of(ridge, rows, Fitted(model, None, 0.05, residual, None))
    hyper = problem.initial_hyper

    def criterion(hyper):
        return float(problem.upper.value(hyper, problem.solve_lower(hyper, None)))

    params = problem.solve_lower(hyper, None)
    upper = problem.upper.gradients(hyper, params)
    multiplier = problem.metric(hyper, params, 0.0).solve(upper.params)
    products = problem.lower.curvature_products(hyper, params, multiplier)
    torch.testing.assert_close(products.hessian, upper.params)
    found = upper.hyper - products.mixed
    for index in range(len(hyper)):
        step = torch.zeros_like(hyper)
        step[index] = 1e-5
        slope = (criterion(hyper + step) - criterion(hyper - step)) / 2e-5
        assert float(found[index]) == pytest.approx(slope, abs=1e-7, rel=1e-5)


@pytest.mark.parametrize("model", [Student(0.2, 4.0), Mixture(0.2, 0.1, 1.0, 0.5)])
def test_numbers_of_a_run_are_those_of_the_model(ridge, rows, model):
    residual = ridge.y - ridge.out_of_fold(np.ones(N_ROWS), 0.05)
    problem, numbers = problem_of(ridge, rows, Fitted(model, None, 0.05, residual, None))
    again = numbers.unpack(problem.initial_hyper.tolist())
    expected = model.label_weight(residual, rows)
    np.testing.assert_allclose(again.label_weight(residual, rows), expected)
    stacked = problem.upper.rows
    found = numbers.label_weight(problem.initial_hyper, stacked.score, stacked.y, stacked.is_clean)
    np.testing.assert_allclose(found.numpy(), expected)


@pytest.mark.parametrize("averaging", [0.0, 0.5])
def test_metric_is_the_inverse_of_the_averaged_hessian(ridge, rows, averaging):
    residual = ridge.y - ridge.out_of_fold(np.ones(N_ROWS), 0.05)
    fitted = Fitted(Student(0.2, 4.0), None, 0.05, residual, None)
    problem, _ = problem_of(ridge, rows, fitted)
    hyper = problem.initial_hyper
    params = problem.solve_lower(hyper, None)
    metric = problem.metric(hyper, params, averaging)
    found = metric.solve(problem.lower.hessian_product(hyper, params, params))
    torch.testing.assert_close((1 - averaging) * found, params)
    assert metric.exact == (averaging == 0)
