"""Tables of the classifier's guide: its guard, its probabilities, which model to use at the end.

    OMP_NUM_THREADS=1 python benchmarks/classifier_guide.py
    OMP_NUM_THREADS=1 python benchmarks/classifier_guide.py --data FOLDER --no-trees
    OMP_NUM_THREADS=1 python benchmarks/classifier_guide.py --data FOLDER --noises none sym40

Sets, splits and noise are those of label_noise.py, with at most 500, 60 and no verified labels
(``--verified``), and without any wrong label ("none"); larger sets are cut to ``--max-rows``. The
plain fit is logistic regression on all labels, its strength by cross-validation on these. "linear"
is ours with ``final_estimator="linear"``. Trees are boosted ones (50 steps): on labels as given, on
those of `fix_labels()`, as `final_estimator`; ``--no-trees`` leaves out these three.

Means are over seeds, then over sets. Of flagged labels all sets are counted together. The
noise transition matrix is known of all noise but that which depends on the row. Writes a CSV of
all runs and a Markdown report to ``bench_out/``.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from classification import classification_sets, cleaner
from label_noise import fit_plain, folder_sets, split
from machine import description
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from tables import collect, markdown, timed

NOISES = {
    "none": "sym00",
    "sym20": "sym20",
    "sym40": "sym40",
    "pair30": "pair30",
    "inst30": "inst30",
}
PRECISIONS = (0.7, 0.8, 0.9)
TREES = HistGradientBoostingClassifier(max_iter=50, learning_rate=0.2, random_state=0)
MODELS = {
    "skbamm": cleaner(),
    "linear": cleaner(final_estimator="linear"),
    "learned alone": cleaner(standard_errors=0),
    "logistic regression": fit_plain,
}


def cut(sets, max_rows):
    for name, X, y, _ in sets:
        if len(y) > max_rows:
            X, _, y, _ = train_test_split(X, y, train_size=max_rows, stratify=y, random_state=0)
        yield name, X, y


# ------------------------------------------------------------------------------------ runs
def runs_of(sets, options):
    for name, X, y in sets:
        for noise in options.noises:
            for n_verified in options.verified:
                for seed in range(options.seeds):
                    row = {"set": name, "n_classes": y.max() + 1, "noise": noise}
                    row |= {"verified": n_verified, "seed": seed}
                    parts = split(X, y, None, NOISES[noise], seed, n_verified)
                    for found in fits_of(*parts, noise=noise, with_trees=not options.no_trees):
                        yield row | found


def fits_of(X, given, is_clean, truth, X_test, y_test, *, noise, with_trees):
    def scored(method, fit, **more):
        seconds, _, model = timed(fit, X, given, is_clean, keep=True)
        scores = {
            "accuracy": model.score(X_test, y_test),
            "balanced": balanced_accuracy_score(y_test, model.predict(X_test)),
            "log loss": log_loss(y_test, model.predict_proba(X_test), labels=model.classes_),
        }
        return model, {"method": method, **scores, "cpu_s": seconds}

    models = {}
    for method, fit in MODELS.items():
        models[method], found = scored(method, fit)
        yield found | (
            labels_found(models[method], given != truth, noise) if method == "skbamm" else {}
        )
    if with_trees:
        fixed = models["skbamm"].fix_labels()
        yield scored("trees", lambda X, y, is_clean: clone(TREES).fit(X, y))[1]
        yield scored("trees, fixed labels", lambda X, y, is_clean: clone(TREES).fit(X, fixed))[1]
        yield scored("trees, final_estimator", cleaner(final_estimator=TREES))[1]


def labels_found(model, wrong, noise):
    """How many labels are flagged and wrong; rates and matrices beside the truth."""
    found = {}
    for precision in (None, *PRECISIONS):
        report = model.label_report(precision=precision)
        is_issue = np.asarray(report["is_issue"])
        found |= {
            f"flagged {precision}": is_issue.sum(),
            f"wrong {precision}": wrong[is_issue].sum(),
        }
        if precision is None:
            found["expected"] = (1 - np.asarray(report["probability"]))[is_issue].sum()
    noisy = model.label_record_.is_noisy
    found |= {"rate": model.noise_rate_, "true rate": wrong[noisy].mean()}
    if noise == "inst30":
        return found
    n_classes, rate = len(model.classes_), 0.0 if noise == "none" else int(noise[-2:]) / 100
    others = (1 - np.eye(n_classes)) / (n_classes - 1)
    others = np.roll(np.eye(n_classes), 1, axis=1) if noise == "pair30" else others
    truth = (1 - rate) * np.eye(n_classes) + rate * others
    off = np.abs(model.noise_transition_matrix_ - truth)
    return found | {"covered": (off <= 2 * model.noise_transition_matrix_std_).mean()}


# ------------------------------------------------------------------------------- reporting
def by_cell(runs, value, methods):
    cells = runs.groupby(["verified", "noise", "method", "set"], sort=False)[value].mean()
    table = cells.groupby(["verified", "noise", "method"], sort=False).mean().unstack()
    return table[[method for method in methods if method in table]]


def flags(runs):
    """Of all rows flagged at a promised share of wrong ones, the share that is wrong.

    And of the entries of noise transition matrices those within two standard errors of the truth.
    """
    ours = runs[(runs["method"] == "skbamm") & (runs["noise"] != "none")]
    sums = ours.groupby("verified", sort=False).sum(numeric_only=True)
    reached = {str(one): sums[f"wrong {one}"] / sums[f"flagged {one}"] for one in PRECISIONS}
    shares = {
        "default, expected": sums["expected"] / sums["flagged None"],
        "default": sums["wrong None"] / sums["flagged None"],
    }
    covered = ours.groupby("verified", sort=False)["covered"].mean()
    return pd.DataFrame(reached | shares | {"matrix covered": covered})


def rates(runs):
    ours = runs[runs["method"] == "skbamm"]
    ours = ours.assign(off=(ours["rate"] - ours["true rate"]).abs(), told=ours["rate"] > 0)
    names = ["rate", "true rate", "off", "told", "covered"]
    return ours.groupby(["verified", "noise"], sort=False)[names].mean()


def cost(runs):
    seconds = runs.pivot_table("cpu_s", ["set", "n_classes", "noise", "verified", "seed"], "method")
    ratio = np.log(seconds.div(seconds["logistic regression"], axis=0))
    many = np.where(ratio.index.get_level_values("n_classes") > 5, "6 or more", "up to 5")
    return np.exp(ratio.groupby(many).mean()).rename_axis("classes")


def report(runs):
    trees = [method for method in dict.fromkeys(runs["method"]) if method.startswith("trees")]
    parts = []
    for value in ("accuracy", "balanced", "log loss"):
        parts += [f"Test {value}:", markdown(by_cell(runs, value, MODELS))]
    parts += [
        "Share of wrong labels among flagged ones, by what was promised:",
        markdown(flags(runs)),
    ]
    parts += [
        "Noise rates, and how often matrices are within two standard errors:",
        markdown(rates(runs)),
    ]
    parts += ["CPU relative to logistic regression, geometric mean:", markdown(cost(runs))]
    if trees:
        parts += [
            "Test accuracy of trees:",
            markdown(by_cell(runs, "accuracy", ["skbamm", *trees])),
        ]
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of .npz files to run on instead")
    parser.add_argument("--verified", type=int, nargs="+", default=[500, 60, 0])
    parser.add_argument("--noises", nargs="+", choices=NOISES, default=list(NOISES))
    parser.add_argument("--max-rows", type=int, default=2500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--no-trees", action="store_true")
    parser.add_argument("--out", default="bench_out")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    shipped = ((name, X, y, None) for name, X, y in classification_sets())
    sets = cut(folder_sets(options.data) if options.data else shipped, options.max_rows)
    cleaner(max_iter=0)(np.eye(40)[:, :3], np.arange(40) % 2, np.arange(40) < 20)  # imports torch
    runs = collect(runs_of(sets, options))
    runs.to_csv(out / "classifier_guide.csv", index=False)
    text = f"{description()}\n\n{runs['set'].nunique()} sets, {options.seeds} seeds."
    (out / "classifier_guide.md").write_text(f"{text}\n\n{report(runs)}\n")
    print(f"\nwritten: {out / 'classifier_guide.md'}")


if __name__ == "__main__":
    main()
