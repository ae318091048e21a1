"""A small problem on batches in several forms, and short runs of every solver on it."""

import dataclasses

import torch
from torch.nn.functional import softplus
from torch.utils.data import DataLoader, TensorDataset

from skbamm.problems import StochasticProblem
from skbamm.solvers import STOCHASTIC_SOLVERS, solve

N_ITER = 8
double = torch.float64

#: Few inner steps where a method has them: promises hold for any number.
QUICK = {"stocbio": {"n_steps": 2, "n_linear": 3}, "f2sa": {"n_steps": 2}}


def data(n_rows, seed, dtype=double):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n_rows, 3, generator=generator, dtype=double)
    t = (X[:, 0] - X[:, 1] + torch.randn(n_rows, generator=generator, dtype=double)).sign()
    return X.to(dtype), t.to(dtype)


def upper(hyper, params, batch):
    X, t = batch
    penalty = (hyper - 1).square().sum() / 20 + hyper @ params / 10
    return (X @ params - t).square().mean() / 2 + penalty


def lower(hyper, params, batch):
    X, t = batch
    return softplus(-t * (X @ params)).mean() + (hyper.exp() * params.square()).sum() / 2


def tensors_problem(dtype=double, **options):
    """Of tensors."""
    options = {"batch_size": 8, "strongly_convex": True, "upper_bound": 0.3, **options}
    return StochasticProblem(
        upper,
        lower,
        data(30, 1, dtype),
        data(40, 0, dtype),
        torch.zeros(3, dtype=dtype),
        torch.full((3,), 0.1, dtype=dtype),
        **options,
    )


def loaders_problem(**options):
    """Of loaders that draw a new order in each epoch."""

    def loader(n_rows, seed):
        return DataLoader(TensorDataset(*data(n_rows, seed)), batch_size=8, shuffle=True)

    return dataclasses.replace(
        tensors_problem(**options), upper_data=loader(30, 1), lower_data=loader(40, 0)
    )


def module_problem(**options):
    """A network below, and a dictionary with a weight network above; a Dropout draws numbers."""
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1)
    ).to(double)
    weights = torch.nn.Linear(1, 1).to(double)
    torch.set_rng_state(torch_state)

    def losses(model, batch):
        X, t = batch
        return softplus(-t * model(X)[:, 0])

    def lower(hyper, model, batch):
        found = losses(model, batch)
        weight = hyper["weights"](found.detach()[:, None])[:, 0].sigmoid()
        penalty = sum(p.square().sum() for p in model.parameters())
        return (weight * found).mean() + hyper["ridge"].exp() * penalty

    def upper(hyper, model, batch):
        return losses(model, batch).mean()

    return StochasticProblem(
        upper,
        lower,
        data(30, 1),
        data(40, 0),
        {"weights": weights, "ridge": torch.tensor(-3.0, dtype=double)},
        network,
        **{"batch_size": 8, "upper_bound": 3.0, **options},
    )


FORMS = {"tensors": tensors_problem, "loaders": loaders_problem, "modules": module_problem}


def make(name, **options):
    return STOCHASTIC_SOLVERS[name](**QUICK.get(name, {}), **options)


def run(problem, name, max_iter=N_ITER, **options):
    return solve(problem, make(name), max_iter=max_iter, tol=-1.0, **options)


def tensors(record, path="state"):
    """All tensors of a nested record, by where they are; dictionaries too."""
    if isinstance(record, torch.Tensor):
        return {path: record}
    if dataclasses.is_dataclass(record):
        items = [(field.name, getattr(record, field.name)) for field in dataclasses.fields(record)]
    elif isinstance(record, dict):
        items = list(record.items())
    elif isinstance(record, tuple | list):
        items = list(enumerate(record))
    else:
        return {}
    return {key: x for name, item in items for key, x in tensors(item, f"{path}.{name}").items()}


def assert_same_state(first, second):
    first, second = tensors(first), tensors(second)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key
