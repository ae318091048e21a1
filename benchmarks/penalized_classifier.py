"""BilevelRegularizedClassifier and LogisticRegressionCV: log loss, accuracy, CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/penalized_classifier.py --data FOLDER --out runs.csv
    python benchmarks/penalized_classifier.py --summary runs.csv peers.csv

Every ``.npz`` file of a folder (keys X, integer y and, for tables of results, kind). Tables of more
than ``--max-rows`` rows are subsampled; stratified 60/40 splits, columns standardized on the
training part. Peers are LogisticRegressionCV with Cs=10, cv=5 and scoring="neg_log_loss": l2 by
lbfgs, and on the smaller tables l1 and the elastic net by saga with a limited number of iterations.
Regret is log loss relative to the best peer of each table, known in hindsight. CPU seconds are
those of `fit`, one thread, torch imported before.
"""

import argparse
import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from tables import markdown, timed

FIELDS = ("set", "kind", "n", "p", "n_classes", "seed", "method", "log_loss", "accuracy", "cpu_s")
# Entries of X times classes, above which saga takes minutes.
SMALL = 4e5


def tables(folder, names):
    for path in sorted(Path(folder).glob("*.npz")):
        if names and path.stem not in names:
            continue
        with np.load(path, allow_pickle=False) as stored:
            if "X" in stored.files:
                kind = str(stored["kind"]) if "kind" in stored.files else ""
                yield path.stem, kind, stored["X"].astype(float), stored["y"].astype(int)


def halves(X, y, max_rows, seed):
    """Training and test part, standardized on the training part."""
    kept = np.arange(len(y))
    if len(y) > max_rows:
        kept = train_test_split(kept, train_size=max_rows, stratify=y, random_state=0)[0]
    train, test = train_test_split(kept, test_size=0.4, stratify=y[kept], random_state=seed)
    # A class of too few rows may be in one part alone.
    scaler = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), y[train], scaler.transform(X[test]), y[test]


def peer(l1_ratio, **options):
    return LogisticRegressionCV(
        Cs=10,
        cv=5,
        l1_ratios=(l1_ratio,),
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        **options,
    )


def l2(X, y):
    return peer(0.0, max_iter=1000).fit(X, y)


def l1(X, y):
    return peer(1.0, solver="saga", max_iter=200, tol=1e-3, random_state=0).fit(X, y)


def elastic_net(X, y):
    return peer(0.5, solver="saga", max_iter=200, tol=1e-3, random_state=0).fit(X, y)


PEERS = {"LRCV l2": l2, "LRCV l1": l1, "LRCV elastic net": elastic_net}


def ours(params):
    def fit(X, y):
        from skbamm import BilevelRegularizedClassifier

        return BilevelRegularizedClassifier(**params).fit(X, y)

    return fit


def one(name, kind, X, y, max_rows, seed, method, fit):
    X_train, y_train, X_test, y_test = halves(X, y, max_rows, seed)
    n_classes = len(np.unique(y_train))
    if method in ("LRCV l1", "LRCV elastic net") and X_train.size * (n_classes - 1) > SMALL:
        return None
    cpu_s, _, model = timed(fit, X_train, y_train, keep=True)
    probabilities = model.predict_proba(X_test)
    return dict(
        zip(
            FIELDS,
            (
                name,
                kind,
                len(y_train),
                X_train.shape[1],
                n_classes,
                seed,
                method,
                log_loss(y_test, probabilities, labels=model.classes_),
                np.mean(model.predict(X_test) == y_test),
                cpu_s,
            ),
            strict=True,
        )
    )


def run(options):
    import torch  # noqa: F401

    methods = {name: PEERS[name] for name in options.methods.split(",") if name}
    if options.label:
        methods[options.label] = ours(json.loads(options.params))
    names = {name for name in options.sets.split(",") if name}
    with open(options.out, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for name, kind, X, y in tables(options.data, names):
            for method, fit in methods.items():
                for seed in range(options.seeds):
                    row = one(name, kind, X, y, options.max_rows, seed, method, fit)
                    if row is not None:
                        writer.writerow(row)
                        file.flush()
                        figures = (f"{row[key]:.4f}" for key in FIELDS[-3:])
                        print(name, row["n"], row["p"], row["n_classes"], method, *figures)


def geometric_mean(values):
    return np.exp(np.log(values).mean())


def summary(paths):
    """Log loss relative to the best peer of each table, accuracy less its, CPU relative to l2's."""
    runs = pd.concat([pd.read_csv(path) for path in paths])
    mean = runs.groupby(["kind", "set", "method"], sort=True)[list(FIELDS[-3:])].mean()
    loss, accuracy, cpu = (mean[key].unstack() for key in FIELDS[-3:])
    known = [name for name in PEERS if name in loss]
    others = [name for name in loss if name not in known]
    loss, accuracy, cpu = (table.dropna(subset=others) for table in (loss, accuracy, cpu))
    best = loss[known].min(axis=1)
    regret = loss.div(best, axis=0)[[*others, *known]]
    gain = accuracy.sub(accuracy[known].max(axis=1), axis=0)[others]
    ratio = cpu.div(cpu["LRCV l2"], axis=0)
    shown = regret.assign(**{"best peer": best})
    for name in others:
        shown = shown.assign(**{f"accuracy {name}": gain[name], f"CPU {name}": ratio[name]})
    print(markdown(shown.reset_index("kind", drop=True)))
    print(markdown(regret.groupby("kind").agg(geometric_mean)))
    total = pd.DataFrame(
        {
            "regret": regret.agg(geometric_mean),
            "median": regret.median(),
            "worst": regret.max(),
            "accuracy": gain.mean(),
            "CPU": ratio.agg(geometric_mean),
            "CPU worst": ratio.max(),
            "seconds": cpu.mean(),
        }
    )
    print(markdown(total.loc[[*others, *known]].rename_axis("method")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    parser.add_argument("--sets", default="")
    parser.add_argument("--methods", default=",".join(PEERS))
    parser.add_argument("--label", default="skbamm")
    parser.add_argument("--params", default="{}")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--max-rows", type=int, default=2500)
    parser.add_argument("--out", default="penalized_classifier.csv")
    parser.add_argument("--summary", nargs="+")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    summary(options.summary) if options.summary else run(options)


if __name__ == "__main__":
    main()
