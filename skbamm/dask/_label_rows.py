"""What a worker does with one partition of labelled rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..cleaning._report import ClassSums, LabelRecord, true_classes
from ..cleaning._rows import LabelRows, RowSample
from ..data._containers import PandasIndex
from ..linalg._cross_products import FoldSums
from ..linalg._session import torch_session
from ..linalg._tensors import resolve_device, to_numpy, to_tensor

# What a `LabelRecord` has for each row, as `columns` gives it.
RECORD: dict[str, Any] = {"labels": np.intp, "other": np.intp, "right": float, "wrong": float}
RECORD |= {"is_noisy": bool, "weight": float}


def row_container(columns):
    """How the rows of a partition came."""
    return columns[-1]


def joined_index(containers, *, of_labels):
    """Of all partitions."""
    each = [container.y if of_labels else container for container in containers]
    return PandasIndex.joined([one.index for one in each])


def label_counts(columns):
    """Classes, of each how many rows are noisy and verified, the first of these, and weights.

    Weights are sums; where there is no row, the first one has no meaning.
    """
    _, y, weight, is_clean, _ = columns
    classes, labels = np.unique(y, return_inverse=True)
    of_kind = [labels[kind] for kind in (~is_clean, is_clean)]
    counts = np.stack([np.bincount(own, minlength=len(classes)) for own in of_kind])
    first = np.full_like(counts, len(labels))
    np.minimum.at(first, (is_clean.astype(int), labels), np.arange(len(labels)))
    return classes, counts, first, np.bincount(labels, weight, minlength=len(classes))


def label_rows(columns, classes, class_weight):
    """The rows of a partition, labels as positions among the classes of all partitions."""
    X, y, weight, is_clean, _ = columns
    labels = np.searchsorted(classes, y)
    return LabelRows(X, labels, weight * class_weight[labels], is_clean, len(labels), classes)


def sampled_rows(rows, before, wanted):
    """Positions of the wanted rows, their places, and these rows.

    A place is a position among all rows of a kind and class, as `sample_sizes` counts these;
    `before` are the numbers of such rows in earlier partitions.
    """
    kind = rows.n_classes * rows.is_clean + rows.labels
    place, is_wanted = np.empty(len(kind), dtype=int), np.empty(len(kind), dtype=bool)
    for number, first in enumerate(before):
        own = np.flatnonzero(kind == number)
        place[own] = first + np.arange(len(own))
        is_wanted[own] = np.isin(place[own], wanted[number])
    positions = np.flatnonzero(is_wanted)
    columns = (place, rows.X, rows.labels, rows.weight, rows.is_clean)
    return positions, *(column[positions] for column in columns)


def cross_products(rows, shift):
    """Weighted cross-products of the columns less a shift, and of 1."""
    n_rows = len(rows.labels)
    fold = np.zeros(n_rows, dtype=int)
    return [FoldSums(shift, 0, 1).add(rows.X, np.empty((n_rows, 0)), rows.weight, fold)]


@dataclass(frozen=True)
class FittedModel:
    """What was learned on the sample; `learned` without what there is one of for each row."""

    standardizer: Any  # `Standardizer`, which needs torch
    learned: Any
    device: str | None

    def labelled(self, rows):
        """Rows as tensors, of which only products are taken: there is no second X."""
        from ..linalg._design import BlockedDesign
        from ..linalg._softmax import LabelledRows

        device, scales = resolve_device(self.device), self.standardizer
        design = BlockedDesign(rows.X, scales.mean, scales.scale, scales.rotation, device)
        return LabelledRows(design, rows.labels, rows.n_classes, device)


class WeighedRows(NamedTuple):
    """Label weight, prediction, training weight, target and record of each row, and their sums."""

    label_weight: np.ndarray  # (n_rows,)
    predictions: np.ndarray  # (n_rows, n_classes)
    record: list  # columns of a `LabelRecord`
    sums: ClassSums
    training: np.ndarray  # (n_rows,)
    targets: np.ndarray | None  # (n_scores, n_rows)


def weighed_rows(rows, positions, label_weight, predictions, targets, model):
    """Weigh all rows; those at `positions` were in the sample, and the rest is known of them."""
    from ..cleaning._fit import extend

    with torch_session():
        labelled = model.labelled(rows)
        if targets is not None:
            targets = to_tensor(targets, labelled.targets.device)
        known = {"label_weight": label_weight, "predictions": predictions, "targets": targets}
        learned = replace(model.learned, **known)
        sample = RowSample(positions, np.ones(len(positions)))
        learned = extend(learned, sample, rows, labelled, alpha=None)
        targets = None if learned.targets is None else to_numpy(learned.targets)
    weight = np.ones(len(rows.labels))
    weight[rows.noisy] = learned.label_weight
    predictions = learned.predictions
    shown = weight if learned.is_noise_shown else np.ones(len(weight))
    classes = true_classes(rows, shown, predictions, learned.noise)
    record, sums = LabelRecord.columns(rows, classes), ClassSums.of(rows, classes, predictions)
    training = rows.weight * learned.training
    return WeighedRows(weight, predictions, record, sums, training, targets)


def loss_and_gradient(rows, weighed, params, model, member=None):
    """Sums of the weights, the weighted cross-entropies, and their gradient in `params`.

    Of a `Member` of the average, or of what was learned alone.
    """
    from ..cleaning._members import target_tensor

    with torch_session():
        labelled = model.labelled(rows)
        targets = labelled.targets
        training, classes = weighed.training, None
        if member is not None:
            training, classes = _soft_labels(rows, weighed, model).of_kind(member.training)
            training = rows.weight * training
        elif weighed.targets is not None:
            targets = to_tensor(weighed.targets, targets.device)
        if classes is not None:
            targets = target_tensor(classes, targets)
        weight = to_tensor(training, targets.device)
        scores = labelled.design.matmul(to_tensor(params, weight.device))
        loss, probabilities = labelled.cross_entropy(scores, targets)
        gradient = labelled.design.rmatmul(weight * (probabilities - targets))
        return [float(weight.sum()), float((weight * loss).sum()), to_numpy(gradient)]


def _soft_labels(rows, weighed, model):
    """See `labels_of_rows`."""
    from ..cleaning._members import labels_of_rows

    learned = replace(
        model.learned,
        label_weight=weighed.label_weight[rows.noisy],
        predictions=weighed.predictions,
        targets=None if weighed.targets is None else to_tensor(weighed.targets),
    )
    return labels_of_rows(rows, learned)


def class_sums(rows, weighed):
    """See `ClassSums`."""
    return weighed.sums


def label_record(rows, weighed):
    """Label weights, and the columns of a `LabelRecord`."""
    return weighed.label_weight, *weighed.record
