"""Both estimators beside what users would pick instead: scores and CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/compare.py
    OMP_NUM_THREADS=1 python benchmarks/compare.py --data FOLDER

Data that ship with scikit-learn, and synthetic sets that are marked so; with ``--data`` also every
``.npz`` file of a folder (keys X, y and, where columns have natural blocks, groups; integer y is
classification). Column "start" is our estimator with ``max_iter=0``: what learning adds is the
difference between the two. Writes a CSV of all runs and a Markdown report to ``bench_out/``.

Regression: random 70/30 splits, columns standardised on the training part. Classification:
stratified 60/40 splits; labels of the training part are corrupted except on clean rows ("many": a
quarter of the training rows, "few": 4 of each class), which every method gets to see. CPU seconds
are those of `fit`, tuning included; torch is imported before.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from machine import description
from sklearn import datasets
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNetCV, LassoCV, LogisticRegression, RidgeCV
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier

STRENGTHS = np.logspace(-2, 6, 30)
CS = (0.001, 0.01, 0.1, 1.0, 10.0)
NOISES = ("sym20", "sym40", "sym60", "pair30")


# ------------------------------------------------------------------------------------- data
def regression_sets():
    """Name to X, y and groups (None where there are no natural ones)."""
    X, y = datasets.load_diabetes(return_X_y=True)
    yield "diabetes", X, y, None
    for degree in (2, 3):
        expand = PolynomialFeatures(degree, include_bias=False)
        expanded = expand.fit_transform(StandardScaler().fit_transform(X))
        yield f"diabetes, degree {degree}", expanded, y, expand.powers_.sum(axis=1)
    for name, n_samples, n_features, n_informative, noise in (
        ("SYNTHETIC sparse", 300, 200, 10, 60.0),
        ("SYNTHETIC wide", 100, 400, 10, 60.0),
        ("SYNTHETIC dense", 300, 100, 100, 200.0),
    ):
        X, y = datasets.make_regression(
            n_samples, n_features, n_informative=n_informative, noise=noise, random_state=0
        )
        yield name, X, y, None
    yield "SYNTHETIC blocks", *_blocks()


def _blocks():
    """Ten blocks of twenty columns; every column of two blocks matters a little."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((250, 200))
    groups = np.repeat(np.arange(10), 20)
    signal = X @ np.where(groups < 2, generator.standard_normal(200), 0.0)
    return X, signal + signal.std() * generator.standard_normal(250), groups


def classification_sets():
    for load in ("breast_cancer", "digits", "wine", "iris"):
        X, y = getattr(datasets, f"load_{load}")(return_X_y=True)
        yield load, X, y


def folder_sets(folder, task):
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            is_labels = np.issubdtype(stored["y"].dtype, np.integer)
            if is_labels != (task == "classification"):
                continue
            arrays = stored["X"], stored["y"]
            groups = stored["groups"] if "groups" in stored.files else None
        name = f"{path.stem} ({path.parent.name})"  # its own name beside a shipped set's
        yield (name, *arrays) if is_labels else (name, *arrays, groups)


def corrupt(y, noise, generator):
    """symQQ: QQ % become another class, any; pairQQ: QQ % become the next class."""
    n_classes = y.max() + 1
    wrong = generator.random(len(y)) < int(noise[-2:]) / 100
    step = 1 if noise.startswith("pair") else generator.integers(1, n_classes, len(y))
    return np.where(wrong, (y + step) % n_classes, y)


# --------------------------------------------------------------------------- regression peers
class TwoStepRidge(RegressorMixin, BaseEstimator):
    """Adaptive ridge by hand: RidgeCV, then RidgeCV on columns times their |coefficient|."""

    def fit(self, X, y):
        scale = np.abs(RidgeCV(STRENGTHS).fit(X, y).coef_) + 1e-12
        scale /= scale.max()
        self.model_ = RidgeCV(np.logspace(-6, 6, 40)).fit(X * scale, y)
        self.scale_ = scale
        return self

    def predict(self, X):
        return self.model_.predict(X * self.scale_)


def regressors(groups):
    yield "RidgeCV", RidgeCV(STRENGTHS)
    yield "LassoCV", LassoCV(cv=5)
    yield "ElasticNetCV", ElasticNetCV(l1_ratio=[0.2, 0.5, 0.8], cv=5)
    yield "two-step", TwoStepRidge()
    yield "start", BilevelRegularizedRegressor(max_iter=0)
    yield "skbamm", BilevelRegularizedRegressor()
    if groups is not None:
        yield "start, groups", BilevelRegularizedRegressor(groups=groups, max_iter=0)
        yield "skbamm, groups", BilevelRegularizedRegressor(groups=groups)


def run_regression(sets, n_seeds):
    for name, X, y, groups in sets:
        for seed in range(n_seeds):
            X_train, X_test, y_train, y_test = train_test_split(
                X, y, test_size=0.3, random_state=seed
            )
            scaler = StandardScaler().fit(X_train)
            X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
            for method, model in regressors(groups):
                seconds, warned = timed(model.fit, X_train, y_train)
                r2 = model.score(X_test, y_test)
                mse = np.mean((model.predict(X_test) - y_test) ** 2)
                yield {
                    "set": name,
                    "n": len(y),
                    "p": X.shape[1],
                    "seed": seed,
                    "method": method,
                    "r2": r2,
                    "mse": mse,
                    "cpu_s": seconds,
                    "warned": warned,
                }


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
    """Clean rows only, C by cross-validated log loss."""
    X, y = X[is_clean], y[is_clean]
    splits = list(folds_of(y).split(X, y))
    tests = [(X[b], y[b]) for _, b in splits]

    def loss(C):
        return mean_loss([logistic(C).fit(X[a], y[a]) for a, _ in splits], tests)

    return logistic(min(CS, key=loss)).fit(X, y)


def fit_both(X, y, is_clean):
    """All rows, C by the log loss on clean rows of a fit on the others."""
    noisy = ~is_clean

    def loss(C):
        return mean_loss([logistic(C).fit(X[noisy], y[noisy])], [(X[is_clean], y[is_clean])])

    return logistic(min(CS, key=loss)).fit(X, y)


def fit_filter(X, y, is_clean):
    """Clean rows and those others whose label the clean-rows model finds likely enough."""
    clean, noisy = np.flatnonzero(is_clean), np.flatnonzero(~is_clean)

    def kept(model, threshold):
        likely = model.predict_proba(X[noisy])[np.arange(len(noisy)), y[noisy]]
        return noisy[likely >= threshold]

    judge = fit_clean(X, y, is_clean)
    splits = list(folds_of(y[clean]).split(X[clean], y[clean]))
    tests = [(X[clean[b]], y[clean[b]]) for _, b in splits]
    pilots = [logistic(judge.C).fit(X[clean[a]], y[clean[a]]) for a, _ in splits]

    def loss(option):
        threshold, C = option
        rows = [
            np.concatenate([clean[a], kept(pilot, threshold)])
            for (a, _), pilot in zip(splits, pilots, strict=True)
        ]
        return mean_loss([logistic(C).fit(X[part], y[part]) for part in rows], tests)

    options = [(threshold, C) for threshold in (0.05, 0.15, 0.3, 0.5) for C in (0.01, 0.1, 1.0)]
    threshold, C = min(options, key=loss)
    rows = np.concatenate([clean, kept(judge, threshold)])
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
    return methods | {"start": cleaner(max_iter=0), "skbamm": cleaner()}


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
        seconds, warned, model = timed(fit, X_train, given, is_clean, keep=True)
        auc = np.nan
        if hasattr(model, "sample_weight_"):
            auc = roc_auc_score(wrong[~is_clean], 1 - model.sample_weight_[~is_clean])
        yield row | {
            "method": method,
            "accuracy": np.mean(model.predict(X_test) == y_test),
            "auc": auc,
            "cpu_s": seconds,
            "warned": warned,
        }
    right = fit_clean(X_train, y_train, ~wrong)  # the ceiling: it knows which labels are wrong
    yield row | {
        "method": "(oracle)",
        "accuracy": right.score(X_test, y_test),
        "auc": np.nan,
        "cpu_s": np.nan,
        "warned": False,
    }


# ---------------------------------------------------------------------------------- reporting
def timed(fit, *arguments, keep=False):
    """CPU seconds, whether convergence was warned about, and the model if asked for."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        begin = time.process_time()
        model = fit(*arguments)
        seconds = time.process_time() - begin
    warned = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return (seconds, warned, model) if keep else (seconds, warned)


def markdown(frame):
    head = [*frame.index.names, *frame.columns]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for index, row in frame.iterrows():
        index = index if isinstance(index, tuple) else (index,)
        cells = [*map(str, index), *("" if np.isnan(v) else f"{v:.3f}" for v in row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pivot(runs, index, value, how="mean"):
    table = runs.pivot_table(value, index, "method", aggfunc=how, sort=False)
    return table[[method for method in dict.fromkeys(runs["method"]) if method in table]]


def regression_report(runs):
    base = runs[runs.method == "RidgeCV"].set_index(["set", "seed"])["mse"]
    relative = runs["mse"] / base.loc[list(zip(runs["set"], runs["seed"], strict=True))].to_numpy()
    runs = runs.assign(log=np.log(relative))
    by_set = np.exp(pivot(runs, ["set"], "log"))
    everywhere = by_set.dropna(axis=1)
    total = pd.DataFrame(
        {"geometric mean": np.exp(np.log(everywhere).mean()), "worst set": everywhere.max()}
    ).T
    total.index.name = "over all sets"
    return "\n\n".join(
        [
            "Test R2, mean over splits:",
            markdown(pivot(runs, ["set", "n", "p"], "r2")),
            "Test MSE beside RidgeCV's (below 1 is better), geometric mean over splits:",
            markdown(by_set),
            markdown(total),
            "CPU seconds of a fit, mean:",
            markdown(pivot(runs, ["set"], "cpu_s")),
            warned(runs),
        ]
    )


def classification_report(runs):
    # Two classes and 60 % wrong labels: most labels are wrong, another problem altogether.
    flipped = (runs["noise"] == "sym60") & (runs["n_classes"] == 2)
    ours = runs[runs["auc"].notna()]
    return "\n\n".join(
        [
            "Test accuracy, mean over splits:",
            markdown(pivot(runs, ["set", "noise", "clean", "n_clean"], "accuracy")),
            "The same by noise and clean rows, mean over sets (sym60 of two-class sets left out):",
            markdown(pivot(runs[~flipped], ["noise", "clean"], "accuracy")),
            markdown(pivot(runs[~flipped].assign(noise="mean"), ["noise"], "accuracy")),
            "ROC-AUC of wrong labels by 1 - sample_weight_, mean over splits:",
            markdown(pivot(ours, ["set", "noise", "clean"], "auc")),
            "CPU seconds of a fit, mean:",
            markdown(pivot(runs, ["set", "clean"], "cpu_s")),
            warned(runs),
        ]
    )


def warned(runs):
    ours = runs[runs.method.str.startswith("skbamm")]
    return f"Fits of ours that ended with a ConvergenceWarning: {ours.warned.sum()} of {len(ours)}."


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of .npz files to run on as well")
    parser.add_argument("--seeds", type=int, help="splits (default: 5 and 3)")
    parser.add_argument("--tasks", nargs="+", default=["regression", "classification"])
    parser.add_argument("--out", default="bench_out")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    # The first fit imports torch; nobody's seconds.
    X, y = datasets.load_iris(return_X_y=True)
    BilevelRegularizedRegressor(max_iter=1, tol=1e9).fit(X, y)
    parts = [description()]
    for task in options.tasks:
        shipped, run, report, n_seeds = {
            "regression": (regression_sets, run_regression, regression_report, 5),
            "classification": (classification_sets, run_classification, classification_report, 3),
        }[task]
        n_seeds = options.seeds or n_seeds
        sets = [*shipped(), *(folder_sets(options.data, task) if options.data else ())]
        rows = []
        for row in run(sets, n_seeds):
            rows.append(row)
            cells = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
            print(", ".join(cells), flush=True)
        runs = pd.DataFrame(rows)
        runs.to_csv(out / f"compare_{task}.csv", index=False)
        parts += [f"## {task.capitalize()}", f"{n_seeds} splits.", report(runs)]
    (out / "compare.md").write_text("\n\n".join(parts) + "\n")
    print(f"\nwritten: {out / 'compare.md'}")


if __name__ == "__main__":
    main()
