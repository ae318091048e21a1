"""The report on labels: how probably each is right, and which are issues."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..data._containers import RowContainer
from ._constants import LEAST_ODDS, TINY


class LabelPosterior(NamedTuple):
    """Of the labels of rows; one entry for each row."""

    right: np.ndarray  # probabilities that they are right
    other: np.ndarray  # positions of the most probable other classes
    is_rather_wrong: np.ndarray  # whether that one is the better bet


def label_posterior(labels, label_weight, predictions, noise=None):
    """From label weights that verified labels taught; else from predictions and their `noise`."""
    rows = np.arange(len(labels))
    likely = predictions if noise is None else noise.posterior(predictions, labels)
    others = likely.copy()
    others[rows, labels] = -1.0
    other = others.argmax(axis=1)
    right, wrong = likely[rows, labels], others[rows, other]
    if noise is None:
        wrong = (1 - label_weight) * wrong / np.maximum(1 - right, LEAST_ODDS)
        right = label_weight
    return LabelPosterior(right, other, wrong > right)


class ClassSums(NamedTuple):
    """Sums of weights over rows, by given label; those of parts of the rows add up."""

    noisy: np.ndarray  # of noisy rows
    wrong: np.ndarray  # of these, times the probability that the label is wrong
    verified: np.ndarray
    told: np.ndarray  # of verified rows that are predicted to be of their class

    @classmethod
    def of(cls, rows, right, predictions):
        told = predictions.argmax(axis=1) == rows.labels
        kinds = ~rows.is_clean, ~rows.is_clean * (1 - right), rows.is_clean, rows.is_clean * told
        weights = [rows.weight * kind for kind in kinds]
        return cls(*(np.bincount(rows.labels, each, rows.n_classes) for each in weights))

    @property
    def noise_rates(self):
        """Share of wrong labels among the noisy rows of each given label; 0 of no rows."""
        return self.wrong / np.maximum(self.noisy, TINY)

    @property
    def noise_rate(self):
        """The same of all noisy rows."""
        return float(self.wrong.sum() / max(self.noisy.sum(), TINY))

    @property
    def is_told(self):
        """Whether out-of-fold models tell most of a class's verified rows from other classes."""
        return 2 * self.told > self.verified


@dataclass(frozen=True)
class LabelRecord:
    """What a report on labels is made from; one entry for each row of X, but for the last ones."""

    labels: np.ndarray  # positions among the classes
    predicted: np.ndarray  # the most probable classes by out-of-fold predictions
    other: np.ndarray  # as in `LabelPosterior`
    is_rather_wrong: np.ndarray
    is_noisy: np.ndarray
    weight: np.ndarray  # the user's
    score: np.ndarray  # issues are the labels with the lowest of their class
    noise_rates: np.ndarray = field(kw_only=True)  # (n_classes,)
    is_told: np.ndarray = field(kw_only=True)  # (n_classes,), as in `ClassSums`
    rows: Any = field(default=RowContainer(), kw_only=True)

    @staticmethod
    def columns(rows, predictions, posterior, score):
        """What there is one of for each row, of those that came as X."""
        each = (
            rows.labels,
            predictions.argmax(axis=1),
            posterior.other,
            posterior.is_rather_wrong,
            ~rows.is_clean,
            rows.weight,
            score,
        )
        return [column[: rows.n_given].copy() for column in each]

    def is_issue(self):
        """Of each class as much weight as its noise rate says, lowest scores first."""
        found = np.zeros(len(self.labels), dtype=bool)
        for label, rate in enumerate(self.noise_rates):
            own = np.flatnonzero(self.is_noisy & (self.labels == label))
            own = own[np.argsort(self.score[own], kind="stable")]
            weight = self.weight[own]
            found[own] = np.cumsum(weight) - weight / 2 < rate * weight.sum()
        return found

    def flagged_classes(self, is_issue):
        """Positions, numbers of issues and of noisy rows of classes that would be wiped out.

        Most of their labels are issues, and no verified rows show that models can tell them.
        """
        n_classes = len(self.noise_rates)
        issues, noisy = (
            np.bincount(self.labels, kind * self.weight, n_classes)
            for kind in (is_issue, self.is_noisy)
        )
        flagged = np.flatnonzero((2 * issues > noisy) & ~self.is_told)
        counts = [
            np.bincount(self.labels[kind], minlength=n_classes)[flagged]
            for kind in (is_issue, self.is_noisy)
        ]
        return flagged, *counts

    def fixed(self, classes, is_issue, spared=()):
        """See `HyperCleaningClassifier.fix_labels`; labels of the `spared` classes stay."""
        replaced = is_issue & self.is_rather_wrong & ~np.isin(self.labels, spared)
        return classes[np.where(replaced, self.other, self.labels)]

    def report(self, classes, sample_weight):
        """See `HyperCleaningClassifier.label_report`."""
        is_issue = self.is_issue()
        suggested = np.where(is_issue, self.other, self.predicted)
        columns = {
            "index": self.rows.names(len(self.labels)),
            "given_label": classes[self.labels],
            "suggested_label": classes[np.where(self.is_noisy, suggested, self.labels)],
            "weight": sample_weight.copy(),
            "is_issue": is_issue,
            "fixed_label": self.fixed(classes, is_issue, self.flagged_classes(is_issue)[0]),
        }
        return self.rows.table(columns)
