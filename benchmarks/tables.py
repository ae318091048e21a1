"""What the comparing benchmarks share: sets from a folder, clocked fits, tables."""

import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning


def folder_sets(folder, task):
    """Name, X, y (and groups, for regression) of the .npz files of a folder; X must be dense."""
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            is_labels = np.issubdtype(stored["y"].dtype, np.integer)
            if "X" not in stored.files or is_labels != (task == "classification"):
                continue
            arrays = stored["X"], stored["y"]
            groups = stored["groups"] if "groups" in stored.files else None
        yield (path.stem, *arrays) if is_labels else (path.stem, *arrays, groups)


def timed(fit, *arguments, keep=False):
    """CPU seconds, whether convergence was warned about, and the model if asked for."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        begin = time.process_time()
        model = fit(*arguments)
        seconds = time.process_time() - begin
    warned = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return (seconds, warned, model) if keep else (seconds, warned)


def collect(rows):
    """All runs as a table, each printed as it ends."""
    found = []
    for row in rows:
        found.append(row)
        cells = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
        print(", ".join(cells), flush=True)
    return pd.DataFrame(found)


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


def warned(runs):
    ours = runs[runs.method.str.startswith("skbamm")]
    return f"Fits of ours that ended with a ConvergenceWarning: {ours.warned.sum()} of {len(ours)}."
