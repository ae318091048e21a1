"""The cleaning problem: fast derivatives, exact solves, hypergradient, and sl-BAMM on it."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from skbamm.cleaning._problem import Prior, TrainingLoss, ValidationLoss
from skbamm.problems import AveragedObjective, FunctionObjective
from skbamm.solvers import SlBamm, solve
from tests.reference.cleaning import cleaning_problem, make_rows, random_params

KINDS = ("verified", "relabelled", "noisy", "free", "free, noisy")
LEVELS = ("lower", "upper")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=[2, 4], ids="{} classes".format)
def problem(request, kind):
    return cleaning_problem(kind, request.param)


def dense_value(objective):
    """The objective's value by autograd: a fresh graph, without the memory of `forward`."""
    rows = objective.rows

    def cross_entropy(scores, given=rows.targets):
        if rows.has_reference:
            scores = torch.cat([torch.zeros_like(scores), scores], 1)
            given = torch.cat([1 - given, given], -2)
        return -(torch.log_softmax(scores, 1) * given).sum(1)

    def scores(params):
        return params @ rows.design.X.T

    def lower(hyper, params):
        weights, ridge, given = objective.weighting(hyper)
        targets = rows.targets
        if given is not None:
            targets = given * rows.targets + (1 - given) * objective.suggested
        square = ridge * params[..., :-1].square().sum() + 1e-6 * params[..., -1].square().sum()
        return (weights * cross_entropy(scores(params), targets)).sum() + square / 2

    def upper(hyper, params):
        factor = hyper[4].exp() if objective.tempered else 1.0
        loss = cross_entropy(factor * scores(params))
        if objective.bounded:
            loss = 1 - (-loss).exp()
        precision, mean = objective.prior
        return (objective.weight * loss).sum() + (precision * (hyper - mean).square()).sum() / 2

    return FunctionObjective(lower if isinstance(objective, TrainingLoss) else upper)


@pytest.fixture(params=LEVELS)
def levels(request, problem):
    """The fast objective, its slow counterpart, a point and a vector."""
    objective = getattr(problem, request.param)
    rows = objective.rows
    return (
        objective,
        dense_value(objective),
        problem.initial_hyper,
        random_params(rows),
        random_params(rows, seed=3),
    )


def test_values_are_those_of_the_formula(levels):
    fast, slow, hyper, params, _ = levels
    torch.testing.assert_close(fast.value(hyper, params), slow.value(hyper, params))


def test_fast_gradients_agree_with_autograd(levels):
    fast, slow, hyper, params, _ = levels
    torch.testing.assert_close(
        tuple(fast.gradients(hyper, params)), tuple(slow.gradients(hyper, params))
    )


def test_the_params_gradient_alone_is_that_of_both(levels):
    fast, _, hyper, params, _ = levels
    expected = fast.gradients(hyper, params).params
    torch.testing.assert_close(fast.params_gradient(hyper, params), expected)


def test_fast_curvature_products_agree_with_autograd(levels):
    fast, slow, hyper, params, vector = levels
    torch.testing.assert_close(
        tuple(fast.curvature_products(hyper, params, vector)),
        tuple(slow.curvature_products(hyper, params, vector)),
    )


def test_the_hessian_product_alone_is_that_of_both(levels):
    fast, _, hyper, params, vector = levels
    expected = fast.curvature_products(hyper, params, vector).hessian
    torch.testing.assert_close(fast.hessian_product(hyper, params, vector), expected)


def test_hyper_that_moved_is_seen(levels):
    fast, slow, hyper, params, vector = levels
    fast.gradients(hyper, params)
    other = hyper + 0.25
    torch.testing.assert_close(
        tuple(fast.curvature_products(other, params, vector)),
        tuple(slow.curvature_products(other, params, vector)),
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_sparse_designs_have_the_derivatives_of_dense_ones(kind, level, n_classes):
    dense, thin = (
        cleaning_problem(kind, n_classes, sparse_design=sparse_design)
        for sparse_design in (False, True)
    )
    hyper, rows = dense.initial_hyper, dense.lower.rows
    params, vector = random_params(rows), random_params(rows, seed=3)

    def derivatives(problem):
        objective = getattr(problem, level)
        return (
            objective.value(hyper, params),
            *objective.gradients(hyper, params),
            *objective.curvature_products(hyper, params, vector),
        )

    torch.testing.assert_close(derivatives(thin), derivatives(dense))


def test_a_bounded_loss_is_between_0_and_1():
    problem = cleaning_problem("noisy", 4, precision=0.0)
    for size in (1.0, 1e3):
        params = size * random_params(problem.upper.rows)
        value = problem.upper.value(problem.initial_hyper, params)
        assert bool((value >= 0).all()) and bool((value <= 1).all())


def test_losses_of_folds_average_to_the_value():
    problem = cleaning_problem("verified", precision=0.0)
    params = random_params(problem.upper.rows)
    share = problem.upper.weight.sum(1)
    found = problem.upper.fold_losses(problem.initial_hyper, params) @ share
    torch.testing.assert_close(found, problem.upper.value(problem.initial_hyper, params))


def test_the_prior_is_half_a_square():
    rows = make_rows()
    weight = torch.full((3, 24), 1 / 72, dtype=torch.float64)
    precision = torch.tensor([0.5, 2.0], dtype=torch.float64)
    prior = Prior(precision, mean=torch.tensor([1.0, -1.0], dtype=torch.float64))
    hyper, params = torch.zeros(2, dtype=torch.float64), random_params(rows)
    found = ValidationLoss(rows, weight, prior).value(hyper, params)
    plain = ValidationLoss(rows, weight).value(hyper, params)
    assert float(found - plain) == pytest.approx(1.25)


# The problem


@pytest.mark.parametrize("averaging", [0.0, 0.3])
def test_metric_of_two_classes_inverts_the_mean_of_the_averaged_hessians(averaging):
    """Exact but for the upper level's ridge, which is none."""
    problem = cleaning_problem("free", 2)
    hyper, params = problem.initial_hyper, problem.initial_params
    averaged = AveragedObjective(problem.lower, problem.upper, averaging)
    columns = [
        averaged.hessian_product(hyper, params, unit.expand(params.shape))
        for unit in torch.eye(params.shape[-1], dtype=torch.float64)
    ]
    # Mean over folds: the one score's columns.
    hessian = torch.stack(columns, -1).mean(0)[0]
    vector = random_params(problem.lower.rows, seed=3)
    found = problem.metric(hyper, params, averaging).solve(vector)
    expected = torch.linalg.solve(hessian, vector[:, 0].mT).mT[:, None]
    # The ridge of the intercept, 1e-6, is not averaged away in the metric.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_lower_solution_is_stationary(problem):
    gradient = problem.lower.params_gradient(problem.initial_hyper, problem.initial_params)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_initial_hyper_is_in_its_box(problem):
    assert torch.equal(problem.project_hyper(problem.initial_hyper), problem.initial_hyper)


def conjugate_gradients(product, target, n_iter=200):
    """Solution of ``product(x) = target``."""
    found, residual = torch.zeros_like(target), target
    direction, square = residual, residual.square().sum()
    for _ in range(n_iter):
        if square <= 1e-26 * target.square().sum():
            break
        image = product(direction)
        step = square / (direction * image).sum()
        found, residual = found + step * direction, residual - step * image
        square, last = residual.square().sum(), square
        direction = residual + square / last * direction
    return found


def exact_hypergradient(problem, hyper):
    """Gradient of the upper objective along the exact lower-level solution."""
    params = problem.solve_lower(hyper, problem.initial_params)
    upper = problem.upper.gradients(hyper, params)
    multiplier = conjugate_gradients(
        lambda vector: problem.lower.hessian_product(hyper, params, vector), upper.params
    )
    return upper.hyper - problem.lower.curvature_products(hyper, params, multiplier).mixed


def test_hypergradient_equals_finite_differences_of_the_criterion(problem):
    hyper, h = problem.initial_hyper, 1e-4
    found = exact_hypergradient(problem, hyper)
    for index in range(len(hyper)):
        step = torch.zeros_like(hyper)
        step[index] = h
        above, below = (
            problem.criterion(hyper + sign * step, problem.initial_params) for sign in (1, -1)
        )
        # Central differences are good to h^2 relative to the gradient, and to the tolerance of the
        # two solves, 1e-11, over 2 h.
        torch.testing.assert_close(found[index], (above - below) / (2 * h), rtol=1e-5, atol=1e-7)


# sl-BAMM on it


def converge(problem, n_steps=60, **options):
    """States of a run that keeps `hyper` where it is."""
    solver = SlBamm(hyper_step=0.0, **options)
    states = [solver.init(problem)]
    for _ in range(n_steps):
        states.append(solver.step(problem, states[-1]))
    return states


def test_steps_with_fixed_hyper_arrive_at_the_exact_hypergradient(problem):
    """The metric is exact for two classes, block-wise for four."""
    found = converge(problem, averaging=0.0)[-1].hypergradient
    expected = exact_hypergradient(problem, problem.initial_hyper)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("averaging", [0.0, 0.4])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_no_step_of_params_raises_the_averaged_objective(n_classes, averaging):
    problem = cleaning_problem("verified", n_classes)
    problem = replace(problem, initial_params=3 * random_params(problem.lower.rows))
    averaged = AveragedObjective(problem.lower, problem.upper, averaging)
    values = torch.stack(
        [
            averaged.value(state.hyper, state.params)
            for state in converge(problem, 30, averaging=averaging)
        ]
    )
    # Rounding of values of size 1.
    assert bool((values[1:] <= values[:-1] + 1e-11).all())


def test_a_metric_that_serves_well_is_kept():
    ages = [state.metric_age for state in converge(cleaning_problem("verified", 4), 10)]
    assert max(ages) >= 3


def test_a_metric_that_serves_badly_is_made_anew():
    problem = cleaning_problem("verified", 4)
    far = 20 * random_params(problem.lower.rows)
    problem = replace(problem, initial_params=far)
    states = converge(problem, 40)
    refreshed = [
        state.metric_age == 0 and state.metric is not before.metric
        for before, state in pairwise(states[1:])
    ]
    assert any(refreshed)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("kind", ["verified", "noisy"])
def test_sl_bamm_arrives_at_a_stationary_point(kind, n_classes):
    # A prior that curves the criterion: tiny problems have their minima at infinity.
    problem = cleaning_problem(kind, n_classes, precision=0.3)
    solution = solve(problem, SlBamm(), max_iter=300, tol=1e-5)
    hypergradient = exact_hypergradient(problem, solution.hyper)
    step = solution.hyper - problem.project_hyper(solution.hyper - hypergradient)
    torch.testing.assert_close(step, torch.zeros_like(step), rtol=0, atol=1e-4)
    assert solution.criterion < solution.initial_criterion
