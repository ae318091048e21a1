"""HyperCleaningClassifier and what users would pick instead: accuracy, ROC-AUC, CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/classification.py
    OMP_NUM_THREADS=1 python benchmarks/classification.py --data FOLDER

Data that ship with scikit-learn; with ``--data`` every ``.npz`` file of a folder instead (keys X
and integer y). Column "without learning" is ours with ``max_iter=0``: what learning adds is the
difference between the two. Stratified 60/40 splits; labels of the training part are corrupted
except on verified ones ("many": a quarter of the training rows, "few": 4 of each class), which
every method gets to see. CPU seconds are those of `fit`, tuning included; torch is imported before.
Writes a CSV of all runs and a Markdown report to ``bench_out/``.
"""

import argparse
from pathlib import Path

import numpy as np
from machine import description
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler
from tables import collect, folder_sets, markdown, pivot, timed, warned

from skbamm import HyperCleaningClassifier

CS = (0.001, 0.01, 0.1, 1.0, 10.0)
NOISES = ("sym20", "sym40", "sym60", "pair30")


# ------------------------------------------------------------------------------------- data
def classification_sets():
    for load in ("breast_cancer", "digits", "wine", "iris"):
        X, y = getattr(datasets, f"load_{load}")(return_X_y=True)
        yield load, X, y


def corrupt(y, noise, generator):
    """symQQ: QQ % become another class, any; pairQQ: QQ % become the next class."""
    n_classes = y.max() + 1
    wrong = generator.random(len(y)) < int(noise[-2:]) / 100
    step = 1 if noise.startswith("pair") else generator.integers(1, n_classes, len(y))
    return np.where(wrong, (y + step) % n_classes, y)


# ----------------------------------------------------------------------- classification peers
def logistic(C):
    return LogisticRegression(C=C, max_iter=300, tol=1e-3)


def folds_of(y):
    n_folds = max(2, min(5, np.bincount(y).min()))
    return StratifiedKFold(n_folds, shuffle=True, random_state=0)


def mean_loss(models, tests):
    """Mean log loss of fits on their held-out rows; accuracy would tie on few rows."""
    return np.mean([
        log_loss(y, model.predict_proba(X), labels=model.classes_)
        for model, (X, y) in zip(models, tests, strict=True)
    ])  # fmt: skip


def fit_clean(X, y, is_clean):
    """Verified labels only, C by cross-validated log loss."""
    X, y = X[is_clean], y[is_clean]
    splits = list(folds_of(y).split(X, y))
    tests = [(X[b], y[b]) for _, b in splits]

    def loss(C):
        return mean_loss([logistic(C).fit(X[a], y[a]) for a, _ in splits], tests)

    return logistic(min(CS, key=loss)).fit(X, y)


def fit_both(X, y, is_clean):
    """All rows, C by the log loss on verified labels of a fit on the others."""
    noisy = ~is_clean

    def loss(C):
        return mean_loss([logistic(C).fit(X[noisy], y[noisy])], [(X[is_clean], y[is_clean])])

    return logistic(min(CS, key=loss)).fit(X, y)


def fit_filter(X, y, is_clean):
    """Verified labels and those others that a model of these finds likely enough."""
    clean, noisy = np.flatnonzero(is_clean), np.flatnonzero(~is_clean)

    def kept(model, threshold):
        likely = model.predict_proba(X[noisy])[np.arange(len(noisy)), y[noisy]]
        return noisy[likely >= threshold]

    of_verified = fit_clean(X, y, is_clean)
    splits = list(folds_of(y[clean]).split(X[clean], y[clean]))
    tests = [(X[clean[b]], y[clean[b]]) for _, b in splits]
    first = [logistic(of_verified.C).fit(X[clean[a]], y[clean[a]]) for a, _ in splits]

    def loss(option):
        threshold, C = option
        rows = [
            np.concatenate([clean[a], kept(model, threshold)])
            for (a, _), model in zip(splits, first, strict=True)
        ]
        return mean_loss([logistic(C).fit(X[part], y[part]) for part in rows], tests)

    options = [(threshold, C) for threshold in (0.05, 0.15, 0.3, 0.5) for C in (0.01, 0.1, 1.0)]
    threshold, C = min(options, key=loss)
    rows = np.concatenate([clean, kept(of_verified, threshold)])
    return logistic(C).fit(X[rows], y[rows])


def fit_cleanlab(X, y, is_clean):
    """CleanLearning on all rows, C as in `fit_both`."""
    from cleanlab.classification import CleanLearning

    C = fit_both(X, y, is_clean).C
    return CleanLearning(logistic(C), seed=0, verbose=False).fit(X, y)


def cleaner(**options):
    def fit(X, y, is_clean):
        return HyperCleaningClassifier(**options).fit(X, y, is_clean=is_clean)

    return fit


def classifiers():
    methods = {"LR clean": fit_clean, "LR both": fit_both, "filter": fit_filter}
    try:
        import cleanlab  # noqa: F401

        methods["cleanlab"] = fit_cleanlab
    except ImportError:
        pass
    return methods | {"without learning": cleaner(max_iter=0), "skbamm": cleaner()}


def run_classification(sets, n_seeds):
    for name, X, y in sets:
        y = np.unique(y, return_inverse=True)[1]
        for noise in NOISES:
            for clean in ("many", "few"):
                for seed in range(n_seeds):
                    yield from _one_split(name, X, y, noise, clean, seed)


def _one_split(name, X, y, noise, clean, seed):
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.4, random_state=seed, stratify=y
    )
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    n_classes = y.max() + 1
    n_clean = 4 * n_classes if clean == "few" else max(len(y_train) // 4, 4 * n_classes)
    chosen, _ = train_test_split(
        np.arange(len(y_train)), train_size=n_clean, random_state=seed, stratify=y_train
    )
    is_clean = np.isin(np.arange(len(y_train)), chosen)
    given = np.where(is_clean, y_train, corrupt(y_train, noise, np.random.default_rng(seed)))
    wrong = given != y_train
    row = {
        "set": name,
        "n": len(y),
        "n_classes": n_classes,
        "noise": noise,
        "clean": clean,
        "n_clean": n_clean,
        "seed": seed,
    }
    for method, fit in classifiers().items():
        seconds, has_warned, model = timed(fit, X_train, given, is_clean, keep=True)
        auc = np.nan
        if hasattr(model, "sample_weight_"):
            auc = roc_auc_score(wrong[~is_clean], 1 - model.sample_weight_[~is_clean])
        yield row | {
            "method": method,
            "accuracy": np.mean(model.predict(X_test) == y_test),
            "auc": auc,
            "cpu_s": seconds,
            "warned": has_warned,
        }
    right = fit_clean(X_train, y_train, ~wrong)  # knows which labels are wrong
    yield row | {
        "method": "(oracle)",
        "accuracy": right.score(X_test, y_test),
        "auc": np.nan,
        "cpu_s": np.nan,
        "warned": False,
    }


# ---------------------------------------------------------------------------------- reporting
def classification_report(runs):
    # Two classes and 60 % wrong labels: most labels are wrong, another problem altogether.
    flipped = (runs["noise"] == "sym60") & (runs["n_classes"] == 2)
    ours = runs[runs["auc"].notna()]
    return "\n\n".join(
        [
            "Test accuracy, mean over splits:",
            markdown(pivot(runs, ["set", "noise", "clean", "n_clean"], "accuracy")),
            "The same by noise and verified labels, mean over sets (no sym60 of two-class sets):",
            markdown(pivot(runs[~flipped], ["noise", "clean"], "accuracy")),
            markdown(pivot(runs[~flipped].assign(noise="mean"), ["noise"], "accuracy")),
            "ROC-AUC of wrong labels by 1 - sample_weight_, mean over splits:",
            markdown(pivot(ours, ["set", "noise", "clean"], "auc")),
            "CPU seconds of a fit, mean:",
            markdown(pivot(runs, ["set", "clean"], "cpu_s")),
            warned(runs),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of .npz files to run on instead")
    parser.add_argument("--seeds", type=int, default=3, help="splits")
    parser.add_argument("--out", default="bench_out")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    # The first fit imports torch; nobody's seconds.
    HyperCleaningClassifier(max_iter=0).fit(*datasets.load_iris(return_X_y=True))
    sets = folder_sets(options.data, "classification") if options.data else classification_sets()
    runs = collect(run_classification(sets, options.seeds))
    runs.to_csv(out / "classification.csv", index=False)
    parts = [description(), f"## Classification, {options.seeds} splits"]
    parts += [classification_report(runs)]
    (out / "classification.md").write_text("\n\n".join(parts) + "\n")
    print(f"\nwritten: {out / 'classification.md'}")


if __name__ == "__main__":
    main()
