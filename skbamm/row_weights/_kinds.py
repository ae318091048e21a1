"""Which annotators give labels at random: kinds of annotators, by how often they give each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from ..linalg._tensors import to_numpy, to_tensor

# Kinds of annotators who look at what they label. With one kind those who like a level count as
# random (1.04 of uniform weights on honest labels); which number is best changes from table to
# table, so that all are tried, with random annotators and without, and count by Akaike's weights
# (1.00 there and .87 with a third of random ones; two kinds alone 1.01 and .87).
MOST_KINDS = 3
# Ratings of an annotator spread around their kind's like those of a Dirichlet distribution with
# about so many ratings' worth of memory, to a factor of about 4.5: a weak prior, of its logarithm.
MEMORY, SPREAD = 5.0, 1.5
TINY = 1e-6


def learn_kinds(counts):
    """The probability of each annotator to label at random, and shares of the models.

    The labels of an annotator, counts of levels, are Dirichlet-multinomial of one of a few kinds,
    whose levels and memory are learned, or random: independent and as likely at each level. The
    share of each is learned as well.
    """
    fits = [
        fit_kinds(counts, n_kinds, random=random)
        for n_kinds in range(1, MOST_KINDS + 1)
        for random in (False, True)
    ]
    weights = softmax([fit.score for fit in fits])
    is_random = sum(w * fit.probability for w, fit in zip(weights, fits, strict=True))
    average = {str(fit): float(w) for w, fit in zip(weights, fits, strict=True)}
    return is_random, average, bool(weights[1::2].sum() > 0.5)


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
    mean = counts @ np.arange(n_levels) / np.maximum(n, TINY)
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
