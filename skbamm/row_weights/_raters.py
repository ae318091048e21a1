"""Which annotators rate what they see: a model of ratings with a bias and a care of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import norm

from ..linalg._tensors import to_numpy, to_tensor
from ._record import symmetric_bins

# So many different ratings are levels of a scale; more are put into as many bins of equal size.
LEVELS = 7
# Ratings are told apart by what is predicted of their items, in so many bins of equal size.
BINS = 5
# Biases and logarithms of spreads of annotators are normal: points of their quadrature.
POINTS = (11, 5)
# Numbers of annotators are learned from so many of them at most, to within so many units of the
# logarithm of their likelihood. With 400 of 2,000 single weights depended on which these are.
MOST_RATERS, ACCURACY = 4000, 1e-3
# Weak priors, normal in the logarithm (mean, deviation): of the deviation of biases, that of the
# logarithms of spreads, and of how much an item's prediction says, all in units of a rating's
# spread.
PRIORS = ((0.0, 1.5), (-1.0, 1.0), (-1.0, 1.5))
# Where predictions say little, annotators who shuffle their ratings look like all others, and their
# share is anything: a share of s costs minus this many logarithms of 1 - s.
NOT_SHUFFLED = 2.0
BOUNDS = {"threshold": (-20.0, 20.0), "gap": (-6.0, 3.0), "scale": (-5.0, 3.0), "share": (-12, 6)}
# What there may be among annotators who look: none, those who answer each level equally often,
# those whose ratings have nothing to do with the items, both.
BOTH = ("uniform", "shuffled")
MODELS = ((), ("uniform",), ("shuffled",), BOTH)
# A share of annotators at random below this one is none.
FEWEST = 0.005
TINY = 1e-12


def rating_levels(y, weight):
    """The level of each rating, and how probable each level is in a uniform answer.

    A few values are levels; more are put into bins of about equal size.
    """
    values, index = np.unique(y, return_inverse=True)
    if len(values) <= LEVELS:
        return index, np.full(len(values), 1 / len(values))
    of_value = symmetric_bins(values, np.bincount(index, weight), LEVELS)
    cuts = np.flatnonzero(np.diff(of_value)) + 1
    edges = (values[cuts - 1] + values[cuts]) / 2
    beyond = (values[-1] - values[0]) / (len(values) - 1) / 2
    width = np.diff([values[0] - beyond, *edges, values[-1] + beyond])
    return of_value[index], width / width.sum()


def bins_of(prediction, weight):
    """The bin of each prediction, and the bins' means in units of their deviation."""
    index = symmetric_bins(prediction, weight, BINS)
    mass = np.bincount(index, weight)
    mean = np.bincount(index, weight * prediction) / mass
    mean = mean - mass @ mean / mass.sum()
    spread = np.sqrt(mass @ mean**2 / mass.sum())
    return index, mean / spread if spread > TINY else mean


@dataclass(frozen=True)
class Ratings:
    """How often each annotator gave each level to items of each bin of predictions."""

    counts: np.ndarray  # (n_annotators, n_bins, n_levels)
    values: np.ndarray  # (n_levels,), means of ratings
    bins: np.ndarray  # (n_bins,), means of predictions
    uniform: np.ndarray  # (n_levels,), probabilities of a uniform answer
    first: np.ndarray  # (n_annotators,), the first row of each

    @classmethod
    def of(cls, y, weight, predicted, annotator):
        """Of ratings, what is predicted of their items, and numbers of annotators."""
        level, uniform = rating_levels(y, weight)
        index, bins = bins_of(predicted, weight)
        counts = np.zeros((annotator.max() + 1, len(bins), len(uniform)))
        np.add.at(counts, (annotator, index, level), weight)
        values = np.bincount(level, weight * y) / np.bincount(level, weight)
        first = np.unique(annotator, return_index=True)[1]
        return cls(counts, values, bins, uniform, first)

    def some(self, number, seed):
        """Those of so many annotators, drawn in order of appearance: names do not matter."""
        kept = np.random.default_rng(seed).permutation(len(self.counts))[:number]
        kept = self.first.argsort()[np.sort(kept)]
        return replace(self, counts=self.counts[kept], first=self.first[kept])


class RaterModel:
    """An annotator's rating of an item is the level in which a normal number falls.

    Its mean is what is predicted of the item, times a number that is learned, plus the annotator's
    bias, and its deviation is theirs; thresholds between levels are learned as well. Biases and
    logarithms of deviations are normal with learned deviations, and are integrated out. `others`
    are kinds of annotators at random, whose shares are learned.
    """

    def __init__(self, ratings, others):
        self.others = others
        self.n_levels = ratings.counts.shape[2]
        self.bins = to_tensor(ratings.bins)
        self.uniform = to_tensor(np.log(ratings.uniform))
        share = ratings.counts.sum(axis=(0, 2))
        self.bin_share = to_tensor(share / share.sum())
        points = [hermegauss(n) for n in POINTS]
        bias, spread = np.meshgrid(points[0][0], points[1][0], indexing="ij")
        mass = np.outer(*(weights / weights.sum() for _, weights in points))
        self.bias, self.spread, self.log_mass = (
            to_tensor(one.ravel()) for one in (bias, spread, np.log(mass))
        )
        # Annotators whose biases have about a rating's spread, and the correlation of ratings with
        # what is predicted.
        table = ratings.counts.sum(axis=0)
        total = table.sum()
        values = ratings.values - table.sum(axis=0) @ ratings.values / total
        spread = (table.sum(axis=0) @ values**2) * (table.sum(axis=1) @ ratings.bins**2)
        told = (ratings.bins @ table @ values) / np.sqrt(spread) if spread > 0 else 0.0
        told = min(max(told, 0.1), 0.95)
        scales = np.array([0.8, 0.3, told / np.sqrt(1 - told**2)])
        share = (table.sum(axis=0) + 0.5).cumsum()[:-1] / (total + 0.5 * self.n_levels)
        thresholds = np.sqrt(1 + scales[0] ** 2 + scales[2] ** 2) * norm.ppf(share)
        gaps = np.log(np.diff(thresholds).clip(0.05))
        shares = np.full(len(others), -1.5)
        self.initial = np.concatenate([[thresholds.mean()], gaps, np.log(scales), shares])

    def _scales(self, numbers):
        first = self.n_levels - 1
        return numbers[first : first + 3]

    def _shares(self, numbers):
        return numbers[self.n_levels + 2 :]

    def probabilities(self, numbers):
        """Of each level, by point of the quadrature and bin: (n_points, n_bins, n_levels)."""
        # From their mean, so that ratings read backwards are learned alike.
        beside = torch.cat([numbers.new_zeros(1), numbers[1 : self.n_levels - 1].exp().cumsum(0)])
        thresholds = numbers[0] + beside - beside.mean()
        bias, spread, told = self._scales(numbers).exp()
        mean = bias * self.bias[:, None] + told * self.bins
        z = (thresholds - mean[..., None]) * (-spread * self.spread).exp()[:, None, None]
        below = torch.special.ndtr(z)
        edge = below.new_zeros((*below.shape[:2], 1))
        return torch.cat([edge, below, edge + 1], dim=2).diff(dim=2).clamp_min(TINY)

    def joint(self, numbers, table):
        """Log probabilities of annotators' ratings: (1 + n_others, n_annotators).

        `table` are `Ratings.counts` as a tensor. The second answer are those by point of the
        quadrature, of annotators who look.
        """
        found = self.probabilities(numbers)
        levels = table.sum(dim=1)
        by_point = table.flatten(1) @ found.log().flatten(1).T + self.log_mass
        rows = [by_point.logsumexp(1)]
        for kind in self.others:
            if kind == "uniform":
                rows.append(levels @ self.uniform)
            else:
                mean = (found * self.bin_share[:, None]).sum(dim=1)
                rows.append((levels @ mean.log().T + self.log_mass).logsumexp(1))
        shares = torch.cat([numbers.new_zeros(1), self._shares(numbers)]).log_softmax(0)
        return torch.stack(rows) + shares[:, None], by_point

    def precision(self, numbers, by_point, values):
        """How much a rating of each annotator says of an item, relative to the mean annotator's.

        That is by how much their mean rating follows the item's prediction, for each unit of
        variance: the weight of a row in the equations of a model of the mean. A fixed answer says
        nothing, as little as its variance is.
        """
        found, values = self.probabilities(numbers), to_tensor(values)
        mean = found @ values
        slope = mean @ (self.bin_share * self.bins)
        variance = (found @ values**2 - mean**2) @ self.bin_share
        mass = torch.cat([self.log_mass[None], by_point]).softmax(1)
        slope, variance = to_numpy(mass @ slope), to_numpy(mass @ variance)
        # Half of the noise is taken to be the items', and the same for all.
        noise = variance / slope.clip(TINY)
        return 2 / (1 + noise[1:] / noise[0])

    def _prior(self, numbers):
        """Minus its logarithm."""
        means, deviations = (to_tensor(one) for one in zip(*PRIORS, strict=True))
        total = (((self._scales(numbers) - means) / deviations) ** 2).sum() / 2
        if "shuffled" in self.others:
            logits = torch.cat([numbers.new_zeros(1), self._shares(numbers)])
            total = total - NOT_SHUFFLED * (logits[:-1].logsumexp(0) - logits.logsumexp(0))
        return total

    def fit(self, table, initial=None):
        """The numbers of the largest likelihood and prior, and that less the number of them."""

        def loss(values):
            numbers = to_tensor(values).requires_grad_()
            with torch.enable_grad():
                total = -self.joint(numbers, table)[0].logsumexp(0).sum() + self._prior(numbers)
                (gradient,) = torch.autograd.grad(total, numbers)
            return float(total.detach()), to_numpy(gradient)

        bounds = [BOUNDS["threshold"], *[BOUNDS["gap"]] * (self.n_levels - 2)]
        bounds += [BOUNDS["scale"]] * 3 + [BOUNDS["share"]] * len(self.others)
        initial = self.initial if initial is None else initial
        options = {"ftol": ACCURACY / float(table.sum())}
        found = minimize(loss, initial, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return found.x, -float(found.fun) - len(self.initial)


@dataclass(frozen=True)
class Raters:
    """What a mean of models says of each annotator."""

    honest: np.ndarray  # (n_annotators,), the probability to look at what is rated
    precision: np.ndarray  # (n_annotators,), of those who look, relative to the mean annotator's
    average: dict[str, float]  # share of each model, by name
    numbers: np.ndarray  # of the last model, with which the next ones may begin

    @property
    def shows_random(self):
        return self.average.get(model_name(()), 0.0) < 0.5 and self.honest.mean() < 1 - FEWEST


def model_name(others):
    return " and ".join(others) + " ones among them" if others else "all look"


def learn_raters(ratings, models, numbers=None, seed=0):
    """`Raters` by the models' mean, in which they count by Akaike's weights."""
    known = ratings if len(ratings.counts) <= MOST_RATERS else ratings.some(MOST_RATERS, seed)
    table, every = to_tensor(known.counts), to_tensor(ratings.counts)
    scores, honest, precision = [], [], []
    for others in models:
        model = RaterModel(known, others)
        initial = None
        if numbers is not None:  # those of the model before are not far
            kept = model.n_levels + 2
            initial = np.append(numbers[:kept], model.initial[kept:])
        numbers, score = model.fit(table, initial)
        scores.append(score)
        at = to_tensor(numbers)
        joint, by_point = model.joint(at, every)
        honest.append(to_numpy(joint.softmax(0)[0]))
        precision.append(model.precision(at, by_point, ratings.values))
    weights = softmax(scores)
    names = [model_name(others) for others in models]
    average = dict(zip(names, weights.tolist(), strict=True))
    return Raters(weights @ honest, weights @ precision, average, numbers)
