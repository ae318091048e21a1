"""Dask collections as a list of partitions, each of which fits one worker, and their checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array as da
import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import FLOAT_DTYPES

from ..cleaning._input import label_columns
from ..data._containers import RowContainer
from ..data._validation import validate_weight
from ._client import on_each, results


def is_collection(X):
    """Whether X is a Dask array or dataframe."""
    return dask.is_dask_collection(X) and hasattr(X, "_meta")


@dataclass(frozen=True)
class Partitions:
    """Training rows by partition, in their order; none is computed yet."""

    columns: dict[str, list]  # delayed partitions of "X", "y" and what else there is for each row
    layout: dict[str, Any]  # names, or the number, of columns of each of these; None in 1-D
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
        same |= {"function": function, "layout": self.layout}
        return on_each(_naming, range(len(rows)), rows, *more, **same)

    def gathered(self, client):
        """All rows in memory: X, y and the other columns."""
        found = results(client, self.each(lambda **columns: columns))
        return {name: _concatenated([rows[name] for rows in found]) for name in self.columns}


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
    columns, layout = {"X": _delayed(X)}, {"X": _layout(X)}
    for name, value in others.items():
        if value is None and name != "y":
            continue
        columns[name] = _delayed(_aligned(value, lengths, name))
        layout[name] = _layout(value)
        if len(columns[name]) != len(columns["X"]):
            raise ValueError(
                f"{name} must have as many partitions as X: got {len(columns[name])}, not "
                f"{len(columns['X'])}."
            )
    return Partitions(columns, layout, head, lengths)


def _layout(collection):
    """Names of the columns of a dataframe, the number of those of an array."""
    if collection.ndim == 1:
        return None
    return list(collection.columns) if hasattr(collection, "columns") else collection.shape[1]


def _laid_out(value, layout, name):
    """A partition with the columns of its collection, in their order."""
    found = _layout(value)
    if found == layout:
        return value
    both = isinstance(found, list) and isinstance(layout, list)
    if both and len(found) == len(layout) and set(found) == set(layout):
        return value[layout]
    raise ValueError(f"{name} has other columns than its collection: {found} in place of {layout}.")


def _naming(number, columns, *more, function, layout, **same):
    """Say in which partition a value is wrong."""
    try:
        columns = {name: _laid_out(value, layout[name], name) for name, value in columns.items()}
        return function(*more, **columns, **same)
    except ValueError as error:
        raise ValueError(f"Partition {number}: {error}") from None


def checked_rows(X, y, weight=None):
    """Finite floats, y in two dimensions, weights not negative (or None); of no rows, too."""
    X, y = _floats(X, "X", FLOAT_DTYPES, accept_sparse="csr"), _floats(np.asarray(y), "y")
    _check_lengths(X, y=y, sample_weight=weight)
    if weight is not None:
        weight = validate_weight(weight, X, "sample_weight", all_zero=True) if len(y) else y
    return X, y if y.ndim > 1 else y[:, None], weight


def checked_labels(X, y, weight=None, is_clean=None):
    """Finite floats, labels, weights, a mask of rows with verified labels, and how rows came."""
    container = RowContainer.of(X, y)
    X = _floats(X, "X", FLOAT_DTYPES)
    _check_lengths(X, y=y, sample_weight=weight, is_clean=is_clean)
    if not len(X):
        return X, np.ravel(y), np.ones(0), np.zeros(0, dtype=bool), container
    return X, *label_columns(X, y, weight, is_clean, all_zero=True), container


def _floats(values, name, dtype=np.float64, **options):
    options |= {"dtype": dtype, "ensure_2d": name == "X", "ensure_min_samples": 0}
    return check_array(values, input_name=name, **options)


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
