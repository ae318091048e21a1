"""The data of a regression of which only sums are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..linalg._cross_products import Moments


@dataclass(frozen=True)
class SummedFolds:
    """Folds of `SummedRows`, by number.

    Attributes
    ----------
    repeat : int
        Which of several assignments of rows to folds.
    held_out : tuple of int
    excluded : int or None
        A fold that is left out of all others' training rows as well.
    """

    repeat: int
    held_out: tuple[int, ...]
    excluded: int | None = None

    def __len__(self):
        return len(self.held_out)

    @property
    def is_partition(self):
        return self.excluded is None and len(self) > 1

    def nested(self):
        """For each fold: the other folds without its held-out rows, and the fold alone."""
        pairs = []
        for fold in self.held_out:
            others = tuple(other for other in self.held_out if other != fold)
            if len(others) > 1:  # with one fewer there are no rows to train on
                inner = SummedFolds(self.repeat, others, excluded=fold)
                pairs.append((inner, SummedFolds(self.repeat, (fold,))))
        return pairs


@dataclass(frozen=True)
class SummedRows:
    """Rows that were added up by fold: all that a squared error needs to know.

    Attributes
    ----------
    repeats : sequence of Moments
        Sums over all rows and over each fold, for each assignment of rows to folds.
    shift : ndarray of shape (n_features + n_targets,)
        What was taken off the columns.
    n_samples, n_targets : int
    single_target : bool
        Whether y was 1-D.
    """

    repeats: Sequence[Moments]
    shift: np.ndarray
    n_samples: int
    n_targets: int
    single_target: bool

    def __len__(self):
        return self.n_samples

    @property
    def n_features(self):
        return len(self.shift) - self.n_targets

    def target(self, index):
        """The same rows with one target, or a slice of the targets."""
        if isinstance(index, slice):
            return self
        kept = np.append(np.arange(self.n_features), self.n_features + index)
        columns = np.append(kept, len(self.shift))
        taken = np.ix_(columns, columns)
        return replace(
            self,
            repeats=[
                Moments(sums.total[taken], np.stack([part[taken] for part in sums.test]))
                for sums in self.repeats
            ],
            shift=self.shift[kept],
            n_targets=1,
        )

    def folds(self):
        """Those of each assignment that rows have weight in."""
        return [
            SummedFolds(repeat, tuple(np.flatnonzero(sums.test[:, -1, -1]).tolist()))
            for repeat, sums in enumerate(self.repeats)
        ]

    def moments(self, folds, validation, fit_intercept):
        """What was taken off the columns, and new `Moments` of the rows of the folds."""
        sums = self.repeats[folds.repeat]
        test = sums.test[list(folds.held_out)]
        if folds.excluded is None:
            return self.shift, Moments(sums.total.copy(), test)
        train = sums.total - sums.test[folds.excluded] - test
        return self.shift, Moments(sums.total.copy(), test, train)
