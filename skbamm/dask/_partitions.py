"""Dask collections as a list of partitions, each of which fits one worker."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np

from ._client import results


def is_collection(X):
    """Whether X is a Dask array or dataframe."""
    return isinstance(X, da.Array) or _is_frame(X)


@dataclass(frozen=True)
class Partitions:
    """Training rows by partition, in their order; none is computed yet.

    `columns` has delayed partitions of "X", "y" and whatever else there is for each row.
    """

    columns: dict[str, list]
    head: Any  # what X is like: array or dataframe of shape (0, n_features)
    lengths: Any  # (n_partitions,), numbers of rows; None where not known

    def __len__(self):
        return len(self.columns["X"])

    def counted(self, client):
        """With the numbers of rows: a pass over y, where they are not known."""
        if self.lengths is not None:
            return self
        counts = [dask.delayed(len)(partition) for partition in self.columns["y"]]
        lengths = np.array(results(client, client.compute(counts)), dtype=np.int64)
        return Partitions(self.columns, self.head, lengths)

    @property
    def n_samples(self):
        return int(self.lengths.sum())

    @property
    def starts(self):
        """Position of the first row of each partition."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def rows(self):
        """Arguments of each partition's work: its number and its columns."""
        names = list(self.columns)
        for number, values in enumerate(zip(*self.columns.values(), strict=True)):
            yield number, dict(zip(names, values, strict=True))

    def gathered(self, client):
        """All rows in memory: X, y and the other columns."""
        names, futures = list(self.columns), []
        for name in names:
            futures += client.compute(self.columns[name])
        arrays = iter(results(client, futures))
        return {name: _concatenated([next(arrays) for _ in range(len(self))]) for name in names}


def partitions_of(X, **others):
    """Partitions of X, with those of y and of other columns that go with it.

    Columns that are None are left out.
    """
    if not is_collection(X):
        raise TypeError(
            f"X must be a Dask array or dataframe: got {type(X).__name__}. For rows in memory use "
            "the estimator without Dask."
        )
    given = {name: value for name, value in others.items() if name == "y" or value is not None}
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
    for name, value in given.items():
        columns[name] = _delayed(_aligned(value, lengths, name))
        if len(columns[name]) != len(columns["X"]):
            raise ValueError(
                f"{name} must have as many partitions as X: got {len(columns[name])}, not "
                f"{len(columns['X'])}."
            )
    return Partitions(columns, head, lengths)


@contextlib.contextmanager
def naming(number):
    """Say in which partition a value is wrong."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"Partition {number}: {error}") from None


def by_partition(function, X, *labels, dtype, n_columns=None):
    """A lazy array of what ``function(partition, *labels)`` gives for each partition of X.

    One-dimensional where `n_columns` is None. Partitions without rows give none.
    """
    shape = () if n_columns is None else (n_columns,)
    empty = np.empty((0, *shape), dtype)
    options = {"function": function, "empty": empty}
    if all(isinstance(column, da.Array) for column in (X, *labels)):
        lengths = None if np.isnan(X.chunks[0]).any() else np.array(X.chunks[0])
        given = [partition for y in labels for partition in (_aligned(y, lengths, "y"), "i")]
        axes, new = ("i", {}) if n_columns is None else ("ik", {"k": n_columns})
        options |= {"new_axes": new, "dtype": dtype, "meta": empty, "concatenate": True}
        return da.blockwise(_unless_empty, axes, X, "ij", *given, **options)
    work = dask.delayed(_unless_empty, pure=False)
    partitions = partitions_of(X, **dict(zip(["y"], labels, strict=False)))
    arrays = [
        da.from_delayed(work(*columns.values(), **options), (np.nan, *shape), dtype)
        for _, columns in partitions.rows()
    ]
    return da.concatenate(arrays, allow_unknown_chunksizes=True)


def _unless_empty(partition, *others, function, empty):
    return function(partition, *others) if partition.shape[0] else empty


def _is_frame(X):
    """A dataframe or a series, without importing these where X is an array."""
    return (
        hasattr(X, "dask")
        and hasattr(X, "npartitions")
        and hasattr(X, "_meta")
        and (not isinstance(X, da.Array))
    )


def _aligned(column, lengths, name):
    """Cut where X is cut, if it is known where that is."""
    if _is_frame(column):
        return column
    if not isinstance(column, da.Array):
        raise TypeError(
            f"{name} must be a Dask array or series like X: got {type(column).__name__}."
        )
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
