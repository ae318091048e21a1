"""Weights and levels by source, compared by the error of rows that are like those to predict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.stats import chi2, norm

from ..data._folds import position_folds
from ._average import average, shares_by_name
from ._cells import Cells, leading_directions, ridge_path, squared_errors
from ._record import Part

# Common weights of rows of other sources, a row of the target having 1: about a factor of 3 apart.
WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
# Ridge penalties of a source's level, in rows: levels of a source of so many rows are halved. None:
# no levels.
LEVELS = (np.inf, 3.0, 30.0)
STRENGTHS = np.logspace(-1, 4, 11)
N_FOLDS, FEW_ROWS, REPEATS = 5, 1000, 3
# Errors of at most so many rows, or groups of rows, are compared.
MOST_GROUPS = 2000
# Fewer verified rows say nothing of others.
FEWEST = 5
# Of shares. Heart and communities, of pooled rows' error, with 100, 50 and 20 verified ones: .97,
# .83 and .82, and .98, .97 and .96; 0.5 and 1.5 are within a standard error of that.
STANDARD_ERRORS = 1.0
# By how much, in standard errors, pooled rows with levels may be worse and still count as much: 20
# rows find the best of 200 fits by luck.
ADVANTAGE = 1.0
# Rows are left as they are where no fit is better by more than this, in standard errors, and levels
# vary no more than by chance. With the sources of heart and communities shuffled: 1.003 of pooled
# rows' error (1.007 without the rule); next to nothing is lost where sources are what they are.
SIGN = 1.5
# Levels of all sources, or the target's own (two-sided .9), vary by chance alone as much as this
# once in twenty times. Without as sure a sign (more than by chance in the mean) half of the tables
# whose sources were shuffled showed levels; without the second one the target is overlooked that
# differs from sources that are alike (heart disease with 20 rows .90 for .83).
LEVEL_SIGN = 0.95
# Of a class, rows of another source count at least this share of what they would without levels.
LEAST_OF_CLASS = 0.05
NO_DIFFERENCE = "no sign that sources differ: rows count alike"
ALL_VERIFIED = "all rows are of the target: rows count alike"


@dataclass(frozen=True)
class Candidate:
    """A common weight of the other sources, and the penalty of their levels."""

    weight: float
    level: float

    def __str__(self):
        with_levels = "" if np.isinf(self.level) else f", levels shrunk by {self.level:.3g} rows"
        return f"weight {self.weight:.3g}{with_levels}"


@dataclass(frozen=True)
class Sources:
    """A cell of all other sources, then those of the target's rows by fold, of each repeat."""

    cells: Cells
    sums: np.ndarray  # (n_sources, d), of the weighted rows of each other source
    train: np.ndarray  # (n_folds, n_cells), the target's part of it
    test: np.ndarray  # (n_folds, n_cells)

    def kept(self, candidate):
        """Cross-products of the other sources, less what their levels take of them.

        A level with the penalty c that is fitted for itself leaves ``S - s s' / (n + c)`` of a
        source's cross-products S, where s is the sum of its rows and n their weight: whatever the
        weight of the source.
        """
        total = self.cells.products[0]
        if not np.isinf(candidate.level):
            size = self.sums[:, -1:] + candidate.level
            total = total - (self.sums / size).T @ self.sums
        return candidate.weight * total

    def levels(self, coef, penalty):
        """Of each source, given a fit's coefficients: (n_sources, n_targets)."""
        return self.residuals(coef, self.sums) / (self.sums[:, -1:] + penalty)

    def residuals(self, coef, sums):
        """Of sums over rows, (n_sources, n_targets)."""
        p = self.cells.n_features
        return sums[:, p:-1] - sums[:, [*range(p), -1]] @ coef

    def own(self):
        """Cross-products of all rows of the target."""
        n_folds = int(self.train[0].sum()) + 1
        return self.cells.products[1 : 1 + n_folds].sum(axis=0)


def learn_source(rows, source, is_target, run, seed=0, name="target"):
    """A `Part` of a weight and a level of the other sources' rows; its first entry is the target.

    `source` are labels of rows; those of the target, by a mask, have weight 1 and no level. Errors
    of these, each predicted from the others of them and all other rows, are compared.
    """
    found, others = np.unique(source[~is_target], return_inverse=True)
    index = np.zeros(len(source), int)
    index[~is_target] = 1 + others
    names = found.astype(str).tolist()
    blank = Part("source", [f"{name} (verified)" if name in names else name, *names], index)
    own = np.flatnonzero(is_target)
    if len(own) == len(source):
        return replace(blank, sentence=ALL_VERIFIED)
    if len(own) < FEWEST:
        sentence = f"only {len(own)} rows of the target, of {FEWEST} at least: rows count alike"
        return replace(blank, sentence=sentence)
    X = leading_directions(rows.X, rows.weight)
    n_repeats = REPEATS if len(own) <= FEW_ROWS else 1
    # Places among the target's rows, not among all: the same whatever else there is.
    n_folds = min(N_FOLDS, len(own))
    blocks = [position_folds(len(own), n_folds, seed + repeat) for repeat in range(n_repeats)]
    sources = _make_sources(X, rows, own, others, blocks)
    candidates = [
        Candidate(weight, level)
        for level in LEVELS
        for weight in WEIGHTS
        if weight or np.isinf(level)
    ]
    Z, targets = sources.cells.standardized(X[own], rows.y[own])
    held_out = _Errors(sources, Z, targets, rows.weight[own], blocks)
    errors = np.stack([held_out.of(one) for one in candidates])
    numbers = {}
    if run.max_iter:
        learned, numbers = learn_candidate(sources, candidates, errors, run)
        candidates = [*candidates, learned]
        errors = np.concatenate([errors, held_out.of(learned)[None]])
    pooled = candidates.index(Candidate(1.0, LEVELS[-1]))
    found = average(errors, pooled, STANDARD_ERRORS, advantage=ADVANTAGE)
    plain = average(errors, candidates.index(Candidate(1.0, np.inf)), STANDARD_ERRORS)
    by_name = shares_by_name(found.by_candidate, candidates, is_last_learned=bool(numbers))
    blank = replace(blank, average=by_name, numbers=numbers)
    if plain.gain < SIGN and not _levels_differ(sources, STRENGTHS[plain.first]):
        return replace(blank, sentence=NO_DIFFERENCE)
    weight, level = _mean(sources, candidates, found.share)
    return _weighed(blank, rows, ~is_target, others, weight, level * sources.cells.scale)


def _weighed(blank, rows, is_other, others, weight, level):
    """The `Part` with a weight of rows of other sources, and a level of each of these."""
    of_rows = np.where(is_other, weight, 1.0)
    sentence = f"rows of other sources have a weight of {weight:.2g}"
    if not level.any():
        return replace(blank, sentence=sentence, weight=of_rows)
    sentence += " and levels of their own"
    shift = np.zeros(rows.y.shape)
    shift[is_other] = level[others]
    if rows.labels is None:
        return replace(blank, sentence=sentence, weight=of_rows, level=shift)
    of_rows[is_other] *= class_weights(rows.y[is_other], rows.weight[is_other], others, level)
    return replace(blank, sentence=sentence, weight=of_rows)


def class_weights(y, weight, source, level):
    """Weights of rows by source and class, of mean 1 in each source, that take its levels off.

    `y` are indicators of classes. A model that fits classes of these shares has its intercept of
    the source shifted by the difference in their log odds, whatever kind of model it is.
    """
    size = np.bincount(source, weight)
    share = np.stack([np.bincount(source, weight * one) / size for one in y.T], axis=1)
    wanted = np.maximum(share - level, LEAST_OF_CLASS * share) * (share > 0)
    wanted /= wanted.sum(axis=1, keepdims=True)
    ratio = np.divide(wanted, share, where=share > 0, out=np.ones_like(share))
    return (ratio[source] * y).sum(axis=1)


def _levels_differ(sources, strength):
    """Whether levels vary more between sources, the target among them, than by chance.

    Of a fit to pooled rows; squared mean residuals, in standard errors, are chi-squared where they
    don't.
    """
    n_targets, own = sources.cells.n_targets, sources.own()
    total = own + sources.cells.products[0]
    sums = np.vstack([sources.sums, own[-1]])
    coef = ridge_path(total, n_targets, [strength])
    variance = squared_errors(coef, total, n_targets)[0]
    level = sources.residuals(coef[0], sums) / sums[:, -1:]
    square = sums[:, -1] * (level**2).mean(axis=1) / variance
    return (
        square.sum() > chi2.ppf(LEVEL_SIGN, len(sums) - 1) or square[-1] > norm.ppf(LEVEL_SIGN) ** 2
    )


def _make_sources(X, rows, own, others, blocks):
    """From the target's rows, the source of each other row, and the target's folds."""
    is_other = np.ones(len(rows.y), bool)
    is_other[own] = False
    # A row of the target is in one cell of each repeat: cells of the first repeat are formed with
    # all rows, those of the others by themselves and in the same units.
    n_folds = blocks[0].max() + 1
    label = np.zeros(len(rows.y), int)
    label[own] = 1 + blocks[0]
    cells = Cells.of(X, rows.y, rows.weight, label, 1 + n_folds)
    Z, targets = cells.standardized(X[own], rows.y[own])
    table, weight = np.column_stack([Z[:, :-1], targets, Z[:, -1]]), rows.weight[own]
    products = [cells.products]
    for fold in blocks[1:]:
        for k in range(n_folds):
            some = table[fold == k]
            products.append(((some * weight[fold == k, None]).T @ some)[None])
    n_repeats = len(blocks)
    test = np.eye(n_repeats * n_folds)
    train = np.kron(np.eye(n_repeats), 1 - np.eye(n_folds))
    beside = np.zeros((len(test), 1))
    cells = Cells(np.concatenate(products), cells.n_targets, cells.scale, cells.transform)
    sums = _sums_of_sources(X[is_other], rows.y[is_other], rows.weight[is_other], others)
    return Sources(
        cells, sums @ cells.transform, np.hstack([beside, train]), np.hstack([beside, test])
    )


def _sums_of_sources(X, y, weight, source):
    """Sums of the weighted rows ``[X, y, 1]`` of each source, (n_sources, d)."""
    size = source.max() + 1, len(source)
    indicators = sparse.csr_array((weight, (source, np.arange(len(source)))), shape=size)
    of_X = indicators @ X
    of_X = of_X.toarray() if sparse.issparse(of_X) else of_X
    return np.column_stack([of_X, indicators @ y, indicators @ np.ones(len(source))])


class _Errors:
    """Errors of the target's rows by candidate, strength and row, mean over the repeats."""

    def __init__(self, sources, Z, targets, weight, blocks):
        self.sources, self.Z, self.targets, self.blocks = sources, Z, targets, blocks
        self.own = sources.cells.combined(sources.train)
        self.n_groups = min(len(targets), MOST_GROUPS)
        self.group = np.arange(len(targets)) % self.n_groups
        self.weight = weight * self.n_groups / weight.sum()

    def of(self, candidate):
        n_targets = self.sources.cells.n_targets
        coef = ridge_path(self.own + self.sources.kept(candidate), n_targets, STRENGTHS)
        found = np.zeros((len(STRENGTHS), self.n_groups))
        n_folds = len(coef) // len(self.blocks)
        for repeat, fold in enumerate(self.blocks):
            for k in range(n_folds):
                rows = np.flatnonzero(fold == k)
                predicted = self.Z[rows] @ coef[repeat * n_folds + k]
                squares = ((predicted - self.targets[rows]) ** 2).mean(axis=2)
                for one, error in zip(found, squares * self.weight[rows], strict=True):
                    one += np.bincount(self.group[rows], error, self.n_groups)
        return found / len(self.blocks)


def _mean(sources, candidates, share):
    """Mean over the members: a weight, and the level of each source in units of the cells."""
    n_targets = sources.cells.n_targets
    own = sources.own()
    weight, level = 0.0, np.zeros((len(sources.sums), n_targets))
    for one, shares in zip(candidates, share, strict=True):
        weight += shares.sum() * one.weight
        if shares.any() and not np.isinf(one.level):
            coef = ridge_path(own + sources.kept(one), n_targets, STRENGTHS)
            for part, each in zip(shares, coef, strict=True):
                level += part * sources.levels(each, one.level)
    return weight, level


# Bounds of learned numbers, in logarithms: weight, penalty of levels, strength.
# Other rows are worth no more than the target's.
BOUNDS = ((np.log(1e-4), np.log(0.3), np.log(1e-2)), (0.0, np.log(3e3), np.log(1e6)))
NAMES = ("log weight", "log level penalty", "log strength")


def source_problem(sources, initial):
    """Log weight of the others, log penalty of levels (if any), log strength."""
    from ..linalg._tensors import to_tensor
    from ._problem import make_problem

    own = to_tensor(sources.cells.combined(sources.train))
    total, sums = to_tensor(sources.cells.products[0]), to_tensor(sources.sums)

    def combine(hyper):
        others = total
        if len(hyper) == 3:
            size = sums[:, -1:] + hyper[1].exp()
            others = total - (sums / size).T @ sums
        return own + hyper[0].exp() * others, hyper[-1].exp()

    test = sources.cells.combined(sources.test)
    kept = [0, 1, 2] if len(initial) == 3 else [0, 2]
    bounds = [np.array(bound)[kept] for bound in BOUNDS]
    return make_problem(combine, test, sources.cells.n_targets, initial, bounds)


def learn_candidate(sources, candidates, errors, run):
    """A `Candidate` from the best one that gives others a weight, and what it is by name."""
    from ._problem import learn

    weighed = [i for i, one in enumerate(candidates) if one.weight]
    mean = errors[weighed].mean(axis=2)
    which, strength = np.unravel_index(mean.argmin(), mean.shape)
    best = candidates[weighed[which]]
    initial = [np.log(best.weight), np.log(STRENGTHS[strength])]
    names = [NAMES[0], NAMES[-1]]
    if not np.isinf(best.level):
        initial.insert(1, np.log(best.level))
        names = list(NAMES)
    hyper = learn(source_problem(sources, initial), run)
    level = float(np.exp(hyper[1])) if len(hyper) == 3 else np.inf
    return Candidate(float(np.exp(hyper[0])), level), dict(zip(names, hyper.tolist(), strict=True))
