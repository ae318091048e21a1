"""What users pay before anything is computed: `import skbamm`, and `predict` on one row.

    python benchmarks/overhead.py [--repeats N] [--check]

Both sides run in turn, in one process for `predict` and in fresh ones for imports; the figures are
ratios of medians. `--check` exits with 1 where one of them is above its limit.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings

from machine import description
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier

IMPORT_LIMIT, PREDICT_LIMIT = 1.3, 1.5
# Timed inside the process: starting an interpreter is no part of an import.
TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def import_ratio(n_repeats):
    """Seconds of `import skbamm` beside those of `import sklearn.linear_model`."""
    seconds = {"skbamm": [], "sklearn.linear_model": []}
    for _ in range(n_repeats + 1):
        for name, found in seconds.items():
            command = [sys.executable, "-c", TIMED.format(name)]
            found.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    # The first pair may have read from disk.
    return [statistics.median(found[1:]) for found in seconds.values()]


def predict_ratio(ours, theirs, n_repeats):
    """Seconds of one call of each, called in turn."""
    seconds = [], []
    for _ in range(n_repeats):
        for call, found in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in seconds]


def predictions():
    """Name, our call and scikit-learn's, on one row of an array and of a DataFrame."""
    for as_frame in (False, True):
        kind = "DataFrame" if as_frame else "array"
        X, y = load_diabetes(return_X_y=True, as_frame=as_frame)
        ours, theirs = BilevelRegularizedRegressor(max_iter=0).fit(X, y), Ridge().fit(X, y)
        row = X[:1]
        yield (
            f"predict, {kind} / Ridge",
            lambda ours=ours, row=row: ours.predict(row),
            lambda theirs=theirs, row=row: theirs.predict(row),
        )
        X, y = load_breast_cancer(return_X_y=True, as_frame=as_frame)
        ours = HyperCleaningClassifier(final_estimator="linear", max_iter=0).fit(X, y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not scaled, which does not change its speed
            theirs = LogisticRegression().fit(X, y)
        row = X[:1]
        for method in ("predict", "predict_proba"):
            yield (
                f"{method}, {kind} / LogisticRegression",
                lambda ours=ours, row=row, method=method: getattr(ours, method)(row),
                lambda theirs=theirs, row=row, method=method: getattr(theirs, method)(row),
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="pairs of imports")
    parser.add_argument("--check", action="store_true", help="exit with 1 above a limit")
    options = parser.parse_args()
    print(description())
    too_slow = []

    def report(name, seconds, limit):
        ratio = seconds[0] / seconds[1]
        milliseconds = " ".join(f"{1000 * value:9.3f}" for value in seconds)
        print(f"{name:48s} {milliseconds} ms  {ratio:5.2f} (limit {limit})")
        if ratio > limit:
            too_slow.append(name)

    report("import / sklearn.linear_model", import_ratio(options.repeats), IMPORT_LIMIT)
    for name, ours, theirs in predictions():
        report(name, predict_ratio(ours, theirs, 200 * options.repeats), PREDICT_LIMIT)
    if options.check and too_slow:
        sys.exit(f"too slow: {', '.join(too_slow)}")


if __name__ == "__main__":
    main()
