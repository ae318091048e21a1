"""
Ten images in place of 1,797
============================

Can ten images train a classifier of digits? Hyper are these images, one for each digit, begun at
the means of the digits. The lower level trains a linear classifier on the ten, the upper level is
its loss on all 1,797.
"""

# %%
# 640 numbers of hyper and 650 params; all that is asked are the two losses.
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from skbamm.problems import BilevelProblem
from skbamm.solvers import solve

X, y = load_digits(return_X_y=True)
X, y, own = torch.tensor(X / 16), torch.tensor(y), torch.arange(10)


def scores(images, params):
    return images @ params[:, :64].T + params[:, 64]


def lower(images, params):
    return cross_entropy(scores(images, params), own) + 0.005 * params.square().sum()


def upper(images, params):
    return cross_entropy(scores(X, params), y)


means = torch.stack([X[y == digit].mean(0) for digit in own])
problem = BilevelProblem(
    upper,
    lower,
    means,
    torch.zeros(10, 65, dtype=torch.float64),
    strongly_convex=True,
    solve_lower="lbfgs",
)
solution = solve(problem, max_iter=400, tol=1e-3)
for name, images in {"means": means, "learned": solution.hyper}.items():
    params = problem.solve_lower(images, solution.params)
    right = (scores(X, params).argmax(1) == y).double().mean()
    print(f"{name:8} loss {upper(images, params):.3f}, accuracy on all {right:.3f}")
print(solution.status)

# %%
# Means above, learned images below: they look like no digits, but mark where digits differ.
fig, axes = plt.subplots(2, 10, figsize=(10, 2.4), layout="constrained")
largest = float(solution.hyper.abs().max())
for row, images in zip(axes, (means, solution.hyper), strict=True):
    for ax, image in zip(row, images, strict=True):
        ax.imshow(image.reshape(8, 8), cmap="RdBu_r", vmin=-largest, vmax=largest)
        ax.set_axis_off()
plt.show()
