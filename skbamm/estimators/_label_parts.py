"""A cleaning fit whose rows are spread over several processes.

As where rows are many: what is learned comes from a sample of them, which travels; all other rows
stay where they are, are judged there, and meet in the sums of the last fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import compute_class_weight

from .._collective import from_first, gather
from ..problems._softmax import LabelledRows
from ._fold_sums import FoldSums
from ._folds import position_folds
from ._label_fit import extend, fit_all
from ._label_input import hidden_sizes
from ._label_report import noise_rates, rather_wrong
from ._label_rows import MAX_ROTATED, LabelFolds, LabelRows, Standardizer
from ._label_sample import RowSample, sample_sizes, taken
from ._label_search import TrustSearch, learn_adaptive
from ._moments import row_blocks
from ._tensors import resolve_device


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
        n_rows, n_features = rows.X.shape
        design = np.empty((n_rows, n_features + 1))
        for block in row_blocks(n_rows, 3 * n_features):  # with what is between
            design[block] = standardizer.design(rows.X[block])
        super().__init__(design, rows.labels, rows.n_classes, device)
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

    def column_squares(self, weight):
        squares = weight.new_zeros(*weight.shape[:-1], self.n_columns)
        for block in row_blocks(len(self.design), self.n_columns):
            squares += weight[..., block] @ self.design[block].square()
        return squares


@dataclass(frozen=True)
class SharedFit:
    """What every process has after the fit.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
    learned : LearnedTrust
        Without what there is one of for each row.
    layers : list of tuple of ndarray
        Coefficients and intercepts.
    noise_rate : float
    class_noise_rate : ndarray of shape (n_classes,)
    rows : dict of int to PartOfFit
        By the numbers of this process's parts.
    """

    classes: np.ndarray
    learned: Any
    layers: list
    noise_rate: float
    class_noise_rate: np.ndarray
    rows: dict = field(default_factory=dict)


@dataclass(frozen=True)
class PartOfFit:
    """What there is one of for each row of a part.

    Attributes
    ----------
    trust : ndarray of shape (n_rows,)
    labels, suggested : ndarray of int of shape (n_rows,)
    is_noisy, is_rather_wrong : ndarray of bool of shape (n_rows,)
    """

    trust: np.ndarray
    labels: np.ndarray
    suggested: np.ndarray
    is_noisy: np.ndarray
    is_rather_wrong: np.ndarray


class TooFewRows(Exception):  # noqa: N818
    """The sample would be all rows: they can be gathered."""


def fit_parts(estimator, parts, collective, *, seed):
    """Fit with the rows of all processes.

    Parameters
    ----------
    estimator : HyperCleaningClassifier
        The same in all processes.
    parts : list of RowsPart
        Those of this process, all of the same columns; X is needed even of parts without rows.
    collective : Collective
    seed : int

    Returns
    -------
    fit : SharedFit

    Raises
    ------
    TooFewRows
        In all processes, where the sample would be all rows.
    """
    parts = sorted(parts, key=lambda part: part.number)
    rows, layout = _layout(estimator, parts, collective)
    places, sample = _sample(rows, parts, layout, seed)
    sampled, places, process = _gathered(collective, rows, places, parts, sample)
    device = resolve_device(estimator.device)
    standardizer = _standardizer(rows, sampled.X, estimator.standardize)
    learned = from_first(
        collective, lambda: _learn(estimator, sampled, places, standardizer, device, seed)
    )
    labelled = SharedLabelledRows(standardizer, rows, device)
    own = _extended(learned, sampled, process, sample, rows, labelled)
    if estimator.alpha == "learn":
        own = replace(own, ridge=learned.ridge * (len(sampled.labels) / labelled.n_rows))
    layers = [standardizer.raw(fit_all(rows, labelled, own))]
    trust = np.ones(len(rows.labels))
    trust[rows.noisy] = own.trust
    by_class, rate = noise_rates(rows, trust, own.predictions)
    doubtful = rather_wrong(rows, trust, own.predictions, rate)
    columns = (trust, rows.labels, own.predictions.argmax(1), ~rows.is_clean, doubtful)
    pieces = {
        part.number: PartOfFit(*(column[place].copy() for column in columns))
        for part, place in _places(parts)
    }
    nothing = np.empty(0)
    bare = replace(
        learned, ridge=own.ridge, trust=nothing, training=nothing, predictions=nothing, targets=None
    )
    return SharedFit(rows.classes, bare, layers, rate, by_class, pieces)


def _places(parts):
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


def _layout(estimator, parts, collective):
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
        "hidden_layer_sizes": (
            estimator.hidden_layer_sizes,
            not hidden_sizes(estimator.hidden_layer_sizes),
        ),
        "final_estimator": (estimator.final_estimator, estimator.final_estimator is None),
    }
    for name, (value, fits) in given.items():
        if not fits:
            raise ValueError(
                f"{name}={value!r} needs all rows at once: use HyperCleaningClassifier on rows in "
                "memory."
            )


def _joined(arrays):
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _sample(rows, parts, layout, seed):
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
        for part, place in _places(parts):
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


def _gathered(collective, rows, places, parts, sample):
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


def _standardizer(rows, sampled, standardize):
    """As of all rows, from sums over them."""
    n_features = rows.X.shape[1]
    shift = sampled.mean(axis=0, dtype=np.float64)
    sums = FoldSums(shift, 0, 1)
    nothing = np.empty((len(rows.labels), 0))
    sums.add(rows.X, nothing, rows.weight, np.zeros(len(rows.labels), dtype=int))
    moments = rows.total(sums.moments(overwrite=True).total)
    weight, mean = moments[-1, -1], moments[-1, :-1] / moments[-1, -1]
    square = moments[:-1, :-1] - weight * np.outer(mean, mean)
    variance = np.diag(square) / weight
    mean = mean + shift
    # The bound on rounding that scikit-learn takes a column for constant below.
    eps = np.finfo(np.float64).eps
    constant = variance <= weight * eps * variance + (weight * mean * eps) ** 2
    scale = np.ones(n_features)
    if standardize:
        scale = np.sqrt(np.where(constant, 1.0, variance))
    rotation = None
    if n_features <= MAX_ROTATED:
        rotation = np.linalg.eigh(square / np.outer(scale, scale))[1]
    return Standardizer.known(mean, scale, rotation)


def _learn(estimator, sampled, places, standardizer, device, seed):
    """What the sample teaches; in one process."""
    folds = _folds(sampled, places, estimator.cv, seed)
    search = TrustSearch(sampled, folds, standardizer, device)
    return learn_adaptive(
        search,
        estimator.solver,
        alpha=estimator.alpha,
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        relabel=estimator.relabel,
        initial_hyper=getattr(estimator, "hyper_", None) if estimator.warm_start else None,
    )


def _folds(sampled, places, cv, seed):
    """The folds of all rows, of the sampled ones alone; see `make_label_folds`."""
    judge = sampled.is_clean if sampled.is_clean.any() else np.ones(len(places), dtype=bool)
    n_folds = min(int(cv), np.count_nonzero(judge))
    part = np.empty(len(places), dtype=int)
    part[judge] = np.unique(
        _stratified(sampled.labels[judge], places[judge], n_folds, seed), return_inverse=True
    )[1]
    n_folds = part[judge].max() + 1
    part[~judge] = _stratified(sampled.labels[~judge], places[~judge], n_folds, seed + 1)
    held_out = judge & (part == np.arange(n_folds)[:, None])
    folds = LabelFolds.of_use(
        np.where(held_out, 0.0, 1.0), held_out * sampled.weight, part, sampled.weight
    )
    if folds is None:
        raise ValueError("cv must leave rows of positive weight to train on and to judge by.")
    return folds


def _stratified(labels, places, n_folds, seed):
    """`stratified_position_folds` of some of the rows, from their places in their classes."""
    folds = np.empty(len(labels), dtype=int)
    for index, label in enumerate(np.unique(labels)):
        of_class = labels == label
        known = position_folds(places[of_class].max() + 1, n_folds, seed)
        folds[of_class] = (known[places[of_class]] + index) % n_folds
    return folds


def _extended(learned, sampled, process, sample, rows, labelled):
    """What was learned, for the rows of this process."""
    mine = process == rows.collective.rank()
    own = replace(
        learned,
        trust=learned.trust[mine[~sampled.is_clean]],
        predictions=learned.predictions[mine],
        targets=None if learned.targets is None else learned.targets[..., torch.from_numpy(mine)],
    )
    # A ridge that was learned shrinks with the rows of all processes, not of this one.
    return extend(own, sample, rows, labelled, alpha=None)
