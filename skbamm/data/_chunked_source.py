"""Rows that are read block by block: memory-mapped arrays, parquet files and Arrow tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import FLOAT_DTYPES

from ..linalg._cross_products import row_blocks
from ._columns import check_names, index_columns
from ._files import is_number, open_dataset
from ._validation import validate_data

# Rows of Arrow data come in batches no longer than that.
BATCH_ROWS = 2**15
# So many rows at a time are put from columns into rows.
TURNED_ROWS = 4096


class MappedRows:
    """Rows of a memory-mapped array."""

    def __init__(self, X, **_):
        self._X = X
        self.shape = X.shape

    def __len__(self):
        return self.shape[0]

    def describe(self, estimator, *, reset):
        """Tell the estimator what its features are, or check that these are the same."""
        validate_data(estimator, self._X, reset=reset, skip_check_array=True)

    def blocks(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Floats without NaN and infinity, and no further columns."""
        for rows in row_blocks(*self.shape):
            yield check_array(self._X[rows], dtype=FLOAT_DTYPES, input_name="X"), {}

    def whole(self):
        return self._X, {}


class ArrowRows:
    """Rows of a parquet file, a folder of them, a pyarrow table or a pyarrow dataset.

    `features` are the columns to read as such, None for all that are neither an index of pandas
    nor `others`, which are read as well.
    """

    def __init__(self, data, *, features=None, others=()):
        needed = None if features is None else [*features, *others]
        self._dataset = open_dataset(data, needed)
        self._place = os.fspath(data) if isinstance(data, (str, os.PathLike)) else "its files"
        schema = self._dataset.schema
        if features is None:
            left_out = {*others, *index_columns(schema)}
            features = [name for name in schema.names if name not in left_out]
        self.names: Sequence[str] = list(features)
        self._others = list(others)
        check_names([*self.names, *self._others], schema.names)
        if not self.names:
            raise ValueError(f"X has no columns but {schema.names}, which are no features.")
        self.shape = (self._dataset.count_rows(), len(self.names))

    def __len__(self):
        return self.shape[0]

    def describe(self, estimator, *, reset):
        """Tell the estimator what its features are, or check that these are the same."""
        import pyarrow

        schema = pyarrow.schema([self._dataset.schema.field(name) for name in self.names])
        validate_data(estimator, schema.empty_table(), reset=reset, skip_check_array=True)

    def blocks(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Floats without NaN and infinity, and the other columns by name.

        A thread reads the next block while one is in use, in turns into the same memory: new
        memory for each would cost more than the reading. So a block is good until the next one.
        """
        n_columns = len({*self.names, *self._others})
        # Not in the thread, where scikit-learn's configuration is another.
        size = next(row_blocks(max(len(self), 1), n_columns)).stop
        return _one_ahead(self._blocks(min(size, BATCH_ROWS)))

    def _blocks(self, size):
        names = [*self.names, *dict.fromkeys(self._others)]
        memory = other = np.empty((0, len(self.names)), self._dtype())
        for batch in self._batches(names, size):
            if len(batch):
                if len(memory) < len(batch):
                    memory = np.empty((len(batch), len(self.names)), memory.dtype)
                yield (
                    _floats(batch, self.names, memory),
                    {name: _floats(batch, [name])[:, 0] for name in self._others},
                )
                memory, other = other, memory

    def _batches(self, columns, batch_size):
        options = {"columns": columns, "batch_size": batch_size, **_little_ahead(self._dataset)}
        try:
            yield from self._dataset.to_batches(**options)
        except OSError as error:  # a damaged page, a disk that fails
            raise OSError(f"X cannot be read from {self._place}: {error}") from error

    def _dtype(self):
        """float32 where all columns are."""
        from pyarrow import types

        fields = [self._dataset.schema.field(name) for name in self.names]
        return np.float32 if all(types.is_float32(field.type) for field in fields) else np.float64

    def whole(self):
        parts = [(X.copy(), columns) for X, columns in self.blocks()]
        if not parts:
            return np.empty(self.shape), {name: np.empty(0) for name in self._others}
        X = np.concatenate([X for X, _ in parts])
        others = {
            name: np.concatenate([columns[name] for _, columns in parts]) for name in self._others
        }
        return X, others


def row_source(X, **columns) -> Any:
    """`MappedRows` or `ArrowRows` of what `is_row_source`."""
    return (MappedRows if isinstance(X, np.memmap) else ArrowRows)(X, **columns)


def predicted(estimator, X, function, others=()):
    """`function` of the blocks of a source as one array, and the columns `others` of the source.

    From files and tables the columns that the estimator was fitted with are taken by name.
    """
    source = row_source(X, features=getattr(estimator, "feature_names_in_", None), others=others)
    source.describe(estimator, reset=False)
    parts = [(function(block), columns) for block, columns in source.blocks()]
    if not parts:
        raise ValueError("Found array with 0 sample(s), but a minimum of 1 is required.")
    found = {name: np.concatenate([columns[name] for _, columns in parts]) for name in others}
    return np.concatenate([values for values, _ in parts]), found


def _one_ahead(blocks):
    """The blocks, each being made while the one before is in use."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = thread.submit(next, blocks, None)
            yield block


def _little_ahead(dataset):
    """Options with which only few batches are in memory."""
    import pyarrow.dataset

    options: dict[str, Any] = {"batch_readahead": 1, "fragment_readahead": 1}
    if getattr(getattr(dataset, "format", None), "default_extname", "") == "parquet":
        # Otherwise whole row groups are, and damaged pages are read as numbers.
        options["fragment_scan_options"] = pyarrow.dataset.ParquetFragmentScanOptions(
            use_buffered_stream=True, pre_buffer=False, page_checksum_verification=True
        )
    return options


def _floats(batch, names, memory=None):
    """Columns of a batch side by side, in given memory of shape (n_rows or more, n_columns)."""
    columns = [_numbers(batch, name) for name in names]
    if memory is None:
        memory = np.empty((len(batch), len(names)))
    X = memory[: len(batch)]
    # So many rows stay in the processor's cache until their last column is in place.
    for start in range(0, len(X), TURNED_ROWS):
        rows = slice(start, start + TURNED_ROWS)
        np.stack([column[rows] for column in columns], axis=1, out=X[rows])
    if not np.isfinite(X.sum()):
        for name, column in zip(names, columns, strict=True):
            if not np.isfinite(column).all():
                what = "NaN" if np.isnan(column).any() else "infinity"
                raise ValueError(f"Input X contains {what}, in column {name!r}.")
    return X


def _numbers(batch, name):
    """A column of a batch, not copied where it is of floats without gaps."""
    import pyarrow
    from pyarrow import types

    column = batch.column(name)
    if not is_number(column.type):
        raise ValueError(f"Column {name!r} of X is not numeric: its type is {column.type}.")
    if not types.is_floating(column.type):
        # Rounded as by NumPy: not all whole numbers are numbers of double precision.
        column = column.cast(pyarrow.float64(), safe=False)
    return column.to_numpy(zero_copy_only=False)
