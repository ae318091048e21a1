"""Weights of rows by time, source and annotator: test error relative to rows that count alike.

    OMP_NUM_THREADS=1 python benchmarks/row_weights.py
    OMP_NUM_THREADS=1 python benchmarks/row_weights.py --data FOLDER
    OMP_NUM_THREADS=1 python benchmarks/row_weights.py --cost

The same `BilevelRegularizedRegressor` is fitted with what is told of rows and without it, with
sl-BAMM and without (``max_iter=0``); geometric means of the ratios of mean squared errors, and the
worst one. Without arguments on made rows, among them such where nothing is to be found: steady
ones, sources and annotators that are alike. With a folder, on its ``.npz`` files: X, y, kind
("time", "source" or "annotator") and

- time: time, origins, window, horizon: the next rows after each origin, from those before it; and,
  as "shuffled", the same rows in random order;
- source: row_source, targets, m: rows of a target, of which m are known, from these and all others;
  and the same rows with sources drawn at random; two values of y are classes too;
- annotator: annotator, item, truth (of each item): ratings of two thirds of the items, at most
  three an item; as they are, and with 30 % of annotators at random.

``--cost`` prints CPU seconds of both fits at 100,000 x 20.
"""

import argparse
import time as clock
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from tables import markdown

from skbamm import BilevelRegularizedClassifier, BilevelRegularizedRegressor


def made_time(kind, seed, n=1200, n_test=100):
    generator = np.random.default_rng(seed)
    n_all = n + n_test
    X, when = generator.normal(size=(n_all, 8)), np.arange(n_all)
    coef = generator.normal(size=8)
    if kind == "coefficients walk":
        coef = coef + np.cumsum(generator.normal(size=(n_all, 8)), axis=0) / 15
    elif kind == "abrupt change":
        coef = np.where(when[:, None] < 0.8 * n, coef, generator.normal(size=8))
    elif kind == "level walks":
        X = np.column_stack([X, np.zeros(n_all)])
        coef = np.append(coef, 0.0)
    y = (X * coef).sum(axis=1) + generator.normal(size=n_all)
    if kind == "level walks":
        y += np.cumsum(generator.normal(size=n_all)) / 10
    elif kind == "season":
        y += 2 * np.sin(2 * np.pi * when / 300)
    train, test = np.arange(n), np.arange(n, n_all)
    return X, y, train, test, {"time": when[train]}


def made_sources(kind, seed, n_sources=6, n_each=100, n_known=30):
    generator = np.random.default_rng(seed)
    source = np.repeat(np.arange(n_sources), n_each + 100 * (np.arange(n_sources) == 0))
    X = generator.normal(size=(len(source), 8))
    coef = generator.normal(size=8)
    level, own = np.zeros(n_sources), np.zeros((n_sources, 8))
    if kind == "levels":
        level = generator.normal(size=n_sources)
    elif kind == "coefficients":
        own = 0.5 * generator.normal(size=(n_sources, 8))
    y = level[source] + (X * (coef + own[source])).sum(axis=1) + generator.normal(size=len(source))
    if kind == "levels of classes":
        y = (y + generator.normal(size=n_sources)[source] > 0).astype(int)
    train = np.r_[:n_known, 2 * n_each : len(source)]
    told = {"row_source": source[train], "target_source": 0}
    return X, y, train, np.arange(n_known, 2 * n_each), told


def made_ratings(kind, seed, n_items=300, n_annotators=60, n_each=3):
    generator = np.random.default_rng(seed)
    quality = generator.normal(size=(n_items + 300, 8))
    truth = 3 + 0.3 * quality.sum(axis=1) + 0.3 * generator.normal(size=len(quality))
    item = np.repeat(np.arange(n_items), n_each)
    annotator = generator.integers(0, n_annotators, len(item))
    lenience = (kind == "levels") * generator.normal(size=n_annotators)
    noise = 0.7 * generator.normal(size=len(item))
    if kind == "unlike care":
        noise *= np.exp(0.8 * generator.normal(size=n_annotators))[annotator]
    y = truth[item] + lenience[annotator] + noise
    if kind != "no levels, 30 % shuffled":
        y = np.clip(np.round(y), 1, 5)
    at_random = annotator < 0.3 * n_annotators
    if kind == "30 % at random":
        y[at_random] = generator.integers(1, 6, at_random.sum())
    elif "shuffled" in kind:
        y[at_random] = generator.permutation(y[at_random])
    X = np.vstack([quality[item], quality[n_items:]])
    train, test = np.arange(len(item)), np.arange(len(item), len(X))
    return X, np.append(y, truth[n_items:]), train, test, {"annotator": annotator}


MADE = {
    made_time: ("steady", "coefficients walk", "abrupt change", "level walks", "season"),
    made_sources: ("alike", "levels", "coefficients", "levels of classes"),
    made_ratings: (
        "alike",
        "levels",
        "unlike care",
        "30 % at random",
        "30 % shuffled",
        "no levels, 30 % shuffled",
    ),
}


def made_cases(n_seeds):
    for make, kinds in MADE.items():
        for kind in kinds:
            for seed in range(n_seeds):
                yield f"{make.__name__.removeprefix('made_')}: {kind}", make(kind, seed)


def stored_cases(folder, n_seeds):
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            table = {name: stored[name] for name in stored.files}
        read = READERS.get(str(table.get("kind")))
        if read is not None:
            yield from read(path.stem, table, n_seeds)


def stored_time(name, table, n_seeds):
    X, y = table["X"].astype(float), table["y"].astype(float)
    window, horizon = int(table["window"]), int(table["horizon"])
    for origin in table["origins"]:
        rows = np.arange(origin - window, origin + horizon)
        train, test = np.arange(window), np.arange(window, len(rows))
        told = {"time": table["time"][rows[train]]}
        yield name, (X[rows], y[rows], train, test, told)
        mixed = np.random.default_rng(origin).permutation(rows)
        yield f"{name}, shuffled", (X[mixed], y[mixed], train, test, told)


def stored_source(name, table, n_seeds):
    X, y, source = table["X"].astype(float), table["y"].astype(float), table["row_source"]
    for seed in range(n_seeds):
        for target in table["targets"]:
            generator = np.random.default_rng(1000 * seed + target)
            own = generator.permutation(np.flatnonzero(source == target))
            for m in table["m"]:
                if len(own) - m < 40:
                    continue
                train, test = np.r_[own[:m], np.flatnonzero(source != target)], own[m:]
                told = {"row_source": source[train], "target_source": target}
                yield f"{name}, {m} rows", (X, y, train, test, told)
                mixed = generator.permutation(len(y))
                yield f"{name}, shuffled", (X[mixed], y[mixed], train, test, told)
                if len(np.unique(y)) == 2:
                    labels = (y > y.min()).astype(int)
                    yield f"{name}, {m} rows, as classes", (X, labels, train, test, told)


def stored_annotator(name, table, n_seeds):
    X, y, item = table["X"].astype(float), table["y"].astype(float), table["item"]
    annotator = table["annotator"]
    for seed in range(n_seeds):
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(X))
        test, known = order[: len(X) // 3], order[len(X) // 3 :]
        ratings = generator.permutation(np.flatnonzero(np.isin(item, known)))
        sorted_ = ratings[np.argsort(item[ratings], kind="stable")]
        first = np.searchsorted(item[sorted_], item[sorted_])
        kept = sorted_[np.arange(len(sorted_)) - first < 3]
        is_random = generator.random(annotator.max() + 1) < 0.3
        rows = np.vstack([X[item[kept]], X[test]])
        train, tested = np.arange(len(kept)), np.arange(len(kept), len(rows))
        told = {"annotator": annotator[kept]}
        for kind in ("as they are", "30 % at random"):
            rating = y[kept].copy()
            if kind != "as they are":
                spoiled = is_random[annotator[kept]]
                rating[spoiled] = generator.integers(y.min(), y.max() + 1, spoiled.sum())
            truth = np.append(rating, table["truth"][test])
            yield f"{name}, {kind}", (rows, truth, train, tested, told)


READERS = {"time": stored_time, "source": stored_source, "annotator": stored_annotator}


def error(case, told, **options):
    """Mean squared error of the test rows, and whether anything was found.

    Of classes, numbers from 0 on, it is that of their probabilities.
    """
    X, y, train, test, _ = case
    if y.dtype.kind == "i":
        model = BilevelRegularizedClassifier(**options).fit(X[train], y[train], **told)
        errors = model.predict_proba(X[test]) - np.eye(int(y.max()) + 1)[y[test]]
    else:
        model = BilevelRegularizedRegressor(**options).fit(X[train], y[train], **told)
        errors = model.predict(X[test]) - y[test]
    found = getattr(model, "row_weights_", None)
    return float((errors**2).mean()), found is not None and found.found


def results(cases):
    """A row for each kind of case."""
    ratios = {}
    for name, case in cases:
        plain = error(case, {})[0]
        learned, shown = error(case, case[-1])
        frozen = error(case, case[-1], max_iter=0)[0] / error(case, {}, max_iter=0)[0]
        ratios.setdefault(name, []).append((learned / plain, frozen, shown))
    for name, each in ratios.items():
        learned, frozen, shown = np.array(each).T
        mean = np.exp(np.log(learned).mean())
        yield {
            "rows": name,
            "cases": float(len(each)),
            "found": shown.mean(),
            "learned": mean,
            "without learning": np.exp(np.log(frozen).mean()),
            "worst": learned.max(),
        }


def cost():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(100_000, 20))
    y = X @ generator.normal(size=20) + generator.normal(size=100_000)
    source = generator.integers(0, 20, 100_000)
    BilevelRegularizedRegressor().fit(X[:200], y[:200], time=np.arange(200))
    kinds = {
        "plain": {},
        "time": {"time": np.arange(100_000)},
        "sources": {"row_source": source, "target_source": 0},
        "annotators": {"annotator": generator.integers(0, 500, 100_000)},
    }
    for name, told in kinds.items():
        start = clock.process_time()
        BilevelRegularizedRegressor().fit(X, y, **told)
        yield {"rows": name, "CPU seconds": clock.process_time() - start}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of tables")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cost", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.cost:
        found = cost()
    elif options.data:
        found = results(stored_cases(options.data, min(options.seeds, 3)))
    else:
        found = results(made_cases(options.seeds))
    print(markdown(pd.DataFrame(list(found)).set_index("rows")))


if __name__ == "__main__":
    main()
