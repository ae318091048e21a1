"""Which rows are held out when."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state

from ._validation import level_of_caller

# Up to so many folds, counting smaller keys is faster than sorting.
FEW_FOLDS = 10


@dataclass(frozen=True)
class Folds:
    """Train and test rows of every fold."""

    splits: Sequence[tuple[np.ndarray, np.ndarray]]  # train and test indices
    # (n_samples,), the fold in which a row is held out, where every row is held out exactly once
    # and trains in all other folds; None for any other splitting.
    label: np.ndarray | None = None

    def __len__(self):
        return len(self.splits)

    def nested(self):
        """For each fold: the other folds without its held-out rows, and the fold alone.

        Only where rows are left for both.
        """
        pairs = []
        for k, (train, test) in enumerate(self.splits):
            inner = [
                (np.intersect1d(other, train), np.intersect1d(held_out, train))
                for index, (other, held_out) in enumerate(self.splits)
                if index != k
            ]
            inner = [split for split in inner if len(split[0]) and len(split[1])]
            if inner:
                pairs.append((Folds(inner), Folds([(train, test)])))
        return pairs

    @classmethod
    def from_labels(cls, label, n_folds):
        return cls(_LabelledSplits(label, n_folds), label)

    @classmethod
    def from_splits(cls, splits, n_samples):
        """Folds from a splitter's index pairs; recognises a partition of the rows."""
        splits = [(np.asarray(train), np.asarray(test)) for train, test in splits]
        label = np.full(n_samples, -1)
        held_out = np.zeros(n_samples, dtype=int)
        complement = True
        for k, (train, test) in enumerate(splits):
            label[test] = k
            np.add.at(held_out, test, 1)
            complement &= len(train) + len(test) == n_samples
            complement &= not np.isin(train, test).any() and len(np.unique(train)) == len(train)
        is_partition = complement and bool((held_out == 1).all())
        return cls(splits, label if is_partition else None)


class _LabelledSplits(Sequence):
    """Splits from the fold of each row, made when they are asked for: sums need none."""

    def __init__(self, label, n_folds):
        self._label = label
        self._n_folds = n_folds

    def __len__(self):
        return self._n_folds

    def __getitem__(self, index):
        fold = range(self._n_folds)[index]
        return np.flatnonzero(self._label != fold), np.flatnonzero(self._label == fold)


def seed_of(random_state):
    """An int; drawn where the parameter is none."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def position_folds(n_samples: int, n_folds: int, seed: int, start: int = 0) -> np.ndarray:
    """Fold of each row, a pseudo-random function of its position and the seed alone.

    Rows come in runs of `n_folds`, each run holding every fold once in an order of its
    own. So folds are balanced, sorted rows are no pitfall, and the fold of a row is known
    before the number of rows is. `start` is the position of the first row.
    """
    before = start % n_folds
    n_runs = -(-(before + n_samples) // n_folds)
    keys = position_keys(n_runs * n_folds, seed, start - before).reshape(n_runs, n_folds)
    rows = slice(before, before + n_samples)
    if n_folds > FEW_FOLDS:
        return keys.argsort(axis=1).argsort(axis=1).ravel()[rows]
    ranks = np.zeros(keys.shape, dtype=int)
    for other in range(n_folds):
        ranks += keys > keys[:, other, None]
    return ranks.ravel()[rows]


def position_keys(n_samples: int, seed: int, start: int = 0) -> np.ndarray:
    """A pseudo-random integer for each row, a function of its position and the seed alone."""
    positions = np.arange(start, start + n_samples, dtype=np.uint64)
    return _mix(positions ^ _mix(np.array([seed], dtype=np.uint64)))


def stratified_position_folds(y, n_folds: int, seed: int) -> np.ndarray:
    """`position_folds` within each class, the position counted among its own rows."""
    folds = np.empty(len(y), dtype=int)
    # In the order of their first rows, whatever classes are called.
    for index, label in enumerate(y[np.sort(np.unique(y, return_index=True)[1])]):
        rows = np.flatnonzero(y == label)
        # Rotated from class to class, so that rare classes do not all miss the same fold.
        folds[rows] = (position_folds(len(rows), n_folds, seed) + index) % n_folds
    return folds


def warn_of_few_rows(cv, n_rows, kind="rows"):
    """Warn where an int asks for more folds than there are rows of a kind: each is one then."""
    if isinstance(cv, Integral) and n_rows < cv:
        warnings.warn(
            f"cv={cv} asks for more folds than there are {kind}: {n_rows} folds of one row are "
            "made. Give more rows, or a smaller cv.",
            UserWarning,
            stacklevel=level_of_caller(),
        )


def make_folds(cv, X, y, *, seed, stratify=False, split_params=None, items=None) -> Folds:
    """Folds of an estimator's ``cv`` parameter: an int, a splitter, or a list of splits.

    `split_params` go to a splitter, as row ``groups`` do to `GroupKFold`. With an int, rows of one
    number in `items`, (n_samples,), are held out together.
    """
    n_samples = len(y)
    if isinstance(cv, Integral) and items is not None and items.max() + 1 < n_samples:
        n_items = int(items.max()) + 1
        n_folds = min(int(cv), n_items)
        if n_folds < 2:
            raise ValueError("All rows of X are equal: there is nothing to hold out.")
        return Folds.from_labels(position_folds(n_items, n_folds, seed)[items], n_folds)
    if isinstance(cv, Integral):
        n_folds = min(int(cv), n_samples)
        if n_folds < 2:
            raise ValueError(f"cv must be at least 2 folds: got cv={cv} for {n_samples} samples.")
        if stratify:
            label = stratified_position_folds(y, n_folds, seed)
        else:
            label = position_folds(n_samples, n_folds, seed)
        size = np.bincount(label, minlength=n_folds)
        if not size.all():
            label = (np.cumsum(size > 0) - 1)[label]
        return Folds.from_labels(label, np.count_nonzero(size))
    splits = [
        (_positions(train, n_samples), _positions(test, n_samples))
        for train, test in _splits(cv, X, y, split_params)
    ]
    if not splits:
        raise ValueError(
            "cv must yield at least one split: got none. A generator serves a single fit: pass a "
            "list of its splits."
        )
    for train, test in splits:
        if len(train) == 0 or len(test) == 0:
            raise ValueError(
                "cv must give every split at least one training and one test row: "
                f"got {len(train)} and {len(test)}."
            )
    return Folds.from_splits(splits, n_samples)


def _splits(cv, X, y, split_params):
    """Pairs of training and test rows as the user's ``cv`` names them; errors name it.

    `split_params` is None where `fit` takes none.
    """
    try:
        return [(train, test) for train, test in check_cv(cv).split(X, y, **(split_params or {}))]
    except (TypeError, ValueError) as error:
        if not hasattr(cv, "split"):
            raise ValueError(
                "cv must be an int, a splitter or an iterable of splits, each a pair of training "
                f"and test rows: got {type(cv).__name__} ({error}). For one fold label a row, pass "
                "sklearn.model_selection.PredefinedSplit(labels)."
            ) from None
        said = f"cv={cv!r} cannot split {len(y)} rows: {error}"
        if "groups" in str(error) and split_params is None:
            said += f" Pass its splits: cv=list({type(cv).__name__}().split(X, groups=groups))."
        elif "groups" in str(error) and split_params.get("groups") is None:
            said += " Pass the group of each row to fit, as groups=."
        raise (TypeError if isinstance(error, TypeError) else ValueError)(said) from error


def _positions(rows, n_samples):
    """Row numbers from 0, where a split names rows by a mask or counts from the end."""
    rows = np.asarray(rows)
    is_mask = rows.dtype == bool
    if rows.ndim != 1 or (rows.size and not is_mask and rows.dtype.kind not in "iu"):
        raise ValueError(
            "cv must give splits of row numbers, or of boolean masks: got an array of "
            f"{rows.dtype}, shape {rows.shape}."
        )
    if rows.size == 0:
        return rows.astype(int)
    if is_mask and len(rows) != n_samples:
        raise ValueError(f"cv has a mask of {len(rows)} entries, for {n_samples} rows.")
    outside = rows[(rows < -n_samples) | (rows >= n_samples)] if not is_mask else rows[:0]
    if len(outside):
        raise ValueError(
            f"cv has row {outside[0]}, but there are {n_samples} rows. Splits must be of the rows "
            "that fit gets: in a search or cross_validate, pass an int or a splitter."
        )
    return np.arange(n_samples)[rows]


def _mix(keys):
    """The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a good hash of integers."""
    with np.errstate(over="ignore"):
        keys = keys + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return keys ^ (keys >> np.uint64(31))
