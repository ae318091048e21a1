"""Weights by annotator: how probable it is that one answers at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..data._folds import position_folds
from ..linalg._tensors import to_numpy, to_tensor
from ._record import Part, equal_rows

# So many different ratings are levels of a scale; more are put into as many bins of one width.
LEVELS = 7
# Kinds of annotators who look at what they rate. With one kind those who like a level count as
# random (1.04 of uniform weights on honest ratings); which number is best changes from table to
# table, so that all are tried, with random annotators and without, and count by Akaike's weights
# (1.00 there and .87 with a third of random ones; two kinds alone 1.01 and .87).
MOST_KINDS = 3
# Ratings of an annotator spread around their kind's like those of a Dirichlet distribution with
# about so many ratings' worth of memory, to a factor of about 4.5: a weak prior, of its logarithm.
MEMORY, SPREAD = 5.0, 1.5
# The least weight of a rating, relative to the largest.
LEAST = 1e-6
# Ratings of annotators who seem random are predicted from X by each other: better than by their
# mean by so many standard errors, and they are not.
TOLD = 2.0
NO_RANDOM = "no sign of annotators who answer at random: ratings count alike"


NOT_RANDOM = (
    "annotators who use all levels equally often rate by the columns of X: ratings count alike"
)
RIDGES, MOST_FOLDS = np.logspace(-1, 5, 7), 5


def rating_levels(y):
    """The level of each rating: its place among the values, or in as many bins of one width."""
    values, index = np.unique(y, return_inverse=True)
    if len(values) <= LEVELS:
        return index, len(values)
    edges = np.linspace(values[0], values[-1], LEVELS + 1)
    return np.searchsorted(edges[1:-1], y, side="right"), LEVELS


def have_to_do_with(X, y, seed=0):
    """Whether ridge regression predicts rows from others of them better than their mean does.

    Honest ratings of balanced items are as likely at each level as random ones; these are not told
    by X.
    """
    if len(y) < 2 * MOST_FOLDS:
        return False
    y = (y - y.mean(axis=0)) / max(float(y.std()), np.finfo(float).tiny)
    groups = equal_rows(X, np.ones(len(y), bool))
    n_folds = min(MOST_FOLDS, groups.max() + 1)
    if n_folds < 2:
        return False
    folds = position_folds(groups.max() + 1, n_folds, seed)[groups]
    model = make_pipeline(StandardScaler(with_mean=not sparse.issparse(X)), RidgeCV(RIDGES))
    found = cross_val_predict(model, X, y, cv=PredefinedSplit(folds))
    gain = (y**2 - (y - found.reshape(y.shape)) ** 2).sum(axis=1)
    return bool(gain.mean() > TOLD * gain.std() / np.sqrt(len(gain)))


def learn_annotator(rows, y, annotator):
    """A `Part` of a weight for each annotator.

    The ratings of an annotator, counts of levels, are Dirichlet-multinomial of one of a few kinds,
    whose levels and memory are learned, or random: independent and as likely at each level. The
    share of each is learned as well. A weight is the probability not to be random.
    """
    names, index = np.unique(annotator, return_inverse=True)
    levels, n_levels = rating_levels(y)
    blank = Part("annotator", names.tolist(), index)
    if len(names) < 2 or n_levels < 2:
        what = "one annotator" if len(names) < 2 else "one rating"
        return replace(blank, sentence=f"only {what}: ratings count alike")
    counts = np.zeros((len(names), n_levels))
    np.add.at(counts, (index, levels), rows.weight)
    fits = [
        fit_kinds(counts, n_kinds, random=random)
        for n_kinds in range(1, MOST_KINDS + 1)
        for random in (False, True)
    ]
    weights = softmax([fit.score for fit in fits])
    is_random = sum(w * fit.probability for w, fit in zip(weights, fits, strict=True))
    average = {str(fit): float(w) for w, fit in zip(weights, fits, strict=True)}
    blank = replace(blank, average=average)
    if weights[1::2].sum() < 0.5:
        return replace(blank, sentence=NO_RANDOM)
    seem_random = is_random[index] > 0.5
    if have_to_do_with(rows.X[seem_random], rows.y[seem_random]):
        return replace(blank, sentence=NOT_RANDOM)
    share = float(is_random.mean())
    each = np.maximum(1 - is_random, LEAST)
    sentence = f"{100 * share:.0f} % of annotators seem to answer at random"
    return replace(blank, sentence=sentence, weight=each[index])


@dataclass(frozen=True)
class KindsFit:
    """Annotators of some kinds, and random ones or none, fitted to their ratings."""

    n_kinds: int
    random: bool
    score: float  # log likelihood (and prior), less the number of learned numbers
    probability: np.ndarray  # (n_annotators,), to be random

    def __str__(self):
        return f"{self.n_kinds} kinds{' and random ones' if self.random else ''}"


def log_dirichlet_multinomial(counts, size):
    """Of counts in some order, (n_kinds, n_annotators); `size` is (n_kinds, n_levels)."""
    total, n = size.sum(1)[:, None], counts.sum(1)
    some = torch.lgamma(counts + size[:, None]) - torch.lgamma(size[:, None])
    return torch.lgamma(total) - torch.lgamma(total + n) + some.sum(2)


def fit_kinds(counts, n_kinds, *, random):
    """A `KindsFit`, by maximum likelihood from quantiles of the annotators' mean levels."""
    n_annotators, n_levels = counts.shape
    n = counts.sum(axis=1)
    table = to_tensor(counts)
    of_random = to_tensor(-n * np.log(n_levels))[None]

    def parts(numbers):
        size = numbers[: n_kinds * n_levels].reshape(n_kinds, n_levels).exp()
        logits = torch.cat([numbers[n_kinds * n_levels :], numbers.new_zeros(1)])
        found = log_dirichlet_multinomial(table, size)
        if random:
            found = torch.cat([found, of_random])
        return found + torch.log_softmax(logits, 0)[:, None], size

    def loss(values):
        numbers = to_tensor(values).requires_grad_()
        with torch.enable_grad():
            found, size = parts(numbers)
            memory = (size.sum(1).log() - np.log(MEMORY)) / SPREAD
            total = -found.logsumexp(0).sum() + (memory**2).sum() / 2
            (gradient,) = torch.autograd.grad(total, numbers)
        return float(total.detach()), to_numpy(gradient)

    overall = (counts.sum(axis=0) + 1) / (counts.sum() + n_levels)
    mean = counts @ np.arange(n_levels) / np.maximum(n, LEAST)
    kind = mean.argsort(kind="stable").argsort(kind="stable") * n_kinds // n_annotators
    sums = np.stack([counts[kind == k].sum(axis=0) for k in range(n_kinds)])
    size = MEMORY * (sums + overall) / (sums.sum(axis=1, keepdims=True) + 1)
    n_shares = n_kinds - 1 + random
    initial = np.append(np.log(size), np.full(n_shares, 1.5))
    found = minimize(loss, initial, jac=True, method="L-BFGS-B")
    joint = to_numpy(parts(to_tensor(found.x))[0])
    probability = np.exp(joint - logsumexp(joint, axis=0))
    score = -float(found.fun) - len(initial)
    return KindsFit(n_kinds, random, score, probability[-1] * random)
