"""The regression problem: fast derivatives, exact solves and the hypergradient."""

import numpy as np
import pytest
import torch

from skbamm.problems import AveragedObjective, FunctionObjective, Objective
from skbamm.regularization.losses._quadratic import HeldOutError, PenalizedError, PenaltyProblem
from tests.reference.regression import (
    KINDS,
    PENALTIES,
    losses,
    make_data,
    make_hyper,
    make_penalty,
    penalty_problem,
)

# Autograd cannot pass through products with SciPy's sparse matrices.
DENSE = ("gram", "rows")


def random_params(n_candidates=2, seed=2, n_features=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_candidates, 3, 2, n_features, generator=generator, dtype=torch.float64)


def lower_objective(kind, penalty_name, **options):
    train, _ = losses(kind, make_data())
    return PenalizedError(train, make_penalty(penalty_name, train, **options))


def upper_objective(kind):
    return HeldOutError(losses(kind, make_data())[1])


@pytest.fixture(params=DENSE)
def kind(request):
    return request.param


@pytest.fixture(params=["held-out error", *PENALTIES, "adaptive at its limits"])
def objective(request, kind):
    if request.param == "held-out error":
        return upper_objective(kind)
    if request.param == "adaptive at its limits":
        return lower_objective(kind, "adaptive", limit=(0.2, 0.9))
    return lower_objective(kind, request.param)


def hyper_for(objective):
    if isinstance(objective, HeldOutError):
        return torch.tensor([[0.1], [0.2]], dtype=torch.float64)
    return make_hyper(objective.penalty)


def test_fast_gradients_agree_with_autograd(objective):
    hyper, params = hyper_for(objective), random_params()
    slow = FunctionObjective(objective.value).gradients(hyper, params)
    torch.testing.assert_close(tuple(objective.gradients(hyper, params)), tuple(slow))


def test_fast_curvature_products_agree_with_autograd(objective):
    hyper, params, vector = hyper_for(objective), random_params(), random_params(seed=3)
    slow = FunctionObjective(objective.value).curvature_products(hyper, params, vector)
    fast = objective.curvature_products(hyper, params, vector)
    torch.testing.assert_close(tuple(fast), tuple(slow))


def test_fast_gradients_can_be_differentiated(objective):
    hyper, params, vector = hyper_for(objective), random_params(), random_params(seed=3)
    slow = Objective.curvature_products(objective, hyper, params, vector)
    fast = objective.curvature_products(hyper, params, vector)
    torch.testing.assert_close(tuple(fast), tuple(slow))


def test_values_of_candidates_are_separate(objective):
    hyper, params = hyper_for(objective), random_params()
    both = objective.value(hyper, params)
    alone = torch.cat([objective.value(hyper[[i]], params[[i]]) for i in range(2)])
    torch.testing.assert_close(both, alone)


@pytest.mark.parametrize("penalty_name", PENALTIES)
@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_of_the_weights_equals_finite_differences(kind, penalty_name):
    train, _ = losses(kind, make_data())
    penalty = make_penalty(penalty_name, train)
    hyper, h = make_hyper(penalty), 1e-5
    _, jacobian = penalty.log_weights(hyper)
    for index in range(penalty.n_hyper):
        step = torch.zeros_like(hyper)
        step[:, index] = h
        forward, backward = (penalty.log_weights(hyper + sign * step)[0] for sign in (1, -1))
        # Central differences are good to h^2, and to the rounding of values of size 1 over h.
        torch.testing.assert_close(
            jacobian[:, index], (forward - backward) / (2 * h), rtol=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("penalty_name", PENALTIES)
def test_weight_of_a_fixed_feature_does_not_move(penalty_name):
    train, _ = losses("gram", make_data())
    log_weights, jacobian = make_penalty(penalty_name, train).log_weights(
        make_hyper(make_penalty(penalty_name, train))
    )
    assert (log_weights[..., 3] == -1).all() and (jacobian[..., 3] == 0).all()


def test_adaptive_weights_without_exponents_are_ridge():
    train, _ = losses("gram", make_data())
    hyper = torch.tensor([[0.3, -0.4, 0.0]], dtype=torch.float64)
    log_weights, _ = make_penalty("adaptive", train).log_weights(hyper)
    learned = log_weights[..., [0, 1, 2, 4]]
    torch.testing.assert_close(learned, torch.full_like(learned, -0.4))


def test_adaptive_weights_follow_their_formula():
    train, _ = losses("gram", make_data())
    penalty = make_penalty("adaptive", train)
    hyper = torch.tensor([[0.3, -0.4, 2.0]], dtype=torch.float64)
    ridge = train.gram + np.exp(0.3) * torch.eye(5, dtype=torch.float64)
    coef = torch.linalg.solve(ridge, train.cross.mT)  # (n_folds, n_features, n_targets)
    square = coef.square().mean(2)[:, [0, 1, 2, 4]]
    relative = square / square.mean(1, keepdim=True) + 1e-6  # the floor of magnitudes, squared
    found = penalty.log_weights(hyper)[0][0][:, [0, 1, 2, 4]].exp()
    torch.testing.assert_close(found, np.exp(-0.4) / relative)


@pytest.mark.parametrize("averaging", [0.0, 0.3])
@pytest.mark.parametrize("penalty_name", PENALTIES)
@pytest.mark.parametrize("kind", KINDS)
def test_metric_inverts_the_hessian(kind, penalty_name, averaging):
    problem = penalty_problem(kind, penalty_name, n_points=2)
    hyper, vector = problem.initial_hyper, random_params()
    averaged = AveragedObjective(problem.lower, problem.upper, averaging)
    product = averaged.curvature_products(hyper, vector, vector).hessian
    found = problem.metric(hyper, vector, averaging).solve(product)
    torch.testing.assert_close(found, vector)


@pytest.mark.parametrize("kind", KINDS)
def test_metric_is_that_of_the_point_it_is_asked_for(kind):
    problem = penalty_problem(kind, "groups", n_points=2)
    vector = random_params()
    problem.metric(problem.initial_hyper, vector, 0.0)
    hyper = problem.initial_hyper + 0.5
    product = problem.lower.curvature_products(hyper, vector, vector).hessian
    torch.testing.assert_close(problem.metric(hyper, vector, 0.0).solve(product), vector)


@pytest.mark.parametrize("penalty_name", PENALTIES)
@pytest.mark.parametrize("kind", KINDS)
def test_lower_solution_is_stationary(kind, penalty_name):
    problem = penalty_problem(kind, penalty_name, n_points=2)
    solution = problem.solve_lower(problem.initial_hyper, problem.initial_params)
    gradient = problem.lower.gradients(problem.initial_hyper, solution).params
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("kind", KINDS)
def test_start_is_the_lower_solution(kind):
    problem = penalty_problem(kind, "groups", n_points=2)
    found = problem.solve_lower(problem.initial_hyper, problem.initial_params)
    torch.testing.assert_close(problem.initial_params, found)


def test_start_is_clipped_to_its_box():
    train, test = losses("gram", make_data())
    penalty = make_penalty("groups", train)
    bounds = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    problem = PenaltyProblem(PenalizedError(train, penalty), HeldOutError(test)).problem(
        10 * make_hyper(penalty) - 5, *bounds
    )
    assert torch.equal(problem.project_hyper(problem.initial_hyper), problem.initial_hyper)


def exact_hypergradient(problem, hyper):
    """Gradient of the upper objective along the exact lower-level solution."""
    params = problem.solve_lower(hyper, problem.initial_params)
    upper = problem.upper.gradients(hyper, params)
    multiplier = problem.metric(hyper, params, 0.0).solve(upper.params)
    return upper.hyper - problem.lower.curvature_products(hyper, params, multiplier).mixed


@pytest.mark.parametrize("penalty_name", PENALTIES)
@pytest.mark.parametrize("kind", KINDS)
def test_hypergradient_equals_finite_differences_of_the_criterion(kind, penalty_name):
    problem = penalty_problem(kind, penalty_name, n_points=2)
    hyper, h = problem.initial_hyper, 1e-4
    found = exact_hypergradient(problem, hyper)
    for index in range(hyper.shape[1]):
        step = torch.zeros_like(hyper)
        step[:, index] = h
        forward, backward = (
            problem.criterion(hyper + sign * step, problem.initial_params) for sign in (1, -1)
        )
        # Central differences are good to h^2 relative to the gradient.
        torch.testing.assert_close(
            found[:, index], (forward - backward) / (2 * h), rtol=1e-5, atol=1e-8
        )
