"""The papers' data hyper-cleaning: images with uniformly drawn labels, linear softmax.

    OMP_NUM_THREADS=1 python benchmarks/images.py --data FOLDER [--clean 5000 300]

FOLDER holds FashionMNIST's (or MNIST's) four ``*-ubyte.gz`` files; Debian has them in the package
dataset-fashion-mnist. Without it the digits of scikit-learn take their place, a tenth as many rows.

5000 training rows get a uniformly drawn label with probability 1/2 (which may be the true one: 44 %
are wrong), some thousand or hundred labels are verified; 10,000 images test. F1 is that of wrong
labels. "sample" is one free weight a row, as published; "frozen" is the same with its weights left
at 1/2; "filter" drops noisy rows whose label a model of verified ones does not accept. Logistic
regression is tuned by five-fold cross-validation over four strengths on the rows that it sees.
"""

import argparse
import gzip
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from machine import description
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from tables import markdown, timed

from skbamm import HyperCleaningClassifier

N_NOISY, CLEAN = 5000, (5000, 300)
CS = (0.003, 0.03, 0.3, 3.0)


def images(folder):
    """Training and test images, one a row in [0, 1], and their labels."""
    if folder is None:
        X, y = load_digits(return_X_y=True)
        return train_test_split(X / 16, y, test_size=0.4, stratify=y, random_state=0)
    parts = [read(next(Path(folder).glob(f"{part}-images*.gz"))) for part in ("train", "t10k")]
    labels = [read(next(Path(folder).glob(f"{part}-labels*.gz"))) for part in ("train", "t10k")]
    return *(part.reshape(len(part), -1) / 255.0 for part in parts), *labels


def read(path):
    """An array in the IDX format."""
    data = gzip.decompress(path.read_bytes())
    n_axes = data[3]
    shape = np.frombuffer(data, ">u4", n_axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape).astype(int)


def tuned(X, y):
    return LogisticRegressionCV(
        Cs=CS, cv=5, tol=1e-3, scoring="neg_log_loss", use_legacy_attributes=False
    ).fit(X, y)


def filtered(X, y, is_clean):
    of_verified = tuned(X[is_clean], y[is_clean])
    kept = is_clean | (of_verified.predict_proba(X)[np.arange(len(y)), y] >= 0.05)
    model = LogisticRegression(C=tuned(X[kept], y[kept]).C_, tol=1e-3).fit(X[kept], y[kept])
    return model, np.where(kept, 1.0, 0.0)


def cleaned(**options):
    def fit(X, y, is_clean):
        model = HyperCleaningClassifier(final_estimator="linear", **options)
        model = model.fit(X, y, is_clean=is_clean)
        return model, model.sample_weight_

    return fit


def methods():
    yield "LR all", lambda X, y, is_clean: (tuned(X, y), None)
    yield "LR clean", lambda X, y, is_clean: (tuned(X[is_clean], y[is_clean]), None)
    yield "filter", filtered
    yield "frozen", cleaned(weighting="sample", standardize=False, max_iter=0)
    yield "sample", cleaned(weighting="sample", standardize=False)
    yield "without learning", cleaned(max_iter=0)
    yield "skbamm", cleaned()
    yield "(oracle)", None


def runs(folder, clean, seed, chosen):
    X_train, X_test, y_train, y_test = images(folder)
    random = np.random.default_rng(seed)
    order = random.permutation(len(y_train))
    n_noisy = min(N_NOISY, len(order) // 2)
    for n_clean in clean:
        n_clean = min(n_clean, len(order) - n_noisy)
        rows = order[: n_noisy + n_clean]
        is_clean = np.arange(len(rows)) >= n_noisy
        X, truth = X_train[rows], y_train[rows]
        drawn = random.random(len(rows)) < 0.5
        given = np.where(drawn & ~is_clean, random.integers(0, 10, len(rows)), truth)
        wrong = given != truth
        for name, fit in methods():
            if chosen and name not in chosen:
                continue
            if fit is None:
                right = X[~wrong], given[~wrong]
                seconds, _, (model, weight) = timed(
                    lambda X, y: (tuned(X, y), None), *right, keep=True
                )
            else:
                seconds, _, (model, weight) = timed(fit, X, given, is_clean, keep=True)
            f1 = np.nan
            if weight is not None:
                f1 = f1_score(wrong[~is_clean], weight[~is_clean] < 0.5)
            accuracy = np.mean(model.predict(X_test) == y_test)
            row = {"n_clean": n_clean, "method": name, "accuracy": accuracy}
            row |= {"f1_wrong": f1, "cpu_s": seconds}
            print(row, flush=True)
            yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with the images")
    parser.add_argument("--clean", type=int, nargs="+", default=CLEAN)
    parser.add_argument("--methods", nargs="+", help="only these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="bench_out")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    cleaned(max_iter=1)(np.eye(40)[:, :3], np.arange(40) % 2, np.arange(40) < 20)
    table = pd.DataFrame(runs(options.data, options.clean, options.seed, options.methods))
    table.to_csv(out / "images.csv", index=False)
    text = markdown(table.set_index(["n_clean", "method"]))
    (out / "images.md").write_text(f"{description()}\n\n{text}\n")


if __name__ == "__main__":
    main()
