"""A learned loss: derivatives, valleys, and the hypergradient through a refit."""

import pytest
import torch

from skbamm.cleaning._learned_loss import LearnedLoss, LearnedLossProblem
from skbamm.cleaning._problem import TrustedLoss
from skbamm.problems import FunctionObjective
from skbamm.solvers import SlBamm, solve
from tests.reference.cleaning import make_rows, random_params

HYPER = torch.tensor([[1.0, 0.8, -2.0, 0.5, 0.1], [2.0, 1.5, -1.0, 1.0, -0.2]], dtype=torch.float64)


def learned_loss(n_classes, sparse_design=False):
    rows = make_rows(n_classes, sparse_design=sparse_design)
    noisy = (torch.arange(24) % 3 > 0).double()
    weight = torch.linspace(0.5, 1.5, 3 * 24, dtype=torch.float64).reshape(3, 24)
    weight = weight * (torch.arange(24) % 4 != torch.arange(3)[:, None])
    return LearnedLoss(rows, noisy, weight)


@pytest.fixture(params=[2, 4], ids="{} classes".format)
def objective(request):
    return learned_loss(request.param)


def plain_value(objective):
    """The formula, the integral taken numerically; derivatives by autograd."""
    rows = objective.rows
    nodes = torch.linspace(0, 1, 2001, dtype=torch.float64)

    def value(hyper, params):
        scores = params @ rows.design.T
        if rows.has_reference:
            scores = torch.stack([torch.zeros_like(scores[..., 0, :]), scores[..., 0, :]], -2)
            labels = torch.stack([1 - rows.indicator[0], rows.indicator[0]])
        else:
            labels = rows.indicator
        loss = -(torch.log_softmax(scores, -2) * labels).sum(-2)
        a, b = hyper[:, 0, None, None, None], hyper[:, 1, None, None, None]
        slope = torch.sigmoid(a - b * loss[..., None] * nodes) / torch.sigmoid(a)
        area = loss * torch.trapezoid(slope, nodes, dim=-1)
        clean = hyper[:, 3].exp()[:, None, None]
        base = objective.weight * (objective.noisy + clean * (1 - objective.noisy))
        base = base / base.sum(-1, keepdim=True)
        mean = (base * torch.where(objective.noisy > 0, area, loss)).sum((1, 2))
        square = params[..., :-1].square().sum((1, 2, 3)) * hyper[:, 2].exp() / 2
        return mean + square + 1e-6 * params[..., -1].square().sum((1, 2)) / 2

    return FunctionObjective(value)


def test_derivatives_are_those_of_the_formula(objective):
    params = random_params(objective.rows)
    vector = random_params(objective.rows, seed=3)
    slow = plain_value(objective)
    near = {"rtol": 1e-5, "atol": 1e-7}  # of the numerical integral
    torch.testing.assert_close(objective.value(HYPER, params), slow.value(HYPER, params), **near)
    for found, expected in (
        (objective.gradients(HYPER, params), slow.gradients(HYPER, params)),
        (
            objective.curvature_products(HYPER, params, vector),
            slow.curvature_products(HYPER, params, vector),
        ),
    ):
        torch.testing.assert_close(tuple(found), tuple(expected), **near)
    torch.testing.assert_close(
        objective.params_gradient(HYPER, params), objective.gradients(HYPER, params).params
    )


def test_sparse_designs_have_the_derivatives_of_dense_ones():
    dense, thin = (learned_loss(4, sparse_design) for sparse_design in (False, True))
    params = random_params(dense.rows)
    torch.testing.assert_close(
        tuple(thin.gradients(HYPER, params)), tuple(dense.gradients(HYPER, params))
    )


def test_a_slope_near_zero_is_the_cross_entropy(objective):
    params = random_params(objective.rows)
    flat = HYPER.clone()
    flat[:, 1] = 1e-6
    loss, _ = objective.rows.cross_entropy(objective.rows.scores(params))
    torch.testing.assert_close(objective.transformed(flat, loss), loss, rtol=1e-4, atol=0)


def test_rows_count_less_the_worse_they_fit(objective):
    loss = torch.linspace(0, 10, 24, dtype=torch.float64).expand(2, 3, 24)
    trust = objective.trust(HYPER, loss)
    noisy = objective.noisy > 0
    assert bool((trust[..., ~noisy] == 1).all())
    assert bool((trust[..., noisy].diff() < 0).all()) and bool((trust > 0).all())
    assert float(objective.trust(HYPER, 0 * loss).min()) == pytest.approx(1)


def make_problem(n_classes):
    objective = learned_loss(n_classes)
    rows = objective.rows
    judging = (torch.arange(24) % 4 == torch.arange(3)[:, None]) * (1 - objective.noisy)
    judging = judging / judging.sum()
    pull = torch.full((5,), 0.05, dtype=torch.float64)
    upper = TrustedLoss(rows, judging, pull, HYPER[0], sharpness=4)
    return LearnedLossProblem(rows, objective.noisy, objective.weight, upper, judging, tol=1e-10)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_lower_solutions_are_stationary_and_not_above_their_start(n_classes):
    problem = make_problem(n_classes)
    start = random_params(problem.rows)
    if n_classes > 2:
        start = start - start.mean(2, keepdim=True)  # what all scores share is never moved
    params = problem.solve_lower(HYPER, start)
    gradient = problem.lower.params_gradient(HYPER, params)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)
    assert bool((problem.lower.value(HYPER, params) < problem.lower.value(HYPER, start)).all())


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_hypergradient_is_that_of_a_refit(n_classes):
    problem = make_problem(n_classes)
    start = problem.solve_lower(HYPER[:1], random_params(problem.rows, 1) * 0)
    free = torch.full((5,), 50.0, dtype=torch.float64)
    bilevel = problem.problem(HYPER[:1], -free, free, start)
    # Steps of hyper of zero: params and multiplier settle, and the hypergradient is exact.
    seen = []
    solve(
        bilevel,
        SlBamm(averaging=0.0, hyper_step=0.0),
        max_iter=400,
        tol=0.0,
        callback=lambda state, row: seen.append(state.hypergradient),
    )

    def criterion(hyper):
        return float(bilevel.criterion(hyper, start)[0])

    for index in range(5):
        step = torch.zeros_like(HYPER[:1])
        step[0, index] = 1e-4
        numeric = (criterion(HYPER[:1] + step) - criterion(HYPER[:1] - step)) / 2e-4
        assert float(seen[-1][0, index]) == pytest.approx(numeric, rel=1e-5, abs=1e-7)
