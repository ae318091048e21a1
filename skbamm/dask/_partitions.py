"""Dask collections as a list of partitions, each of which fits one worker, and their checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import dask
import dask.array as da
import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import FLOAT_DTYPES

from ..data._containers import RowContainer
from ._client import on_each, results


def is_collection(X):
    """Whether X is a Dask array or dataframe."""
    return dask.is_dask_collection(X) and hasattr(X, "_meta")


@dataclass(frozen=True)
class Partitions:
    """Training rows by partition, in their order; none is computed yet."""

    columns: dict[str, list]  # delayed partitions of "X", "y" and what else there is for each row
    head: Any  # an ndarray or dataframe like X, without rows
    lengths: Any  # numbers of rows, ndarray of shape (n_partitions,); None if not known

    def counted(self, client):
        """With the numbers of rows: a pass over y, where they are not known."""
        if self.lengths is not None:
            return self
        counts = results(client, on_each(len, self.columns["y"]))
        return replace(self, lengths=np.array(counts, dtype=np.int64))

    @property
    def n_samples(self):
        return int(self.lengths.sum())

    @property
    def starts(self):
        """Position of the first row of each partition."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def each(self, function, *more, **same):
        """Delayed values of ``function(*more, **columns, **same)``, by partition."""
        rows = [
            dict(zip(self.columns, values, strict=True))
            for values in zip(*self.columns.values(), strict=True)
        ]
        return on_each(_naming, range(len(rows)), rows, *more, function=function, **same)

    def gathered(self, client):
        """All rows in memory: X, y and the other columns."""
        arrays = iter(results(client, list(chain(*self.columns.values()))))
        return {
            name: _concatenated([next(arrays) for _ in column])
            for name, column in self.columns.items()
        }


def partitions_of(X, **others):
    """Partitions of X, with those of y and of other columns that go with it.

    Columns that are None are left out.
    """
    if not is_collection(X):
        raise TypeError(
            f"X must be a Dask array or dataframe: got {type(X).__name__}. For rows in memory use "
            "the estimator without Dask."
        )
    lengths = None
    if isinstance(X, da.Array):
        if X.ndim != 2:
            raise ValueError(f"X must have two dimensions: got {X.ndim}.")
        X = X.rechunk({1: -1}) if X.numblocks[1] > 1 else X
        if not np.isnan(X.chunks[0]).any():
            lengths = np.array(X.chunks[0], dtype=np.int64)
        head = np.empty((0, X.shape[1]), dtype=X.dtype)
    else:
        head = X._meta
    columns = {"X": _delayed(X)}
    for name, value in others.items():
        if value is None and name != "y":
            continue
        columns[name] = _delayed(_aligned(value, lengths, name))
        if len(columns[name]) != len(columns["X"]):
            raise ValueError(
                f"{name} must have as many partitions as X: got {len(columns[name])}, not "
                f"{len(columns['X'])}."
            )
    return Partitions(columns, head, lengths)


def _naming(number, columns, *more, function, **same):
    """Say in which partition a value is wrong."""
    try:
        return function(*more, **columns, **same)
    except ValueError as error:
        raise ValueError(f"Partition {number}: {error}") from None


def checked_rows(X, y, weight=None):
    """Finite floats, y in two dimensions, weights not negative (or None); of no rows, too."""
    X, y = _floats(X, "X", FLOAT_DTYPES, accept_sparse="csr"), _floats(np.asarray(y), "y")
    weight = None if weight is None else _not_negative(weight)
    _check_lengths(X, y=y, sample_weight=weight)
    return X, y if y.ndim > 1 else y[:, None], weight


def checked_labels(X, y, weight=None, is_clean=None):
    """Finite floats, labels, weights, a mask of rows with verified labels, and how rows came."""
    container = RowContainer.of(X, y)
    X, y = _floats(X, "X", FLOAT_DTYPES), column_or_1d(y)
    weight = np.ones(len(y)) if weight is None else _not_negative(weight)
    clean = np.zeros(len(y), dtype=bool) if is_clean is None else np.asarray(is_clean)
    _check_lengths(X, y=y, sample_weight=weight, is_clean=clean)
    if len(y):
        check_classification_targets(y)
    if not np.isin(clean, (0, 1)).all():
        raise ValueError("is_clean must be a boolean mask.")
    return X, y, weight, clean.astype(bool), container


def _floats(values, name, dtype=np.float64, **options):
    options |= {"dtype": dtype, "ensure_2d": name == "X", "ensure_min_samples": 0}
    return check_array(values, input_name=name, **options)


def _not_negative(weight):
    weight = _floats(np.asarray(weight), "sample_weight")
    if (weight < 0).any():
        raise ValueError("Negative values in sample_weight.")
    return weight


def _check_lengths(X, **columns):
    for name, column in columns.items():
        if column is not None and len(column) != X.shape[0]:
            raise ValueError(f"{name} has {len(column)} rows where X has {X.shape[0]}.")


def by_partition(function, X, *labels, empty):
    """A lazy array of what ``function(partition, *labels)`` gives for each partition of X.

    Partitions without rows give `empty`, whose dtype and further axis are those of all.
    """
    options = {"function": function, "empty": empty}
    if all(isinstance(column, da.Array) for column in (X, *labels)):
        lengths = None if np.isnan(X.chunks[0]).any() else np.array(X.chunks[0])
        given = [partition for y in labels for partition in (_aligned(y, lengths, "y"), "i")]
        axes = "ik"[: empty.ndim]
        options |= {"new_axes": dict(zip(axes[1:], empty.shape[1:], strict=True)), "meta": empty}
        return da.blockwise(_unless_empty, axes, X, "ij", *given, concatenate=True, **options)
    partitions = partitions_of(X, **dict(zip(["y"], labels, strict=False)))
    shape = (np.nan, *empty.shape[1:])
    values = on_each(_unless_empty, *partitions.columns.values(), **options)
    arrays = [da.from_delayed(value, shape, empty.dtype) for value in values]
    return da.concatenate(arrays, allow_unknown_chunksizes=True)


def _unless_empty(partition, *others, function, empty):
    return function(partition, *others) if partition.shape[0] else empty


def _aligned(column, lengths, name):
    """Cut where X is cut, if it is known where that is."""
    if not is_collection(column):
        raise TypeError(
            f"{name} must be a Dask array or series like X: got {type(column).__name__}."
        )
    if not isinstance(column, da.Array):
        return column
    if column.ndim > 1 and column.numblocks[1] > 1:
        column = column.rechunk({1: -1})
    if lengths is None or np.isnan(column.chunks[0]).any():
        return column
    if sum(column.chunks[0]) != lengths.sum():
        raise ValueError(
            f"Found inconsistent numbers of samples: X has {lengths.sum()} rows, {name} has "
            f"{sum(column.chunks[0])}."
        )
    return column.rechunk({0: tuple(lengths.tolist())})


def _delayed(collection):
    return list(np.ravel(np.asarray(collection.to_delayed(), dtype=object)))


def _concatenated(arrays):
    if hasattr(arrays[0], "iloc"):
        import pandas

        return pandas.concat(arrays)
    if hasattr(arrays[0], "tocsr"):
        from scipy import sparse

        return sparse.vstack(arrays, format="csr")
    return np.concatenate(arrays)
