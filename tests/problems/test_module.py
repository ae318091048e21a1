"""Problems with an nn.Module below, against the same problem written with tensors."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

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


def test_params_of_a_problem_are_a_copy_and_loaded_params_are_in_the_module(module, data):
    problem = ridge(module, *data)
    params = problem.initial_params + 1
    copied = problem.params_of(params)
    assert copied is not module and torch.equal(copied.weight.flatten(), params[:4])
    assert float(module.bias.detach()) == pytest.approx(0.1)
    assert problem.load_params(params) is module
    assert torch.equal(module.weight.detach().flatten(), params[:4])


def test_a_module_without_parameters_is_an_error():
    with pytest.raises(ValueError, match="module must have parameters: ReLU has none"):
        module_problem(torch.nn.ReLU(), None, None, torch.zeros(1))


def test_mixed_dtypes_are_an_error(module):
    with pytest.raises(ValueError, match="must have one dtype"):
        module_problem(module, None, None, torch.zeros(1, dtype=torch.float32))


def test_different_devices_are_an_error(module):
    with pytest.raises(ValueError, match="must have one device: got \\['cpu', 'meta'\\]"):
        module_problem(module.to("meta"), None, None, torch.zeros(1, dtype=double))


def test_a_module_that_is_frozen_as_a_whole_is_an_error(module):
    module.requires_grad_(False)
    with pytest.raises(ValueError, match="none to train, as requires_grad is False for all 2"):
        module_problem(module, None, None, torch.zeros(1, dtype=double))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_by_a_sentence(module, dtype):
    with pytest.raises(TypeError, match="must be a tensor of float32 or float64"):
        module_problem(module.to(dtype), None, None, torch.zeros(1, dtype=dtype))


# What torch users expect of a module

N_TRAIN = 15


def mean_squared(model, X, y):
    return (model(X)[:, 0] - y).square().mean()


def held_out(X, y, evaluated=False):
    def upper(hyper, model):
        return mean_squared(model.eval() if evaluated else model, X[N_TRAIN:], y[N_TRAIN:])

    return upper


def decayed(X, y, decay):
    def lower(hyper, model):
        return mean_squared(model, X[:N_TRAIN], y[:N_TRAIN]) + hyper.exp().sum() * decay(model)

    return lower


def usual_decay(model):
    return sum(p.square().sum() for p in model.parameters() if p.requires_grad)


def problem_of(module, X, y, decay=usual_decay, **options):
    start = torch.zeros(1, dtype=double)
    return module_problem(
        module, held_out(X, y), decayed(X, y, decay), start, lower_bound=-6.0, **options
    )


class Head(torch.nn.Module):
    """A base and a head, in a plain list besides."""

    def __init__(self, base, head):
        super().__init__()
        self.base, self.head = base, head
        self.order = [base, head]

    def forward(self, X):
        for part in self.order:
            X = part(X)
        return X


class LowRank(torch.nn.Module):
    """A frozen base of half precision, and what is added to it."""

    def __init__(self):
        super().__init__()
        self.base = torch.nn.Linear(4, 1).half().requires_grad_(False)
        self.factor = torch.nn.Parameter(torch.ones(1, 2, dtype=double))
        self.other = torch.nn.Parameter(torch.ones(2, 4, dtype=double))

    def forward(self, X):
        return self.base(X.half()).to(double) + X @ (self.factor @ self.other).T


def linear(n_columns, n_outputs=1):
    return torch.nn.Linear(n_columns, n_outputs, dtype=double)


def tied():
    first, second = linear(4, 4), linear(4, 4)
    second.weight = first.weight
    return torch.nn.Sequential(first, torch.nn.Tanh(), second, linear(4))


def batch_norm():
    inner = torch.nn.Sequential(linear(4, 3), torch.nn.BatchNorm1d(3, dtype=double))
    return torch.nn.Sequential(torch.nn.BatchNorm1d(4, dtype=double), inner, linear(3))


def frozen_base():
    return Head(linear(4, 3).requires_grad_(False), linear(3))


def frozen_head():
    return Head(linear(4, 3), linear(3).requires_grad_(False))


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.LSTM(1, 2, batch_first=True, dtype=double)
        self.head = linear(2)

    def forward(self, X):
        return self.head(self.inner(X[:, :, None])[0][:, -1])


def dropout():
    return torch.nn.Sequential(linear(4, 6), torch.nn.Dropout(0.3), linear(6))


class FunctionalDropout(torch.nn.Linear):
    """No part of it is known to draw random numbers."""

    def forward(self, X):
        return torch.nn.functional.dropout(super().forward(X), 0.3, self.training)


def functional_dropout():
    return torch.nn.Sequential(FunctionalDropout(4, 6, dtype=double), linear(6))


def computed_weight():
    """An older module, with a result of autograd as an attribute."""
    return torch.nn.utils.spectral_norm(linear(4))


MODULES = [
    tied,
    batch_norm,
    frozen_base,
    frozen_head,
    LowRank,
    Recurrent,
    dropout,
    functional_dropout,
    computed_weight,
]


STATEFUL = (torch.nn.BatchNorm1d, torch.nn.Dropout)


@pytest.fixture(params=MODULES, ids=lambda make: make.__name__)
def usual(request):
    torch.manual_seed(0)
    return request.param()


def snapshot(module):
    tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return tensors, [part.training for part in module.modules()], torch.get_rng_state()


def changed(module, before):
    return {name for name, t in module.state_dict().items() if not torch.equal(t, before[0][name])}


def test_only_load_changes_a_module_and_only_what_is_trainable(usual, data):
    before = snapshot(usual)
    problem = problem_of(usual, *data)
    # Where a module has a state of its own, also by what verifies the answer.
    verify = any(isinstance(part, STATEFUL) for part in usual.modules())
    params = solve(problem, max_iter=3, tol=0.0, verify=verify).state.params
    assert not changed(usual, before)
    assert [part.training for part in usual.modules()] == before[1]
    assert all(parameter.grad is None for parameter in usual.parameters())
    assert torch.equal(torch.get_rng_state(), before[2])
    assert problem.load(params) is usual
    names = {name for name, p in usual.named_parameters(remove_duplicate=False) if p.requires_grad}
    assert changed(usual, before) <= names and changed(usual, before)


def test_value_and_gradients_are_those_of_the_module_itself(usual, data):
    torch.manual_seed(7)
    problem = problem_of(usual, *data)
    hyper = torch.full((1,), -1.0, dtype=double)
    for _ in range(2):  # whatever was evaluated before
        value = problem.lower.value(hyper, problem.initial_params)
        gradients = problem.lower.gradients(hyper, problem.initial_params)
        problem.upper.value(hyper, problem.initial_params + 1)
    trainable = [p for p in usual.parameters() if p.requires_grad]
    torch.manual_seed(7)
    expected = decayed(*data, usual_decay)(hyper, usual)
    by_torch = torch.autograd.grad(expected, trainable)
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradients.params, torch.cat([g.flatten() for g in by_torch]))
    assert not value.requires_grad


def test_a_frozen_base_gives_the_run_on_its_outputs(data):
    X, y = data
    torch.manual_seed(0)
    module = frozen_base()
    outputs = module.base(X).detach()
    with_base = problem_of(module, X, y, strongly_convex=True)
    without = problem_of(copy.deepcopy(module.head), outputs, y, strongly_convex=True)
    found, expected = (solve(one, max_iter=30, tol=0.0) for one in (with_base, without))
    torch.testing.assert_close(found.params, expected.params)
    torch.testing.assert_close(found.criterion, expected.criterion)


def test_a_bound_module_is_a_module():
    module = torch.nn.Sequential(linear(4, 3), torch.nn.Tanh(), linear(3))
    module[0].bias.requires_grad_(False)
    module.register_buffer("offset", torch.ones(1, dtype=double))
    module.eval()
    X, seen = torch.ones(2, 4, dtype=double), []

    def loss(hyper, model):
        seen.append(model.training)
        model.train()
        assert isinstance(model, torch.nn.Sequential) and len(model) == 3
        named = dict(model.named_parameters())
        assert list(named) == list(dict(module.named_parameters()))
        assert [name for name, p in named.items() if p.requires_grad] == list(
            problem.named_params(params)
        )
        assert (
            model["2.weight"] is model[2].weight is named["2.weight"] is list(model.parameters())[2]
        )
        assert model["offset"] is dict(model.named_buffers())["offset"]
        assert list(model.state_dict()) == list(module.state_dict())
        assert [name for name, _ in model.named_modules()] == ["", "0", "1", "2"]
        torch.testing.assert_close(model[:2](X), model[1](model[0](X)))
        torch.testing.assert_close(model(X), model[2](model[:2](X)))
        with pytest.raises(KeyError, match=r"'3\.weight' names no parameter"):
            model["3.weight"]
        return model(X).sum()

    problem = module_problem(module, loss, loss, torch.zeros(1, dtype=double))
    params = problem.initial_params + 1
    value = problem.upper.value(problem.initial_hyper, params)
    problem.upper.gradients(problem.initial_hyper, params)
    assert seen == [False, False] and not module.training
    torch.testing.assert_close(value, problem.load(params)(X).sum().detach())


def test_what_is_no_tensor_is_an_error(module):
    problem = module_problem(module, None, lambda hyper, model: 1.0, torch.zeros(1, dtype=double))
    with pytest.raises(TypeError, match="returned a float"):
        problem.lower.value(problem.initial_hyper, problem.initial_params)


@pytest.mark.parametrize("first", [None, mean_squared, torch.zeros(1), torch.nn.Linear])
def test_what_is_no_module_is_an_error(first, module):
    with pytest.raises(TypeError, match=r"takes \(module, upper, lower, initial_hyper\)"):
        module_problem(first, module, mean_squared, torch.zeros(1))


def test_threads_share_a_problem(data):
    torch.manual_seed(0)
    problem = problem_of(batch_norm(), *data)
    options = {"max_iter": 5, "tol": 0.0, "verify": False}
    expected = solve(problem, **options).state.params
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(solve, problem, **options) for _ in range(4)]
    assert all(torch.equal(run.result().state.params, expected) for run in runs)


def test_a_problem_can_be_pickled():
    module = batch_norm()
    problem = module_problem(module, mean_output, mean_output, torch.zeros(1, dtype=double))
    point = problem.initial_hyper, problem.initial_params
    expected = problem.upper.value(*point)
    assert torch.equal(pickle.loads(pickle.dumps(problem)).upper.value(*point), expected)


def mean_output(hyper, model):
    return model(torch.arange(12, dtype=double).reshape(3, 4)).mean()
