"""Hyper and params in forms that users have: nestings, modules, sets, solved lower levels."""

import dataclasses
import math

import pytest
import torch
from scipy.optimize import minimize

from skbamm.problems import Ball, BilevelProblem, Box, Simplex, strongly_convex_problem
from skbamm.solvers import SOLVERS, Status, solve

double = torch.float64


def ridge(form):
    """Two strengths of a ridge, in some form, for coefficients in some form."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(60, 6, generator=generator, dtype=double)
    y = X[:, 1] - X[:, 2] + 0.5 * torch.randn(60, generator=generator, dtype=double)

    def levels(strengths, coef):
        def lower(hyper, params):
            first, second = strengths(hyper)
            penalty = first * coef(params)[:3].square().sum()
            penalty = penalty + second * coef(params)[3:].square().sum()
            return (X[:30] @ coef(params) - y[:30]).square().mean() / 2 + penalty / 2

        def upper(hyper, params):
            return (X[30:] @ coef(params) - y[30:]).square().mean() / 2

        return upper, lower

    start, zeros = torch.full((2,), -2.0, dtype=double), torch.zeros(6, dtype=double)
    if form == "tensors":
        return levels(lambda h: h.exp(), lambda p: p), start, zeros
    if form == "nestings":
        functions = levels(lambda h: (h["a"].exp(), h["b"][0].exp()), lambda p: torch.cat(p))
        return functions, {"a": start[0], "b": [start[1]]}, (zeros[:2], zeros[2:])
    weights = torch.nn.Linear(2, 1, bias=False, dtype=double)
    weights.weight.data.fill_(-2.0)
    model = torch.nn.Linear(6, 1, dtype=double)
    model.weight.data.zero_()
    model.bias.data.zero_()
    model.bias.requires_grad_(False)
    return levels(lambda h: h.weight[0].exp(), lambda p: p.weight[0]), weights, model


@pytest.mark.parametrize("form", ["nestings", "modules"])
def test_a_problem_is_the_same_in_any_form(form):
    found = []
    for name in ("tensors", form):
        levels, *initial = ridge(name)
        problem = BilevelProblem(*levels, *initial, strongly_convex=True)
        found.append((problem, solve(problem, max_iter=20, tol=1e-6)))
    (_, expected), (problem, solution) = found
    torch.testing.assert_close(solution.hyper, expected.hyper, rtol=0, atol=1e-9)
    torch.testing.assert_close(solution.params, expected.params, rtol=0, atol=1e-9)
    hyper, params = problem.hyper_of(solution.hyper), problem.params_of(solution.params)
    if form == "nestings":
        torch.testing.assert_close(hyper["b"][0], expected.hyper[1], rtol=0, atol=1e-9)
        assert [part.shape for part in params] == [(2,), (4,)]
        return
    assert not params.bias.requires_grad and initial[1].weight.abs().max() == 0
    assert problem.load_params(solution.params) is initial[1]
    torch.testing.assert_close(initial[1].weight[0].detach(), solution.params)


class FunctionalDropout(torch.nn.Linear):
    """No part of it is known to draw random numbers."""

    def forward(self, X):
        return torch.nn.functional.dropout(super().forward(X))


@pytest.mark.parametrize("kind", [torch.nn.Dropout, torch.nn.FeatureAlphaDropout, None])
def test_a_module_that_draws_has_the_same_numbers_each_time(kind):
    X = torch.ones(20, 3, 2, dtype=double)
    layer = torch.nn.Linear(2, 2) if kind else FunctionalDropout(2, 2)
    model = torch.nn.Sequential(layer, *([kind()] if kind else [])).to(double)

    def loss(hyper, model):
        return (model(X) - hyper).square().mean()

    problem = BilevelProblem(loss, loss, torch.zeros(2, dtype=double), model)
    point = problem.initial_hyper, problem.initial_params
    before = torch.get_rng_state()
    values = {float(problem.lower.value(*point)) for _ in range(3)}
    torch.randn(1)
    values.add(float(problem.upper.value(*point)))
    assert len(values) == 1
    torch.set_rng_state(before)
    problem.lower.gradients(*point)
    assert torch.equal(torch.get_rng_state(), before)


def formed_problem(project):
    levels, *initial = ridge("nestings")
    return BilevelProblem(*levels, *initial, project=project)


def test_a_projection_may_change_its_copy_in_place():
    def project(hyper):
        hyper["a"].clamp_(max=-3.0)
        return hyper

    hyper = torch.zeros(2, dtype=double)
    assert formed_problem(project).project_hyper(hyper).tolist() == [-3.0, 0.0]
    lone, *_ = mixing_problem(lambda hyper: hyper.clamp_(max=-3.0))
    wide = torch.zeros(4, dtype=double)
    assert lone.project_hyper(wide).tolist() == [-3.0] * 4
    assert not hyper.any() and not wide.any()


@pytest.mark.parametrize(
    "project",
    [
        lambda hyper: {"b": hyper["b"], "a": hyper["a"]},
        lambda hyper: {"a": hyper["a"].repeat(2), "b": [hyper["b"][0][None][:0]]},
        lambda hyper: hyper["a"],
    ],
)
def test_a_projection_that_returns_another_form_is_an_error(project):
    with pytest.raises(ValueError, match="what project returns must have the form"):
        formed_problem(project)


def test_a_projection_that_returns_another_shape_is_an_error():
    with pytest.raises(ValueError, match="what project returns must have the form"):
        mixing_problem(lambda hyper: hyper.sum())


@pytest.mark.parametrize("total", [1.0, 2.5])
def test_the_projection_on_a_simplex_is_the_nearest_point(total):
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(5, generator=generator, dtype=double)
    found = Simplex(total)(point)
    best = minimize(
        lambda x: ((x - point.numpy()) ** 2).sum(),
        [total / 5] * 5,
        bounds=[(0, None)] * 5,
        constraints={"type": "eq", "fun": lambda x: x.sum() - total},
        tol=1e-12,
    )
    torch.testing.assert_close(found, torch.tensor(best.x), rtol=0, atol=1e-6)


def test_the_projection_on_a_ball_moves_only_what_is_outside():
    ball = Ball(2.0, torch.ones(3, dtype=double))
    inside, outside = torch.full((3,), 1.5, dtype=double), torch.full((3,), 9.0, dtype=double)
    assert torch.equal(ball(inside), inside)
    torch.testing.assert_close(ball(outside), torch.full((3,), 1 + 2 / math.sqrt(3), dtype=double))


def mixing_problem(project):
    """A mixture of four targets under a matrix; the best one is on the border of the sets."""
    matrix = torch.tensor([[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0.5, 3]], dtype=double)
    target = torch.tensor([2.0, 1.0, -1.0, 0.5], dtype=double)
    problem = BilevelProblem(
        lambda hyper, params: (matrix @ params - target).square().sum() / 2,
        lambda hyper, params: (params - hyper).square().sum() / 2,
        torch.full((4,), 0.25, dtype=double),
        torch.zeros(4, dtype=double),
        strongly_convex=True,
        project=project,
    )
    return problem, matrix, target


def test_sets_keep_their_digits_far_away():
    point = torch.full((1000,), 1e6)
    torch.testing.assert_close(Simplex()(point), torch.full((1000,), 1e-3))
    far = Ball()(torch.tensor([1e200, 1e200], dtype=double))
    torch.testing.assert_close(far, torch.full((2,), 0.5**0.5, dtype=double))
    assert torch.equal(Ball()(torch.zeros(2)), torch.zeros(2))


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e12, 1e30])
def test_sets_lose_no_digits_in_single_precision(scale):
    generator = torch.Generator().manual_seed(0)
    point = scale * (1 + 1e-3 * torch.randn(2000, generator=generator))
    for project in (Simplex(), Simplex(scale), Ball(scale / 2), Ball(1e-3 * scale, scale)):
        expected = project(point.double())
        torch.testing.assert_close(project(point).double(), expected, rtol=1e-5, atol=1e-7 * scale)
    on_simplex = Simplex()(point)
    torch.testing.assert_close(on_simplex.sum(), torch.tensor(1.0), rtol=1e-6, atol=0)


def test_sets_hand_on_what_is_no_number():
    for project in (Simplex(), Ball()):
        assert project(torch.tensor([1.0, math.nan])).isnan().any()


def curved_problem(**options):
    """Steep and flat directions in hyper, and a mixture beside them."""
    curvature = torch.logspace(0, 2, 10, dtype=double)
    target = torch.tensor([0.9, -0.5, 0.3], dtype=double)

    def upper(hyper, params):
        rest = (curvature * (params[3:] - 1).square()).sum() / 2
        return rest + (params[:3] - target).square().sum() / 2 + params[0] * params[3] / 2

    hyper = {"mix": torch.full((3,), 1 / 3, dtype=double), "rest": torch.zeros(10, dtype=double)}
    return BilevelProblem(
        upper,
        lambda hyper, p: (p - torch.cat([hyper["mix"], hyper["rest"]])).square().sum() / 2,
        hyper,
        torch.zeros(13, dtype=double),
        strongly_convex=True,
        **options,
    )


def test_a_projection_of_a_part_does_not_slow_the_rest():
    free = solve(curved_problem(), "conjugate-gradient", max_iter=200, tol=1e-4)
    problem = curved_problem(project={"mix": Simplex()})
    found = solve(problem, "conjugate-gradient", max_iter=200, tol=1e-4)
    assert free.status is found.status is Status.CONVERGED
    assert found.n_iter <= 2 * free.n_iter
    mix = problem.hyper_of(found.hyper)["mix"]
    torch.testing.assert_close(mix.sum(), torch.tensor(1.0, dtype=double))
    whole = lambda hyper: {**hyper, "mix": Simplex()(hyper["mix"])}  # noqa: E731
    again = solve(curved_problem(project=whole), "conjugate-gradient", max_iter=200, tol=1e-4)
    assert torch.equal(again.hyper, found.hyper)


def test_bounds_may_have_the_form_of_hyper():
    bounds = {"mix": torch.tensor([0.0, 0.1, 0.2], dtype=double)}
    problem = curved_problem(lower_bound=bounds, upper_bound={"mix": 0.4, "rest": 0.5})
    projected = problem.hyper_of(problem.project_hyper(torch.full((13,), -9.0, dtype=double)))
    assert (
        torch.equal(projected["mix"], bounds["mix"]) and projected["rest"].tolist() == [-9.0] * 10
    )
    above = problem.project_hyper(torch.full((13,), 9.0, dtype=double))
    assert above.tolist() == [0.4] * 3 + [0.5] * 10
    copied = dataclasses.replace(problem, strongly_convex=False)
    assert torch.equal(copied.lower_bound, problem.lower_bound)
    nested = formed_problem(lambda hyper: hyper)
    assert dataclasses.replace(nested, lower_bound=-3.0).lower_bound == -3.0


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_sets_have_a_size(size):
    for kind, name in ((Simplex, "total"), (Ball, "radius")):
        with pytest.raises(ValueError, match=f"{name} must be a finite number above 0"):
            kind(size)


@pytest.mark.parametrize("project", [Simplex(), Ball(0.5)])
@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "implicit"])
def test_hyper_ends_at_the_best_point_of_its_set(name, project):
    problem, matrix, target = mixing_problem(project)
    solution = solve(problem, name, tol=1e-5, max_iter=500)
    point = problem.initial_hyper
    for _ in range(20_000):
        point = project(point - 0.05 * matrix.T @ (matrix @ point - target))
    best = float((matrix @ point - target).square().sum() / 2)
    assert float(solution.criterion) == pytest.approx(best, rel=1e-4)
    torch.testing.assert_close(project(solution.hyper), solution.hyper, rtol=0, atol=1e-9)


def test_what_takes_only_boxes_says_so():
    problem, *_ = mixing_problem(Simplex())
    with pytest.raises(ValueError, match=r"takes no set of hyper but a box .*'sl-bamm'"):
        solve(problem, "implicit")


@pytest.mark.parametrize("dtype", [torch.float32, double])
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_descents_from_where_the_last_one_ended_solve_a_lower_level(method, dtype):
    problem, _ = strongly_convex_problem(4, identity=False, dtype=dtype)
    problem = dataclasses.replace(problem, solve_lower=method)
    hyper = problem.initial_hyper
    found = problem.initial_params
    for _ in range(4):
        found = problem.solve_lower(hyper, found)
    gradient = problem.lower.params_gradient(hyper, found)
    assert found.dtype == dtype and float(gradient.norm()) <= 1e-3


def test_adam_near_a_solution_does_not_begin_by_leaving_it():
    counts = []
    scales = torch.logspace(0, -2, 20, dtype=double)

    def lower(hyper, params):
        counts.append(1)
        return (scales * (params - hyper).square()).sum() / 2

    problem = BilevelProblem(
        lambda hyper, params: params.sum(),
        lower,
        torch.zeros(20, dtype=double),
        torch.full((20,), 1e-5, dtype=double),
        solve_lower="adam",
    )
    found = problem.solve_lower(problem.initial_hyper, problem.initial_params)
    assert float(found.abs().max()) < 1e-5
    assert len(counts) < 150  # 1,000 with first steps of .01


@pytest.mark.parametrize("name", ["sl-bamm", "implicit", "conjugate-gradient", "neumann"])
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_solvers_take_params_from_a_descent(name, method):
    problem, optimum = strongly_convex_problem(4)
    problem = dataclasses.replace(problem, solve_lower=method)
    solution = solve(problem, name, tol=1e-4)
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(solution.hyper, optimum, rtol=0, atol=1e-3)


def test_a_descent_keeps_to_a_box():
    target = torch.tensor([1.0, -1.0, 0.3], dtype=double)
    problem = BilevelProblem(
        lambda hyper, params: params.sum(),
        lambda hyper, params: (params - target).square().sum(),
        torch.zeros(1, dtype=double),
        torch.zeros(3, dtype=double),
        nonsmooth=Box(0.0, 0.5),
        solve_lower="lbfgs",
    )
    found = problem.solve_lower(problem.initial_hyper, problem.initial_params)
    torch.testing.assert_close(found, target.clamp(0, 0.5), rtol=0, atol=1e-6)


def test_another_word_for_a_descent_is_an_error():
    problem, _ = strongly_convex_problem(2)
    with pytest.raises(ValueError, match=r"one of \['lbfgs', 'adam'\]: got 'newton'"):
        dataclasses.replace(problem, solve_lower="newton")


def test_a_point_answers_as_its_objective_does():
    problem, _ = strongly_convex_problem(3, identity=False)
    levels, hyper, params = ridge("tensors")
    for lower, x, y in (
        (problem.lower, problem.initial_hyper, problem.initial_params),
        (BilevelProblem(*levels, hyper, params).lower, hyper, params + 1),
    ):
        point, vector = lower.point(x, y), torch.ones_like(y)
        products = lower.curvature_products(x, y, vector)
        torch.testing.assert_close(point.value, lower.value(x, y))
        torch.testing.assert_close(point.params_gradient, lower.gradients(x, y).params)
        torch.testing.assert_close(point.hyper_gradient, lower.gradients(x, y).hyper)
        torch.testing.assert_close(point.hessian_product(vector), products.hessian)
        torch.testing.assert_close(point.mixed_product(vector), products.mixed)


def test_a_copy_with_other_options_keeps_the_form():
    levels, *initial = ridge("nestings")
    problem = dataclasses.replace(BilevelProblem(*levels, *initial), strongly_convex=True)
    assert problem.hyper_of(problem.initial_hyper).keys() == {"a", "b"}
    assert len(problem.params_of(problem.initial_params)) == 2
    assert solve(problem, max_iter=20).criterion < solve(problem, max_iter=0).criterion
