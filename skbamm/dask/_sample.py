"""The rows of all partitions, counted, and a sample of them on the client."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..cleaning._input import check_learnable, label_kind
from ..cleaning._rows import LabelFolds, LabelRows, sample_sizes, taken
from ..data._folds import position_folds
from ..data._labels import class_factors
from ._client import on_each, results, shared
from ._label_rows import label_counts, sampled_rows


@dataclass(frozen=True)
class Census:
    """How many rows there are of each kind (noisy, verified) and class."""

    classes: np.ndarray  # labels
    mass: np.ndarray  # the sums of their rows' weights
    counts: np.ndarray  # (n_partitions, 2, n_classes)
    first: np.ndarray  # (2, n_classes), positions of the first rows among all

    @classmethod
    def take(cls, client, columns):
        """Of what `checked_labels` gives; raises for rows that cannot be learned from."""
        found = results(client, on_each(label_counts, columns))
        _check_kinds([seen for seen, *_ in found])
        classes = np.unique(np.concatenate([seen for seen, *_ in found]))
        counts, mass = np.zeros((len(found), 2, len(classes)), dtype=int), np.zeros(len(classes))
        first, n_before = np.full((2, len(classes)), np.iinfo(int).max), 0
        for counted, (seen, own, own_first, weight) in zip(counts, found, strict=True):
            index = np.searchsorted(classes, seen)
            counted[:, index] = own
            known = np.where(own > 0, n_before + own_first, first[:, index])
            first[:, index] = np.minimum(first[:, index], known)
            mass[index] += weight
            n_before += own.sum()
        census = cls(classes, mass, counts, first)
        if sum(census.lengths) < 2:
            raise ValueError(f"Found {sum(census.lengths)} rows, but a minimum of 2 is required.")
        if not mass.any():
            raise ValueError("sample_weight must not be all zero.")
        check_learnable(mass, census.total[1].sum())
        return census

    @property
    def total(self):
        return self.counts.sum(axis=0)

    @property
    def has_verified(self):
        return bool(self.total[1].any())

    @property
    def lengths(self):
        """Numbers of rows of the partitions."""
        return tuple(self.counts.sum(axis=(1, 2)).tolist())

    def class_weights(self, class_weight):
        return class_factors(class_weight, self.classes, self.mass)

    def sample(self, n_features, seed):
        """What `search_sample` takes: places in each kind and class, and factors of weights.

        None where that is all rows.
        """
        sizes, factors = sample_sizes(self.total, n_features)
        if np.array_equal(sizes, self.total):
            return None
        pairs = zip(self.total.ravel(), sizes.ravel(), strict=True)
        return [np.sort(taken(n_rows, size, seed)) for n_rows, size in pairs], factors.ravel()


def _check_kinds(classes):
    """Raise where labels are text in some partitions, and numbers in others."""
    first: dict[str, int] = {}
    for number, seen in enumerate(classes):
        if len(seen):
            first.setdefault(label_kind(seen), number)
    if len(first) > 1:
        said = ", ".join(f"{kind} in partition {number}" for kind, number in first.items())
        raise ValueError(f"y must have labels of one kind in all partitions: got {said}.")


@dataclass(frozen=True)
class SampledRows:
    """A sample of all rows."""

    rows: LabelRows
    places: np.ndarray  # of each row among all rows of its kind and class
    positions: list  # of the sampled rows of each partition among its rows
    first: np.ndarray  # as in `Census`

    @classmethod
    def gather(cls, client, partitions, census, places, factors):
        """From the `LabelRows` of all partitions."""
        counts = census.counts.reshape(len(partitions), -1)
        before = np.cumsum(counts, axis=0) - counts
        found = results(client, on_each(sampled_rows, partitions, before, wanted=shared(places)))
        positions, *columns = zip(*found, strict=True)
        place, X, labels, weight, is_clean = (np.concatenate(column) for column in columns)
        weight = weight * factors[is_clean * len(census.classes) + labels]
        rows = LabelRows(X, labels, weight, is_clean, len(labels), census.classes)
        return cls(rows, place, list(positions), census.first)

    def folds(self, cv, seed):
        """The folds of all rows, of the sampled ones alone; see `make_label_folds`."""
        rows, n_rows = self.rows, len(self.places)
        validates = rows.is_clean if rows.is_clean.any() else np.ones(n_rows, dtype=bool)
        n_folds = min(int(cv), np.count_nonzero(validates))
        own = np.empty(n_rows, dtype=int)
        found, own[validates] = np.unique(
            self._stratified(validates, n_folds, seed), return_inverse=True
        )
        n_folds = len(found)
        own[~validates] = self._stratified(~validates, n_folds, seed + 1)
        held_out = validates & (own == np.arange(n_folds)[:, None])
        folds = LabelFolds.of_use(1.0 - held_out, held_out * rows.weight, own, rows.weight)
        if folds is None:
            raise ValueError(
                "cv must leave rows of positive weight to train on and to validate on."
            )
        return folds

    def _stratified(self, mask, n_folds, seed):
        """`stratified_position_folds` of some of the rows, from their places in their classes."""
        labels, places = self.rows.labels[mask], self.places[mask]
        first = self.first[int(self.rows.is_clean[mask].any())]
        folds = np.empty(len(labels), dtype=int)
        for index, label in enumerate(np.argsort(first)):
            of_class = labels == label
            if not of_class.any():  # nor of those that follow
                break
            known = position_folds(places[of_class].max() + 1, n_folds, seed)
            folds[of_class] = (known[places[of_class]] + index) % n_folds
        return folds

    def by_partition(self, learned, targets):
        """Positions, label weights, predictions and targets (or None), a list of each."""
        ends = np.cumsum([len(own) for own in self.positions])[:-1]
        noisy = np.concatenate([[0], np.cumsum(~self.rows.is_clean)])[ends]
        return [
            self.positions,
            np.split(learned.label_weight, noisy),
            np.split(learned.predictions, ends),
            [None] * len(self.positions) if targets is None else np.split(targets, ends, axis=1),
        ]
