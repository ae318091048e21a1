"""Training rows that are read and checked block by block: files, memory maps, Arrow tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import FLOAT_DTYPES

from ..data._chunked_source import MappedRows, row_source
from ..data._columns import column_names, looked_up, names_of
from ..data._folds import make_folds, position_folds
from ..data._validation import has_validation_rows, validate_weight
from ..linalg._cross_products import FoldSums, column_shift
from ._input import n_repeats
from ._statistics import fold_statistics


def position_labels(n_folds, seed, n_repeats):
    """For each repeat a function of ``start, stop``: folds that follow from rows' positions."""
    return [partial(_folds_between, n_folds, seed + repeat) for repeat in range(n_repeats)]


def _folds_between(n_folds, seed, start, stop):
    return position_folds(stop - start, n_folds, seed, start)


def needs_rows(estimator):
    """Which option needs more than sums over the rows; empty for none."""
    if estimator.loss != "squared_error":
        return f"loss={estimator.loss!r}"
    if not isinstance(estimator.cv, Integral):
        return f"cv={estimator.cv!r}"
    return ""


def stream_statistics(estimator, stream, held_out, split_params):
    """`FoldStatistics`, or None where memory-mapped rows must be looked at themselves."""
    if has_validation_rows(*held_out):
        why = "X_val"
    elif estimator.loss != "squared_error":
        why = f"loss={estimator.loss!r}"
    else:
        fold_of, n_folds = _fold_functions(estimator, stream, split_params)
        if fold_of:
            return stream.statistics(fold_of, n_folds, estimator.fit_intercept)
        why = "a splitter whose test rows do not make up all rows"
    if isinstance(stream.source, MappedRows):
        return None
    raise ValueError(
        f"{why} needs all rows at once, but X is read block by block: pass arrays, or use an int "
        "or a splitter like KFold as cv and squared errors."
    )


def _fold_functions(estimator, stream, split_params):
    """For each repeat a function of ``start, stop`` to the folds of these rows."""
    seed, n_rows = estimator._seed(), len(stream.source)
    if isinstance(estimator.cv, Integral):
        n_folds = int(estimator.cv)
        return position_labels(n_folds, seed, n_repeats(estimator, n_rows)), n_folds
    empty, y = np.empty((n_rows, 0)), stream.targets()
    folds = make_folds(estimator.cv, empty, y, seed=seed, split_params=split_params)
    if folds.label is None:
        return [], 0
    return [lambda start, stop: folds.label[start:stop]], len(folds)


@dataclass(frozen=True)
class RowStream:
    """A source of rows with its targets and weights."""

    source: Any  # MappedRows or ArrowRows
    y: Any  # ndarray, or a name or list of names of columns of the source
    weight: Any  # ndarray, name of a column of the source, or None
    single_target: bool  # whether y is 1-D

    @classmethod
    def open(cls, X, y, sample_weight):
        """What `fit` was given; y and weights may be names of columns of files and tables."""
        single_target = isinstance(y, str)
        source = row_source(X, others=names_of(y, sample_weight, several=True))
        n_rows = np.empty((len(source), 0))
        if len(source) == 0:
            raise ValueError("Found array with 0 sample(s), but a minimum of 2 is required.")
        if y is None:
            raise ValueError("The estimator requires y to be passed, but the target y is None.")
        if column_names(y) is None:
            y = check_array(y, ensure_2d=False, dtype=FLOAT_DTYPES, input_name="y")
            check_consistent_length(n_rows, y)
            single_target = y.ndim == 1
        if sample_weight is not None and not isinstance(sample_weight, str):
            sample_weight = validate_weight(sample_weight, n_rows, "sample_weight")
        return cls(source, y, sample_weight, single_target)

    def blocks(self):
        """First row, X, y (2-D) and weights of each block in turn."""
        start = 0
        for X, columns in self.source.blocks():
            rows = slice(start, start + len(X))
            y = self.y[rows] if isinstance(self.y, np.ndarray) else looked_up(self.y, columns)
            weight = self.weight
            if isinstance(weight, str):
                weight = columns[weight]
                if (weight < 0).any():
                    raise ValueError(f"Negative values in sample_weight, column {self.weight!r}.")
            elif weight is not None:
                weight = weight[rows]
            yield start, X, np.asarray(y, dtype=np.float64).reshape(len(X), -1), weight
            start = rows.stop

    def statistics(self, fold_of, n_folds, fit_intercept):
        """`FoldStatistics` for each repeat, in one pass; `fold_of` as `_fold_functions` says."""
        repeats: list[FoldSums] = []
        for start, X, y, weight in self.blocks():
            if not repeats:
                shift = column_shift(X, y, fit_intercept)
                repeats = [FoldSums(shift, y.shape[1], n_folds) for _ in fold_of]
            for sums, folds in zip(repeats, fold_of, strict=True):
                sums.add(X, y, weight, folds(start, start + len(y)))
        return fold_statistics(repeats, len(self.source), self.single_target, overwrite=True)

    def targets(self):
        """y as an array of its own."""
        if isinstance(self.y, np.ndarray):
            return self.y
        y = np.concatenate([y for _, _, y, _ in self.blocks()])
        return y[:, 0] if self.single_target else y

    def whole(self):
        """X, y and weights, in memory."""
        X, columns = self.source.whole()
        return X, looked_up(self.y, columns), looked_up(self.weight, columns)
