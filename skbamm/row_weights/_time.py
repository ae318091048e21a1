"""Weights by age: a decay, with a floor, or a window, compared by forward chaining."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..data._fold_weights import advantage_on, standard_error
from ._average import average, shares_by_name
from ._cells import Cells, leading_directions, ridge_path, squared_errors
from ._record import Part, weighted_quantiles

# Half-lives and windows, as shares of the rows that are younger; beyond 1 in units of the span.
HALF_LIVES = (1 / 48, 1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3, 4 / 3)
FLOORS = (0.0, 0.03, 0.1, 0.3)
WINDOWS = (1 / 24, 1 / 12, 1 / 6, 1 / 3, 2 / 3)
# Ridge strengths for columns of variance 1 and a newest row of weight 1: from hardly any to so
# much that some ten thousand rows do not matter.
STRENGTHS = np.logspace(-1, 4.5, 12)
# The newest rows are predicted in blocks, each from all rows before it. Blocks of a 64th to a 96th
# of the rows, 12 to 16 of them, choose alike; of a 16th or a 32nd worse (electricity .43 of uniform
# weights' error, .34 with a 64th): a block should be no longer than weights take to change.
BLOCKS_OF_ALL, N_BLOCKS, FEWEST_BLOCKS = 96, 12, 5
# What the mean of weightings is asked as well: rows this share of all ahead, in so many blocks. A
# season that no column tells makes yesterday the best guide to today, and a bad one further on
# (made rows with a season: 1.4 of uniform weights' error without this question).
FAR_BLOCKS_OF_ALL, N_FAR_BLOCKS, FEWEST_FAR = 12, 6, 3
# Within `STANDARD_ERRORS` they must not be worse by so much in the logarithm. To be better was too
# much to ask: of riders of a station, who gain .1 nearby, nothing shows that far ahead.
CLEARLY_WORSE = np.log(1.1)
# A weight is constant over a bin of so many to a block, in the comparison alone.
BINS_IN_BLOCK = 4
# A block has at least so many rows, else its error says little.
BLOCK_ROWS = 5
# Of a rare class each block has so many rows in the mean: where none has any, windows without one
# are best, and wrong (log loss 2.6 times that of uniform weights with five rows of the class).
EVENTS = 2
# Errors of blocks under drift differ by powers of ten: their logarithms are compared, by few
# blocks, which is why less than half a standard error counts (1: .41 for .34 on electricity).
STANDARD_ERRORS = 0.5
# A block that is fitted exactly has no logarithm: this share of the variance is as good as none.
EXACT = 1e-10
# Bounds of learned numbers: half-lives and strengths beyond the candidates' by these factors, and
# logits of the floor.
BEYOND = 8.0
LOGITS = (-9.0, 2.0)
# What a floor of 0 has for a logit, from which learning begins.
LOGIT_OF_NONE = -6.0
LOG_2 = np.log(2.0)
# Of sums of weights, relative.
ROUNDING = 1e-9
NO_DRIFT = "no sign of drift: rows count alike"
NEAR_ALONE = (
    "newer rows are the better guide to what comes next, but may be a worse one to what is further "
    "ahead (a season?): rows count alike"
)


@dataclass(frozen=True)
class Decay:
    """``floor + (1 - floor) * 0.5 ** (age / half_life)``."""

    half_life: float
    floor: float

    def __call__(self, age):
        return self.floor + (1 - self.floor) * 0.5 ** (age / self.half_life)

    def __str__(self):
        floor = f", floor {self.floor:.2g}" if self.floor else ""
        return f"half-life {self.half_life:.3g}{floor}"


@dataclass(frozen=True)
class Window:
    """1 up to an age, 0 beyond."""

    length: float

    def __call__(self, age):
        return np.where(age <= self.length, 1.0, 0.0)

    def __str__(self):
        return "all rows alike" if np.isinf(self.length) else f"window {self.length:.3g}"


@dataclass(frozen=True)
class Blocks:
    """Which bins are predicted from which."""

    ages: np.ndarray  # (n_blocks, n_bins), of bins before each block; below 0 from its start on
    test: np.ndarray  # (n_blocks, n_bins), 1 in the block

    @classmethod
    def of(cls, starts, edges, centre, ordered):
        """Given rows, in order of time, at which blocks and bins begin, and mean times of bins."""
        stops = np.append(starts[1:], len(ordered))
        newest = ordered[starts - 1][:, None]
        before = edges[None, :] < starts[:, None]
        ages = np.where(before, (newest - centre).clip(0), -1.0)
        test = (edges[None, :] >= starts[:, None]) & (edges[None, :] < stops[:, None])
        return cls(ages, test.astype(float))

    def train(self, weighting):
        """Weights of bins in the fit that predicts each block, (n_blocks, n_bins)."""
        return np.where(self.ages >= 0, weighting(self.ages.clip(0)), 0.0)


@dataclass(frozen=True)
class Timeline:
    """Bins of rows in order of time, and blocks of these that are predicted from earlier ones."""

    bin: np.ndarray  # (n_rows,)
    age: np.ndarray  # (n_rows,), before the newest row
    weight: np.ndarray  # (n_rows,)
    near: Blocks
    far: Blocks

    @classmethod
    def of(cls, time, weight, most_blocks=BLOCKS_OF_ALL):
        """None where there are too few times or rows; blocks and bins are of about one weight."""
        order = np.argsort(time, kind="stable")
        ordered, mass = time[order], weight[order]
        # A cut never goes through rows of one time.
        first = np.unique(ordered, return_index=True)[1]
        older = (np.cumsum(mass) - mass)[first]
        total = mass.sum()
        n_all = int(min(BLOCKS_OF_ALL, effective_size(weight) // BLOCK_ROWS, most_blocks))
        if n_all < 2 * FEWEST_BLOCKS:
            return None

        def cuts(number):
            before = total * (1 - np.arange(1, number + 1) / number - ROUNDING)
            index = np.unique(np.searchsorted(older, before))
            return first[index[index < len(first)]]

        starts = cuts(n_all)
        newer = first[older >= (0.5 - ROUNDING) * total]
        starts = starts[starts >= newer[0]][-N_BLOCKS:] if len(newer) else newer
        if len(starts) < FEWEST_BLOCKS:
            return None
        far = cuts(min(FAR_BLOCKS_OF_ALL, n_all))
        far = far[far > 0][-N_FAR_BLOCKS:]
        edges = np.unique(np.concatenate([[0], cuts(n_all * BINS_IN_BLOCK), starts, far]))
        position = np.searchsorted(edges, np.arange(len(time)), side="right") - 1
        label = np.empty(len(time), dtype=int)
        label[order] = position
        centre = np.bincount(position, mass * ordered) / np.bincount(position, mass)
        near, far = (Blocks.of(some, edges, centre, ordered) for some in (starts, far))
        return cls(label, ordered[-1] - time, weight, near, far)

    def candidates(self):
        """Weightings by age, all rows alike as the last one."""
        span = self.age.max()
        shares = [q for q in HALF_LIVES if q < 1]
        within = weighted_quantiles(self.age, self.weight, shares)
        lives = [*within, *(q * span for q in HALF_LIVES if q >= 1)]
        decays = [Decay(life, floor) for life in np.unique(lives) if life > 0 for floor in FLOORS]
        lengths = np.unique(weighted_quantiles(self.age, self.weight, WINDOWS))
        return [*decays, *(Window(w) for w in lengths if 0 < w < span), Window(np.inf)]


@dataclass(frozen=True)
class MeanWeighting:
    """Of some weightings, each divided by the sum of weights that it gives all rows."""

    parts: list  # of factors and weightings

    @classmethod
    def of(cls, shares, candidates, age, weight):
        used = [(share, one) for share, one in zip(shares, candidates, strict=True) if share > 0]
        return cls([(share / (weight @ one(age)), one) for share, one in used])

    def __call__(self, age):
        return sum(factor * one(age) for factor, one in self.parts)


def blocks_that_tell(y, weight):
    """How many blocks may be cut so that rows unlike most others are in each, of any column."""
    fewest = weight.sum()
    for column in y.T:
        index = np.unique(column, return_inverse=True)[1]
        fewest = min(fewest, weight.sum() - np.bincount(index, weight).max())
    return fewest // EVENTS


def effective_size(weight):
    """How many rows of one weight tell as much."""
    return weight.sum() ** 2 / (weight @ weight)


def is_worse_ahead(cells, blocks, weighting):
    """Whether long blocks may well be predicted clearly worse than by equal weights.

    Fewer than `FEWEST_FAR`, as where most rows are of one time, tell nothing.
    """
    if len(blocks.ages) < FEWEST_FAR:
        return False
    test = cells.combined(blocks.test)
    of_both = []
    for one in (Window(np.inf), weighting):
        weight = blocks.train(one)
        scale = np.maximum(weight.max(axis=1, keepdims=True), np.finfo(float).tiny)
        errors = _log_errors(cells, weight / scale, test)
        of_both.append(errors[errors.mean(axis=1).argmin()])
    more = of_both[1] - of_both[0]
    return bool(more.mean() + STANDARD_ERRORS * standard_error(more) > CLEARLY_WORSE)


def learn_time(rows, time, run, unit=""):
    """A `Part` of weights that fall with age, where newer rows are predicted better so."""
    names, index = _tenths(time)
    blank = Part("time", names, index, position=time)
    timeline = Timeline.of(time, rows.weight, blocks_that_tell(rows.y, rows.weight))
    if timeline is None:
        sentence = (
            f"too few times to learn a decay ({len(np.unique(time))} of {len(time)} rows): rows "
            "count alike"
        )
        return replace(blank, sentence=sentence)
    X = leading_directions(rows.X, rows.weight)
    cells = Cells.of(X, rows.y, rows.weight, timeline.bin, timeline.near.ages.shape[1])
    candidates = timeline.candidates()
    test = cells.combined(timeline.near.test)
    errors = np.stack([_log_errors(cells, timeline.near.train(one), test) for one in candidates])
    plain, numbers = len(candidates) - 1, {}
    if run.max_iter:
        learned, numbers = learn_decay(cells, timeline, test, candidates, errors, run)
        candidates = [*candidates, learned]
        more = _log_errors(cells, timeline.near.train(learned), test)
        errors = np.concatenate([errors, more[None]])
    # On few rows the best of many weightings is better by chance: plain weights may be worse.
    advantage = advantage_on(effective_size(rows.weight))
    found = average(errors, plain, STANDARD_ERRORS, advantage=advantage)
    if found.gain < STANDARD_ERRORS + advantage:
        return replace(blank, sentence=NO_DRIFT, numbers=numbers)
    mean = MeanWeighting.of(found.by_candidate, candidates, timeline.age, rows.weight)
    if is_worse_ahead(cells, timeline.far, mean):
        return replace(blank, sentence=NEAR_ALONE, numbers=numbers)
    weight = mean(timeline.age)
    weight /= weight.max()
    by_name = shares_by_name(found.by_candidate, candidates, is_last_learned=bool(numbers))
    blank = replace(blank, average=by_name, numbers=numbers)
    return replace(blank, sentence=_sentence(timeline.age[weight < 0.5], unit), weight=weight)


def _sentence(ages, unit):
    """What was found, given the ages of rows that count less than half."""
    if not len(ages):
        return "older rows count less, but none less than half"
    return f"rows older than {ages.min():.3g} {unit or '(by time)'} count less than half"


def _log_errors(cells, train, test):
    """Of each block, by strength: (n_strengths, n_blocks)."""
    coef = ridge_path(cells.combined(train), cells.n_targets, STRENGTHS)
    return np.log(squared_errors(coef, test, cells.n_targets) + EXACT).T


def _tenths(time):
    """Names of tenths of the rows by age, and the one that each row is in."""
    age = time.max() - time
    edges = np.unique(np.quantile(age, np.linspace(0, 1, 11)))
    index = np.searchsorted(edges[1:-1], age, side="right")
    pairs = pairwise(edges) if len(edges) > 1 else [(0.0, 0.0)]
    return [f"age {low:.3g} to {high:.3g}" for low, high in pairs], index


def decay_problem(cells, timeline, test, initial):
    """Log half-life, logit of the floor, log strength: fits to weighted bins, blocks above."""
    from ..linalg._tensors import to_tensor
    from ._problem import make_problem

    ages, products = to_tensor(timeline.near.ages), to_tensor(cells.products)
    flat = products.reshape(len(products), -1)
    before = (ages >= 0).to(flat)

    def combine(hyper):
        floor = hyper[1].sigmoid()
        weight = floor + (1 - floor) * (-ages.clamp_min(0) * hyper[0].neg().exp() * LOG_2).exp()
        return ((weight * before) @ flat).reshape(-1, *products.shape[1:]), hyper[2].exp()

    lives = [one.half_life for one in timeline.candidates() if isinstance(one, Decay)]
    bounds = (
        [np.log(min(lives) / BEYOND), LOGITS[0], np.log(STRENGTHS[0] / BEYOND)],
        [np.log(max(lives) * BEYOND), LOGITS[1], np.log(STRENGTHS[-1] * BEYOND)],
    )
    return make_problem(combine, test, cells.n_targets, initial, bounds, logarithm=EXACT)


def learn_decay(cells, timeline, test, candidates, errors, run):
    """A `Decay` from the best one among the candidates, and what it is by name."""
    from ._problem import learn

    decays = [i for i, one in enumerate(candidates) if isinstance(one, Decay)]
    mean = errors[decays].mean(axis=2)
    which, strength = np.unravel_index(mean.argmin(), mean.shape)
    best = candidates[decays[which]]
    logit = np.log(best.floor / (1 - best.floor)) if best.floor else LOGIT_OF_NONE
    initial = [np.log(best.half_life), logit, np.log(STRENGTHS[strength])]
    hyper = learn(decay_problem(cells, timeline, test, initial), run)
    learned = Decay(float(np.exp(hyper[0])), float(1 / (1 + np.exp(-hyper[1]))))
    names = ("log half-life", "logit floor", "log strength")
    return learned, dict(zip(names, hyper.tolist(), strict=True))
