"""The rows of one process in a cleaning fit that several share, and the sample of all."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import compute_class_weight

from .._collective import gather
from ..cleaning._rows import LabelRows
from ..cleaning._sample import RowSample, sample_sizes, taken
from ..linalg._softmax import LabelledRows


@dataclass(frozen=True)
class RowsPart:
    """A part of the rows of a fit, validated.

    Attributes
    ----------
    number : int
        Its place in the order of all parts, from 0; without gaps.
    X : ndarray of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
    weight : ndarray of shape (n_rows,)
    is_clean : ndarray of bool of shape (n_rows,)
    """

    number: int
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    is_clean: np.ndarray

    def __len__(self):
        return len(self.y)


@dataclass(frozen=True)
class SharedLabelRows(LabelRows):
    """The rows of one process, in a fit that several share."""

    collective: Any = None
    any_clean: bool = False

    @property
    def has_clean(self):
        return self.any_clean

    def total(self, sums):
        return self.collective.all_reduce_sum(np.asarray(sums, dtype=np.float64))


class SharedLabelledRows(LabelledRows):
    """The same as tensors."""

    def __init__(self, standardizer, rows, device):
        super().__init__(standardizer.products(rows.X, device), rows.labels, rows.n_classes, device)
        self.collective = rows.collective
        self._n_rows = int(rows.total(len(rows.labels)))

    @property
    def n_rows(self):
        return self._n_rows

    def total(self, sums):
        array = self.collective.all_reduce_sum(sums.detach().cpu().numpy())
        return torch.from_numpy(np.asarray(array)).to(sums.device)

    def any(self, mask):
        # Where processors differ in their last bits, all must still take the same way.
        return bool(self.collective.all_reduce_sum(np.array([float(mask.any())]))[0])


class StackedRows:
    """Rows of several arrays as if they were one, without a copy of all.

    Parameters
    ----------
    arrays : list of ndarray of shape (n_rows, n_features)
    """

    def __init__(self, arrays):
        self._arrays = arrays
        self._stops = np.cumsum([len(X) for X in arrays])
        self.shape = (int(self._stops[-1]), arrays[0].shape[1])

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        """The rows of a slice without a step, or of positions, as one array."""
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            pieces = []
            for X, end in zip(self._arrays, self._stops.tolist(), strict=True):
                first = end - len(X)
                if first < stop and start < end:
                    pieces.append(X[max(start - first, 0) : stop - first])
            return pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, self._arrays[0][:0]])
        owner = np.searchsorted(self._stops, index, side="right")
        found = np.empty((len(index), self.shape[1]), self._arrays[0].dtype)
        for number in np.unique(owner):
            own, X = owner == number, self._arrays[number]
            found[own] = X[index[own] - self._stops[number] + len(X)]
        return found


class TooFewRows(Exception):  # noqa: N818
    """The sample would be all rows: they can be gathered."""


def places_of(parts):
    """Each part, and the slice of its rows among those of the process."""
    stops = np.cumsum([len(part) for part in parts]).tolist()
    return [(part, slice(stop - len(part), stop)) for part, stop in zip(parts, stops, strict=True)]


@dataclass(frozen=True)
class Layout:
    """How many rows there are of each kind (noisy, clean) and class.

    Attributes
    ----------
    total : ndarray of int of shape (2, n_classes)
    before : ndarray of int of shape (n_parts, 2, n_classes)
        In all parts before this one.
    sizes, factors : ndarray of shape (2, n_classes)
        Of the sample; see `sample_sizes`.
    """

    total: np.ndarray
    before: np.ndarray
    sizes: np.ndarray
    factors: np.ndarray


def layout_of(estimator, parts, collective):
    """The rows of this process, and the `Layout` of all."""
    seen = gather(collective, np.unique(np.concatenate([part.y for part in parts])))
    classes = np.unique(np.concatenate(seen))
    n_parts = int(collective.all_reduce_sum(np.array([len(parts)]))[0])
    labels = [np.searchsorted(classes, part.y) for part in parts]
    counts = np.zeros((n_parts, 2, len(classes)), dtype=np.int64)
    mass = np.zeros(len(classes))
    for part, index in zip(parts, labels, strict=True):
        np.add.at(counts[part.number], (part.is_clean.astype(int), index), 1)
        mass += np.bincount(index, part.weight, minlength=len(classes))
    counts, mass = collective.all_reduce_sum(counts), collective.all_reduce_sum(mass)
    total = counts.sum(axis=0)
    if not mass.any():
        raise ValueError("sample_weight must not be all zero.")
    if np.count_nonzero(mass) < 2:
        raise ValueError(
            "The number of classes has to be greater than one; all rows with positive weight "
            "are of one class."
        )
    if total[1].sum() == 1:
        raise ValueError(
            "A single clean row cannot be split into folds: mark two or more clean rows, or none."
        )
    sizes, factors = sample_sizes(total, parts[0].X.shape[1])
    if np.array_equal(sizes, total):
        raise TooFewRows
    _require_adaptive(estimator)
    by_class = np.ones(len(classes))
    if estimator.class_weight is not None:
        by_class = compute_class_weight(
            estimator.class_weight, classes=classes, y=classes, sample_weight=mass
        )
    index = np.concatenate(labels)
    rows = SharedLabelRows(
        _joined([part.X for part in parts]),
        index,
        np.concatenate([part.weight for part in parts]) * by_class[index],
        np.concatenate([part.is_clean for part in parts]),
        len(index),
        classes,
        collective,
        bool(total[1].any()),
    )
    return rows, Layout(total, np.cumsum(counts, axis=0) - counts, sizes, factors)


def _require_adaptive(estimator):
    """Raise for options that need all rows in one place."""
    given = {
        "weighting": (estimator.weighting, estimator.weighting == "adaptive"),
        "cv": (estimator.cv, isinstance(estimator.cv, Integral)),
        "final_estimator": (estimator.final_estimator, estimator.final_estimator is None),
    }
    for name, (value, fits) in given.items():
        if not fits:
            raise ValueError(
                f"{name}={value!r} needs all rows at once: use HyperCleaningClassifier on rows in "
                "memory."
            )


def _joined(arrays):
    """One array, or several alike as if they were one."""
    if len(arrays) == 1:
        return arrays[0]
    alike = len({X.dtype for X in arrays}) == 1 and all(X.flags.c_contiguous for X in arrays)
    return StackedRows(arrays) if alike else np.concatenate(arrays)


def sample_of(rows, parts, layout, seed):
    """The rows of this process that are in the sample of all.

    Returns
    -------
    places : ndarray of int of shape (n_sampled,)
        Of each row among all rows of its kind and class.
    sample : RowSample
    """
    positions, factors, places = [], [], []
    for kind, label in np.ndindex(*layout.sizes.shape):
        chosen = np.sort(taken(layout.total[kind, label], layout.sizes[kind, label], seed))
        is_kind = (rows.labels == label) & (rows.is_clean == bool(kind))
        for part, place in places_of(parts):
            own = place.start + np.flatnonzero(is_kind[place])
            first = layout.before[part.number, kind, label]
            low, high = np.searchsorted(chosen, [first, first + len(own)])
            places.append(chosen[low:high])
            positions.append(own[chosen[low:high] - first])
            factors.append(np.full(high - low, layout.factors[kind, label]))
    joined = np.concatenate(positions)
    order = np.argsort(joined)
    sample = RowSample(joined[order], np.concatenate(factors)[order])
    return np.concatenate(places)[order], sample


def gathered_sample(collective, rows, places, parts, sample):
    """The sample of all processes in the order of its rows, the same in each of them.

    Returns
    -------
    sampled : LabelRows
    places, process : ndarray of shape (n_sampled,)
    """
    own = rows.take(sample)
    stops = np.cumsum([len(part) for part in parts])
    numbers = np.array([part.number for part in parts])
    number = numbers[np.searchsorted(stops, sample.positions, side="right")]
    everyone = gather(collective, (own.X, own.labels, own.weight, own.is_clean, places, number))
    process = np.repeat(np.arange(len(everyone)), [len(found[1]) for found in everyone])
    *columns, number = (np.concatenate(found) for found in zip(*everyone, strict=True))
    # Stable: within a part rows are in their order already.
    order = np.argsort(number, kind="stable")
    X, labels, weight, is_clean, places = (column[order] for column in columns)
    sampled = LabelRows(X, labels, weight, is_clean, len(labels), rows.classes)
    return sampled, places, process[order]
