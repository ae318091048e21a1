"""Networks in the place of linear scores: derivatives, metric, minimisers, hypergradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.autograd.functional import jvp

from skbamm.cleaning._network import LastLayer, NetworkRows
from skbamm.cleaning._network_fit import KroneckerMetric, minimize_by_newton, minimize_near
from skbamm.cleaning._problem import CleaningProblem, TrustedLoss
from skbamm.cleaning._weighting import EvidenceWeighting
from skbamm.linalg._softmax import WeightedLoss
from skbamm.problems import FunctionObjective
from skbamm.solvers import SlBamm, solve
from tests.reference.cleaning import make_rows, random_weights

RIDGE = torch.tensor([0.02, 0.05], dtype=torch.float64)


def network(n_classes=3, hidden=(4, 3), *, sparse_design=False, n_rows=24):
    rows = make_rows(n_classes, n_rows=n_rows, sparse_design=sparse_design)
    generator = torch.Generator().manual_seed(5)
    sizes = [rows.n_columns - 1, *hidden, rows.n_scores]
    layers = [
        torch.randn(sizes[k + 1], sizes[k], generator=generator, dtype=torch.float64) / 2
        for k in range(len(sizes) - 1)
    ]
    return NetworkRows(rows, layers)


def random_like(rows, seed, n_candidates=2, n_folds=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (n_candidates, n_folds, 1, rows.n_params)
    return torch.randn(shape, generator=generator, dtype=torch.float64) / 2


def plain_scores(rows, params):
    """The network by torch's own operations, for autograd."""
    design = rows.design if rows.is_dense else torch.from_numpy(rows.design.toarray())
    *hidden, last = rows.layers(params)
    outputs = design.T.expand(*params.shape[:2], -1, -1)
    for layer in hidden:
        outputs = torch.tanh(layer @ outputs)
        outputs = torch.cat([outputs, torch.ones_like(outputs[..., :1, :])], dim=-2)
    return last @ outputs


@pytest.fixture(params=[(2, (4,)), (3, (4, 3)), (4, (3,))], ids=str)
def rows(request):
    return network(*request.param)


def test_products_are_those_of_autograd(rows):
    params, vector = random_like(rows, 1), random_like(rows, 2)
    slope = torch.randn(plain_scores(rows, params).shape, dtype=torch.float64)
    bend = torch.randn(slope.shape, dtype=torch.float64)
    torch.testing.assert_close(rows.scores(params), plain_scores(rows, params))

    def pulled(params, slope):
        return torch.func.vjp(lambda at: plain_scores(rows, at), params)[1](slope)[0]

    _, ahead = jvp(lambda at: plain_scores(rows, at), params, vector)
    torch.testing.assert_close(rows.push(params, vector), ahead)
    torch.testing.assert_close(rows.pull(params, slope), pulled(params, slope))
    _, along = jvp(pulled, (params, slope), (vector, bend))
    torch.testing.assert_close(rows.pull_along(params, vector, lambda: slope, bend), along)


def test_sparse_rows_have_the_same_products():
    dense, thin = network(), network(sparse_design=True)
    params, vector = random_like(dense, 1), random_like(dense, 2)
    slope = rows_slope = torch.randn(2, 3, 3, 24, dtype=torch.float64)
    for of in (
        lambda rows: rows.scores(params),
        lambda rows: rows.push(params, vector),
        lambda rows: rows.pull(params, slope),
        lambda rows: rows.pull_along(params, vector, lambda: slope, rows_slope),
    ):
        torch.testing.assert_close(of(thin), of(dense))


def test_without_hidden_units_in_play_a_network_is_linear():
    """Tiny inputs keep tanh straight: then two layers are the product of their matrices."""
    rows = network(3, (3,))
    params = 1e-4 * random_like(rows, 1)
    first, second = rows.layers(params)
    design = rows.design.T
    straight = second[..., :-1] @ first @ design + second[..., -1:]
    torch.testing.assert_close(rows.scores(params), straight, rtol=1e-6, atol=1e-15)


def gauss_newton(rows, weights, ridge, params):
    """Dense, by the products."""
    n_params = rows.n_params
    units = torch.eye(n_params, dtype=torch.float64)[:, None, None]
    _, probabilities = rows.cross_entropy(rows.scores(params))
    point = params.expand(n_params, -1, -1, -1)
    ahead = rows.push(point, units)
    pulled = rows.pull(point, weights[0, 0] * rows.curvature(probabilities[0, 0], ahead))
    return pulled[:, 0, 0] + torch.diag(rows.penalty(ridge)[0, 0, 0])


def test_the_metric_is_near_the_inverse_of_the_gauss_newton_matrix():
    rows = network(2, (4,), n_rows=200)
    params = random_like(rows, 1, 1, 1)
    weights = random_weights(200, 1, 1)
    _, probabilities = rows.cross_entropy(rows.scores(params))
    metric = KroneckerMetric.build(rows, weights, probabilities, RIDGE[:1], params)
    matrix = gauss_newton(rows, weights, RIDGE[:1], params)
    units = torch.eye(rows.n_params, dtype=torch.float64)
    inverse = torch.stack([metric.solve(unit.reshape(1, 1, 1, -1)).flatten() for unit in units])
    torch.testing.assert_close(inverse, inverse.T)
    preconditioned = torch.linalg.eigvals(inverse @ matrix).real
    plain = torch.linalg.eigvalsh(matrix)
    # It tells sizes in most directions; the plain matrix spreads over four orders.
    assert preconditioned.max() / preconditioned.min() < 0.1 * plain[-1] / plain[0]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_minimisers_find_stationary_points_of_lower_value(n_classes):
    rows = network(n_classes, (4,))
    weights = random_weights(24)
    losses = WeightedLoss(weights)
    start = rows.initial(2, 3)
    near = minimize_near(rows, losses, RIDGE, start, tol=1e-2, max_iter=300)
    exact = minimize_by_newton(rows, losses, RIDGE, near, tol=1e-9)

    def value(params):
        loss, _ = rows.cross_entropy(plain_scores(rows, params))
        return (weights * loss).sum() + (rows.penalty(RIDGE) * params.square()).sum() / 2

    gradient = torch.func.grad(value)(exact)
    assert gradient.abs().max() < 1e-9
    assert value(exact) <= value(near) < value(start)
    # Of six fits; the distance is taken in a metric that is not exact.
    assert value(near) - value(exact) < 6 * 1e-3


def test_large_networks_are_solved_nearly_and_small_ones_well():
    small, large = network(), network(n_rows=2000)
    for rows, bound in ((small, 1e-8), (large, 1e-1)):
        weights = random_weights(rows.n_rows, 1, 1)
        params = rows.minimize(
            WeightedLoss(weights), RIDGE[:1], rows.initial(1, 1), tol=1e-9, max_iter=300
        )
        _, probabilities = rows.cross_entropy(rows.scores(params))
        gradient = rows.pull(params, weights[:, :, None] * (probabilities - rows.indicator))
        gradient = gradient + rows.penalty(RIDGE[:1]) * params
        assert gradient.norm() < bound
    assert gradient.norm() > 1e-8


def cleaning(n_classes=3):
    """A `CleaningProblem` on a network: 8 clean rows, two folds, the others partly relabelled."""
    rows = network(n_classes, (3,))
    random = np.random.default_rng(7)
    clean, noisy = torch.arange(8), torch.arange(8, 24)
    in_training = torch.ones(2, 24, dtype=torch.float64)
    judging = torch.zeros(2, 24, dtype=torch.float64)
    for k in range(2):
        in_training[k, 4 * k : 4 * k + 4] = 0.0
        judging[k, 4 * k : 4 * k + 4] = 1 / 8
    weighting = EvidenceWeighting(
        torch.from_numpy(random.normal(size=16)),
        noisy,
        clean,
        torch.ones(24, dtype=torch.float64),
        in_training,
        relabel=1.0,
    )
    suggested = torch.from_numpy(random.dirichlet(np.ones(n_classes), 24).T)
    nothing = torch.zeros(5, dtype=torch.float64)
    loss = TrustedLoss(rows, judging, nothing, nothing, sharpness=4)
    return CleaningProblem(
        rows, weighting, loss, judging, strongly_convex=True, suggested=suggested, tol=1e-10
    )


HYPER = torch.tensor([[0.2, 1.0, -2.5, 1.0, 0.1]], dtype=torch.float64)


def test_derivatives_of_both_levels_are_those_of_autograd():
    problem = cleaning()
    params, vector = random_like(problem.rows, 1, 1, 2), random_like(problem.rows, 2, 1, 2)
    weighting, rows = problem.lower.weighting, problem.rows

    def lower(hyper, params):
        weights, ridge, share = weighting(hyper)
        gap = rows.indicator - problem.lower.suggested
        targets = problem.lower.suggested + share[:, None, None] * gap
        scores = plain_scores(rows, params)
        loss = -(torch.log_softmax(scores, -2) * targets).sum(-2)
        square = (rows.penalty(ridge) * params.square()).sum((1, 2, 3)) / 2
        return (weights * loss).sum((1, 2)) + square

    def upper(hyper, params):
        scores = hyper[:, 4, None, None, None].exp() * plain_scores(rows, params)
        loss = -(torch.log_softmax(scores, -2) * rows.indicator).sum(-2)
        return (problem.upper.weight * loss).sum((1, 2))

    for fast, slow in (
        (problem.lower, FunctionObjective(lower)),
        (problem.upper, FunctionObjective(upper)),
    ):
        torch.testing.assert_close(fast.value(HYPER, params), slow.value(HYPER, params))
        found, expected = fast.gradients(HYPER, params), slow.gradients(HYPER, params)
        torch.testing.assert_close(found.params, expected.params)
        torch.testing.assert_close(found.hyper, expected.hyper)
        found = fast.curvature_products(HYPER, params, vector)
        expected = slow.curvature_products(HYPER, params, vector)
        torch.testing.assert_close(found.hessian, expected.hessian)
        torch.testing.assert_close(found.mixed, expected.mixed)


def test_the_hypergradient_is_that_of_refits():
    problem = cleaning()
    params = problem.solve_lower(HYPER, problem.rows.initial(1, 2))
    bound = torch.full((5,), 10.0, dtype=torch.float64)
    bilevel = problem.problem(HYPER, -bound, bound, params)
    frozen = SlBamm(hyper_step=0.0)  # params and multiplier settle, hyper stays
    solution = solve(bilevel, frozen, max_iter=600, tol=0.0)
    found = solution.state.hypergradient[0]

    def criterion(hyper):
        return float(problem.upper.value(hyper, problem.solve_lower(hyper, params))[0])

    steps = 1e-4 * torch.eye(5, dtype=torch.float64)
    slopes = [(criterion(HYPER + step) - criterion(HYPER - step)) / 2e-4 for step in steps]
    torch.testing.assert_close(found, torch.tensor(slopes).to(found), rtol=1e-4, atol=1e-6)


def test_learning_does_not_raise_the_criterion():
    problem = cleaning()
    problem.upper = replace(problem.upper, pull=torch.full((5,), 0.05, dtype=torch.float64))
    params = problem.solve_lower(HYPER, problem.rows.initial(1, 2))
    bound = torch.tensor([8.0, 4.0, 0.0, 5.0, 3.0], dtype=torch.float64)
    least = torch.tensor([-8.0, 0.1, -6.0, 0.0, -2.0], dtype=torch.float64)
    bilevel = problem.problem(HYPER, least, bound, params)
    solution = solve(bilevel, SlBamm(max_move=0.3), max_iter=100, tol=1e-3)
    assert solution.criterion[0] < solution.initial_criterion[0]


def test_wide_sparse_designs_take_moments_of_columns_alone():
    design = sparse.random(40, 1200, 0.05, random_state=0, format="csr")
    rows = make_rows(2, n_rows=40)
    rows.design = sparse.hstack([design, np.ones((40, 1))]).tocsr()
    rows.is_dense = False
    layers = [torch.full((3, 1200), 0.01, dtype=torch.float64), torch.ones(1, 3).double()]
    rows = NetworkRows(rows, layers)
    weights = random_weights(40, 1, 1)
    params = rows.initial(1, 1)
    _, probabilities = rows.cross_entropy(rows.scores(params))
    metric = KroneckerMetric.build(rows, weights, probabilities, RIDGE[:1], params)
    assert metric.inputs[0][1] is None
    assert bool(metric.solve(params).isfinite().all())


def held(n_classes=3):
    rows = network(n_classes, (4, 3))
    params = random_like(rows, 1, 1, 3)
    return rows, params, LastLayer(rows, params)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_last_layer_has_the_scores_and_products_of_the_network(n_classes):
    rows, params, last = held(n_classes)
    own = last.last(params)
    torch.testing.assert_close(last.scores(own), rows.scores(params))
    torch.testing.assert_close(last.whole(own), params)
    slope = torch.randn(rows.scores(params).shape, dtype=torch.float64)
    torch.testing.assert_close(last.pull(own, slope), last.last(rows.pull(params, slope)))
    vector = torch.randn(own.shape, dtype=torch.float64)
    still = torch.zeros_like(params)
    still[..., -last.n_params :] = vector
    torch.testing.assert_close(last.push(own, vector), rows.push(params, still))


def test_rows_of_a_last_layer_are_those_of_all_folds():
    _, params, last = held()
    own, mask = last.last(params), torch.arange(24) % 3 == 0
    torch.testing.assert_close(last.subset(mask).scores(own), last.scores(own)[..., mask])


def test_a_last_layer_is_solved_as_well_as_asked():
    _, params, last = held()
    weights = random_weights(24, 1, 3)
    own = last.minimize(WeightedLoss(weights), RIDGE[:1], last.last(params), tol=1e-9, max_iter=300)
    _, probabilities = last.cross_entropy(last.scores(own))
    gradient = last.pull(own, weights[:, :, None] * (probabilities - last.indicator))
    gradient = gradient + last.penalty(RIDGE[:1]) * own
    assert gradient.abs().max() < 1e-8
