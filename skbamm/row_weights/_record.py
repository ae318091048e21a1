"""What was learned of the rows of a fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from scipy import sparse

# Values that differ by less, relative to their range, are one.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rows:
    """Validated rows with weight: columns of X, targets 2-D, weights of mean 1."""

    X: np.ndarray  # or sparse, (n_rows, n_features)
    y: np.ndarray  # (n_rows, n_targets)
    weight: np.ndarray  # (n_rows,)
    labels: np.ndarray | None = None  # numbers of classes, of which y are indicators
    unit: np.ndarray | float = 1.0  # (n_targets,), what 1 of y is in the user's numbers


@dataclass(frozen=True)
class Part:
    """What one kind of column says of the rows."""

    kind: str  # "time", "source" or "annotator"
    # Of its report: a name for each entry, and for each row which one it belongs to.
    names: list
    index: np.ndarray
    sentence: str = ""  # what was found, or why nothing was
    weight: np.ndarray | None = None  # (n_rows,); None: rows count alike
    level: np.ndarray | None = None  # (n_rows, n_targets), to be taken off the targets
    average: dict[str, float] = field(default_factory=dict)  # share of each candidate, by name
    numbers: dict[str, float] = field(default_factory=dict)  # that sl-BAMM learned, by name
    position: np.ndarray | None = None  # (n_rows,), times

    @property
    def found(self):
        return self.weight is not None or self.level is not None

    def means(self):
        """Of each entry: the number of its rows, their mean weight and mean level."""
        n = len(self.names)
        counts = np.bincount(self.index, minlength=n)

        def mean(values):
            return np.bincount(self.index, values, n) / counts.clip(1)

        weight = np.ones(n) if self.weight is None else mean(self.weight)
        level = np.zeros(n) if self.level is None else mean(self.level.mean(axis=1))
        return counts, weight, level


@dataclass(frozen=True)
class RowWeights:
    """Weights of all rows, of mean 1, and levels of their targets; what each kind says."""

    weight: np.ndarray  # (n_samples,)
    level: np.ndarray | None  # (n_samples, n_targets); None: no level is shifted
    parts: list[Part]
    items: np.ndarray | None = None  # (n_samples,), rows to be held out together

    @property
    def found(self):
        return any(part.found for part in self.parts)

    @property
    def status(self):
        return "; ".join(part.sentence for part in self.parts)

    @classmethod
    def of(cls, parts, kept, items=None):
        """Of `kept` rows, by a mask; others have weight 0."""
        n_samples = len(kept)
        weights = [part.weight for part in parts if part.weight is not None]
        weight = np.zeros(n_samples)
        weight[kept] = reduce(np.multiply, weights, np.ones(np.count_nonzero(kept)))
        if weight.any():
            weight[kept] /= weight[kept].mean()
        levels = [part.level for part in parts if part.level is not None]
        level = None
        if levels:
            level = np.zeros((n_samples, levels[0].shape[1]))
            level[kept] = sum(levels)
        return cls(weight, level, parts, items)

    def columns(self):
        """Of the report: a row for each source, annotator, or tenth of the times."""
        table: dict[str, list] = {
            name: [] for name in ("kind", "name", "n_rows", "weight", "level")
        }
        for part in self.parts:
            counts, weight, level = part.means()
            if part.weight is not None:
                weight = weight / part.weight.mean()
            table["kind"] += [part.kind] * len(counts)
            table["name"] += list(part.names)
            table["n_rows"] += counts.tolist()
            table["weight"] += weight.tolist()
            table["level"] += level.tolist()
        return {name: np.array(column) for name, column in table.items()}


def standardized(y, weight):
    """Columns of mean 0 and deviation 1, and what their deviations were; constant ones are 0.

    Half of the range is taken off first: its square may be beyond the range of numbers.
    """
    low, high = y.min(axis=0), y.max(axis=0)
    half = high / 2 - low / 2
    half = np.where(half > 0, half, 1.0)
    y = (y - (low / 2 + high / 2)) / half
    y = y - weight @ y / weight.sum()
    spread = np.sqrt(weight @ y**2 / weight.sum())
    spread = np.where(low < high, spread, 1.0)
    return y / spread, half * spread


def symmetric_bins(values, weight, n_bins):
    """Bins of about equal weight, an odd number of them: those of -values in reverse order.

    All rows of one value, but for rounding, are in the bin of the middle one.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.diff(ordered, prepend=-np.inf) > ROUNDING * np.ptp(values)
    tie = np.cumsum(first) - 1
    mass = np.bincount(tie, weight[order])
    beside = (np.cumsum(mass) - mass / 2) / mass.sum() - 0.5
    # Outwards where the middle is on an edge.
    steps = np.floor(np.abs(beside) * n_bins + 0.5 + ROUNDING).clip(max=n_bins // 2)
    found = np.unique(np.sign(beside) * steps, return_inverse=True)[1]
    index = np.empty(len(values), dtype=int)
    index[order] = found[tie]
    return index


def weighted_quantiles(values, weight, shares):
    """Values below which are such shares of the weight: a row of weight 2 is two rows."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    # Rounding of the sums must not decide between two rows.
    index = np.searchsorted(below, np.asarray(shares) * below[-1] * (1 - 1e-12))
    return values[order][index]


def equal_rows(X, kept):
    """A number for each different row of X, in order of first appearance; others have their own."""
    if sparse.issparse(X):
        X = X.tocsr()
        X.sum_duplicates()
        bounds = zip(X.indptr[:-1], X.indptr[1:], strict=True)
        keys = [X.indices[a:b].tobytes() + X.data[a:b].tobytes() for a, b in bounds]
    else:
        keys = [row.tobytes() for row in np.ascontiguousarray(X) + 0.0]  # of -0.0 too
    numbers: dict[bytes, int] = {}
    found = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
    items = np.empty(len(kept), dtype=int)
    items[kept] = found
    items[~kept] = len(numbers) + np.arange(np.count_nonzero(~kept))
    return items
