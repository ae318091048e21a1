"""
A network that weighs rows by their loss
========================================

Half of the labels are drawn anew, some others are verified. Instead of a weight for each row, a
small network says how much a row of a given loss shall count (Meta-Weight-Net, Shu et al., NeurIPS
2019): hyper is a module, and so are params. On digits; FashionMNIST does as well.
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from torch.nn.functional import cross_entropy

from skbamm.problems import StochasticProblem
from skbamm.solvers import StochasticSlBamm, solve

rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
rows = rng.permutation(len(y))
X = torch.tensor(X[rows] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
y = torch.tensor(y[rows])
noisy, verified, test = torch.arange(len(y)).split((900, 450, 447))
drawn = torch.tensor(rng.random(len(noisy)) < 0.5)
given = y[noisy].where(~drawn, torch.tensor(rng.integers(0, 10, len(noisy))))
is_wrong = given != y[noisy]

torch.manual_seed(0)
network = torch.nn.Sequential(
    *(torch.nn.Conv2d(1, 16, 5, stride=2, padding=2), torch.nn.ReLU()),
    *(torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.ReLU()),
    *(torch.nn.Flatten(), torch.nn.LazyLinear(10)),
)
network(X[:1])  # which makes the last layer


layers = torch.nn.Linear(1, 30), torch.nn.ReLU(), torch.nn.Linear(30, 1), torch.nn.Sigmoid()
weigh = torch.nn.Sequential(*layers)  # moves in small steps, from where all rows weigh alike


def lower(weigh, network, batch):
    X, y = batch
    losses = cross_entropy(network(X), y, reduction="none")
    return (weigh(losses.detach()[:, None])[:, 0] * losses).mean()


def upper(weigh, network, batch):
    X, y = batch
    return cross_entropy(network(X), y)


data = (X[verified], y[verified]), (X[noisy], given)
problem = StochasticProblem(upper, lower, *data, weigh, network, batch_size=100)
adam = partial(torch.optim.Adam, lr=1e-3)
solver = StochasticSlBamm(averaging=0.5, params_optimizer=adam, hyper_optimizer=adam)
solution = solve(problem, solver, max_iter=300)

# Rows that weigh less than the mean are flagged.
weigh, network = problem.load_hyper(solution.hyper), problem.load_params(solution.params)
accuracy = (network(X[test]).argmax(1) == y[test]).double().mean()
with torch.no_grad():
    losses = cross_entropy(network(X[noisy]), given, reduction="none")
    weights = weigh(losses[:, None])[:, 0]
f1 = f1_score(is_wrong, weights < weights.mean())
print(f"F1 of wrong labels {f1:.3f}, accuracy {accuracy:.3f}")
order = losses.argsort()
plt.plot(losses[order], weights[order], color="black")
plt.gca().set(xlabel="Loss of a row", ylabel="Its weight")
plt.twinx().hist([losses[~is_wrong], losses[is_wrong]], 30, label=["right", "wrong"], alpha=0.5)
plt.legend(title="labels that are")
