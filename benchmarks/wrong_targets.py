"""HyperCleaningRegressor with wrong targets of several kinds, and its robust peers.

    OMP_NUM_THREADS=1 python benchmarks/wrong_targets.py
    OMP_NUM_THREADS=1 python benchmarks/wrong_targets.py --data FOLDER --seeds 3

Tables are diabetes and two that are made here, or the ``.npz`` files of a folder (dense X, y of
numbers; at most 3,000 training rows). Seven rows in ten train. Wrong targets are put there: none;
gross (20 %, off by 1.5 to 6 standard deviations); shift (30 % read 1 to 3 deviations too high); sym
(30 %, too high or too low by as much); perm (20 % exchanged with each other). Figures are test
squares relative to `RidgeCV` on all rows as given, geometric means over tables and seeds; "worst"
is the largest one; "(oracle)" leaves wrong targets out. "without learning" is ours with
``max_iter=0``. Writes a CSV of all runs and a Markdown report to ``bench_out/``.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from machine import description
from sklearn.datasets import load_diabetes, make_friedman1, make_regression
from sklearn.linear_model import HuberRegressor, RANSACRegressor, Ridge, RidgeCV
from sklearn.model_selection import train_test_split
from tables import collect, folder_sets, markdown, timed

from skbamm import HyperCleaningRegressor

STRENGTHS = np.logspace(-3, 6, 30)
MOST_ROWS = 3_000


def ridge(X, y, weight=None):
    return RidgeCV(STRENGTHS).fit(X, y, sample_weight=weight)


def tukey(X, y):
    """Bisquare weights of the residuals of ridge, ten rounds from a Huber fit."""
    model = HuberRegressor(alpha=ridge(X, y).alpha_ / 2, max_iter=500).fit(X, y)
    for _ in range(10):
        residual = y - model.predict(X)
        scale = 1.4826 * np.median(np.abs(residual - np.median(residual))) + 1e-9
        weight = np.clip(1 - (residual / (4.685 * scale)) ** 2, 0, 1) ** 2
        kept = weight > 1e-3
        model = ridge(X[kept], y[kept], weight[kept])
    return model


METHODS = {
    "ridge": ridge,
    "huber": lambda X, y: HuberRegressor(alpha=ridge(X, y).alpha_ / 2, max_iter=500).fit(X, y),
    "ransac": lambda X, y: RANSACRegressor(
        Ridge(ridge(X, y).alpha_), min_samples=0.5, random_state=0
    ).fit(X, y),
    "tukey": tukey,
    "without learning": lambda X, y: HyperCleaningRegressor(max_iter=0).fit(X, y),
    "HyperCleaningRegressor": lambda X, y: HyperCleaningRegressor().fit(X, y),
}
KINDS = ("none", "gross", "shift", "sym", "perm")


def with_wrong(y, kind, generator):
    """Targets of which some are wrong, and which."""
    n_rows, deviation = len(y), y.std()
    rate = {"none": 0.0, "gross": 0.2, "perm": 0.2}.get(kind, 0.3)
    is_wrong = generator.random(n_rows) < rate
    sign = generator.choice([-1, 1], n_rows) if kind in ("gross", "sym") else 1
    low, high = (1.5, 6) if kind == "gross" else (1, 3)
    size = sign * generator.uniform(low, high, n_rows) * deviation
    given = y + is_wrong * size
    if kind == "perm":
        given = y.copy()
        given[is_wrong] = generator.permutation(y[is_wrong])
    return given, is_wrong


def shipped_sets():
    yield ("diabetes", *load_diabetes(return_X_y=True))
    yield ("friedman", *make_friedman1(1000, noise=1.0, random_state=0))
    yield ("linear", *make_regression(1000, 40, n_informative=20, noise=50.0, random_state=0))


def runs(tables, n_seeds):
    for name, X, y, *_ in tables:
        if y.ndim != 1:
            continue
        for seed in range(n_seeds):
            X_train, X_test, y_train, y_test = train_test_split(
                X, y, test_size=0.3, random_state=seed
            )
            X_train, y_train = X_train[:MOST_ROWS], y_train[:MOST_ROWS].astype(float)
            mean, scale = X_train.mean(0), X_train.std(0)
            scale = np.where(scale > 0, scale, 1.0)
            X_train, X_test = (X_train - mean) / scale, (X_test - mean) / scale
            # Some peers hang on the unit of y.
            middle, unit = y_train.mean(), y_train.std()
            y_train, y_test = (y_train - middle) / unit, (y_test - middle) / unit
            for kind in KINDS:
                given, is_wrong = with_wrong(y_train, kind, np.random.default_rng(seed))
                right = ~is_wrong
                methods = {**METHODS, "(oracle)": lambda X, y, r=right: ridge(X[r], y[r])}
                plain = None
                for method, fit in methods.items():
                    seconds, _, model = timed(fit, X_train, given, keep=True)
                    error = float(np.mean((model.predict(X_test) - y_test) ** 2))
                    plain = error if plain is None else plain
                    yield {
                        "set": name,
                        "seed": seed,
                        "kind": kind,
                        "method": method,
                        "relative": error / plain,
                        "seconds": seconds,
                    }


def report(found):
    logs = found.assign(log=np.log(found["relative"]))
    table = np.exp(logs.pivot_table(index="method", columns="kind", values="log"))[list(KINDS)]
    table["worst"] = found.groupby("method")["relative"].max()
    table["CPU seconds"] = found.groupby("method")["seconds"].mean()
    return table.loc[list(dict.fromkeys(found["method"]))].round(3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of .npz files")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", default="bench_out")
    arguments = parser.parse_args()
    tables = folder_sets(arguments.data, "regression") if arguments.data else shipped_sets()
    found = pd.DataFrame(collect(runs(tables, arguments.seeds)))
    folder = Path(arguments.out)
    folder.mkdir(exist_ok=True)
    found.to_csv(folder / "wrong_targets.csv", index=False)
    text = f"{description()}\n\n{markdown(report(found))}\n"
    (folder / "wrong_targets.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
