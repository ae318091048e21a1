"""Which annotators give labels at random: by how often they give each, and to which items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from ..linalg._tensors import to_numpy, to_tensor
from ._raters import ACCURACY, FEWEST, MODELS, NOT_SHUFFLED, model_name

# Kinds of annotators who look at what they label. With one kind those who like a level count as
# random (1.04 of uniform weights on honest labels); which number is best changes from table to
# table, so that all are tried, with random annotators and without, and count by Akaike's weights
# (1.00 there and .87 with a third of random ones; two kinds alone 1.01 and .87).
MOST_KINDS = 3
# Ratings of an annotator spread around their kind's like those of a Dirichlet distribution with
# about so many ratings' worth of memory, to a factor of about 4.5: a weak prior, of its logarithm.
MEMORY, SPREAD = 5.0, 1.5
# Deviation of a weak prior of logits of how careful annotators are.
CARE_SPREAD = 1.5
# Of all numbers, logarithms: beyond, differences of the gamma function's are rounding.
BOUNDS = (-12.0, 12.0)
TINY = 1e-6


def learn_kinds(counts, careful, models=MODELS, most_kinds=MOST_KINDS):
    """The probability of each annotator to label at random, and shares of the models.

    The labels of an annotator, counts of levels, are Dirichlet-multinomial of one of a few kinds,
    whose levels and memory are learned, or uniform: independent and as likely at each level. Of
    the kinds' annotators some are careful, whose labels are likelier by exp(`careful`), (n_care,
    n_annotators), the others are shuffled. The share of each is learned as well.
    """
    fits = [
        fit_kinds(counts, careful, n_kinds, others)
        for n_kinds in range(1, most_kinds + 1)
        for others in models
    ]
    weights = softmax([fit.score for fit in fits])
    is_random = sum(w * fit.probability for w, fit in zip(weights, fits, strict=True))
    average = {str(fit): float(w) for w, fit in zip(weights, fits, strict=True)}
    without = sum(w for w, fit in zip(weights, fits, strict=True) if not fit.others)
    return is_random, average, bool(without < 0.5 and is_random.mean() > FEWEST)


@dataclass(frozen=True)
class KindsFit:
    """Annotators of some kinds, and some at random or none, fitted to their labels."""

    n_kinds: int
    others: tuple[str, ...]
    score: float  # log likelihood (and prior), less the number of learned numbers
    probability: np.ndarray  # (n_annotators,), to be random

    def __str__(self):
        return f"{self.n_kinds} kinds: {model_name(self.others)}"


def log_dirichlet_multinomial(counts, size):
    """Of counts in some order, (n_kinds, n_annotators); `size` is (n_kinds, n_levels)."""
    total, n = size.sum(1)[:, None], counts.sum(1)
    some = torch.lgamma(counts + size[:, None]) - torch.lgamma(size[:, None])
    return torch.lgamma(total) - torch.lgamma(total + n) + some.sum(2)


def fit_kinds(counts, careful, n_kinds, others):
    """A `KindsFit`, by maximum likelihood from quantiles of the annotators' mean levels."""
    n_annotators, n_levels = counts.shape
    n = counts.sum(axis=1)
    table = to_tensor(counts)
    of_uniform, likelier = to_tensor(-n * np.log(n_levels)), to_tensor(careful)
    n_sizes, n_care = n_kinds * n_levels, len(careful)
    places = np.cumsum([n_sizes, n_kinds - 1, n_care - 1])

    def log_shares(logits):
        return torch.cat([logits.new_zeros(1), logits]).log_softmax(0)

    def parts(numbers):
        size, kinds, care, shares = numbers.tensor_split(places.tolist())
        size, shares = size.reshape(n_kinds, n_levels).exp(), log_shares(shares)
        of_kind = log_dirichlet_multinomial(table, size) + log_shares(kinds)[:, None]
        of_kind = of_kind.logsumexp(0)
        looking = of_kind + (likelier + log_shares(care)[:, None]).logsumexp(0)
        of_others = {"uniform": of_uniform, "shuffled": of_kind}
        found = torch.stack([looking, *(of_others[one] for one in others)])
        prior = (((size.sum(1).log() - np.log(MEMORY)) / SPREAD) ** 2).sum() / 2
        prior = prior + ((care / CARE_SPREAD) ** 2).sum() / 2
        if "shuffled" in others:
            prior = prior - NOT_SHUFFLED * shares[0]
        return found + shares[:, None], prior

    def loss(values):
        numbers = to_tensor(values).requires_grad_()
        with torch.enable_grad():
            found, prior = parts(numbers)
            total = prior - found.logsumexp(0).sum()
            (gradient,) = torch.autograd.grad(total, numbers)
        return float(total.detach()), to_numpy(gradient)

    overall = (counts.sum(axis=0) + 1) / (counts.sum() + n_levels)
    mean = counts @ np.arange(n_levels) / np.maximum(n, TINY)
    kind = mean.argsort(kind="stable").argsort(kind="stable") * n_kinds // n_annotators
    sums = np.stack([counts[kind == k].sum(axis=0) for k in range(n_kinds)])
    size = MEMORY * (sums + overall) / (sums.sum(axis=1, keepdims=True) + 1)
    shares = np.append(np.zeros(n_kinds + n_care - 2), np.full(len(others), -1.5))
    initial = np.append(np.log(size), shares)
    bounds, options = [BOUNDS] * len(initial), {"ftol": ACCURACY / counts.sum()}
    found = minimize(loss, initial, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    joint = to_numpy(parts(to_tensor(found.x))[0])
    probability = np.exp(joint - logsumexp(joint, axis=0))
    score = -float(found.fun) - len(initial)
    return KindsFit(n_kinds, others, score, probability[1:].sum(axis=0))
