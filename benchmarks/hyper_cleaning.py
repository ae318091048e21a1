"""Data hyper-cleaning on images, the papers' application, with every solver.

    OMP_NUM_THREADS=1 python benchmarks/hyper_cleaning.py
    OMP_NUM_THREADS=1 python benchmarks/hyper_cleaning.py --fashion-mnist FOLDER

Half of the training labels are drawn anew. One logit for each noisy row is learned: below, the mean
over noisy rows of sigmoid(logit) times the cross-entropy of a linear softmax model; above, its mean
on verified ones. With a folder of the FashionMNIST files (``train-images-idx3-ubyte.gz`` and so on)
5000 noisy, 5000 verified and 10,000 test images; else the digits that ship with scikit-learn.

Each method runs in a process of its own for the same CPU seconds: test accuracy of the params that
it ends at, F1 of wrong labels (weight below 1/2), iterations, and the peak of resident memory above
that before the run.
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from machine import description
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from skbamm.problems import BilevelProblem, CurvatureProducts, Gradients, Objective
from skbamm.solvers import SOLVERS, get_solver, solve

PEERS = ("verified labels", "noisy rows", "both", "filter")
# Inner steps that fit into the budget. sl-BAMM averages as in the published experiment, and changes
# weights long before params have converged: rough hypergradients will do, as time is short.
SHORT = {
    "sl-bamm": {"averaging": 0.5, "accuracy": 0.5},
    "iaptt-gm": {"n_steps": 5},
    "unrolling": {"n_steps": 5},
    "truncated-unrolling": {"n_steps": 5, "n_reverse": 2},
    "conjugate-gradient": {"n_steps": 5, "n_linear": 5},
    "neumann": {"n_steps": 5, "n_linear": 5},
    "bda": {"n_steps": 5},
}
RIDGE = 1e-4


class WeightedSoftmax(Objective):
    """Mean of sigmoid(hyper) times cross-entropy, plus a small ridge; or the plain mean."""

    def __init__(self, X, labels, *, weighted):
        # Single precision, as research code has it: images of 8 bits, and half the time.
        self.X = torch.from_numpy(np.hstack([X, np.ones((len(X), 1))]).astype(np.float32))
        self.labels = torch.from_numpy(labels)
        self.given = torch.nn.functional.one_hot(self.labels, 10).to(self.X)
        self.weighted = weighted

    def _weight(self, hyper):
        if self.weighted:
            return hyper.sigmoid() / len(self.X)
        return self.X.new_full((len(self.X),), 1 / len(self.X))

    def _losses(self, params):
        scores = self.X @ params
        return scores.logsumexp(1) - (scores * self.given).sum(1), scores.softmax(1)

    def _by_hyper(self, hyper, by_weight):
        if not self.weighted:
            return torch.zeros_like(hyper)
        weight = self._weight(hyper)
        return weight * (1 - hyper.sigmoid()) * by_weight

    def _ridge(self):
        return RIDGE if self.weighted else 0.0

    def value(self, hyper, params):
        losses, _ = self._losses(params)
        return self._weight(hyper) @ losses + self._ridge() * params.square().sum() / 2

    def gradients(self, hyper, params, *, differentiable=False):
        losses, probabilities = self._losses(params)
        residual = self._weight(hyper)[:, None] * (probabilities - self.given)
        by_params = self.X.T @ residual + self._ridge() * params
        return Gradients(self._by_hyper(hyper, losses), by_params)

    def curvature_products(self, hyper, params, vector):
        _, probabilities = self._losses(params)
        scores = self.X @ vector  # jvp
        change = probabilities * (scores - (probabilities * scores).sum(1, keepdim=True))
        hessian = self.X.T @ (self._weight(hyper)[:, None] * change) + self._ridge() * vector
        by_weight = ((probabilities - self.given) * scores).sum(1)
        return CurvatureProducts(hessian, self._by_hyper(hyper, by_weight))


def fashion_mnist(folder):
    """Images of [0, 1] and labels: 5000 noisy, 5000 clean, 10,000 to test."""

    def read(name, offset):
        with gzip.open(Path(folder) / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    images = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    labels = read("train-labels-idx1-ubyte.gz", 8).astype(int)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = order[:5000], order[5000:10_000], order[10_000:20_000]
    return [(images[part] / 255, labels[part]) for part in parts]


def digits():
    """700 noisy, 300 clean, the rest to test."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    parts = order[:700], order[700:1000], order[1000:]
    return [(images[part] / 16, labels[part]) for part in parts]


def corrupted(labels):
    """Half of the labels drawn anew; they may stay what they were."""
    generator = np.random.default_rng(1)
    drawn = generator.integers(0, 10, len(labels))
    return np.where(generator.random(len(labels)) < 0.5, drawn, labels)


def softmax(X, y, weight=None, ridge=1e-3):
    total = len(y) if weight is None else weight.sum()
    return LogisticRegression(C=1 / (ridge * total), max_iter=100).fit(X, y, sample_weight=weight)


def peer(name, noisy, given, clean):
    """A model without learned weights, and which labels it takes for wrong."""
    X, y = np.vstack([noisy[0], clean[0]]), np.concatenate([given, clean[1]])
    if name == "verified labels":
        return softmax(*clean), None
    if name == "noisy rows":
        return softmax(noisy[0], given), None
    if name == "both":
        return softmax(X, y), None
    wrong = softmax(*clean).predict(noisy[0]) != given
    kept = np.concatenate([~wrong, np.ones(len(clean[1]), bool)])
    return softmax(X[kept], y[kept]), wrong


def learn(name, noisy, given, clean, seconds):
    """Params and weights that a solver ends at, and how it ended."""
    problem = BilevelProblem(
        WeightedSoftmax(*clean, weighted=False),
        WeightedSoftmax(noisy[0], given, weighted=True),
        torch.zeros(len(given)),
        torch.zeros(noisy[0].shape[1] + 1, 10),
        lower_bound=-10.0,
        upper_bound=10.0,
    )
    begin = time.process_time()
    solution = solve(
        problem,
        get_solver(name).set_params(**SHORT.get(name, {})),
        max_iter=100_000,
        tol=1e-6,
        callback=lambda state, row: time.process_time() - begin > seconds,
    )
    return solution


def measure(name, folder, seconds):
    """Results of one method, in this process."""
    noisy, clean, test = fashion_mnist(folder) if folder else digits()
    given = corrupted(noisy[1])
    # Libraries count neither in time nor in memory.
    learn("sl-bamm", (noisy[0][:50], None), given[:50], (clean[0][:50], clean[1][:50]), 0.1)
    before, begin = _peak(), time.process_time()
    if name in PEERS:
        model, wrong = peer(name, noisy, given, clean)
        accuracy, ended = model.score(*test), ""
    else:
        solution = learn(name, noisy, given, clean, seconds)
        wrong = (solution.state.hyper < 0).numpy()
        scores = np.hstack([test[0], np.ones((len(test[0]), 1))]) @ solution.state.params.numpy()
        accuracy = np.mean(scores.argmax(1) == test[1])
        ended = f"{solution.n_iter} iterations, {solution.status}"
    return {
        "accuracy": float(accuracy),
        "f1": None if wrong is None else float(f1_score(given != noisy[1], wrong)),
        "seconds": time.process_time() - begin,
        "megabytes": (_peak() - before) / 1e6,
        "ended": ended.replace("stopped", "time is up"),
    }


def _peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def table_row(name, result):
    def percent(value):
        return "" if value is None else f"{100 * value:.1f}"

    cells = [name, percent(result["accuracy"]), percent(result["f1"])]
    cells += [f"{result['seconds']:.1f}", f"{result['megabytes']:.0f}", result["ended"]]
    return "| " + " | ".join(cells) + " |"


def main():
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fashion-mnist", help="folder of the four files; default: digits")
    parser.add_argument("--method", choices=[*PEERS, *SOLVERS], help="only this one, as JSON")
    parser.add_argument("--only", nargs="+", choices=[*PEERS, *SOLVERS], help="these methods")
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU seconds for each solver")
    parser.add_argument("--out", default="bench_out")
    options = parser.parse_args()
    if options.method:
        print(json.dumps(measure(options.method, options.fashion_mnist, options.seconds)))
        return
    lines = [description(), "", "| method | accuracy | F1 wrong | CPU s | MB | ended |"]
    lines.append("|---" * 6 + "|")
    print("\n".join(lines), flush=True)
    for name in options.only or (*PEERS, *SOLVERS):
        command = [sys.executable, __file__, "--method", name, "--seconds", str(options.seconds)]
        if options.fashion_mnist:
            command += ["--fashion-mnist", options.fashion_mnist]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines.append(table_row(name, json.loads(found)))
        print(lines[-1], flush=True)
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    (out / "hyper_cleaning.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
