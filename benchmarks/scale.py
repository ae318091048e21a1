"""Where the time of a regressor's fit goes, and that an iteration does not pay for rows.

    OMP_NUM_THREADS=1 python benchmarks/scale.py

Fits 50 columns with 10,000 and with 1,000,000 rows, and times the phases of the fit: everything
before the first iteration (validation, one pass over X for the Gram matrices of all folds, the
ridge path), one iteration (median), and the end (strength rule, refit). Then RidgeCV and LassoCV
beside it for large n, for large p and for p far above n, and in processes of their own the peak
memory of a fit above the data. Last, the classifier and LogisticRegressionCV on 100,000 rows,
100 columns, five classes, 20 % wrong labels and 500 verified (``--only classifier``: just that).
All are CPU seconds, the fewest of some repeats for what is short; torch is imported before. Writes
Markdown to ``bench_out/``.
"""

import argparse
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from machine import description
from sklearn.linear_model import LassoCV, LogisticRegressionCV, RidgeCV

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.solvers import SlBamm


class ClockedSlBamm(SlBamm):
    """sl-BAMM that notes when it is called."""

    ticks: list = []

    def init(self, problem):
        self.ticks.append(time.process_time())
        return super().init(problem)

    def step(self, problem, state):
        self.ticks.append(time.process_time())
        return super().step(problem, state)


def data(n_samples, n_features, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n_samples, n_features))
    coef = generator.standard_normal(n_features) * (generator.random(n_features) < 0.3)
    signal = X @ coef
    return X, signal + 3 * signal.std() * generator.standard_normal(n_samples)


def labelled(n_samples, n_features, n_classes=5, n_clean=500, seed=0):
    """Rows with given labels, a fifth of them wrong, but for some that are known to be right."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n_samples, n_features))
    scores = X @ generator.standard_normal((n_features, n_classes)) / np.sqrt(n_features)
    y = (3 * scores + generator.gumbel(size=scores.shape)).argmax(axis=1)
    is_clean = np.arange(n_samples) < n_clean
    wrong = ~is_clean & (generator.random(n_samples) < 0.2)
    given = np.where(wrong, (y + generator.integers(1, n_classes, n_samples)) % n_classes, y)
    return X, given, is_clean


def clocked(function, repeats=1):
    """Fewest CPU seconds of some calls."""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def phases(X, y):
    """Seconds before, for each iteration, after and in all, and the number of iterations."""
    ClockedSlBamm.ticks.clear()
    begin = time.process_time()
    # tol=0 keeps it going: medians over few iterations say little.
    model = BilevelRegularizedRegressor(solver=ClockedSlBamm(), max_iter=40, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    end = time.process_time()
    first, *steps = ClockedSlBamm.ticks
    iteration = float(np.median(np.diff(steps)))
    return first - begin, iteration, end - steps[-1] - iteration, end - begin, len(steps)


def ridge(n_strengths, **options):
    return RidgeCV(np.logspace(-3, 6, n_strengths), **options)


def next_to_peers():
    """Seconds of whole fits: for each shape what a user would run instead."""
    yield row("n", "p", "X.T @ X", "without learning", "skbamm", "peers")
    yield "|" + "---|" * 6
    for n_samples, n_features, peers in (
        (100_000, 100, {"RidgeCV, 10 strengths": ridge(10), "LassoCV": LassoCV(cv=5)}),
        (1_000_000, 50, {"RidgeCV, 10 strengths": ridge(10), "LassoCV": LassoCV(cv=5)}),
        (10_000, 1000, {"LassoCV": LassoCV(cv=5)}),
        (71, 4088, {"RidgeCV, 10 strengths, cv=5": ridge(10, cv=5), "LassoCV": LassoCV(cv=5)}),
    ):
        X, y = data(n_samples, n_features)
        gram = clocked(lambda X=X: X.T @ X, 3)
        ours = [clocked(lambda X=X, y=y, m=max_iter: fit_ours(X, y, m), 3) for max_iter in (0, 200)]
        others = [f"{name}: {clocked(lambda X=X, y=y, m=m: m.fit(X, y)):.3f} s"
                  for name, m in peers.items()]  # fmt: skip
        seconds = (f"{value:.3f} s" for value in (gram, *ours))
        yield row(n_samples, n_features, *seconds, "; ".join(others))


def fit_ours(X, y, max_iter):
    BilevelRegularizedRegressor(max_iter=max_iter).fit(X, y)


def memory(shapes=((20_000, 2000), (71, 4088))):
    """Peak memory of a fit above the data, also in units of a p x p or n x p matrix."""
    yield row("n", "p", "peak above the data", "in p x p matrices", "in n x p matrices")
    yield "|" + "---|" * 5
    for n_samples, n_features in shapes:
        command = [sys.executable, __file__, "--peak", str(n_samples), str(n_features)]
        peak = float(subprocess.run(command, capture_output=True, check=True).stdout)
        square, block = 8 * n_features**2, 8 * n_samples * n_features
        yield row(
            n_samples, n_features, f"{peak / 2**20:.0f} MiB", f"{peak / square:.1f}",
            f"{peak / block:.1f}",
        )  # fmt: skip


def peak_above_data(n_samples, n_features):
    """Bytes by which the peak of a fit exceeds what was resident before it."""
    generator = np.random.default_rng(0)
    X = np.empty((n_samples, n_features))
    generator.standard_normal(out=X)
    y = X[:, :5].sum(axis=1) + generator.standard_normal(n_samples)
    before = resident("VmRSS")
    fit_ours(X, y, 200)
    # Not `getrusage`: that peak is inherited from the process that started this one.
    return resident("VmHWM") - before


def resident(name):
    """Bytes that the process has in memory (VmRSS), or had at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if name in line).split()[1])


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def regressor_rows(options):
    BilevelRegularizedRegressor(max_iter=2, tol=1e9).fit(*data(100, 3))  # imports torch
    yield row("n", "p", "X.T @ X", "before", "one iteration", "after", "iterations", "fit")
    yield "|" + "---|" * 8
    iterations = []
    for n_samples in options.rows:
        X, y = data(n_samples, options.features)
        gram = clocked(lambda X=X: X.T @ X, options.repeats)
        runs = [phases(X, y) for _ in range(options.repeats)]
        before, iteration, after, total, n_iter = min(runs, key=lambda run: run[3])
        iteration = min(run[1] for run in runs)
        iterations.append(iteration)
        yield row(
            n_samples, options.features, f"{gram:.3f} s", f"{before:.3f} s",
            f"{1e3 * iteration:.2f} ms", f"{after:.3f} s", n_iter, f"{total:.3f} s",
        )  # fmt: skip
    yield f"\nOne iteration, largest to smallest: {max(iterations) / min(iterations):.2f}.\n"
    yield from next_to_peers()
    yield ""
    yield from memory()


def classifier_rows(options):
    X, y, is_clean = labelled(100_000, 100)
    HyperCleaningClassifier(tol=1e9).fit(X[:300], y[:300], is_clean=is_clean[:300])
    yield row("n=100,000, p=100, 5 classes", "fit")
    yield "|---|---|"
    options = {
        "linear, without learning": {"final_estimator": "linear", "max_iter": 0},
        "linear": {"final_estimator": "linear"},
        "skbamm": {},
    }
    fits = {
        name: partial(HyperCleaningClassifier(**each).fit, X, y, is_clean=is_clean)
        for name, each in options.items()
    }
    peer = LogisticRegressionCV(Cs=10, cv=5, scoring="neg_log_loss", use_legacy_attributes=False)
    fits["LogisticRegressionCV(Cs=10, cv=5)"] = partial(peer.fit, X, y)
    for name, fit in fits.items():
        yield row(name, f"{clocked(fit):.3f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["regressor", "classifier"])
    parser.add_argument("--out", default="bench_out")
    parser.add_argument("--peak", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        BilevelRegularizedRegressor(max_iter=2, tol=1e9).fit(*data(100, 3))  # imports torch
        print(peak_above_data(*options.peak))
        return
    lines = [description(), ""]
    for part in options.only:
        for line in {"regressor": regressor_rows, "classifier": classifier_rows}[part](options):
            print(line, flush=True)
            lines.append(line)
        lines.append("")
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    (out / "scale.md").write_text("\n".join(lines) + "\n")
    print(f"\nwritten: {out / 'scale.md'}")


if __name__ == "__main__":
    main()
