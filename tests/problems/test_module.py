"""Problems with an nn.Module below, against the same problem written with tensors."""

import pytest
import torch

from skbamm.problems import BilevelProblem, module_problem
from skbamm.solvers import solve

double = torch.float64


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(30, 4, generator=generator, dtype=double)
    return X, X[:, 0] - X[:, 1] + torch.randn(30, generator=generator, dtype=double)


@pytest.fixture
def module():
    layer = torch.nn.Linear(4, 1, dtype=double)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(0.1)
    return layer


def ridge(module, X, y):
    def upper(hyper, model):
        return (model(X[15:])[:, 0] - y[15:]).square().mean() / 2

    def lower(hyper, model):
        penalty = (hyper.exp() * model["weight"][0].square()).sum() / 2
        penalty = penalty + model["bias"].square().sum() / 20
        return (model(X[:15])[:, 0] - y[:15]).square().mean() / 2 + penalty

    return module_problem(
        module, upper, lower, torch.zeros(4, dtype=double), lower_bound=-6.0, strongly_convex=True
    )


def plain(X, y):
    def upper(hyper, params):
        return (X[15:] @ params[:4] + params[4] - y[15:]).square().mean() / 2

    def lower(hyper, params):
        residual = X[:15] @ params[:4] + params[4] - y[:15]
        penalty = (hyper.exp() * params[:4].square()).sum() / 2 + params[4].square() / 20
        return residual.square().mean() / 2 + penalty

    return BilevelProblem(
        upper,
        lower,
        torch.zeros(4, dtype=double),
        torch.full((5,), 0.1, dtype=double),
        lower_bound=-6.0,
        strongly_convex=True,
    )


def test_a_module_gives_the_same_run_as_tensors(module, data):
    found = solve(ridge(module, *data), max_iter=40, tol=0.0)
    expected = solve(plain(*data), max_iter=40, tol=0.0)
    torch.testing.assert_close(found.hyper, expected.hyper)
    torch.testing.assert_close(found.params, expected.params)


def test_params_are_found_by_name(module, data):
    problem = ridge(module, *data)
    named = problem.named_params(torch.arange(5, dtype=double))
    assert named["weight"].tolist() == [[0, 1, 2, 3]] and named["bias"].tolist() == [4]


def test_a_run_leaves_the_module_alone_until_it_is_loaded(module, data):
    problem = ridge(module, *data)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    solution = solve(problem, max_iter=10, tol=0.0)
    for parameter, kept in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter, kept) and parameter.grad is None
    problem.load(solution.params)
    flat = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    torch.testing.assert_close(flat, solution.params)


def test_a_module_without_parameters_is_an_error():
    with pytest.raises(ValueError, match="module must have parameters: ReLU has none"):
        module_problem(torch.nn.ReLU(), None, None, torch.zeros(1))


def test_mixed_dtypes_are_an_error(module):
    with pytest.raises(ValueError, match="must have one dtype"):
        module_problem(module, None, None, torch.zeros(1, dtype=torch.float32))
