"""Weights and levels by annotator: who does not look, and who rates higher than others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..data._folds import position_folds
from ._careful import careful_labels, labels_of_others, log_ratios
from ._cells import Cells, leading_directions, ridge_path, squared_errors
from ._kinds import MOST_KINDS, learn_kinds
from ._raters import BOTH, MODELS, Ratings, learn_raters
from ._record import Part

# The least weight of a rating, relative to the largest.
LEAST = 1e-6
# Levels of annotators are taken off where they differ by more than by chance, by so many standard
# errors.
LEVEL_SIGN = 2.0
# What ratings of annotators say of items differs by so much, a deviation, relative to the mean: of
# made annotators who are equally careful by .01 to .05, with eightfold differences by .24 and more.
CARE_SIGN = 0.1
RIDGES, N_FOLDS = np.logspace(-1, 6, 15), 5
# Sums by annotator and by item in turn: they converge at once.
SWEEPS = 30
TINY = 1e-12
ALIKE = "no sign that annotators differ: ratings count alike"


def learn_annotator(rows, y, annotator, item):
    """A `Part` of a weight for each annotator, and of a level where y are ratings.

    `y` are numbers of classes where the rows have labels; rows of one `item` are of one X.
    """
    names, index = np.unique(annotator, return_inverse=True)
    blank = Part("annotator", names.tolist(), index)
    if len(names) < 2 or np.ptp(y) == 0:
        what = "one annotator" if len(names) < 2 else "one rating"
        return replace(blank, sentence=f"only {what}: ratings count alike")
    if rows.labels is None:
        return _ratings(rows, y, blank, item)
    if np.unique(y).size == 2:  # levels, whichever is the higher
        return _ratings(rows, y.astype(float), blank, item)
    return _labels(rows, y, blank, item)


def _labels(rows, labels, blank, item):
    """Weights of annotators who give labels of three and more classes, which have no order."""
    X, index, weight = leading_directions(rows.X, rows.weight), blank.index, rows.weight
    counts = np.zeros((len(blank.names), rows.y.shape[1]))
    np.add.at(counts, (index, labels), weight)
    for models, most_kinds in (((BOTH,), 1), (MODELS, MOST_KINDS)):
        predicted = predict_items(X, rows.y, weight, item)
        others = labels_of_others(labels, rows.y.shape[1], weight, index, item)
        careful = careful_labels(labels, predicted, others, weight)
        ratios = log_ratios(labels, careful, rows.weight, index)
        is_random, average, shows = learn_kinds(counts, ratios, models, most_kinds)
        weight = rows.weight * np.maximum(1 - is_random, LEAST)[index]
    blank = replace(blank, average=average)
    honest = 1 - is_random
    # Labels of all as likely to be at random are no sign: balanced classes of which X and others
    # say nothing.
    if not shows or honest.std() < CARE_SIGN * honest.mean():
        return replace(blank, sentence=ALIKE)
    sentence = f"{100 * is_random.mean():.0f} % of annotators seem to answer at random"
    return replace(blank, sentence=sentence, weight=weight / rows.weight)


def _ratings(rows, y, blank, item):
    """Weights and levels of annotators who give ratings."""
    X, index, weight = leading_directions(rows.X, rows.weight), blank.index, rows.weight
    level, numbers = np.zeros(len(blank.names)), None
    for models in ((BOTH,), MODELS):
        shifted = y - level[index]
        predicted = predict_items(X, shifted[:, None], weight, item)[:, 0]
        pairs = Pairs.of(shifted - predicted, weight, index, item)
        predicted += pairs.by_others()
        ratings = Ratings.of(y, rows.weight, predicted, index)
        raters = learn_raters(ratings, models, numbers)
        numbers = raters.numbers
        weight = rows.weight * np.maximum(raters.honest, LEAST)[index]
        residual = y - predict_items(X, y[:, None], weight, item)[:, 0]
        level, sign = Pairs.of(residual, weight, index, item).levels()
    blank, found = replace(blank, average=raters.average), []
    each = np.ones(len(level))
    if raters.shows_random:
        each = raters.honest
        found.append(f"{100 * (1 - each.mean()):.0f} % of annotators seem to answer at random")
    if raters.precision.std() > CARE_SIGN:
        each = each * raters.precision
        found.append("ratings of some annotators say more of what they rate")
    if sign > LEVEL_SIGN and rows.labels is None:
        blank = replace(blank, level=level[index, None])
        spread = level.std() * np.max(rows.unit)
        found.append(f"annotators have levels of their own, with a deviation of {spread:.2g}")
    weight = np.maximum(each, LEAST)[index]
    return replace(blank, sentence="; ".join(found) or ALIKE, weight=weight if found else None)


def predict_items(X, y, weight, item):
    """Ridge predictions of rows from those of other items, as much of them as ratings bear out.

    y is (n_rows, n_targets).
    """
    n_folds, n_targets = min(N_FOLDS, item.max() + 1), y.shape[1]
    mean = weight @ y / weight.sum()
    if n_folds < 2:
        return np.tile(mean, (len(y), 1))
    fold = position_folds(item.max() + 1, n_folds, 0)[item]
    cells = Cells.of(X, y, weight, fold, n_folds)
    train, test = (cells.combined(one) for one in (1 - np.eye(n_folds), np.eye(n_folds)))
    coef = ridge_path(train, n_targets, RIDGES)
    errors = cells.products[:, -1, -1] @ squared_errors(coef, test, n_targets)
    coef = coef[:, errors.argmin()]
    Z, target = cells.standardized(X, y)
    found = np.empty(y.shape)
    for k, one in enumerate(coef):
        found[fold == k] = Z[fold == k] @ one
    spread = (weight @ found**2).sum()
    slope = (weight @ (found * target)).sum() / spread if spread > 0 else 0.0
    return mean + min(max(slope, 0.0), 1.0) * found * cells.scale


@dataclass(frozen=True)
class Pairs:
    """Residuals of ratings by annotator and item, means of those that one gave to the same item."""

    residual: np.ndarray  # (n_pairs,), of mean 0
    weight: np.ndarray
    annotator: np.ndarray
    item: np.ndarray
    row: np.ndarray  # (n_rows,), the pair of each

    @classmethod
    def of(cls, residual, weight, annotator, item):
        key, row = np.unique(annotator * (item.max() + 1) + item, return_inverse=True)
        mass = np.bincount(row, weight)
        mean = np.bincount(row, weight * residual) / mass
        mean -= mass @ mean / mass.sum()
        return cls(mean, mass, key // (item.max() + 1), key % (item.max() + 1), row)

    def sums(self, group, values):
        """Weighted sums of values over pairs of one group."""
        return np.bincount(group, self.weight * values)

    def variance(self, group=None):
        """Of what pairs of one group share: the mean product of two of them; without one of all."""
        if group is None:
            return max(self.weight @ self.residual**2 / self.weight.sum(), TINY)
        size, squares = np.bincount(group, self.weight), self.weight**2
        n_products = (size**2).sum() - squares.sum()
        if n_products <= TINY * squares.sum():
            return 0.0
        products = (self.sums(group, self.residual) ** 2).sum() - squares @ self.residual**2
        return max(products / n_products, 0.0)

    def by_others(self):
        """What the other annotators of each row's item add to its prediction, shrunken."""
        shared, total = self.variance(self.item), self.variance()
        if shared == 0:
            return np.zeros(len(self.row))
        size = np.bincount(self.item, self.weight)[self.item] - self.weight
        others = self.sums(self.item, self.residual)[self.item] - self.weight * self.residual
        penalty = max(total - shared, TINY * total) / shared
        return (others / (size + penalty))[self.row]

    def levels(self):
        """The level of each annotator, given those of items, and its sign in standard errors.

        Best linear predictions of crossed random intercepts, by sums in turn.
        """
        size = np.bincount(self.annotator, self.weight)
        own, of_items = self.variance(self.annotator), self.variance(self.item)
        total = self.variance()
        noise = max(total - own - of_items, TINY * total)
        n_products = (size**2).sum() - (self.weight**2).sum()
        sign = own / total * np.sqrt(max(n_products, 0.0) / 2)
        level, items = np.zeros(len(size)), np.zeros(self.item.max() + 1)
        if own == 0:
            return level, sign
        size_of_items = np.bincount(self.item, self.weight)
        for _ in range(SWEEPS):
            if of_items:
                rest = self.sums(self.item, self.residual - level[self.annotator])
                items = rest / (size_of_items + noise / of_items)
            rest = self.sums(self.annotator, self.residual - items[self.item])
            level = rest / (size + noise / own)
        return level, sign
