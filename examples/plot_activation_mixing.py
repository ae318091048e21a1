"""
Mix activations
===============

Which activation suits a small network for digits? Hyper are three logits that mix tanh, the sine
and softplus; the lower level trains all weights on 150 images, the upper level looks at 300
others. Such a lower level has many local minima, and a run stays in the basin that its params are
in.
"""

# %%
# The lower level is no quadratic, so L-BFGS solves it from the params of the moment.
import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, softplus

from skbamm.problems import module_problem
from skbamm.solvers import solve

X, y = load_digits(return_X_y=True)
# Pairs of two by two pixels: 16 numbers an image.
X = torch.tensor(X.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(len(y), 16) / 8 - 0.6)
y = torch.tensor(y)
train, held_out, test = slice(150), slice(150, 450), slice(450, None)
torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Linear(16, 6, bias=False), torch.nn.Linear(6, 10, bias=False)
).double()


def scores(hyper, model, rows):
    hidden = model[0](X[rows])
    mix = hyper.softmax(0)
    return model[1](mix[0] * hidden.tanh() + mix[1] * hidden.sin() + mix[2] * softplus(hidden))


def lower(hyper, model):
    decay = sum(weight.square().sum() for weight in model.parameters())
    return cross_entropy(scores(hyper, model, train), y[train]) + 0.005 * decay


def upper(hyper, model):
    return cross_entropy(scores(hyper, model, held_out), y[held_out])


start = torch.zeros(3, dtype=torch.float64)
bounds = {"lower_bound": -4.0, "upper_bound": 4.0}
problem = module_problem(network, upper, lower, start, solve_lower="lbfgs", **bounds)
paths, values = {}, {}
for name in ("sl-bamm", "implicit", "truncated-unrolling"):
    solution = solve(problem, name, max_iter=200, tol=1e-4)
    paths[name] = torch.as_tensor(solution.history["hyper"]).reshape(-1, 3).softmax(1)
    values[name] = float(solution.criterion)
    with torch.no_grad():
        model = problem.load(solution.params)
        right = (scores(solution.hyper, model, test).argmax(1) == y[test]).double().mean()
    print(f"{name:20} {solution.status:10} held-out loss {values[name]:.3f}, accuracy {right:.3f}")

# %%
# Where each run went: the share of softplus against that of tanh, the sine having the rest. The run
# that descends from the same params anew for every hyper ends in another basin.
fig, ax = plt.subplots()
for name, path in paths.items():
    ax.plot(path[:, 0], path[:, 2], ".-", label=f"{name}: {values[name]:.3f}")
ax.plot(1 / 3, 1 / 3, "ko")
ax.set(xlabel="share of tanh", ylabel="share of softplus", title="Held-out loss where a run ends")
ax.legend()
plt.show()
