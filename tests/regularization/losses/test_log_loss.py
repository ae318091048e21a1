"""Log losses: derivatives against autograd, and hypergradients against a refit."""

import numpy as np
import pytest
import torch

from skbamm.linalg._softmax import LabelledRows
from skbamm.problems import Objective
from skbamm.regularization.classification._path import RidgePath
from skbamm.regularization.losses._log_loss import (
    HeldOutLogLoss,
    LogLoss,
    LogLossProblem,
    PenalizedLogLoss,
)
from skbamm.regularization.losses._sparse_log_loss import SparseLogLoss, SparseProblem
from skbamm.regularization.penalties._specs import AdaptivePenalty, LinearPenalty
from tests.regularization.class_data import make_classes

GROUPS = np.array([0, 0, 1, 1, 2, 2])
CLASSES = pytest.mark.parametrize("n_classes", [2, 3])
#: Pilot's log strength, log strength, exponent, share of the group.
ADAPTIVE = [[-3.3, -3.0, 1.7, 0.3]]
LINEAR = [[-3.0, -2.0, -4.0]]


def tensor(values):
    return torch.tensor(np.array(values, dtype=float))


def losses(n_classes):
    """Of training and of held-out rows, all weighted."""
    data = make_classes(n_classes)
    X = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
    rows = LabelledRows(np.column_stack([X, np.ones(len(X))]), data.y, n_classes, None)
    rows.penalized = torch.ones_like(rows.penalized)
    train, test = np.zeros((2, len(data.splits), len(X)))
    for k, (kept, held_out) in enumerate(data.splits):
        train[k, kept], test[k, held_out] = data.weight[kept], data.weight[held_out]
    train /= train.sum(axis=1, keepdims=True)
    free = tensor([1e-9])
    return LogLoss(rows, tensor(train), free), LogLoss(rows, tensor(test / test.sum()), free)


def linear_penalty(n_folds):
    return LinearPenalty(tensor(np.arange(3)[:, None] == GROUPS), tensor(np.zeros(6)), n_folds)


def adaptive_penalty(loss):
    path = RidgePath(loss, 6, 1.0, (np.log(1e-6), np.log(1e3)))
    membership = tensor((np.arange(3)[:, None] == GROUPS) / 2)
    ones = tensor(np.ones(6))
    return AdaptivePenalty(path, ones, 0 * ones, (-60.0, 60.0), membership)


def make_problem(kind, n_classes):
    """Solved far more accurately than in fits: derivatives of a solution need its digits."""
    train, test = losses(n_classes)
    penalty = adaptive_penalty(train) if kind == "adaptive" else linear_penalty(train.n_folds)
    curvature = train.curvature(train.zeros()[None])
    if kind == "l1":
        return SparseProblem(SparseLogLoss(train, penalty), HeldOutLogLoss(test), curvature, 1e-10)
    return LogLossProblem(PenalizedLogLoss(train, penalty), HeldOutLogLoss(test), curvature, 1e-10)


def random_params(problem, seed=2):
    zeros = problem.lower.loss.zeros()[None]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(zeros.shape, generator=generator, dtype=torch.float64)


@CLASSES
@pytest.mark.parametrize("level", ["lower", "upper"])
def test_written_derivatives_agree_with_autograd(level, n_classes):
    problem = make_problem("l2", n_classes)
    objective, hyper = getattr(problem, level), tensor(LINEAR)
    params, vector = random_params(problem), random_params(problem, 3)
    for found, expected in (
        (objective.gradients(hyper, params), Objective.gradients(objective, hyper, params)),
        (
            objective.curvature_products(hyper, params, vector),
            Objective.curvature_products(Slow(objective), hyper, params, vector),
        ),
    ):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


class Slow(Objective):
    """An objective of which only values are known."""

    def __init__(self, objective):
        self.objective = objective

    def value(self, hyper, params):
        return self.objective.value(hyper, params)


def hypergradient(problem, hyper):
    """By the implicit function theorem, at the solved lower level."""
    params = problem.solve_lower(hyper, problem.lower.loss.zeros()[None])
    upper = problem.upper.gradients(hyper, params)
    metric = problem.metric(hyper, params, 0.0)
    multiplier = metric.solve(upper.params)
    for _ in range(5):  # what the first solve has left
        left = upper.params - problem.lower.hessian_product(hyper, params, multiplier)
        multiplier = multiplier + problem.metric(hyper, params, 0.0).solve(left)
    return -problem.lower.mixed_product(hyper, params, multiplier)[0]


@CLASSES
@pytest.mark.parametrize(
    ("kind", "hyper"), [("l2", LINEAR), ("adaptive", ADAPTIVE), ("l1", LINEAR)]
)
def test_hypergradients_are_the_differences_of_refits(kind, hyper, n_classes):
    problem, hyper, step = make_problem(kind, n_classes), tensor(hyper), 1e-4
    found = hypergradient(problem, hyper)
    for index, expected in enumerate(found):
        change = torch.zeros_like(hyper)
        change[0, index] = step
        ahead, behind = (float(problem.criterion(hyper + sign * change)) for sign in (1, -1))
        difference = (ahead - behind) / (2 * step)
        assert float(expected) == pytest.approx(difference, rel=2e-2, abs=1e-5)
    assert float(found.norm()) > 1e-3


@CLASSES
def test_the_lower_level_is_solved(n_classes):
    problem, hyper = make_problem("l2", n_classes), tensor(LINEAR)
    params = problem.solve_lower(hyper, problem.lower.loss.zeros()[None])
    gradient = problem.lower.params_gradient(hyper, params)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


@CLASSES
def test_several_candidates_are_solved_as_each_alone(n_classes):
    problem = make_problem("l2", n_classes)
    hyper = tensor([*LINEAR, [-1.0, -1.0, -1.0]])
    zeros = problem.lower.loss.zeros().repeat(2, 1, 1, 1)
    together = problem.solve_lower(hyper, zeros)
    alone = [make_problem("l2", n_classes).solve_lower(row[None], zeros[:1]) for row in hyper]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-7, atol=1e-7)


@CLASSES
def test_the_path_is_exact_at_knots_and_smooth_between(n_classes):
    train, _ = losses(n_classes)
    path = RidgePath(train, 6, 1.0, (np.log(1e-6), np.log(1e3)))
    knot = path.log_strength(-3)
    torch.testing.assert_close(path.near(knot), path.params(-3))
    step = 1e-5
    ahead, behind, here = (
        path.coefficients(tensor([knot - 0.4 + sign * step])) for sign in (1, -1, 0)
    )
    difference = (ahead[0] - behind[0]) / (2 * step)
    torch.testing.assert_close(here[1], difference, rtol=1e-5, atol=1e-7)


def test_the_path_follows_ridge_between_knots():
    train, _ = losses(2)
    path = RidgePath(train, 6, 1.0, (np.log(1e-6), np.log(1e3)))
    problem, log_strength = make_problem("l2", 2), path.log_strength(-3) + 0.5
    expected = problem.solve_lower(tensor([[log_strength] * 3]), train.zeros()[None])
    found = path.near(log_strength)
    # What the cubic leaves of a step of more than a factor of three.
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)
