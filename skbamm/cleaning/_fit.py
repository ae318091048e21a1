"""From validated rows to label weights of all of them, and a fit with these."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit

from ..linalg._session import threads_for
from ..linalg._softmax import MAX_BLOCK, CrossEntropy, blocks_cost_much, make_metric, minimize
from ..linalg._tensors import as_tensor, resolve_device, to_numpy, to_tensor
from ._average import average_members
from ._constants import BLOCK_ROWS, EXACT, MOST_SAMPLED, PLAIN_RIDGES, LabelNumbers
from ._design import FoldedDesign, Standardizer
from ._rows import make_label_folds, product_work, search_sample
from ._search import RunOptions, learn
from .label_quality._out_of_fold import ridge_fits
from .label_quality._scores import in_standard_errors


def learn_and_fit(estimator, rows, split_params, progress, attributes):
    """A `LearnedWeights`, coefficients and intercepts in raw units.

    ``attributes(learned, coef, intercept)`` are the estimator's if the run ended there.
    """
    device, seed = resolve_device(estimator.device), estimator._seed()
    folds = make_label_folds(rows, estimator.cv, seed, split_params)
    standardizer = Standardizer.of(rows, estimator.standardize)
    # Only label quality is known of rows that no model has seen.
    sample = search_sample(rows, seed) if estimator.weighting == "adaptive" else None
    if sample is None:
        design = FoldedDesign(rows, folds, standardizer, device)
    else:
        design = FoldedDesign(rows.take(sample), folds.take(sample), standardizer, device)
        del folds  # of all rows they are not kept
    options = RunOptions.of(estimator)
    if standardizer.is_sparse and estimator.standardize and options.alpha == "learn":
        design = with_better_scales(design)
        standardizer = design.standardizer

    def finish(learned):
        learned = guarded(design, learned, options, estimator.final_estimator)
        if sample is None:
            return learned, *standardizer.raw(fit_all(rows, design.labelled, learned))
        labelled, metric = standardizer.labelled(rows, device), None
        extended = extend(learned, sample, rows, labelled, alpha=estimator.alpha)
        if sample_knows_blocks(design, labelled):
            metric = sample_metric(design, learned, extended.ridge)
        return extended, *standardizer.raw(fit_all(rows, labelled, extended, metric))

    work = product_work(design.rows, design.folds.n_folds)
    with progress.stage("learn weights", estimator.max_iter) as stage, threads_for(work):
        callback = stage.callback(lambda learned: attributes(*finish(learned)))
        run = replace(options, callback=callback)
        learned = learn(design, estimator.weighting, run, estimator.final_estimator)
    with progress.stage("last fit"):
        return finish(learned)


def with_better_scales(design):
    """Sparse columns of one scale, as of text, where fits on these predict given labels better.

    By more than a standard error over the folds: else every column has its own, and its unit does
    not matter.
    """
    other = FoldedDesign(
        design.rows, design.folds, design.standardizer.of_one_scale(), design.device
    )
    losses = []
    for one in (design, other):
        weights = one.folds.out_of_fold * one.rows.weight
        losses.append(min(ridge_fits(one, weights, PLAIN_RIDGES)[1], key=np.sum))
    return other if in_standard_errors(losses[0] - losses[1]) > 1 else design


def guarded(design, learned, options, final_estimator=None):
    """With the average that is returned instead of what was learned alone, where there is one.

    A final estimator is fitted once: to labels as given where no wrong ones show.
    """
    if not options.standard_errors or learned.quality is None or design.folds.n_folds == 1:
        return learned
    if final_estimator is None:
        return replace(learned, average=average_members(design, learned, options))
    if learned.is_noise_shown:
        return learned
    return replace(learned, training=np.ones(len(learned.training)), targets=None)


def fit_all(rows, labelled, learned, metric=None):
    """Fits on all rows with what was learned, from the mean of the folds' fits.

    `LogisticRegression` is slower, begins at zero, and takes no soft targets. `labelled` are the
    same rows as tensors; for `metric` see `minimize`. Params of shape (n_scores, n_columns).
    """
    if learned.average is not None:
        return learned.average.params(rows, labelled, learned, metric)
    initial = learned.params.mean(0, keepdim=True)
    weights = to_tensor(rows.weight * learned.training, initial.device)
    ridge = initial.new_tensor(learned.ridge)
    loss = CrossEntropy(labelled, (weights / weights.sum())[None], ridge, learned.targets)
    return to_numpy(minimize(loss, initial, tol=EXACT / 10, metric=metric)[0])


def sample_knows_blocks(design, labelled):
    """Whether curvature is better taken from the sample: all rows' would cost too much."""
    n_sampled, n_columns = design.labelled.n_rows, labelled.n_columns
    if n_columns > MAX_BLOCK or n_sampled * n_columns > MOST_SAMPLED * labelled.n_rows:
        return False
    return blocks_cost_much(labelled)


def sample_metric(design, learned, ridge):
    """The metric of the last fit as the sample has it, at the mean of the folds' fits."""
    rows, initial = design.labelled, learned.params.mean(0, keepdim=True)
    weights = design.tensor(design.rows.weight * learned.training)
    _, probabilities = rows.cross_entropy(rows.design.matmul(initial))
    return make_metric(
        rows, (weights / weights.sum())[None], probabilities, initial.new_tensor(ridge)
    )


def extend(learned, sample, rows, labelled, *, alpha):
    """What was learned on a sample of rows, for all rows.

    A ridge that was learned shrinks as rows grow in number.
    """
    n_rows = len(rows.labels)
    left = np.ones(n_rows, dtype=bool)
    left[sample.positions] = False
    label_weight = np.ones(n_rows)
    label_weight[sample.positions[~rows.is_clean[sample.positions]]] = learned.label_weight
    predictions = np.empty((n_rows, rows.n_classes))
    predictions[sample.positions] = learned.predictions
    targets = None
    if learned.targets is not None:
        targets = labelled.targets.clone()
        targets[:, as_tensor(sample.positions, targets.device)] = learned.targets
    numbers, left = LabelNumbers.unpack(learned.hyper), np.flatnonzero(left)
    for index in np.split(left, range(BLOCK_ROWS, len(left), BLOCK_ROWS)):
        labels, noisy = rows.labels[index], ~rows.is_clean[index]
        scored = learned.scorer.score(rows.X[index], labels)
        predictions[index] = scored.predictions
        found = expit(numbers.logit(scored.log_odds))
        label_weight[index] = np.where(noisy, found, 1.0)
        if targets is not None:
            mixed = (1 - found[:, None]) * scored.others
            mixed[np.arange(len(mixed)), labels] += found
            mixed = mixed[noisy, 1 if labelled.has_reference else 0 :]
            targets[:, as_tensor(index[noisy], targets.device)] = to_tensor(mixed.T, targets.device)
    kept = 1.0 if targets is not None else label_weight
    shrunk = len(sample.positions) / n_rows if alpha == "learn" else 1.0
    return replace(
        learned,
        label_weight=label_weight[rows.noisy],
        ridge=learned.ridge * shrunk,
        average=None if learned.average is None else learned.average.shrunk(shrunk),
        predictions=predictions,
        training=np.where(rows.is_clean, learned.clean_weight, kept),
        targets=targets,
    )
