"""The report on labels, in the caller's kind of table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import narwhals as nw
import numpy as np

from ..data._tables import as_table, dataframe_kind, native_index
from ._constants import TINY
from .label_quality._scores import confident_noise_rates, is_rather_wrong


@dataclass(frozen=True)
class SeriesKind:
    """How the labels of a fit came."""

    backend: str  # the library of the Series
    name: Any = None
    dtype: str = ""  # of a pandas Series
    index: np.ndarray | None = None  # of a pandas Series

    def series(self, values):
        """Values as such a Series; as they are where its library is not installed."""
        if not find_spec(self.backend):
            return values
        series = nw.to_native(nw.new_series(self.name or "", values, backend=self.backend))
        if self.index is None:
            return series
        series.index, series.name = self.index, self.name
        return series.astype(self.dtype)


@dataclass(frozen=True)
class RowIndex:
    """How rows were named, and the kinds of table and Series they came in ("", None for none)."""

    labels: np.ndarray | None = None
    backend: str = ""
    series: SeriesKind | None = None


def row_index(X, y=None) -> RowIndex:
    """Of the X and y of a fit; rows that X does not name are named by y."""
    series, kind = _series_kind(y), dataframe_kind(X)
    if not kind and series is not None:
        return RowIndex(series.index, series.backend, series)
    return RowIndex(native_index(X), kind, series)


def _series_kind(y):
    series = nw.from_native(y, pass_through=True, series_only=True)
    if not isinstance(series, nw.Series):
        return None
    backend = str(series.implementation.value)
    if not series.implementation.is_pandas():
        return SeriesKind(backend, series.name)
    native = nw.to_native(series)
    return SeriesKind(backend, native.name, str(native.dtype), np.asarray(native.index))


@dataclass(frozen=True)
class LabelRecord:
    """What a report on labels is made from; one entry for each row of X."""

    index: RowIndex
    labels: np.ndarray  # positions among the classes
    suggested: np.ndarray  # of the most probable class by out-of-fold predictions
    is_noisy: np.ndarray
    is_rather_wrong: np.ndarray  # whether the suggested label is the better bet

    @classmethod
    def of(cls, index, rows, label_weight, predictions, noise_rate, *, has_verified):
        """Of the rows that came as X, from label weights and predictions of all `rows`.

        `has_verified` tells of the whole fit, of which these may be a partition.
        """
        given = slice(rows.n_given)
        is_wrong = label_weight < 0.5
        if not has_verified:
            is_wrong = is_rather_wrong(predictions, rows.labels, label_weight, noise_rate)
        suggested = predictions[given].argmax(axis=1)
        labels, is_noisy = rows.labels[given].copy(), ~rows.is_clean[given]
        return cls(index, labels, suggested, is_noisy, is_wrong[given])

    def is_issue(self, weight, noise_rate):
        """As many rows as the noise rate says, lowest weights first, if another label suits."""
        n_issues = round(noise_rate * self.is_noisy.sum())
        weight_of_noisy = np.where(self.is_noisy, weight, np.inf)
        lowest = np.zeros(len(weight), dtype=bool)
        lowest[np.argsort(weight_of_noisy, kind="stable")[:n_issues]] = True
        return lowest & self.is_noisy & (self.suggested != self.labels)

    def fixed(self, classes, weight, noise_rate):
        """See `HyperCleaningClassifier.fix_labels`."""
        replaced = self.is_issue(weight, noise_rate) & self.is_rather_wrong
        labels = classes[np.where(replaced, self.suggested, self.labels)]
        kind = self.index.series
        return labels if kind is None else kind.series(labels)

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


def noise_rates(rows, label_weight, predictions):
    """Share of wrong labels among the noisy rows: of each given label, and of all of them.

    By the label weights where verified rows taught them; else by the rows that are predicted
    surely. 0 of no rows.
    """
    noisy = rows.noisy
    labels, weight = rows.labels[noisy], rows.weight[noisy]
    mass = np.bincount(labels, weight, minlength=rows.n_classes)
    if rows.has_verified:
        wrong = np.bincount(labels, weight * (1 - label_weight[noisy]), minlength=rows.n_classes)
        rates = wrong / np.maximum(mass, TINY)
    else:
        rates = confident_noise_rates(predictions[noisy], labels, weight)
    return rates, float(rates @ mass / max(mass.sum(), TINY))
