"""From validated rows to label weights of all of them, and a fit with these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import expit

from ..linalg._session import threads_for
from ..linalg._softmax import MAX_BLOCK, CrossEntropy, blocks_cost_much, make_metric, minimize
from ..linalg._tensors import as_tensor, resolve_device, to_numpy, to_tensor
from ..solvers import Status
from ._average import average_members
from ._constants import BLOCK_ROWS, EXACT, FEW_VERIFIED, MOST_SAMPLED, PLAIN_RIDGES, LabelNumbers
from ._design import FoldedDesign, Standardizer
from ._final_estimator import given_estimator
from ._members import labels_of_rows
from ._rows import LabelRows, RowSample, make_label_folds, product_work, search_sample
from ._search import RunOptions, learn
from .label_quality._first_stage import ridge_fits
from .label_quality._given_noise import fit_given_noise
from .label_quality._scorer import FinalScores
from .label_quality._scores import in_standard_errors
from .label_quality._trees import ALL_LABELS, FILTERED, fit_trees, probably_right


def learn_and_fit(estimator, rows, split_params, progress, attributes):
    """A `LearnedWeights`, coefficients and intercepts in raw units.

    ``attributes(learned, coef, intercept)`` are the estimator's if the run ended there.
    """
    device, seed = resolve_device(estimator.device), estimator._seed()
    options, final_estimator = RunOptions.of(estimator), given_estimator(estimator)
    standardizer = Standardizer.of(rows, estimator.standardize)
    searches = [
        Search.of(estimator, standardizer, each, split_params, options, device, seed)
        for each in rows_to_search(rows, estimator)
    ]

    def finish(search, learned):
        return search.finish(rows, guarded(search.design, learned, options, final_estimator))

    design = searches[0].design
    work = product_work(design.rows, design.folds.n_folds)
    with progress.stage("learn weights", estimator.max_iter) as stage, threads_for(work):
        callback = stage.callback(lambda learned: attributes(*finish(searches[0], learned)))
        run, found = replace(options, callback=callback), []
        for search in searches:
            found.append(learn(search.design, estimator.weighting, run, final_estimator))
            if found[-1].solution.status is Status.STOPPED:
                break
            run = options
    pairs = list(zip(searches, found, strict=False))
    best = pairs[0]
    if len(pairs) > 1:
        best = max(pairs, key=lambda pair: pair[0].likelihood(rows, pair[1]))
    with progress.stage("last fit"):
        return finish(*best)


def rows_to_search(rows, estimator):
    """All rows; and where few are verified, these once more as if none were.

    Models of few rows may say less of labels than those of all given labels do, and the few cannot
    tell. Whichever makes labels likelier is taken.
    """
    n_verified = np.count_nonzero(rows.is_clean & (rows.weight > 0))
    is_asked = estimator.weighting == "adaptive" and isinstance(estimator.cv, Integral)
    if not is_asked or not 0 < n_verified < min(FEW_VERIFIED, len(rows.labels) / 2):
        return [rows]
    return [rows, replace(rows, is_clean=np.zeros(len(rows.labels), dtype=bool))]


@dataclass(frozen=True)
class Search:
    """What weights are learned from: all rows, or a sample of these."""

    rows: LabelRows
    design: FoldedDesign
    sample: RowSample | None
    alpha: Any

    @classmethod
    def of(cls, estimator, standardizer, searched, split_params, options, device, seed):
        folds = make_label_folds(searched, estimator.cv, seed, split_params)
        # Only label quality is known of rows that no model has seen.
        sample = search_sample(searched, seed) if estimator.weighting == "adaptive" else None
        if sample is None:
            design = FoldedDesign(searched, folds, standardizer, device)
        else:
            design = FoldedDesign(searched.take(sample), folds.take(sample), standardizer, device)
        if standardizer.is_sparse and estimator.standardize and options.alpha == "learn":
            design = with_better_scales(design)
        return cls(searched, design, sample, estimator.alpha)

    def likelihood(self, rows, learned):
        """Of given labels, verified ones being right, after the noise that makes it largest."""
        design, predictions = self.design, learned.quality.predictions
        is_clean = rows.is_clean if self.sample is None else rows.is_clean[self.sample.positions]
        given, weight = design.rows.given, design.rows.weight
        noise = fit_given_noise(predictions, given, weight, design.folds.own, is_clean)
        return weight @ noise.log_likelihood(predictions, given, is_clean) / weight.sum()

    def finish(self, rows, learned):
        """What was learned, of all rows, and coefficients and intercepts in raw units."""
        design, standardizer = self.design, self.design.standardizer
        if self.sample is None:
            learned = with_trees(rows, with_verified(rows, learned))
            return learned, *standardizer.raw(fit_all(rows, design.labelled, learned))
        learned = with_trees(design.rows, learned)
        labelled, metric = standardizer.labelled(rows, design.device), None
        extended = extend(learned, self.sample, self.rows, labelled, alpha=self.alpha)
        extended = with_verified(rows, extended)
        # Rows out of the sample were scored by what its trees say, as others will be.
        extended = replace(with_trees(rows, extended), scorer=learned.scorer)
        if sample_knows_blocks(design, labelled):
            metric = sample_metric(design, learned, extended.ridge)
        return extended, *standardizer.raw(fit_all(rows, labelled, extended, metric))


def with_verified(rows, learned):
    """What was learned without the few verified rows that there are, with these."""
    if len(learned.label_weight) == len(rows.noisy):
        return learned
    training = np.where(rows.is_clean, 1.0, learned.training)
    return replace(learned, label_weight=learned.label_weight[rows.noisy], training=training)


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


def with_trees(rows, learned):
    """With boosted trees that are in use fitted to all rows, also to score labels by."""
    used = learned.average.tree_factors if learned.average is not None else {}
    grown = () if learned.quality is None else learned.quality.trees
    if not grown:
        return learned
    kept = {ALL_LABELS: np.ones(len(rows.labels), dtype=bool)}
    kept[FILTERED] = probably_right(rows, labels_of_rows(rows, learned).right)
    trees = {
        one.kind: fit_trees(rows, kept[one.kind], one.n_iter)
        for one in grown
        if one.kind in used or one.mixing_weight > 0
    }
    shares = {one.kind: one.mixing_weight for one in grown if one.mixing_weight > 0}
    if not shares:
        return replace(learned, trees=trees)
    models = tuple(trees[kind] for kind in shares)
    final = FinalScores(models, rows.classes, tuple(shares.values()))
    return replace(learned, trees=trees, scorer=replace(learned.scorer, final=final))


def fit_all(rows, labelled, learned, metric=None):
    """Fits on all rows with what was learned, from the mean of the folds' fits.

    `LogisticRegression` is slower, begins at zero, and takes no soft targets. `labelled` are the
    same rows as tensors; for `metric` see `minimize`. Params of shape (n_scores, n_columns).
    """
    if learned.average is not None:
        return learned.average.params(rows, labelled, learned, metric)
    initial = learned.params.mean(0, keepdim=True)
    weight = rows.training_weight(learned.targets) * learned.training
    weights = to_tensor(weight, initial.device)
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
    weight = design.rows.training_weight(learned.targets)
    weights = design.tensor(weight * learned.training)
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
        scored = learned.scorer.score(
            rows.X[index], labels, rows.pred_probs_of(index), rows.given[index]
        )
        predictions[index] = scored.predictions
        found, is_gap = expit(numbers.logit(scored.log_odds)), ~rows.has_label[index]
        found[is_gap] = 0.0
        label_weight[index] = np.where(noisy, found, 1.0)
        if targets is not None:
            others = np.where(is_gap[:, None], scored.predictions, scored.others)
            mixed = (1 - found[:, None]) * others
            mixed[np.arange(len(mixed)), labels] += found
            mixed = mixed[noisy, 1 if labelled.has_reference else 0 :]
            targets[:, as_tensor(index[noisy], targets.device)] = to_tensor(mixed.T, targets.device)
    kept = 1.0 if targets is not None else label_weight
    n_sampled = np.count_nonzero(rows.has_label[sample.positions])
    shrunk = n_sampled / np.count_nonzero(rows.has_label) if alpha == "learn" else 1.0
    return replace(
        learned,
        label_weight=label_weight[rows.noisy],
        ridge=learned.ridge * shrunk,
        average=None if learned.average is None else learned.average.shrunk(shrunk),
        predictions=predictions,
        training=np.where(rows.is_clean, learned.clean_weight, kept),
        targets=targets,
    )
