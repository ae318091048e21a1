"""Wrong labels of FashionMNIST by a convolutional network on batches, relative to a filter.

    OMP_NUM_THREADS=1 python benchmarks/noisy_images.py --data FOLDER [--noisy 5000 55000]
        [--seeds 0 1 2] [--method weights ...] [--hyper-lr 0.02 | auto]
        [--peer-iterations 3000]

FOLDER holds the four ``*-ubyte.gz`` files; Debian has them in the package dataset-fashion-mnist.
Half of the labels of the noisy rows are drawn anew (45 % are wrong then), 5,000 others are
verified, and the 10,000 test images give the accuracy. All methods have one network of 20,000
parameters, in single precision.

*verified* trains it on the verified rows, *filter* leaves out the noisy rows whose label that
network gives less than 5 %, and trains on the others and the verified ones, *oracle* on those with
right labels. *weights* learns a weight for each noisy row, *network* a small network that makes
weights of losses (Meta-Weight-Net), both by `StochasticSlBamm` with an averaging of 1/2; Adam of
.001 moves params. Logits of weights begin at .5: a row is right until its gradient keeps saying
otherwise. It is flagged as wrong where its weight is below 1/2.
The .5 and Adam's .02 were chosen on seeds 0 and 1.

Seconds are CPU seconds; those of the filter have its first network in them.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from images import read
from machine import description
from sklearn.metrics import f1_score
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR

from skbamm.problems import StochasticProblem
from skbamm.solvers import StochasticSlBamm, solve

N_VERIFIED, BATCH, KEPT = 5000, 100, 0.05
#: Iterations by number of noisy rows: of peers, with learned weights.
ITERATIONS = {5000: (1500, 1000), 55_000: (3000, 4000)}
METHODS = ("verified", "filter", "oracle", "weights", "network")


class Data(NamedTuple):
    X: torch.Tensor  # of noisy rows
    given: torch.Tensor
    is_wrong: torch.Tensor
    verified: tuple
    test: tuple
    seed: int


def images(folder, part):
    X, y = (read(next(Path(folder).glob(f"{part}-{kind}*.gz"))) for kind in ("images", "labels"))
    return torch.tensor(X[:, None] / 255, dtype=torch.float32), torch.tensor(y)


def load(folder, n_noisy, seed):
    (X, y), rng = images(folder, "train"), np.random.default_rng(seed)
    rows = torch.tensor(rng.permutation(len(y)))
    noisy, verified = rows[:n_noisy], rows[n_noisy : n_noisy + N_VERIFIED]
    drawn = torch.tensor(rng.random(n_noisy) < 0.5)
    given = y[noisy].where(~drawn, torch.tensor(rng.integers(0, 10, n_noisy)))
    clean = X[verified], y[verified]
    return Data(X[noisy], given, given != y[noisy], clean, images(folder, "t10k"), seed)


def convolutional(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 16, 5, stride=2, padding=2), torch.nn.ReLU()),
        *(torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.ReLU()),
        *(torch.nn.Flatten(), torch.nn.Linear(32 * 49, 10)),
    )


def probabilities(network, X):
    with torch.no_grad():
        return torch.cat([network(part) for part in X.split(1000)]).softmax(1)


def trained(X, y, n_iter, seed):
    """A network by Adam, whose learning rate falls to zero."""
    network, generator = convolutional(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    scheduler = CosineAnnealingLR(optimizer, n_iter)
    batches = iter(())
    for _ in range(n_iter):
        rows = next(batches, None)
        if rows is None:
            batches = iter(torch.randperm(len(y), generator=generator).split(BATCH))
            rows = next(batches)
        optimizer.zero_grad()
        cross_entropy(network(X[rows]), y[rows]).backward()
        optimizer.step()
        scheduler.step()
    return network


def refit(data, kept, n_iter):
    X = torch.cat([data.X[kept], data.verified[0]])
    return trained(X, torch.cat([data.given[kept], data.verified[1]]), n_iter, data.seed)


def peer(method, data, n_iter):
    """A network without learned weights, and which rows it flags."""
    if method == "oracle":
        return refit(data, ~data.is_wrong, n_iter), data.is_wrong
    network = trained(*data.verified, 1000, data.seed)
    given = probabilities(network, data.X)[torch.arange(len(data.given)), data.given]
    flagged = given < KEPT
    return (network if method == "verified" else refit(data, ~flagged, n_iter)), flagged


def of_row(logits, losses, row):
    return logits[row].sigmoid()


def of_loss(network, losses, row):
    return network(losses.detach()[:, None])[:, 0]


def learned(method, data, n_iter, lr):
    """A network below learned weights, and which rows weigh less than 1/2."""
    weight, hyper = of_row, torch.full((len(data.given),), 0.5)
    if method == "network":
        torch.manual_seed(data.seed)
        layers = (torch.nn.Linear(1, 30), torch.nn.ReLU(), torch.nn.Linear(30, 1))
        weight, hyper = of_loss, torch.nn.Sequential(*layers, torch.nn.Sigmoid())

    def lower(hyper, network, batch):
        X, y, row = batch
        losses = cross_entropy(network(X), y, reduction="none")
        return (weight(hyper, losses, row) * losses).mean()

    def upper(hyper, network, batch):
        X, y = batch
        return cross_entropy(network(X), y)

    rows = torch.arange(len(data.given))
    noisy, network = (data.X, data.given, rows), convolutional(data.seed)
    options = {"batch_size": BATCH, "seed": data.seed}
    problem = StochasticProblem(upper, lower, data.verified, noisy, hyper, network, **options)
    solver = StochasticSlBamm(
        averaging=0.5,
        params_optimizer=partial(torch.optim.Adam, lr=1e-3),
        hyper_optimizer=None if lr is None else partial(torch.optim.Adam, lr=lr),
    )
    solution = solve(problem, solver, max_iter=n_iter, verify=False)
    hyper, network = problem.hyper_of(solution.hyper), problem.params_of(solution.params)
    with torch.no_grad():
        parts = [network(part) for part in data.X.split(1000)]
        losses = cross_entropy(torch.cat(parts), data.given, reduction="none")
        return network, weight(hyper, losses, rows) < 0.5


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--noisy", nargs="+", type=int, choices=ITERATIONS, default=[5000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--method", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--hyper-lr", default="0.02", help="of Adam, or auto")
    parser.add_argument("--peer-iterations", type=int, help="of refits; else by number of rows")
    options = parser.parse_args()
    lr = None if options.hyper_lr == "auto" else float(options.hyper_lr)
    print(description())
    print("| noisy rows | method | seed | accuracy | F1 wrong | CPU s |\n|---|---|---|---|---|---|")
    for n_noisy in options.noisy:
        of_peers, n_iter = ITERATIONS[n_noisy]
        for seed in options.seeds:
            data = load(options.data, n_noisy, seed)
            for method in options.method:
                begun = time.process_time()
                if method in ("weights", "network"):
                    rate = 1e-3 if method == "network" else lr
                    network, flagged = learned(method, data, n_iter, rate)
                else:
                    network, flagged = peer(method, data, options.peer_iterations or of_peers)
                seconds = time.process_time() - begun
                right = probabilities(network, data.test[0]).argmax(1) == data.test[1]
                f1 = 100 * f1_score(data.is_wrong, flagged)
                cells = f"{100 * right.double().mean():.1f} | {f1:.1f} | {seconds:.0f}"
                print(f"| {n_noisy} | {method} | {seed} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
