"""
A strength for each column
==========================

A logistic regression with one ridge strength is tuned on a grid. Thirty strengths, one for each
column of the breast cancer table, are too many for one; here they are learned from the loss on
held-out rows.
"""

# %%
# Hyper are logarithms of strengths: one unit multiplies a strength by e.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from torch.nn.functional import softplus

from skbamm.problems import BilevelProblem
from skbamm.solvers import solve

data = load_breast_cancer()
order = np.random.default_rng(1).permutation(len(data.target))
X = torch.tensor(scale(data.data)[order])
sign = torch.tensor(2.0 * data.target - 1)[order]
train, held_out = slice(300), slice(300, None)


def loss(params, rows):
    return softplus(-sign[rows] * (X[rows] @ params)).mean()


def lower(hyper, params):
    return loss(params, train) + (hyper.exp() * params.square()).sum() / 2


def upper(hyper, params):
    return loss(params, held_out)


problem = BilevelProblem(
    upper,
    lower,
    torch.full((30,), -3.0, dtype=torch.float64),
    torch.zeros(30, dtype=torch.float64),
    lower_bound=-8.0,
    upper_bound=3.0,
    strongly_convex=True,
    solve_lower="lbfgs",
)
grid = torch.arange(-8.0, 3.1, 0.5, dtype=torch.float64)
alike = [float(problem.criterion(0 * X[0] + strength, 0 * X[0])) for strength in grid]
print(f"best strength for all columns {min(alike):.4f}")
solutions = {name: solve(problem, name, max_iter=100, tol=1e-3) for name in ("sl-bamm", "implicit")}
for name, solution in solutions.items():
    print(f"{name:9} {solution.criterion:.4f}, {solution.status} after {solution.n_iter}")

# %%
# The loss is flat in most strengths, where the two runs end apart. They agree on the columns that
# are hardly penalized and on most of those that are left out.
fig, ax = plt.subplots(figsize=(7, 6), layout="constrained")
by_strength = solutions["sl-bamm"].hyper.argsort()
for (name, solution), marker in zip(solutions.items(), "ox", strict=True):
    ax.plot(
        solution.hyper[by_strength], range(30), marker, label=f"{name}, {solution.criterion:.4f}"
    )
ax.axvline(
    float(grid[int(np.argmin(alike))]), color="k", linestyle=":", label="one for all columns"
)
ax.set_yticks(range(30), data.feature_names[by_strength.numpy()], fontsize=7)
ax.set(xlabel="log strength", title="Held-out loss of learned strengths")
ax.legend()
plt.show()
