"""The rows of a cleaning fit: validated, laid out in folds, and sampled where they are many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np

from ..data._folds import (
    Folds,
    make_folds,
    position_keys,
    stratified_position_folds,
    warn_of_few_rows,
)
from ._constants import ENOUGH, LEAST_ROWS, PER_CLASS, PER_COLUMN


@dataclass(frozen=True)
class LabelRows:
    """All rows of a fit: those of X, then those of X_val."""

    X: Any  # ndarray or sparse matrix of shape (n_rows, n_features)
    labels: np.ndarray  # (n_rows,), positions in `classes`
    weight: np.ndarray  # (n_rows,), sample weights times class weights
    is_clean: np.ndarray  # (n_rows,), whether labels are verified
    n_given: int  # how many rows came as X
    classes: np.ndarray
    pred_probs: np.ndarray | None = None  # (n_rows, n_classes), the user's out-of-fold predictions
    # Rows without a label have some position in `labels`, and no weight: so they tell nothing of
    # labels. With soft labels all rows train by another weight.
    is_unlabelled: np.ndarray | None = None  # (n_rows,); None: all have labels
    soft_weight: np.ndarray | None = None  # (n_rows,)
    # (n_rows, n_classes), how many gave a row each label; None: each label is one vote.
    votes: np.ndarray | None = None

    @property
    def given(self):
        """What true classes are inferred from: votes, or labels."""
        return self.labels if self.votes is None else self.votes

    @property
    def n_classes(self):
        return len(self.classes)

    @property
    def unit_weight(self):
        """Of a row that counts once: the mean of those with a weight; of counts 1."""
        if (self.weight == np.round(self.weight)).all():
            return 1.0
        return self.weight.sum() / np.count_nonzero(self.weight)

    @cached_property
    def noisy(self):
        """Positions of the rows whose labels are not verified."""
        return np.flatnonzero(~self.is_clean)

    @cached_property
    def unlabelled(self):
        """Positions of rows without a label, which are among the noisy ones."""
        return np.flatnonzero(~self.has_label)

    @cached_property
    def has_label(self):
        """A mask."""
        if self.is_unlabelled is None:
            return np.ones(len(self.labels), dtype=bool)
        return ~self.is_unlabelled

    @cached_property
    def kinds(self):
        """Labels, of rows without any a further one."""
        if self.is_unlabelled is None:
            return self.labels
        return np.where(self.is_unlabelled, self.n_classes, self.labels)

    def training_weight(self, targets):
        """Of rows that train with soft targets, or, for None, with their labels."""
        return self.weight if targets is None or self.soft_weight is None else self.soft_weight

    @cached_property
    def verified(self):
        return np.flatnonzero(self.is_clean)

    @cached_property
    def has_verified(self):
        return bool(self.is_clean.any())

    def pred_probs_of(self, index):
        return _at(self.pred_probs, index)

    def take(self, sample):
        """Only the rows of a `RowSample`."""
        index = sample.positions
        return replace(
            self,
            X=self.X[index],
            labels=self.labels[index],
            weight=self.weight[index] * sample.factor,
            is_clean=self.is_clean[index],
            n_given=int(np.count_nonzero(index < self.n_given)),
            pred_probs=self.pred_probs_of(index),
            is_unlabelled=_at(self.is_unlabelled, index),
            soft_weight=None
            if self.soft_weight is None
            else self.soft_weight[index] * sample.factor,
            votes=_at(self.votes, index),
        )


def _at(column, index):
    return None if column is None else column[index]


def product_work(rows, n_folds=1):
    """Multiply-adds of the scores of all rows by the models of all folds."""
    return rows.X.size * (1 if rows.n_classes == 2 else rows.n_classes) * n_folds


@dataclass(frozen=True)
class LabelFolds:
    """Where each row trains, where it is a validation row, and the fold that it is out of.

    Models of a row's own fold have not seen its label: its out-of-fold predictions come from there.
    """

    in_training: np.ndarray  # (n_folds, n_rows), 1 where a row trains in a fold
    validation: np.ndarray  # (n_folds, n_rows), weights of validation rows; sum to 1 over all
    own: np.ndarray  # (n_rows,), own folds

    @classmethod
    def of_use(cls, in_training, validation, own, weight):
        """The folds with training and validation rows of positive weight; None without any."""
        keep = (validation.sum(axis=1) > 0) & (in_training @ weight > 0)
        if not keep.any():
            return None
        if not keep.all():
            renumbered = np.cumsum(keep) - 1
            own = np.where(keep[own], renumbered[own], 0)
            in_training, validation = in_training[keep], validation[keep]
        return cls(in_training, validation / validation.sum(), own)

    def take(self, sample):
        """The same folds, of the rows of a `RowSample` alone."""
        index = sample.positions
        validation = self.validation[:, index] * sample.factor
        return self.of_use(self.in_training[:, index], validation, self.own[index], sample.factor)

    def merged(self, n_folds):
        """So many folds, of each of which a row is out that is out of one that it is made of."""
        group = np.arange(self.n_folds) % n_folds
        parts = [group == number for number in range(n_folds)]
        return LabelFolds(
            np.stack([self.in_training[part].min(axis=0) for part in parts]),
            np.stack([self.validation[part].sum(axis=0) for part in parts]),
            group[self.own],
        )

    @property
    def n_folds(self):
        return len(self.in_training)

    @cached_property
    def out_of_fold(self):
        """1 where a row trains in a fold that is not its own, (n_folds, n_rows).

        A single fold has no other rows to learn from: there, all training rows.
        """
        if self.n_folds == 1:
            return self.in_training
        return self.in_training * (self.own != np.arange(self.n_folds)[:, None])


def make_label_folds(rows: LabelRows, cv, seed, split_params=None) -> LabelFolds:
    """Folds of an estimator's ``cv``.

    An int splits the validation rows (the verified ones, or all where none is), and verified and
    noisy rows apart from each other, by class. Noisy rows train in all folds if verified rows
    validate. A splitter runs over the rows of X, or of X_val where that was given; over X,
    nothing that it holds out trains. It gets `split_params`, such as row ``groups``.
    """
    n_rows = len(rows.labels)
    valid = rows.verified if rows.has_verified else np.flatnonzero(rows.has_label)
    if isinstance(cv, Integral):
        warn_of_few_rows(cv, len(valid), "verified rows" if rows.has_verified else "rows")
        folds = make_folds(cv, None, rows.labels[valid], seed=seed, stratify=True)
        splits = [(valid[train], valid[test]) for train, test in folds.splits]
        free = np.setdiff1d(np.arange(n_rows), valid)
    elif rows.n_given < n_rows:
        over = np.arange(rows.n_given, n_rows)
        folds = make_folds(
            cv, rows.X[over], rows.labels[over], seed=seed, split_params=split_params
        )
        splits = [(over[train], over[test]) for train, test in folds.splits]
        free = np.arange(rows.n_given)
    else:
        folds = make_folds(cv, rows.X, rows.kinds, seed=seed, split_params=split_params)
        splits, free = list(folds.splits), np.arange(0)
    return _lay_out(rows, Folds(splits), free, valid, seed)


def _lay_out(rows, folds, free, valid, seed):
    """Of splits, of rows that train in all folds, and of those that may validate."""
    n_folds, n_rows = len(folds), len(rows.labels)
    in_training, validation = np.zeros((2, n_folds, n_rows))
    own = np.full(n_rows, -1)
    is_valid = np.zeros(n_rows, dtype=bool)
    is_valid[valid] = True
    for k, (train, test) in enumerate(folds.splits):
        np.add.at(in_training[k], train, 1.0)
        np.add.at(validation[k], test[is_valid[test]], 1.0)
        own[test] = k
    in_training[:, free] = 1.0
    # Rows that no fold holds out get own folds too, for out-of-fold predictions all the same.
    # Those without a label apart: they do not change those of others.
    for kind in (rows.has_label, ~rows.has_label):
        loose = np.flatnonzero((own < 0) & kind)
        own[loose] = stratified_position_folds(rows.labels[loose], n_folds, seed + 1)
    validation *= rows.weight
    found = LabelFolds.of_use(in_training, validation, own, rows.weight)
    if found is None:
        raise ValueError(
            "cv must give at least one split with training rows and validation rows (held-out rows "
            "with verified labels, where any are marked), all with positive weights: got none."
        )
    return found


@dataclass(frozen=True)
class RowSample:
    """Some rows of a fit, with factors of their weights: of rare classes more rows are taken."""

    positions: np.ndarray  # (n_sampled,)
    factor: np.ndarray  # (n_sampled,)


def search_sample(rows, seed) -> RowSample | None:
    """The rows that a search looks at where there are many; None for all of them.

    By class, of noisy, verified and unlabelled rows apart. Whether a row is taken depends on its
    position among the rows of its kind alone.
    """
    noisy = np.flatnonzero(~rows.is_clean & rows.has_label)
    kinds = noisy, rows.verified, rows.unlabelled
    counts = [np.bincount(rows.labels[kind], minlength=rows.n_classes) for kind in kinds]
    sizes, weights = sample_sizes(np.stack(counts), rows.X.shape[1])
    if np.array_equal(sizes, counts):
        return None
    parts, factors = [], []
    for number, kind in enumerate(kinds):
        for label in range(rows.n_classes):
            index = kind[rows.labels[kind] == label]
            parts.append(index[taken(len(index), sizes[number, label], seed)])
            factors.append(np.full(len(parts[-1]), weights[number, label]))
    positions, factor = np.concatenate(parts), np.concatenate(factors)
    order = np.argsort(positions)
    return RowSample(positions[order], factor[order])


def sample_sizes(counts, n_features):
    """How many rows of each kind and class are taken, and the weights of these.

    All of shape (n_kinds, n_classes): of noisy rows, and of verified ones.
    """
    enough = max(ENOUGH, PER_COLUMN * n_features, PER_CLASS * counts.shape[1])
    fraction = np.minimum(1.0, enough / counts.sum(axis=1, keepdims=True).clip(1))
    sizes = np.minimum(counts, np.maximum(LEAST_ROWS, np.round(fraction * counts).astype(int)))
    return sizes, fraction * counts / sizes.clip(1)


def taken(n_rows, size, seed):
    """Which of the rows of a kind and class are taken, in no particular order."""
    if size == n_rows:
        return np.arange(n_rows)
    # Keys are distinct.
    return np.argpartition(position_keys(n_rows, seed), size)[:size]
