"""Losses under autocast: halves inside, single precision outside."""

import pytest
import torch

from skbamm.problems import BilevelProblem, module_problem
from skbamm.solvers import SOLVERS, SlBamm, solve
from tests.solvers.runs import make

generator = torch.Generator().manual_seed(0)
X = torch.randn(60, 5, generator=generator)
y = (X[:, 0] > 0).float() * 2 - 1


def half(function):
    def loss(hyper, params):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return function(hyper, params)

    return loss


def lower(hyper, params):
    loss = torch.nn.functional.softplus(-y[:30] * (X[:30] @ params)).mean()
    return loss + (hyper.exp() * params.square()).sum() / 2


def upper(hyper, params):
    return (1 - y[30:] * (X[30:] @ params)).square().mean()


def learned(wrap, solver, max_iter):
    start = torch.full((5,), -2.0)
    problem = BilevelProblem(wrap(upper), wrap(lower), start, 0 * start, strongly_convex=True)
    return problem, solve(problem, solver, max_iter=max_iter, tol=-1.0, verify=False)


@pytest.mark.parametrize("name", SOLVERS)
def test_variables_and_steps_stay_in_single_precision(name):
    _, solution = learned(half, make(name), 3)
    for tensor in (solution.hyper, solution.params, solution.criterion):
        assert tensor.dtype is torch.float32 and tensor.isfinite().all()


def test_a_run_under_autocast_ends_near_one_without_and_can_be_checked_there():
    solver = SlBamm(params_step=0.5, multiplier_step=0.5, hyper_step=0.1)
    exact, expected = learned(lambda loss: loss, solver, 60)
    _, found = learned(half, solver, 60)
    assert (found.state.hyper - exact.initial_hyper).norm() > 0.05
    moved = found.state.hyper, expected.state.hyper
    torch.testing.assert_close(*moved, rtol=0, atol=0.02)
    checked = solve(exact, solver, max_iter=1, tol=-1.0, state=found.state)
    again = solve(exact, solver, max_iter=1, tol=-1.0, state=expected.state)
    torch.testing.assert_close(checked.criterion, again.criterion, rtol=0.05, atol=0)


def test_a_loss_of_halves_is_one_of_single_precision():
    def loss(hyper, model):
        return model(X[:, :5]).square().sum(dtype=torch.bfloat16) + hyper.sum()

    module = torch.nn.Linear(5, 1)
    problem = module_problem(module, half(loss), half(loss), torch.zeros(2))
    value = problem.upper.value(problem.initial_hyper, problem.initial_params)
    assert value.dtype is torch.float32
    gradients = problem.upper.gradients(problem.initial_hyper, problem.initial_params)
    assert gradients.hyper.dtype is gradients.params.dtype is torch.float32
