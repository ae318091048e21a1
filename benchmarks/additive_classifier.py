"""AdditiveClassifier beside boosting and linear models: log loss, accuracy, CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/additive_classifier.py --data FOLDER --out runs.csv
    python benchmarks/additive_classifier.py --summary runs.csv

The tables and splits of `penalized_classifier.py`. Additive models and boosting take the raw frame
where a table has one (key frame_csv; what is no number is a category), else the columns of X as
they are; linear models take standardized columns of X, in which categories are indicators. CPU
seconds are those of `fit`, one thread, torch imported before.
"""

import argparse
import csv
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from penalized_classifier import FIELDS, geometric_mean, l2
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from tables import markdown, timed

ADDITIVE, BOOSTING = "AdditiveClassifier", "boosting"


def tables(folder, names):
    """Name, kind, columns of X, raw frame (or X again) and labels of each table."""
    for path in sorted(Path(folder).glob("*.npz")):
        if names and path.stem not in names:
            continue
        with np.load(path, allow_pickle=False) as stored:
            X, y = stored["X"].astype(float), stored["y"].astype(int)
            kind, raw = str(stored["kind"]), X
            if "frame_csv" in stored.files:
                raw = frame(stored["frame_csv"], stored["frame_categories"])
        yield path.stem, kind, X, raw, y


def frame(text, categories):
    text = text.tobytes().decode() if text.dtype == np.uint8 else str(text)
    options = {"keep_default_na": False, "na_values": [""]}
    table = pd.read_csv(io.StringIO(text), dtype={str(c): str for c in categories}, **options)
    is_text = [not pd.api.types.is_numeric_dtype(table[name]) for name in table]
    return table.astype(dict.fromkeys(table.columns[is_text], "category"))


def additive(params):
    def fit(X, y):
        from skbamm import AdditiveClassifier

        return AdditiveClassifier(**params).fit(X, y)

    return fit


def penalized(X, y):
    from skbamm import BilevelRegularizedClassifier

    return BilevelRegularizedClassifier().fit(X, y)


def boosting(X, y):
    return HistGradientBoostingClassifier(random_state=0).fit(X, y)


def explainable_boosting(interactions):
    def fit(X, y):
        from interpret.glassbox import ExplainableBoostingClassifier

        kind = ExplainableBoostingClassifier
        return kind(outer_bags=4, interactions=interactions, n_jobs=1, random_state=0).fit(X, y)

    return fit


# Those that take raw tables, and those that take standardized columns.
RAW = {
    BOOSTING: boosting,
    "EBM mains": explainable_boosting(0),
    "EBM": explainable_boosting(0.9),
}
LINEAR = {"LRCV l2": l2, "BilevelRegularizedClassifier": penalized}


def one(table, seed, method, fit, options):
    name, kind, X, raw, y = table
    rows = np.arange(len(y))
    if len(y) > options.max_rows:
        chosen = {"train_size": options.max_rows, "random_state": 0}
        rows = train_test_split(rows, stratify=y, **chosen)[0]
    train, test = train_test_split(rows, test_size=0.4, stratify=y[rows], random_state=seed)
    used = StandardScaler().fit(X[train]).transform(X) if method in LINEAR else raw
    parts = [used.iloc[some] if hasattr(used, "iloc") else used[some] for some in (train, test)]
    cpu_s, _, model = timed(fit, parts[0], y[train], keep=True)
    probabilities = model.predict_proba(parts[1])
    scores = (
        log_loss(y[test], probabilities, labels=model.classes_),
        np.mean(model.predict(parts[1]) == y[test]),
    )
    values = name, kind, len(train), used.shape[1], len(np.unique(y[train])), seed, method, *scores
    return dict(zip(FIELDS, (*values, cpu_s), strict=True))


def run(options):
    import torch  # noqa: F401

    methods = {name: (RAW | LINEAR)[name] for name in options.methods.split(",") if name}
    if options.label:
        methods[options.label] = additive(json.loads(options.params))
    names = {name for name in options.sets.split(",") if name}
    with open(options.out, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for table in tables(options.data, names):
            for method, fit in methods.items():
                for seed in range(options.seeds):
                    row = one(table, seed, method, fit, options)
                    writer.writerow(row)
                    file.flush()
                    print(
                        *(row[key] for key in FIELDS[:-3]),
                        *(f"{row[key]:.4f}" for key in FIELDS[-3:]),
                        flush=True,
                    )


def summary(paths):
    """Log loss and CPU relative to boosting, accuracy less its; by table and by kind."""
    runs = pd.concat([pd.read_csv(path) for path in paths])
    mean = runs.groupby(["kind", "set", "method"])[list(FIELDS[-3:])].mean()
    loss, accuracy, cpu = (mean[key].unstack() for key in FIELDS[-3:])
    ratio = loss.div(loss[BOOSTING], axis=0)
    rows = runs.groupby(["kind", "set"])["n"].first()
    shown = ratio.assign(boosting=loss[BOOSTING]).rename(columns={BOOSTING: "loss of boosting"})
    shown.insert(0, "rows", rows)
    print(markdown(shown.reset_index("kind", drop=True)))
    print(markdown(ratio.groupby("kind").agg(geometric_mean)))
    total = pd.DataFrame(
        {
            "tables": ratio.count(),
            "log loss": ratio.apply(lambda one: geometric_mean(one.dropna())),
            "median": ratio.median(),
            "worst": ratio.max(),
            "accuracy": accuracy.sub(accuracy[BOOSTING], axis=0).mean(),
            "CPU": cpu.div(cpu[BOOSTING], axis=0).apply(lambda one: geometric_mean(one.dropna())),
            "CPU worst": cpu.div(cpu[BOOSTING], axis=0).max(),
            "seconds": cpu.mean(),
        }
    )
    print(markdown(total.rename_axis("method")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    parser.add_argument("--sets", default="")
    parser.add_argument("--methods", default=",".join([BOOSTING, *LINEAR]))
    parser.add_argument("--label", default=ADDITIVE)
    parser.add_argument("--params", default="{}")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--max-rows", type=int, default=2500)
    parser.add_argument("--out", default="additive_classifier.csv")
    parser.add_argument("--summary", nargs="+")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    summary(options.summary) if options.summary else run(options)


if __name__ == "__main__":
    main()
