"""The report on labels, in the caller's kind of table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import narwhals as nw
import numpy as np


@dataclass(frozen=True)
class RowIndex:
    """How rows were named, and the kind of table they came in ("" for none)."""

    labels: np.ndarray | None = None
    backend: str = ""


def row_index(X) -> RowIndex:
    """Of the X of a fit."""
    frame = nw.from_native(X, pass_through=True, eager_only=True)
    if not isinstance(frame, nw.DataFrame):
        return RowIndex()
    native = nw.to_native(frame)
    labels = np.asarray(native.index) if frame.implementation.is_pandas() else None
    return RowIndex(labels, str(frame.implementation.value))


def label_report(index, classes, labels, predictions, weight, noise_rate):
    """See `HyperCleaningClassifier.label_report`."""
    suggested = predictions.argmax(axis=1)
    suggested[weight == 1] = labels[weight == 1]
    is_noisy = weight < 1
    n_issues = round(noise_rate * is_noisy.sum())
    lowest = np.zeros(len(weight), dtype=bool)
    lowest[np.argsort(weight, kind="stable")[:n_issues]] = True
    columns = {
        "index": np.arange(len(weight)) if index.labels is None else index.labels,
        "given_label": classes[labels],
        "suggested_label": classes[suggested],
        "weight": weight.copy(),
        "is_issue": lowest & (suggested != labels),
    }
    backend = index.backend or ("pandas" if find_spec("pandas") else "")
    if not backend:
        return columns
    return nw.to_native(nw.from_dict(columns, backend=backend))
