"""HyperCleaningClassifier in every regime of label noise, its peers and the fit on right labels.

    OMP_NUM_THREADS=1 python benchmarks/label_noise.py
    OMP_NUM_THREADS=1 python benchmarks/label_noise.py --data FOLDER --max-clean 60
    OMP_NUM_THREADS=1 python benchmarks/label_noise.py --data FOLDER --max-clean 0
    OMP_NUM_THREADS=1 python benchmarks/label_noise.py --nonlinear

Sets are those that ship with scikit-learn, or the ``.npz`` files of a folder (keys X and y, and
vote_flat and vote_n where people or rules labelled the rows: their votes, one candidate after the
other). Half of the rows train with wrong labels, a tenth (at most ``--max-clean``; 0 for none) with
right ones, the rest test. Regimes: uniform noise of 20, 40 and 60 %, the next class (30 %), noise
that depends on the row (30 %), one vote drawn at random, the majority of votes.

Every figure is a mean over seeds first, then over sets; uniform noise of 60 % leaves out sets of
two classes, most of whose labels it flips. "without learning" is ours with ``max_iter=0``: what
learning adds is the difference. "(oracle)" knows which labels are wrong, and drops them. With
``--nonlinear`` ours alone: by default, linear, with a network and with boosted trees as final
estimator, the trees with rows weighted only and relabelled, next to trees on all rows as given.
Writes a CSV of all runs and a Markdown report to ``bench_out/``.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from classification import (
    classification_sets,
    cleaner,
    fit_both,
    fit_clean,
    fit_cleanlab,
    fit_filter,
    folds_of,
    logistic,
    mean_loss,
)
from machine import description
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import markdown, timed

INJECTED = ("sym20", "sym40", "sym60", "pair30", "inst30")
VOTED = ("human1", "humanmaj")


def folder_sets(folder):
    """Name, X, y and votes of each row (None where there are none)."""
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            if not np.issubdtype(stored["y"].dtype, np.integer):
                continue
            votes = None
            if "vote_flat" in stored.files:
                votes = np.split(stored["vote_flat"], stored["vote_n"].cumsum()[:-1])
            X = np.nan_to_num(stored["X"])
            yield path.stem, X, np.unique(stored["y"], return_inverse=True)[1], votes


# ----------------------------------------------------------------------------------- noise
def drawn_labels(votes, y, noise, generator):
    """A vote of each row, or the most frequent one; -1 where nobody voted."""
    labels = np.full(len(y), -1)
    for row, given in enumerate(votes):
        if len(given) and noise == "human1":
            labels[row] = generator.choice(given)
        elif len(given):
            counts = np.bincount(given)
            labels[row] = generator.choice(np.flatnonzero(counts == counts.max()))
    return labels


def injected_labels(X, y, noise, generator):
    """The share of wrong labels ends the name of the noise."""
    kind, rate = noise[:-2], int(noise[-2:]) / 100
    n_classes = y.max() + 1
    wrong = generator.random(len(y)) < rate
    if kind == "sym":
        return np.where(wrong, (y + generator.integers(1, n_classes, len(y))) % n_classes, y)
    if kind == "pair":
        return np.where(wrong, (y + 1) % n_classes, y)
    # Random linear scores: rows turn to the wrong class that scores best, the likelier the
    # higher it scores.
    scores = X.clip(-5, 5) @ generator.standard_normal((X.shape[1], n_classes))
    scores = scores / (scores.std(axis=0) + 1e-12)
    scores[np.arange(len(y)), y] = -np.inf
    rank = scores.max(axis=1).argsort().argsort() / max(len(y) - 1, 1)
    turned = generator.random(len(y)) < np.clip(rate * (0.2 + 1.6 * rank), 0, 0.9)
    return np.where(turned, scores.argmax(axis=1), y)


def split(X, y, votes, noise, seed, max_clean):
    """Training rows with given labels, verified rows at the end, true labels, and test rows."""
    generator = np.random.default_rng(1000 + seed)
    n_clean = min(max_clean or 500, len(y) // 10)
    labels = drawn_labels(votes, y, noise, generator) if noise in VOTED else None
    usable = np.arange(len(y)) if labels is None else np.flatnonzero(labels >= 0)
    n_noisy = min(len(y) // 2, len(usable) - 1)
    noisy, _ = train_test_split(usable, train_size=n_noisy, stratify=y[usable], random_state=seed)
    rest = np.setdiff1d(np.arange(len(y)), noisy)
    clean, test = train_test_split(rest, train_size=n_clean, stratify=y[rest], random_state=seed)
    scaler = StandardScaler().fit(X[noisy])
    given = y[noisy] if labels is None else labels[noisy]
    if labels is None:
        given = injected_labels(scaler.transform(X[noisy]), y[noisy], noise, generator)
    rows = noisy if max_clean == 0 else np.concatenate([noisy, clean])
    given = np.concatenate([given, y[clean]])[: len(rows)]
    is_clean = np.arange(len(rows)) >= len(noisy)
    return scaler.transform(X[rows]), given, is_clean, y[rows], scaler.transform(X[test]), y[test]


# ----------------------------------------------------------------------------------- peers
def fit_weighted(X, y, is_clean):
    """All rows, the weight of noisy ones and C by log loss on verified labels, five folds."""
    clean = np.flatnonzero(is_clean)
    splits = list(folds_of(y[clean]).split(clean, y[clean]))
    tests = [(X[clean[b]], y[clean[b]]) for _, b in splits]

    def fitted(option, left_out):
        weight = np.where(is_clean, 1.0, option[0])
        weight[left_out] = 0.0
        return logistic(option[1]).fit(X, y, sample_weight=weight)

    def loss(option):
        return mean_loss([fitted(option, clean[b]) for _, b in splits], tests)

    options = [(w, C) for w in (1e-6, 0.03, 0.1, 0.3, 1.0) for C in (0.01, 0.1, 1.0)]
    return fitted(min(options, key=loss), [])


def fit_plain(X, y, is_clean):
    """Noisy rows, C by cross-validation on their own labels."""
    return LogisticRegressionCV(
        Cs=10, cv=5, max_iter=300, scoring="accuracy", use_legacy_attributes=False
    ).fit(X, y)


def fit_plain_cleanlab(X, y, is_clean):
    """CleanLearning on noisy rows, C as in `fit_plain`."""
    from cleanlab.classification import CleanLearning

    C = fit_plain(X, y, is_clean).C_
    return CleanLearning(logistic(C), seed=0, verbose=False).fit(X, y)


def methods(max_clean):
    ours = {"without learning": cleaner(max_iter=0), "skbamm": cleaner()}
    peers = {"LR noisy": fit_plain, "cleanlab": fit_plain_cleanlab}
    if max_clean:
        peers = {
            "LR clean": fit_clean,
            "LR both": fit_both,
            "LR weighted": fit_weighted,
            "filter": fit_filter,
            "cleanlab": fit_cleanlab,
        }
    if find_spec("cleanlab") is None:
        del peers["cleanlab"]
    return peers | ours


def nonlinear_methods():
    trees = HistGradientBoostingClassifier(random_state=0)
    layers = MLPClassifier((50,), solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0)
    network = make_pipeline(StandardScaler(), layers)
    return {
        "trees": lambda X, y, is_clean: clone(trees).fit(X, y),
        "trees, weighted": cleaner(final_estimator=trees, relabel=False),
        "trees, relabelled": cleaner(final_estimator=trees),
        "50 units": cleaner(final_estimator=network),
        "linear": cleaner(final_estimator="linear"),
        "skbamm": cleaner(),
    }


def runs_of(sets, n_seeds, max_clean, chosen):
    for name, X, y, votes in sets:
        # Several votes a row come from people; one or none, from rules.
        noises = INJECTED if votes is None else VOTED
        for noise in noises:
            for seed in range(n_seeds):
                X_train, given, is_clean, truth, X_test, y_test = split(
                    X, y, votes, noise, seed, max_clean
                )
                wrong = given != truth
                row = {"set": name, "n_classes": y.max() + 1, "noise": noise, "seed": seed}
                for method, fit in chosen.items():
                    seconds, warned, model = timed(fit, X_train, given, is_clean, keep=True)
                    auc = np.nan
                    if hasattr(model, "sample_weight_"):
                        weight = model.sample_weight_[~is_clean]
                        auc = roc_auc_score(wrong[~is_clean], 1 - weight)
                    accuracy = np.mean(model.predict(X_test) == y_test)
                    yield row | {
                        "method": method,
                        "accuracy": accuracy,
                        "auc": auc,
                        "cpu_s": seconds,
                        "warned": warned,
                    }
                right = fit_clean(X_train, truth, ~wrong)
                yield row | {"method": "(oracle)", "accuracy": right.score(X_test, y_test)}


# ------------------------------------------------------------------------------- reporting
def by_regime(runs, value):
    """Means over seeds first, then over sets; the last row is the mean over regimes."""
    flipped = (runs["noise"] == "sym60") & (runs["n_classes"] == 2)
    cells = runs[~flipped].groupby(["noise", "method", "set"], sort=False)[value].mean()
    table = cells.groupby(["noise", "method"], sort=False).mean().unstack()
    table = table[[m for m in dict.fromkeys(runs["method"]) if m in table]].dropna(axis=1)
    table.loc["mean"] = table.mean()
    return table


def report(runs):
    seconds = runs.pivot_table("cpu_s", "set", "method", sort=False)
    return "\n\n".join(
        [
            "Test accuracy:",
            markdown(by_regime(runs, "accuracy")),
            "ROC-AUC of wrong labels by 1 - sample_weight_:",
            markdown(by_regime(runs[runs["auc"].notna()], "auc")),
            "CPU seconds of a fit:",
            markdown(seconds),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of .npz files to run on instead")
    parser.add_argument("--max-clean", type=int, default=500, help="most verified rows, 0 for none")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--nonlinear", action="store_true", help="networks and trees instead")
    parser.add_argument("--out", default="bench_out")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    shipped = ((name, X, np.unique(y, return_inverse=True)[1], None)
               for name, X, y in classification_sets())  # fmt: skip
    sets = folder_sets(options.data) if options.data else shipped
    cleaner(max_iter=1, tol=1e9)(np.eye(40)[:, :3], np.arange(40) % 2, np.arange(40) < 20)
    rows = []
    chosen = nonlinear_methods() if options.nonlinear else methods(options.max_clean)
    for row in runs_of(sets, options.seeds, options.max_clean, chosen):
        rows.append(row)
        print(", ".join(str(value) for value in row.values()), flush=True)
    runs = pd.DataFrame(rows)
    name = f"label_noise_{options.max_clean}{'_nonlinear' if options.nonlinear else ''}"
    runs.to_csv(out / f"{name}.csv", index=False)
    text = f"{description()}\n\nAt most {options.max_clean} verified labels, {options.seeds} seeds."
    (out / f"{name}.md").write_text(f"{text}\n\n{report(runs)}\n")
    print(f"\nwritten: {out / name}.md")


if __name__ == "__main__":
    main()
