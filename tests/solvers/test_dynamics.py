"""However the way back through a descent is kept, its gradients are the same."""

import dataclasses

import pytest
import torch

from skbamm.problems import BilevelProblem, FunctionObjective, Objective
from skbamm.solvers import SOLVERS, solve
from skbamm.solvers.lower import _dynamics

OPTIONS = {"params_step": 0.1, "hyper_step": 0.5, "n_steps": 12}
NAMES = {
    "unrolling": {},
    "truncated-unrolling": {"n_reverse": 5},
    "bda": {"averaging": 0.3},
    "iaptt-gm": {"dynamics": "nesterov", "truncation": True},
}


class ByHand(FunctionObjective):
    """Derivatives of its own, as solvers see it."""

    def gradients(self, hyper, params, *, differentiable=False):
        return Objective.gradients(self, hyper, params, differentiable=differentiable)


def ridge():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    y = X.sum(1) + torch.randn(40, generator=generator, dtype=torch.float64)

    def lower(hyper, params):
        loss = torch.nn.functional.softplus(-y[:20] * (X[:20] @ params)).mean()
        return loss + (hyper.exp() * params.square()).sum() / 2

    def upper(hyper, params):
        return (X[20:] @ params - y[20:]).square().mean() + hyper.square().mean()

    hyper = torch.full((4,), -2.0, dtype=torch.float64)
    return BilevelProblem(upper, lower, hyper, 0 * hyper + 0.3, strongly_convex=True)


def hyper_of(problem, name):
    solver = SOLVERS[name](**OPTIONS, **NAMES[name])
    return solve(problem, solver, max_iter=4, tol=-1.0, verify=False).state.hyper


@pytest.mark.parametrize("name", NAMES)
def test_the_way_back_is_the_same_however_it_is_kept(name, monkeypatch):
    problem = ridge()
    by_graph = hyper_of(problem, name)
    levels = {level: ByHand(getattr(problem, level).function) for level in ("upper", "lower")}
    by_points = hyper_of(dataclasses.replace(problem, **levels), name)
    monkeypatch.setattr(_dynamics, "GRAPH_BUDGET", 0)
    evaluated_again = hyper_of(problem, name)
    assert (by_graph - problem.initial_hyper).abs().min() > 1e-3
    torch.testing.assert_close(by_points, by_graph, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(evaluated_again, by_graph, rtol=1e-12, atol=1e-14)


def test_more_steps_back_than_there_are_is_all_of_them():
    problem = ridge()
    solver = SOLVERS["truncated-unrolling"](**OPTIONS, n_reverse=30)
    found = solve(problem, solver, max_iter=4, tol=-1.0, verify=False).state.hyper
    torch.testing.assert_close(found, hyper_of(problem, "unrolling"), rtol=1e-12, atol=1e-14)
