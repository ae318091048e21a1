"""
Wrong labels of images, with a network and batches
==================================================

Half of the labels are drawn anew, some others are verified. Which ones are wrong? A weight for each
row, a small convolutional network, batches: below is the weighted loss of rows that may be wrong,
above that of verified ones. FashionMNIST (5,000 + 5,000 rows, some minutes) where Debian's package
dataset-fashion-mnist is installed, else digits.
"""

import gzip
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from torch.nn.functional import cross_entropy

from skbamm.problems import StochasticProblem
from skbamm.solvers import StochasticSlBamm, solve

FOLDER = Path("/usr/share/datasets/fashion-mnist")


def images():
    """Images, labels, and how many are noisy, verified, and left to test on."""
    if not FOLDER.exists():
        X, y = load_digits(return_X_y=True)
        return (X / 16).reshape(-1, 8, 8), y, (900, 450, 447)
    X, y = (gzip.decompress(next(FOLDER.glob(f"train-{k}*")).read_bytes()) for k in "il")
    X = np.frombuffer(X, np.uint8, offset=16).reshape(-1, 28, 28) / 255
    return X, np.frombuffer(y, np.uint8, offset=8).astype(int), (5000, 5000, 10000)


rng = np.random.default_rng(0)
X, y, sizes = images()
rows = rng.permutation(len(y))[: sum(sizes)]
X, y = torch.tensor(X[rows, None], dtype=torch.float32), torch.tensor(y[rows])
noisy, verified, test = torch.arange(len(y)).split(sizes)
drawn = torch.tensor(rng.random(len(noisy)) < 0.5)
given = y[noisy].where(~drawn, torch.tensor(rng.integers(0, 10, len(noisy))))
is_wrong = given != y[noisy]

# Batches of noisy rows bring their row numbers along, by which the losses find their weights.
torch.manual_seed(0)
network = torch.nn.Sequential(
    *(torch.nn.Conv2d(1, 16, 5, stride=2, padding=2), torch.nn.ReLU()),
    *(torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.ReLU()),
    *(torch.nn.Flatten(), torch.nn.LazyLinear(10)),
)
network(X[:1])  # which makes the last layer


def lower(logits, network, batch):
    X, y, row = batch
    return (logits[row].sigmoid() * cross_entropy(network(X), y, reduction="none")).mean()


def upper(logits, network, batch):
    X, y = batch
    return cross_entropy(network(X), y)


# Logits begin above 0: a row is right until its gradient keeps saying otherwise.
logits = torch.full((len(noisy),), 0.5)
data = (X[verified], y[verified]), (X[noisy], given, noisy)
problem = StochasticProblem(upper, lower, *data, logits, network, batch_size=100)
adam, slow = (partial(torch.optim.Adam, lr=lr) for lr in (1e-3, 0.02))
solver = StochasticSlBamm(averaging=0.5, params_optimizer=adam, hyper_optimizer=slow)
solution = solve(problem, solver, max_iter=300 if len(X) < 2000 else 1000)

# Rows of a weight below one half are flagged.
weights, network = solution.hyper.sigmoid(), problem.load_params(solution.params)
accuracy = (network(X[test]).argmax(1) == y[test]).double().mean()
print(f"F1 of wrong labels {f1_score(is_wrong, weights < 0.5):.3f}, accuracy {accuracy:.3f}")
plt.hist([weights[~is_wrong], weights[is_wrong]], bins=20, label=["right", "wrong"])
plt.gca().set(xlabel="Learned weight", ylabel="Rows")
plt.legend(title="labels that are")
