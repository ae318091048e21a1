"""The report on labels, in the caller's kind of table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._tables import as_table, dataframe_kind, native_index


@dataclass(frozen=True)
class RowIndex:
    """How rows were named, and the kind of table they came in ("" for none)."""

    labels: np.ndarray | None = None
    backend: str = ""


def row_index(X) -> RowIndex:
    """Of the X of a fit."""
    return RowIndex(native_index(X), dataframe_kind(X))


@dataclass(frozen=True)
class LabelRecord:
    """What a report on labels is made from; one entry for each row of X.

    Attributes
    ----------
    index : RowIndex
    labels, suggested : ndarray of int of shape (n_samples,)
        Positions among the classes, of the given label and of the most probable one by models
        that had not seen it.
    is_noisy : ndarray of bool of shape (n_samples,)
    """

    index: RowIndex
    labels: np.ndarray
    suggested: np.ndarray
    is_noisy: np.ndarray

    def is_issue(self, weight, noise_rate):
        """As many rows as the noise rate says, lowest weights first, if another label suits."""
        n_issues = round(noise_rate * self.is_noisy.sum())
        doubtful = np.where(self.is_noisy, weight, np.inf)
        lowest = np.zeros(len(weight), dtype=bool)
        lowest[np.argsort(doubtful, kind="stable")[:n_issues]] = True
        return lowest & self.is_noisy & (self.suggested != self.labels)

    def fixed(self, classes, weight, noise_rate):
        """See `HyperCleaningClassifier.fix_labels`."""
        replaced = self.is_issue(weight, noise_rate) & (weight < 0.5)
        return classes[np.where(replaced, self.suggested, self.labels)]

    def report(self, classes, weight, noise_rate):
        """See `HyperCleaningClassifier.label_report`."""
        named = self.index.labels
        columns = {
            "index": np.arange(len(weight)) if named is None else named,
            "given_label": classes[self.labels],
            "suggested_label": classes[np.where(self.is_noisy, self.suggested, self.labels)],
            "weight": weight.copy(),
            "is_issue": self.is_issue(weight, noise_rate),
        }
        return as_table(columns, self.index.backend)
