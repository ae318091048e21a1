"""Which pairs of columns interact on the scale of logits, where targets are classes.

A sum of logits has no pairs, but the probabilities that it gives have: screening the indicators of
classes finds pairs that are none. So cells of two binned columns have score tests of an effect on
the logits (Rao, 1948), given a logistic fit of main effects: one penalized Newton step in each. How
many pairs are taken is decided by the log loss of held-out rows that neither the screening nor the
fits have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.linalg import eigh
from scipy.special import expit, log_softmax, softmax

from ..data._folds import make_folds
from ._fold_fits import Fold
from ._screening import COUNTS, LEAST_ROWS, N_BINS, RELATIVE, TINY, binned, main_columns

# Strengths of the main effects that are compared, the strongest first.
STRENGTHS = (1e-2, 1e-3, 1e-4)
# Inverse prior variance of the effect of a cell on a logit: without it a row of a class that was
# hardly possible, alone in a cell, would be a proof.
CELL_RIDGE = 1.0
# Pairs are taken where they are better than none by so many standard errors.
SURE = 1.5
# Newton steps to effects of pairs, all with the curvature of the first one.
N_STEPS = 3


def strongest_pairs(search, labels, asked, cv, seed):
    """The strongest pairs of a `PairSearch`: a number of them, or with "auto" as many as pay.

    `labels` are numbers of classes.
    """
    may_interact = np.array([column.varies for column in search.columns])
    weight, is_auto = search.weight, isinstance(asked, str)
    n_classes = len(np.unique(labels[weight > 0]))
    too_few = is_auto and np.count_nonzero(weight) < LEAST_ROWS
    if may_interact.sum() < 2 or n_classes < 2 or too_few:
        return []
    design = np.hstack([search.main(j) for j in range(len(search.columns))])
    folds = Fold.of(make_folds(cv, design, labels, seed=seed, stratify=True), weight)
    targets = np.eye(labels.max() + 1)[labels]
    scores, strength = _main_scores(design, labels, targets.shape[1], weight, folds)
    if targets.shape[1] == 2:
        targets = targets[:, 1:]
    columns = zip(search.columns, search.values, strict=True)
    bins = np.stack([binned(*one, weight) for one in columns], axis=1)
    screening = LogitScreening(bins, targets, np.flatnonzero(may_interact))
    if not is_auto:
        return screening.strongest(scores[-1], weight, asked)
    return _chosen(screening, scores, weight, folds, search.block, strength)


def _main_scores(design, labels, n_classes, weight, folds):
    """Scores of main effects by the fits of each fold and of all rows, and their strength."""
    from ..linalg._session import threads_for, torch_session
    from ._logit_fits import LogitFits

    with torch_session(), threads_for(design.size * n_classes):
        fits = LogitFits.of(design, labels, n_classes, weight, folds)
        found, params = [], None
        for strength in STRENGTHS:
            params = fits.params(strength, params)
            found.append((fits.held_out(params).mean() if folds else strength, params))
        best = int(np.argmin([loss for loss, _ in found]))
        return fits.scores(found[best][1]), STRENGTHS[best]


@dataclass(frozen=True)
class LogitScreening:
    """Columns cut into bins, and indicators of the classes that have scores."""

    bins: np.ndarray  # (n_samples, n_columns)
    targets: np.ndarray  # (n_samples, n_scores)
    may_interact: np.ndarray  # positions of columns

    def strongest(self, scores, weight, n_pairs):
        """The pairs whose cells gain most log likelihood, less what noise and main effects do.

        On the rows with weight, and of the columns that gain most there, if these are many.
        """
        used = weight > 0
        # In units in which the weights of rows have mean 1.
        some = LogitScreening(self.bins[used], self.targets[used], self.may_interact)
        weight, scores = weight[used] / weight[used].mean(), scores[used]
        columns = some._main_columns(weight)
        gains = some.gains(scores, weight, columns)
        pairs = sorted(combinations(range(len(columns)), 2), key=lambda pair: -gains[pair])
        return [(int(columns[j]), int(columns[k])) for j, k in pairs[:n_pairs]]

    def gains(self, scores, weight, columns):
        """What an interaction of each two of the columns gains, (n_columns, n_columns)."""
        shape = (len(columns), N_BINS, len(columns), N_BINS)
        cells = np.hstack([np.eye(N_BINS, dtype=np.float32)[self.bins[:, j]] for j in columns])
        gains = np.zeros(shape[::2])
        for residual, curvature in _by_class(self.targets, scores):
            noise = weight @ residual**2 / max(weight @ curvature, TINY)
            sums, variances = (
                (cells.T @ (cells * (weight * values)[:, None].astype(np.float32))).astype(float)
                for values in (residual, curvature)
            )
            gains += _gains(sums, variances, noise).reshape(shape).sum(axis=(1, 3))
        # What rows and columns of cells gain by themselves is left of main effects.
        main = gains.diagonal()
        return gains - main[:, None] - main

    def _main_columns(self, weight):
        share = np.clip(weight @ self.targets / weight.sum(), 1e-9, 1 - 1e-9)
        residuals, curvature = (self.targets - share) * weight[:, None], share * (1 - share)

        def gain(j):
            indicators = np.eye(N_BINS)[self.bins[:, j]]
            counts = indicators.T @ weight
            return _gains(indicators.T @ residuals, np.outer(counts, curvature), 1.0).sum()

        return main_columns(self.may_interact, gain)


def _gains(sums, variances, noise):
    """Twice the log likelihood that a step in each cell gains, less what is expected of noise."""
    return (sums**2 - noise * variances) / (variances + CELL_RIDGE)


def _probabilities(scores):
    return expit(scores) if scores.shape[1] == 1 else softmax(scores, axis=1)


def _by_class(targets, scores):
    """Of each score: what a logistic fit leaves of its targets, and the variance of these."""
    probabilities = _probabilities(scores)
    return zip((targets - probabilities).T, (probabilities * (1 - probabilities)).T, strict=True)


def log_losses(scores, targets):
    """Of each row; one score has a second class of score 0."""
    if scores.shape[1] == 1:
        scores = np.hstack([np.zeros_like(scores), scores])
        targets = np.hstack([1 - targets, targets])
    return -(log_softmax(scores, axis=1) * targets).sum(axis=1)


def _chosen(screening, scores, weight, folds, block, strength):
    """The strongest pairs, as many as predict held-out rows best; none, unless surely better."""
    if len(folds) < 2:
        return []
    losses, tested = [], []
    for fold, known in zip(folds, scores, strict=False):
        pairs = screening.strongest(known, fold.train, COUNTS[-1])
        blocks = [block(pair) for pair in pairs]
        losses.append(_held_out(screening.targets, known, fold, blocks, strength))
        tested.append(fold.test[fold.test > 0])
    count = _enough(np.concatenate(losses), np.concatenate(tested))
    return screening.strongest(scores[-1], weight, count) if count else []


def _enough(losses, weight):
    """How many pairs, given losses of rows (n_rows, n_relative, n_counts) and their weights."""
    share = weight / weight.sum()
    means = np.einsum("i,ijk->jk", share, losses)
    relative, best = np.unravel_index(means.argmin(), means.shape)
    gain = losses[:, 0, 0] - losses[:, relative, best]
    mean = share @ gain
    # Over the rows: five folds know their spread badly; by these 12 of 80 additive draws had false
    # pairs, not 2.
    standard_error = np.sqrt(share @ (gain - mean) ** 2 / len(gain))
    return COUNTS[best] if mean > SURE * standard_error else 0


def _held_out(targets, scores, fold, blocks, strength):
    """Losses of the held-out rows with the first so many pairs, (n_rows, n_relative, n_counts)."""
    ends = np.cumsum([0, *(part.shape[1] for part in blocks)])
    columns = np.hstack([np.empty((len(scores), 0)), *blocks])
    used, tested = fold.train > 0, fold.test > 0
    trained = OffsetFit.of(columns[used], targets[used], scores[used], fold.train[used])
    known, truth = scores[tested], targets[tested]
    losses = np.empty((len(known), len(RELATIVE), len(COUNTS)))
    for number, count in enumerate(COUNTS):
        end = ends[min(count, len(blocks))]
        for row, coef in enumerate(trained.first(end, [strength * one for one in RELATIVE])):
            losses[:, row, number] = log_losses(known + columns[tested, :end] @ coef, truth)
    return losses


@dataclass(frozen=True)
class OffsetFit:
    """Logistic fits of some columns to what known scores leave, by a few Newton steps.

    All have the curvature of the known scores, the mean over the classes times a factor for each,
    and the exact length on the local parabola.
    """

    columns: np.ndarray  # (n_samples, n_columns)
    targets: np.ndarray  # (n_samples, n_scores)
    scores: np.ndarray
    share: np.ndarray  # (n_samples,), with sum 1
    gram: np.ndarray  # (n_columns, n_columns)
    factors: np.ndarray  # (n_scores,)

    @classmethod
    def of(cls, columns, targets, scores, weight):
        share = weight / weight.sum()
        probabilities = _probabilities(scores)
        curvature = share[:, None] * probabilities * (1 - probabilities)
        mean = curvature.mean(axis=1)
        gram = (columns * mean[:, None]).T @ columns
        factors = curvature.sum(axis=0) / max(mean.sum(), TINY)
        return cls(columns, targets, scores, share, gram, factors)

    def first(self, n_columns, strengths):
        """Coefficients (n_columns, n_scores) of the first columns, for each strength."""
        values, vectors = eigh(self.gram[:n_columns, :n_columns]) if n_columns else ([], None)
        columns = self.columns[:, :n_columns]
        for strength in strengths:
            coef = np.zeros((n_columns, self.targets.shape[1]))
            if n_columns:
                inverse = 1 / (np.outer(values, self.factors) + strength)
                for _ in range(N_STEPS):
                    coef += self._step(columns, coef, strength, vectors, inverse)
            yield coef

    def _step(self, columns, coef, strength, vectors, inverse):
        probabilities = _probabilities(self.scores + columns @ coef)
        residuals = self.share[:, None] * (self.targets - probabilities)
        gradient = columns.T @ residuals - strength * coef
        step = vectors @ (inverse * (vectors.T @ gradient))
        along = columns @ step
        curved = (probabilities * along**2).sum(axis=1) - (probabilities * along).sum(axis=1) ** 2
        curvature = self.share @ curved + strength * (step**2).sum()
        return step * ((gradient * step).sum() / max(curvature, TINY))
