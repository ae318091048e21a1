"""A cleaning fit whose rows are spread over several processes.

As where rows are many: what is learned comes from a sample of them, which travels; all other rows
stay where they are, are judged there, and meet in the sums of the last fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from .._collective import from_first
from ..cleaning._fit import extend, fit_all, search_options
from ..cleaning._report import noise_rates, rather_wrong
from ..cleaning._rows import MAX_ROTATED, LabelFolds, Standardizer
from ..cleaning._search import TrustSearch, learn_adaptive
from ..data._folds import position_folds
from ..data._tensors import resolve_device
from ..linalg._fold_cross_products import FoldSums
from ._shared_rows import SharedLabelledRows, gathered_sample, layout_of, places_of, sample_of


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
    rows, layout = layout_of(estimator, parts, collective)
    places, sample = sample_of(rows, parts, layout, seed)
    sampled, places, process = gathered_sample(collective, rows, places, parts, sample)
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
        for part, place in places_of(parts)
    }
    nothing = np.empty(0)
    bare = replace(
        learned, ridge=own.ridge, trust=nothing, training=nothing, predictions=nothing, targets=None
    )
    return SharedFit(rows.classes, bare, layers, rate, by_class, pieces)


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
    return learn_adaptive(search, **search_options(estimator))


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
