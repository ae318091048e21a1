"""The same answers on a GPU as on the CPU, then how long each takes.

    python benchmarks/gpu.py [--rows N]

Each case is checked on few rows before it is timed on many: the regressor on 1,000,000 x 500
numbers in single precision, the cleaning classifier on 100,000 x 100 with ten classes, sl-BAMM with
a network below. Exits with 1 where CPU and GPU differ by more than single precision explains, and
says "no GPU: not run" where there is none.
"""

import argparse
import sys
import time

import numpy as np
import torch
from machine import description
from torch.nn.functional import cross_entropy

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.problems import module_problem
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


CASES = {
    "regressor": (regressor, 1_000_000),
    "classifier": (classifier, 100_000),
    "network": (network, 100_000),
}


def seconds(call):
    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="in place of each case's own number")
    options = parser.parse_args()
    print(description())
    if not torch.cuda.is_available():
        print("no GPU: not run")
        return
    print(torch.cuda.get_device_name())
    wrong = []
    print("| case | rows | largest difference, relative | CPU s | GPU s |\n|---|---|---|---|---|")
    for name, (build, n_rows) in CASES.items():
        n_rows = options.rows or n_rows
        on_cpu, on_gpu = (build(CHECKED_ROWS, device)() for device in ("cpu", "cuda"))
        difference = float(np.abs(on_cpu - on_gpu).max() / np.abs(on_cpu).max())
        if not difference < 1e-2:
            wrong.append(name)
        times = [seconds(build(n_rows, device)) for device in ("cpu", "cuda")]
        print(
            f"| {name} | {n_rows} | {difference:.1e} | {times[0]:.1f} | {times[1]:.1f} |",
            flush=True,
        )
    if wrong:
        sys.exit(f"CPU and GPU differ: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
