"""A search for learned numbers, and from what it found to a fit of all rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.special import expit

from ..linalg._softmax import (
    MAX_BLOCK,
    blocks_cost_much,
    make_metric,
    minimize_cross_entropy,
)
from ..linalg._tensors import resolve_device, to_numpy, to_tensor
from ._rows import Standardizer, make_label_folds
from ._sample import search_sample
from ._search import TrustSearch, learn_adaptive, learn_free
from .label_quality._out_of_fold import EXACT

# Rows that are copied to be judged at a time.
JUDGED_ROWS = 4096
# Sampled rows times columns, for each row, up to which curvature blocks of the sample pay.
MOST_SAMPLED = 100
LEARN = {"adaptive": learn_adaptive, "sample": learn_free}


def learn_and_fit(estimator, rows, split_params, progress, attributes):
    """A `LearnedTrust`, coefficients and intercepts in raw units.

    ``attributes(learned, coef, intercept)`` are the estimator's if the run ended there.
    """
    device, seed = resolve_device(estimator.device), estimator._seed()
    folds = make_label_folds(rows, estimator.cv, seed, split_params)
    standardizer = Standardizer(rows, estimator.standardize)
    # Only evidence judges rows that no model has seen.
    sample = search_sample(rows, seed) if estimator.weighting == "adaptive" else None
    some = rows
    if sample is not None:  # the folds of all rows are not kept
        some, folds = rows.take(sample), folds.take(sample)
    search = TrustSearch(some, folds, standardizer, device, estimator.final_estimator)

    def finish(learned):
        labelled, metric = search.softmax, None
        if sample is not None:
            labelled = standardizer.labelled(rows, device, bounded=True)
            of_sample = learned
            learned = extend(learned, sample, rows, labelled, alpha=estimator.alpha)
            if sample_knows_blocks(some, labelled):
                metric = sample_metric(search, of_sample, learned.ridge)
        return learned, *standardizer.raw(fit_all(rows, labelled, learned, metric))

    with progress.stage("learn weights", estimator.max_iter) as stage:
        learned = LEARN[estimator.weighting](
            search,
            watch=stage.watch(lambda learned: attributes(*finish(learned))),
            **search_options(estimator),
        )
    with progress.stage("last fit"):
        return finish(learned)


def search_options(estimator):
    """What a search for learned numbers takes from an estimator."""
    names = ("solver", "alpha", "max_iter", "tol", "relabel")
    options = {name: getattr(estimator, name) for name in names}
    is_warm = estimator.warm_start and hasattr(estimator, "hyper_")
    return options | {"initial_hyper": estimator.hyper_ if is_warm else None}


def fit_all(rows, labelled, learned, metric=None):
    """One fit on all rows with what was learned, started from the mean of the folds' fits.

    `LogisticRegression` is slower, starts from zero, and trains no row to be partly of another
    class. `labelled` are the same rows as tensors; for `metric` see `minimize_cross_entropy`.
    Returns params of shape (n_scores, n_columns).
    """
    start = learned.params.mean(1, keepdim=True)
    weight = to_tensor(rows.weight * learned.training, start.device)
    ridge = start.new_full((1,), learned.ridge)
    if learned.targets is not None:
        labelled = labelled.with_targets(learned.targets)
    weights = (weight / weight.sum())[None, None]
    options = {"tol": EXACT, "metric": metric}
    return to_numpy(minimize_cross_entropy(labelled, weights, ridge, start, **options)[0, 0])


def sample_knows_blocks(sampled, labelled):
    """Whether curvature is better taken from the sample: all rows' would cost too much."""
    n_sampled, n_columns = len(sampled.labels), labelled.n_columns
    if n_columns > MAX_BLOCK or n_sampled * n_columns > MOST_SAMPLED * labelled.n_rows:
        return False
    return blocks_cost_much(labelled)


def sample_metric(search, learned, ridge):
    """The metric of the last fit as the sample has it, at the mean of the folds' fits."""
    rows = search.softmax
    if learned.targets is not None:
        rows = rows.with_targets(learned.targets)
    start = learned.params.mean(1, keepdim=True)
    weights = search.row_weight * search.tensor(learned.training)
    _, probabilities = rows.cross_entropy(rows.scores(start))
    ridge = start.new_full((1,), ridge)
    return make_metric(rows, (weights / weights.sum())[None, None], probabilities, ridge)


def extend(learned, sample, rows, labelled, *, alpha):
    """What was learned on a sample of rows, for all rows.

    A ridge that was learned shrinks as rows grow in number.
    """
    left = np.ones(len(rows.labels), dtype=bool)
    left[sample.positions] = False
    share = np.ones(len(rows.labels))
    share[sample.positions[~rows.is_clean[sample.positions]]] = learned.trust
    predictions = np.empty((len(rows.labels), rows.n_classes))
    predictions[sample.positions] = learned.predictions
    targets = None
    if learned.targets is not None:
        targets = labelled.indicator.clone()
        targets[:, torch.from_numpy(sample.positions)] = learned.targets
    for index in _blocks_of(np.flatnonzero(left)):
        labels, noisy = rows.labels[index], ~rows.is_clean[index]
        odds, others, predictions[index] = learned.model.judge(rows.X[index], labels)
        trust = expit(learned.hyper[0] + learned.hyper[1] * odds)
        share[index] = np.where(noisy, trust, 1.0)
        if targets is not None:
            mixed = (1 - trust[:, None]) * others
            mixed[np.arange(len(mixed)), labels] += trust
            mixed = mixed[noisy, 1 if labelled.has_reference else 0 :]
            targets[:, torch.from_numpy(index[noisy])] = to_tensor(mixed.T, targets.device)
    training = np.where(rows.is_clean, learned.clean_weight, 1.0 if targets is not None else share)
    return replace(
        learned,
        trust=share[rows.noisy],
        ridge=learned.ridge * (len(sample.positions) / len(share) if alpha == "learn" else 1.0),
        predictions=predictions,
        training=training,
        targets=targets,
    )


def _blocks_of(index):
    """Some rows' positions, so many at a time as are judged at once."""
    return np.split(index, range(JUDGED_ROWS, len(index), JUDGED_ROWS))
