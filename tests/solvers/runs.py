"""Short runs of every solver on the example problems, and what compares them."""

import dataclasses
import functools

import torch

from skbamm.solvers import SOLVERS, Need, solve
from tests.conftest import EXAMPLE_PROBLEMS

N_ITER = 8

#: Few inner steps where a method has them: promises hold for any number.
QUICK = {
    "iaptt-gm": {"n_steps": 4},
    "unrolling": {"n_steps": 4},
    "truncated-unrolling": {"n_steps": 4, "n_reverse": 2},
    "conjugate-gradient": {"n_steps": 4, "n_linear": 3},
    "neumann": {"n_steps": 4, "n_linear": 3},
    "bda": {"n_steps": 4},
}

#: More of them where a run has to converge, by the shortest way.
CONVERGING = {
    "unrolling": {"n_steps": 20},
    "truncated-unrolling": {"n_steps": 20, "n_reverse": 10},
    "conjugate-gradient": {"n_steps": 20, "n_linear": 10},
    "neumann": {"n_steps": 20, "n_linear": 10},
}


def tensors(record, path="state"):
    """All tensors of a nested record, by where they are."""
    if isinstance(record, torch.Tensor):
        return {path: record}
    if dataclasses.is_dataclass(record):
        items = [
            (f"{path}.{field.name}", getattr(record, field.name))
            for field in dataclasses.fields(record)
        ]
    elif isinstance(record, (tuple, list)):
        items = [(f"{path}[{index}]", value) for index, value in enumerate(record)]
    else:
        return {}
    return {key: value for name, item in items for key, value in tensors(item, name).items()}


def assert_same_state(first, second):
    first, second = tensors(first), tensors(second)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor.nan_to_num(), second[key].nan_to_num()), key


# No residual is below -1: runs of the tests end by themselves only where this is asked.
def run(problem, name, max_iter=N_ITER, **options):
    return solve(problem, make(name), max_iter=max_iter, tol=-1.0, **options)


@functools.cache
def long_run(name, example):
    """A run that several tests look at, and none changes."""
    return run(EXAMPLE_PROBLEMS[example](), name, max_iter=20)


def covers(name, problem):
    """Whether the theory of a solver, at its default options, is about such a lower level."""
    # The default trajectory of IAPTT-GM is short, for many local minima.
    return problem.strongly_convex or not (
        Need.ONE_LOWER_SOLUTION in SOLVERS[name].needs or name == "iaptt-gm"
    )


COVERED = [
    (name, example)
    for name in SOLVERS
    for example, build in EXAMPLE_PROBLEMS.items()
    if covers(name, build())
]


def make(name):
    return SOLVERS[name](**QUICK.get(name, {}))


def later_state(problem, name):
    """A state in the middle of a run, with all of its parts in use."""
    return run(problem, name, max_iter=6).state
