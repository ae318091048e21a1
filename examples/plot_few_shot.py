"""
Learn where to start
====================

Five sinusoids with ten points each, and a network of 141 parameters for each of them. Hyper is an
initialization that all share: every network stays near it, and is scored on ten other points of its
sinusoid. What is learned makes ten points enough.
"""

# %%
# All five networks are one tensor of params, evaluated at once by `torch.func.vmap`. The lower
# level is no quadratic, so it is solved by L-BFGS from the params of the moment.
import math

import matplotlib.pyplot as plt
import torch
from torch.func import functional_call, vmap

from skbamm.problems import BilevelProblem
from skbamm.solvers import solve

N_TASKS, N_SHOTS, STRENGTH = 5, 10, 0.1
torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Linear(1, 10),
    torch.nn.Tanh(),
    torch.nn.Linear(10, 10),
    torch.nn.Tanh(),
    torch.nn.Linear(10, 1),
).double()
shapes = {name: p.shape for name, p in network.named_parameters()}
start = torch.nn.utils.parameters_to_vector(network.parameters()).detach()

amplitude = 0.1 + 4.9 * torch.rand(N_TASKS, 1).double()
phase = math.pi * torch.rand(N_TASKS, 1).double()
X = 10 * torch.rand(N_TASKS, 2 * N_SHOTS).double() - 5
y = amplitude * torch.sin(X - phase)


def predict(params, X):
    pieces = params.split([shape.numel() for shape in shapes.values()])
    named = {name: p.view(shapes[name]) for name, p in zip(shapes, pieces, strict=True)}
    return functional_call(network, named, (X[:, None],))[:, 0]


def errors(params, rows):
    return (vmap(predict)(params, X[:, rows]) - y[:, rows]).square()


def lower(hyper, params):
    proximal = STRENGTH / 2 * (params - hyper).square().sum()
    return errors(params, slice(N_SHOTS)).mean(1).sum() / 2 + proximal


def upper(hyper, params):
    return errors(params, slice(N_SHOTS, None)).mean()


problem = BilevelProblem(upper, lower, start, start.repeat(N_TASKS, 1), solve_lower="lbfgs")
solution = solve(problem, max_iter=60, tol=1e-3)
print(f"{solution.initial_criterion:.2f} -> {solution.criterion:.3f}, {solution.status}")

# %%
# One of the networks, before and after: the same ten points.
grid = torch.linspace(-5, 5, 100).double()
fig, ax = plt.subplots()
ax.plot(grid, amplitude[0] * torch.sin(grid - phase[0]), "k:", label="sinusoid")
ax.plot(X[0, :N_SHOTS], y[0, :N_SHOTS], "ko", label="ten points")
before = problem.solve_lower(start, problem.initial_params)
for label, params in {
    "from a random start": before,
    "from the learned one": solution.params,
}.items():
    ax.plot(grid, predict(params[0], grid), label=label)
ax.legend()
plt.show()
