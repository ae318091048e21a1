"""The report on labels: how probably each is right, and which are issues."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ..data._containers import RowContainer
from ..data._validation import check_is_fitted
from ._constants import TINY
from ._unlabelled import labels_with_gaps
from .label_quality._scores import NoiseModel, other_labels


def true_classes(rows, label_weight, predictions, noise=None, transition=None):
    """Probabilities of the true classes, given labels being known, (n_rows, n_classes).

    From label weights that verified labels taught, and what the `transition` of single votes says
    of the other classes; else from predictions and their `noise`.
    """
    if noise is not None:
        classes = noise.posterior(predictions, rows.given)
    else:
        likely = predictions
        if rows.votes is not None:
            likely = NoiseModel(transition).posterior(predictions, rows.votes)
        classes = (1 - label_weight)[:, None] * other_labels(likely, rows.labels)
        classes[np.arange(len(classes)), rows.labels] = label_weight
    classes[rows.is_clean] = np.eye(rows.n_classes)[rows.labels[rows.is_clean]]
    likely = predictions[rows.unlabelled]
    classes[rows.unlabelled] = likely if noise is None else noise.probabilities(likely)
    return classes


def vote_transition_matrix(rows, classes):
    """P(vote | true class) among noisy rows, from their `true_classes`."""
    counts = (rows.weight * ~rows.is_clean * classes.T) @ rows.votes
    mass = counts.sum(axis=1, keepdims=True)
    return np.where(mass > 0, counts / np.maximum(mass, TINY), np.eye(len(mass)))


def predicted_classes(predictions, labels):
    """The most probable classes: of equals the given one, whatever its number."""
    own = predictions[np.arange(len(labels)), labels]
    return np.where(own == predictions.max(axis=1), labels, predictions.argmax(axis=1))


class ClassSums(NamedTuple):
    """Sums of weights over rows, by given label; those of parts of the rows add up."""

    joint: np.ndarray  # (n_classes, n_classes), of noisy rows, by given label and true class
    verified: np.ndarray
    told: np.ndarray  # of verified rows that are predicted to be of their class

    @classmethod
    def of(cls, rows, classes, predictions):
        told = predicted_classes(predictions, rows.labels) == rows.labels
        kinds = rows.is_clean, rows.is_clean * told
        noisy = [rows.weight * ~rows.is_clean * likely for likely in classes.T]
        each = [*noisy, *(rows.weight * kind for kind in kinds)]
        *joint, verified, told = [np.bincount(rows.labels, w, rows.n_classes) for w in each]
        return cls(np.stack(joint, axis=1), verified, told)

    @property
    def noise_rates(self):
        """Share of wrong labels among the noisy rows of each given label; 0 of no rows."""
        return self._wrong.sum(axis=1) / np.maximum(self.joint.sum(axis=1), TINY)

    @property
    def noise_rate(self):
        """The same of all noisy rows."""
        return float(self._wrong.sum() / max(self.joint.sum(), TINY))

    @property
    def noise_transition_matrix(self):
        """P(given label | true class); of classes without noisy rows no label is wrong."""
        mass = self.joint.sum(axis=0)[:, None]
        return np.where(mass > 0, self.joint.T / np.maximum(mass, TINY), np.eye(len(mass)))

    @property
    def _wrong(self):
        return self.joint * (1 - np.eye(len(self.joint)))

    @property
    def is_told(self):
        """Whether out-of-fold models tell most of a class's verified rows from other classes."""
        return 2 * self.told > self.verified


def check_precision(precision):
    """Raise where it is no share."""
    is_number = isinstance(precision, Real) and not isinstance(precision, bool)
    if precision is not None and not (is_number and 0 < precision <= 1):
        raise ValueError(
            "precision must be None, or the share of wrong labels among issues, a number above 0 "
            f"and up to 1: got {precision!r}."
        )


@dataclass(frozen=True)
class LabelRecord:
    """What a report on labels is made from; one entry for each row of X, but for the last ones."""

    labels: np.ndarray  # positions among the classes
    other: np.ndarray  # positions of the most probable other classes
    right: np.ndarray  # probabilities of the labels, and of these other classes
    wrong: np.ndarray
    is_noisy: np.ndarray
    weight: np.ndarray  # the user's
    noise_rates: np.ndarray = field(kw_only=True)  # (n_classes,)
    is_told: np.ndarray = field(kw_only=True)  # (n_classes,), as in `ClassSums`
    rows: Any = field(default=RowContainer(), kw_only=True)
    is_gap: Any = field(default=False, kw_only=True)  # whether a row has no label
    unlabeled: Any = field(default=None, kw_only=True)  # what stood for that

    @staticmethod
    def columns(rows, classes):
        """What there is one of for each row, of those that came as X, from their `true_classes`."""
        every = np.arange(len(classes))
        right, others = classes[every, rows.labels], classes.copy()
        others[every, rows.labels] = -1.0
        other = others.argmax(axis=1)
        is_noisy = ~rows.is_clean & rows.has_label
        each = rows.labels, other, right, others[every, other], is_noisy, rows.weight
        return [column[: rows.n_given].copy() for column in each]

    def is_issue(self, precision=None):
        """The least probable labels, of each class as much weight as its noise rate says.

        With an expected `precision`, those of all classes, as long as that share is wrong.
        """
        found = np.zeros(len(self.labels), dtype=bool)
        if precision is not None:
            own = np.flatnonzero(self.is_noisy)
            own = own[np.argsort(self.right[own], kind="stable")]
            weight = self.weight[own]
            wrong = np.cumsum(weight * (1 - self.right[own])) / np.maximum(weight.cumsum(), TINY)
            found[own[: np.flatnonzero(wrong >= precision).max(initial=-1) + 1]] = True
            return found
        for label, rate in enumerate(self.noise_rates):
            own = np.flatnonzero(self.is_noisy & (self.labels == label))
            own = own[np.argsort(self.right[own], kind="stable")]
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
        replaced = is_issue & (self.wrong > self.right) & ~np.isin(self.labels, spared)
        fixed = np.where(replaced, self.other, self.labels)
        return classes[np.where(self.is_gap, self.suggested(is_issue)[0], fixed)]

    def suggested(self, is_issue):
        """Positions of suggested labels, and their probabilities."""
        is_other = is_issue | (self.wrong > self.right)
        probability = np.where(is_other, self.wrong, self.right)
        return np.where(is_other, self.other, self.labels), probability

    def report(self, classes, sample_weight, precision=None):
        """See `HyperCleaningClassifier.label_report`."""
        is_issue = self.is_issue(precision)
        suggested, probability = self.suggested(is_issue)
        columns = {
            "index": self.rows.names(len(self.labels)),
            "given_label": labels_with_gaps(classes[self.labels], self.is_gap, self.unlabeled),
            "probability": np.where(self.is_gap, np.nan, self.right),
            "suggested_label": classes[suggested],
            "suggested_probability": probability,
            "weight": sample_weight.copy(),
            "is_issue": is_issue,
            "fixed_label": self.fixed(classes, is_issue, self.flagged_classes(is_issue)[0]),
        }
        return self.rows.table(columns)


class LabelReportMixin:
    """The public report on labels, and the labels as it would have them."""

    classes_: np.ndarray
    sample_weight_: np.ndarray
    label_record_: LabelRecord

    def label_report(self, *, precision=None):
        """Report label issues among the rows of `fit`.

        Of the rows of each given label as many are issues as `class_noise_rate_` says (by weight,
        where rows have weights), the least probable labels first. Verified labels are no issues.
        The share of wrong ones that is expected among issues is 1 less their mean probability.

        Parameters
        ----------
        precision : float in (0, 1] or None, default=None
            Issues are the least probable labels of all classes, as many as leave that share at
            this or above; none where no wrong labels show.

        Returns
        -------
        report : dataframe
            One row for each row of X in `fit`, in the kind of dataframe that X was (else that of
            y, else pandas if it is installed, else a dict of arrays). In pandas with the index
            of X, or of y where X has none. Columns:

            - "index": that index, else positions;
            - "given_label";
            - "probability": that the given label is right; 1 of verified ones, and of all where no
              wrong labels show (`status_`), which "weight" ranks all the same; NaN without a label;
            - "suggested_label": of an issue the most probable other class, of other rows the most
              probable class;
            - "suggested_probability": that this one is right;
            - "weight": `sample_weight_`;
            - "is_issue";
            - "fixed_label": what `fix_labels` puts.

        Raises
        ------
        ValueError
            If `precision` is no share.
        """
        check_is_fitted(self)
        check_precision(precision)
        return self.label_record_.report(self.classes_, self.sample_weight_, precision)

    def fix_labels(self, force=False, *, precision=None):
        """The labels given in `fit`, those of issues replaced where another class is more probable.

        For models that are to be fitted on all rows instead of on fewer. Changed are labels of
        issues of `label_report` alone, to the suggested one, if that is more probable than the
        given one. Where most labels of a class are issues, models may not be able to tell that
        class: then its labels stay, with a warning, unless most of its verified rows are predicted
        to be of it, out-of-fold.

        Parameters
        ----------
        force : bool, default=False
            Whether labels of such classes are changed as well.

        precision : float in (0, 1] or None, default=None
            Which labels are issues, as in `label_report`.

        Returns
        -------
        labels : array of shape (n_samples,)
            In the order of y in `fit`, and in the container that y was: a Series (or dataframe
            of one column) with its name, dtype, categories and, in pandas, index, or an array of
            pyarrow; else an ndarray.

        Raises
        ------
        TypeError
            If `force` is no truth value.
        ValueError
            If `precision` is no share.
        """
        check_is_fitted(self)
        check_precision(precision)
        if not isinstance(force, (bool, np.bool_)):
            raise TypeError(
                f"force must be True or False: got {type(force).__name__}. The labels to fix are "
                "those that were given in fit."
            )
        record = self.label_record_
        is_issue = record.is_issue(precision)
        spared, n_issues, n_noisy = record.flagged_classes(is_issue)
        if len(spared) and not force:
            each = zip(self.classes_[spared].tolist(), n_issues, n_noisy, strict=True)
            named = ", ".join(f"{label!r} ({few} of {all_})" for label, few, all_ in each)
            warnings.warn(
                f"Most labels of some classes are issues: {named}. Their labels stay as given: no "
                "verified rows show that models can tell these classes from others. Look at "
                "label_report(), mark verified labels (is_clean or X_val), or give a "
                "final_estimator that can tell them; fix_labels(force=True) changes them as well.",
                UserWarning,
                stacklevel=2,
            )
        return record.rows.labels(record.fixed(self.classes_, is_issue, () if force else spared))
