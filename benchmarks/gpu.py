"""The same answers on a GPU as on the CPU, then how long each takes.

    python benchmarks/gpu.py [--rows N] [--checked-rows N] [--only CASE] [--device cpu]

Each case is checked on few rows before it is timed on many: the regressor on 1,000,000 x 500
numbers in single precision, the cleaning classifier on 100,000 x 100 with ten classes, sl-BAMM with
a network below, and stochastic sl-BAMM on batches of images with a convolutional network below and
a weight for each row. Exits with 1 where CPU and GPU differ by more than single precision explains,
and says "no GPU: not run" where there is none. `--device cpu` compares the CPU with itself, as a
check of this script: the difference must then be zero.
"""

import argparse
import sys
import time

import numpy as np
import torch
from machine import description
from torch.nn.functional import cross_entropy

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.problems import StochasticProblem, module_problem
from skbamm.solvers import solve

CHECKED_ROWS = 2_000


def regressor(n_rows, device):
    """Coefficients of a fit."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 500), dtype=np.float32)
    y = X[:, :20].sum(1) + rng.standard_normal(n_rows, dtype=np.float32)
    return lambda: BilevelRegularizedRegressor(device=device).fit(X, y).coef_


def classifier(n_rows, device):
    """Probabilities of the first rows, after a fit to labels of which a fifth is wrong."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 100), dtype=np.float32)
    y = (X[:, :10] + rng.standard_normal((n_rows, 10))).argmax(1)
    wrong = rng.random(n_rows) < 0.2
    y[wrong] = rng.integers(0, 10, wrong.sum())
    model = HyperCleaningClassifier(final_estimator="linear", device=device, random_state=0)
    return lambda: model.fit(X, y).predict_proba(X[:500])


def network(n_rows, device):
    """Learned strengths of a network of two layers."""
    torch.manual_seed(0)
    X = torch.randn(2 * n_rows, 64)
    y = (X[:, :10] + torch.randn(2 * n_rows, 10)).argmax(1).to(device)
    X = X.to(device)
    module = torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)
    ).to(device)

    def upper(hyper, model):
        return cross_entropy(model(X[n_rows:]), y[n_rows:])

    def lower(hyper, model):
        decay = sum(
            s * p.square().sum() for s, p in zip(hyper.exp(), model.parameters(), strict=True)
        )
        return cross_entropy(model(X[:n_rows]), y[:n_rows]) + decay / 2

    hyper = torch.full((4,), -3.0, device=device)
    problem = module_problem(module, upper, lower, hyper, strongly_convex=True)
    options = {"max_iter": 50, "tol": -1.0, "verify": False}
    return lambda: solve(problem, **options).criterion.cpu().numpy()


def batches(n_rows, device):
    """Losses on all data after 100 iterations on batches, weights of rows of which half are wrong.

    The largest weights would not do: roundings of single batches add up in them.
    """
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(10, (n_rows,), generator=generator)
    X = torch.randn(n_rows, 1, 16, 16, generator=generator)
    X[torch.arange(n_rows), 0, y, y] += 3.0
    wrong = torch.rand(n_rows, generator=generator) < 0.5
    given = torch.where(wrong, torch.randint(10, (n_rows,), generator=generator), y)
    half = n_rows // 2
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 5, stride=2),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Linear(288, 10),
    )

    def upper(weights, model, batch):
        images, labels = batch
        return cross_entropy(model(images), labels)

    def lower(weights, model, batch):
        images, labels, rows = batch
        losses = cross_entropy(model(images), labels, reduction="none")
        decay = sum(tensor.square().sum() for tensor in model.parameters())
        return (weights[rows].sigmoid() * losses).mean() + 1e-3 * decay

    problem = StochasticProblem(
        upper,
        lower,
        (X[half:], y[half:]),
        (X[:half], given[:half], torch.arange(half)),
        torch.zeros(half, device=device),
        module.to(device),
        batch_size=256,
    )

    def run():
        solution = solve(problem, max_iter=100, tol=-1.0)
        weights = solution.hyper.sigmoid().cpu()
        means = [weights[wrong[:half]].mean(), weights[~wrong[:half]].mean()]
        return np.array([float(solution.criterion.cpu()), *map(float, means)])

    return run


CASES = {
    "regressor": (regressor, 1_000_000),
    "classifier": (classifier, 100_000),
    "network": (network, 100_000),
    "batches": (batches, 100_000),
}


def seconds(call, device):
    """Of a call that has been made once before: kernels are chosen then."""
    wait = torch.cuda.synchronize if device == "cuda" else int
    call()
    wait()
    begin = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="in place of each case's own number")
    parser.add_argument("--checked-rows", type=int, default=CHECKED_ROWS)
    parser.add_argument("--only", choices=CASES, help="one case")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    other = options.device
    print(description())
    if other == "cuda":
        if not torch.cuda.is_available():
            print("no GPU: not run")
            return
        print(torch.cuda.get_device_name())
    wrong = []
    print(
        f"| case | rows | largest difference, relative | cpu s | {other} s |\n|---|---|---|---|---|"
    )
    for name, (build, n_rows) in CASES.items():
        if options.only not in (None, name):
            continue
        n_rows = options.rows or n_rows
        on_cpu, on_other = (build(options.checked_rows, device)() for device in ("cpu", other))
        difference = float(np.abs(on_cpu - on_other).max() / np.abs(on_cpu).max())
        if not difference < (1e-2 if other == "cuda" else 1e-9):
            wrong.append(name)
        times = [seconds(build(n_rows, device), device) for device in ("cpu", other)]
        print(
            f"| {name} | {n_rows} | {difference:.1e} | {times[0]:.1f} | {times[1]:.1f} |",
            flush=True,
        )
    if wrong:
        sys.exit(f"cpu and {other} differ: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
