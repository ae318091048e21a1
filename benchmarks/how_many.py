"""Test error against how many strengths are learned: random search, free gradients, the default.

    OMP_NUM_THREADS=1 python benchmarks/how_many.py --data DIR --sets NAME ... [--splits 5]

The columns of each table are cut into 1 to 120 consecutive groups. Beside each other: random
search among 60 draws of all groups' strengths, strengths learned freely (``penalty="l2",
shrinkage=0``), the same shrunk together (``shrinkage="auto"``), and the default with these
groups. 70 % of the rows are for training; errors are relative to `RidgeCV`'s.

Writes a table and ``how_many.png`` to ``bench_out/``.
"""

import argparse
import warnings
from pathlib import Path

import matplotlib
import numpy as np
from machine import description
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict, train_test_split
from sklearn.preprocessing import StandardScaler
from tables import collect, folder_sets, markdown

from skbamm import BilevelRegularizedRegressor

matplotlib.use("Agg")
OUT = Path("bench_out")
COUNTS = 1, 2, 4, 8, 20, 40, 120
N_DRAWS = 60


def random_search(X, y, group, seed):
    """Coefficients of a ridge fit with the best of some draws, and the columns' scales there."""
    generator = np.random.default_rng(seed)
    folds = KFold(5, shuffle=True, random_state=seed)
    best = np.inf, None
    for _ in range(N_DRAWS):
        scale = 10 ** generator.uniform(-2.5, 1, group.max() + 1)[group]
        ridge = Ridge(alpha=1.0, solver="cholesky" if len(X) > X.shape[1] else "svd")
        error = ((cross_val_predict(ridge, X * scale, y, cv=folds) - y) ** 2).mean()
        if error < best[0]:
            best = error, scale
    return ridge.fit(X * best[1], y).coef_ * best[1]


def learned(X, y, group, seed, **options):
    model = BilevelRegularizedRegressor(groups=group, random_state=seed, **options)
    return model.fit(X, y).coef_


METHODS = {
    "random search": random_search,
    "learned freely": lambda *rows: learned(*rows, penalty="l2", shrinkage=0),
    "shrunk together": lambda *rows: learned(*rows, penalty="l2"),
    "default": learned,
}


def run(sets, names, n_splits):
    for name, X, y, _ in sets:
        if name not in names:
            continue
        for seed in range(n_splits):
            rows = train_test_split(X, y, test_size=0.3, random_state=seed)
            scaler = StandardScaler().fit(rows[0])
            train, test = scaler.transform(rows[0]), scaler.transform(rows[1])
            y_train, y_test = (part - rows[2].mean() for part in rows[2:])
            y_train, y_test = y_train / rows[2].std(), y_test / rows[2].std()
            ridge = RidgeCV(np.logspace(-3, 6, 30)).fit(train, y_train)
            usual = ((ridge.predict(test) - y_test) ** 2).mean()
            for count in sorted({min(count, X.shape[1]) for count in COUNTS}):
                group = np.arange(X.shape[1]) * count // X.shape[1]
                for method, fit in METHODS.items():
                    error = ((test @ fit(train, y_train, group, seed) - y_test) ** 2).mean()
                    yield {
                        "set": name,
                        "groups": count,
                        "method": method,
                        "split": seed,
                        "ratio": float(error / usual),
                    }


def draw(table, path):
    """One panel a set: the error of each method, on a logarithmic scale cut at 10."""
    from matplotlib import pyplot as plt

    names = table.index.unique("set")
    figure, axes = plt.subplots(
        1, len(names), figsize=(4.5 * len(names), 3.6), sharey=True, layout="constrained"
    )
    for name, axis in zip(names, np.atleast_1d(axes), strict=True):
        for method in table:
            values = table.loc[name][method]
            axis.plot(values.index, values.clip(upper=10), marker="o", label=method)
        axis.axhline(1, color="0.5", linewidth=1, linestyle="--")
        axis.set(xscale="log", yscale="log", title=name, xlabel="groups of columns")
        ticks = list(table.loc[name].index)
        axis.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axis.minorticks_off()
        axis.set_yticks(
            [0.5, 0.7, 1, 1.5, 2, 3, 5, 10], ["0.5", "0.7", "1", "1.5", "2", "3", "5", "10"]
        )
    np.atleast_1d(axes)[0].set_ylabel("test error relative to RidgeCV")
    np.atleast_1d(axes)[-1].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--splits", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    OUT.mkdir(exist_ok=True)
    sets = folder_sets(options.data, "regression")
    runs = collect(run(sets, options.sets, options.splits))
    # The mean over the splits of the logarithm: one bad split does not rule the curve.
    runs["ratio"] = np.log(runs["ratio"])
    table = np.exp(runs.pivot_table("ratio", ["set", "groups"], "method", sort=False))
    table = table[list(METHODS)]
    draw(table, OUT / "how_many.png")
    text = f"{description()}\n\n{markdown(table)}\n"
    (OUT / "how_many.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
