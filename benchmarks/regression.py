"""BilevelRegularizedRegressor and what users would pick instead: errors, CPU seconds, recovery.

    OMP_NUM_THREADS=1 python benchmarks/regression.py
    OMP_NUM_THREADS=1 python benchmarks/regression.py --data FOLDER --seeds 3

Data that ship with scikit-learn, and synthetic sets that are marked so; with ``--data`` every
``.npz`` file of a folder instead (keys X, y and, where columns have natural blocks, groups; integer
y is skipped). Column "without learning" is ours with ``max_iter=0``: what learning adds is the
difference between the two. Random 70/30 splits, columns standardised on the training part, y by its
mean and deviation there. Errors are averaged over splits first, then taken relative to RidgeCV.
CPU seconds are those of `fit`, tuning included; torch is imported before.

Then recovery: 300 rows and 200 columns of correlation 0.5, of which 10 or 50 matter, at signal to
noise ratios 3 and 10; how well do the columns with a coefficient agree with those that matter?
Writes a CSV of all runs and a Markdown report to ``bench_out/``.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from machine import description
from sklearn import datasets
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import ElasticNetCV, LassoCV, RidgeCV
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from tables import collect, folder_sets, markdown, pivot, timed, warned

from skbamm import BilevelRegularizedRegressor

STRENGTHS = np.logspace(-3, 6, 30)


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
    yield "ElasticNetCV", ElasticNetCV(l1_ratio=[0.1, 0.5, 0.9, 0.99], cv=5)
    yield "two-step", TwoStepRidge()
    yield "without learning", BilevelRegularizedRegressor(max_iter=0)
    yield "skbamm", BilevelRegularizedRegressor()
    # Where there are no groups it is the same as without: figures over all sets need it.
    yield "without learning, groups", BilevelRegularizedRegressor(groups=groups, max_iter=0)
    yield "skbamm, groups", BilevelRegularizedRegressor(groups=groups)


def run(sets, n_seeds):
    for name, X, y, groups in sets:
        for seed in range(n_seeds):
            X_train, X_test, y_train, y_test = train_test_split(
                X, y, test_size=0.3, random_state=seed
            )
            scaler = StandardScaler().fit(X_train)
            X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
            mean, deviation = y_train.mean(), y_train.std()
            y_train, y_test = (y_train - mean) / deviation, (y_test - mean) / deviation
            for method, model in regressors(groups):
                seconds, has_warned = timed(model.fit, X_train, y_train)
                yield {
                    "set": name,
                    "n": len(y),
                    "p": X.shape[1],
                    "seed": seed,
                    "method": method,
                    "r2": model.score(X_test, y_test),
                    "mse": np.mean((model.predict(X_test) - y_test) ** 2),
                    "cpu_s": seconds,
                    "warned": has_warned,
                }


def geometric_mean(frame):
    return np.exp(np.log(frame).mean())


def report(runs):
    errors, seconds = pivot(runs, ["set"], "mse"), pivot(runs, ["set"], "cpu_s")
    relative = errors.div(errors["RidgeCV"], axis=0)
    better = errors[["RidgeCV", "LassoCV"]].min(axis=1)
    total = pd.DataFrame(
        {
            "MSE relative to RidgeCV, geometric mean": geometric_mean(relative),
            "the same, worst set": relative.max(),
            "worst set relative to the better of RidgeCV and LassoCV": errors.div(
                better, axis=0
            ).max(),
            "CPU relative to LassoCV, geometric mean": geometric_mean(
                seconds.div(seconds["LassoCV"], axis=0)
            ),
            "CPU relative to ElasticNetCV, geometric mean": geometric_mean(
                seconds.div(seconds["ElasticNetCV"], axis=0)
            ),
        }
    ).T
    total.index.name = "over all sets"
    return "\n\n".join(
        [
            "Test R2, mean over splits:",
            markdown(pivot(runs, ["set", "n", "p"], "r2")),
            "Mean test MSE relative to RidgeCV (below 1 is better):",
            markdown(relative),
            markdown(total),
            "CPU seconds of a fit, mean:",
            markdown(seconds),
            warned(runs),
        ]
    )


# --------------------------------------------------------------------------------- recovery
def sparse_truth(n_informative, signal_to_noise, seed, n_samples=300, n_features=200):
    """Columns in a chain of correlation 0.5, effects of size 1/2 to 3/2 and either sign."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n_samples, n_features))
    for j in range(1, n_features):
        X[:, j] = 0.5 * X[:, j - 1] + np.sqrt(0.75) * X[:, j]
    coef = np.zeros(n_features)
    chosen = generator.choice(n_features, n_informative, replace=False)
    sign = generator.choice([-1, 1], n_informative)
    coef[chosen] = sign * generator.uniform(0.5, 1.5, n_informative)
    signal = X @ coef
    noise = generator.standard_normal(n_samples) * signal.std() / np.sqrt(signal_to_noise)
    return X, signal + noise, coef


def run_recovery(n_seeds):
    methods = {
        "LassoCV": LassoCV(cv=5),
        "skbamm l1": BilevelRegularizedRegressor("l1"),
        "skbamm exact_zeros": BilevelRegularizedRegressor(exact_zeros=True),
    }
    for n_informative in (10, 50):
        for ratio in (3, 10):
            for seed in range(n_seeds):
                X, y, coef = sparse_truth(n_informative, ratio, seed)
                for method, model in methods.items():
                    seconds, has_warned = timed(model.fit, X, y)
                    yield {
                        "matter": n_informative,
                        "signal to noise": ratio,
                        "seed": seed,
                        "method": method,
                        "F1": f1_score(coef != 0, model.coef_ != 0),
                        "error": np.sum((model.coef_ - coef) ** 2),
                        "cpu_s": seconds,
                        "warned": has_warned,
                    }


def recovery_report(runs):
    cell = ["matter", "signal to noise"]
    return "\n\n".join(
        [
            "F1 of the columns with a coefficient, mean over draws:",
            markdown(pivot(runs, cell, "F1")),
            "Squared error of the coefficients:",
            markdown(pivot(runs, cell, "error")),
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of .npz files to run on instead")
    parser.add_argument("--seeds", type=int, default=5, help="splits, and draws for recovery")
    parser.add_argument("--out", default="bench_out")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    # The first fit imports torch; nobody's seconds.
    BilevelRegularizedRegressor(max_iter=1, tol=1e9).fit(*datasets.load_iris(return_X_y=True))
    sets = folder_sets(options.data, "regression") if options.data else regression_sets()
    runs = collect(run(sets, options.seeds))
    runs.to_csv(out / "regression.csv", index=False)
    recovery = collect(run_recovery(options.seeds))
    recovery.to_csv(out / "recovery.csv", index=False)
    parts = [description(), f"## Regression, {options.seeds} splits", report(runs)]
    parts += [f"## Recovery, {options.seeds} draws", recovery_report(recovery)]
    (out / "regression.md").write_text("\n\n".join(parts) + "\n")
    print(f"\nwritten: {out / 'regression.md'}")


if __name__ == "__main__":
    main()
