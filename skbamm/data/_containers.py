"""How the rows and labels of a fit came, so that answers go back in the same containers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import narwhals as nw
import numpy as np

from ._tables import as_table, dataframe_kind


class PandasIndex:
    """An index of pandas. It travels as arrays, and is one again where pandas is installed."""

    def __init__(self, index):
        self._index: Any = index.copy()  # its names can be set
        self._plain: Any = None

    @property
    def labels(self):
        """An array of what names each row; tuples where there are several levels."""
        if self._index is not None:
            return np.asarray(self._index)
        levels = self._plain["levels"]
        if len(levels) == 1:
            return levels[0]
        tuples = np.empty(len(levels[0]), dtype=object)
        tuples[:] = list(zip(*levels, strict=True))
        return tuples

    def put_on(self, table, order=None):
        """On a new Series or frame, in place; in another order of the rows where one is given."""
        table.index = self._index.copy() if order is None else self._index[order]

    def __len__(self):
        return len(self.labels)

    @classmethod
    def joined(cls, parts):
        """Of a table that was cut into parts."""
        full = [part._index for part in parts if len(part)] or [parts[0]._index]
        return cls(full[0].append(full[1:]))

    def __getstate__(self):
        if self._index is None:
            return self._plain
        levels = [self._index.get_level_values(level) for level in range(self._index.nlevels)]
        return {
            "levels": [np.asarray(level) for level in levels],
            "dtypes": [_plain(level.dtype) for level in levels],
            "names": list(self._index.names),
        }

    def __setstate__(self, state):
        self._index, self._plain = None, state
        if find_spec("pandas"):
            import pandas

            columns = zip(state["levels"], state["dtypes"], state["names"], strict=True)
            levels = [pandas.Index(v, dtype=_native(d, "pandas"), name=n) for v, d, n in columns]
            several = len(levels) > 1
            self._index = pandas.MultiIndex.from_arrays(levels) if several else levels[0]


@dataclass(frozen=True)
class LabelContainer:
    """Of labels that came as a Series, or as a dataframe of one column."""

    backend: str  # the library, as narwhals calls it
    name: Any
    dtype: Any  # of pandas, or of narwhals for any other library
    index: Any = None  # a `PandasIndex`
    is_frame: bool = False
    is_chunk: bool = False  # an Array of pyarrow, which for narwhals is no Series

    @classmethod
    def of(cls, y):
        """None of any other y."""
        pyarrow = sys.modules.get("pyarrow")
        is_chunk = pyarrow is not None and isinstance(y, pyarrow.Array)
        if pyarrow is not None and is_chunk:
            y = pyarrow.chunked_array([y])
        table = nw.from_native(y, pass_through=True, eager_only=True, allow_series=True)
        is_frame = isinstance(table, nw.DataFrame)
        if is_frame and len(table.columns) != 1:
            return None
        series = table[table.columns[0]] if is_frame else table
        if not isinstance(series, nw.Series):
            return None
        backend = str(series.implementation.value)
        if backend != "pandas":
            return cls(backend, series.name, series.dtype, None, is_frame, is_chunk)
        native = series.to_native()
        return cls(backend, native.name, native.dtype, PandasIndex(native.index), is_frame)

    def filled(self, values):
        """Labels in such a container; an array where its library is not installed."""
        if not find_spec(self.backend):
            return values
        if self.backend == "pandas":
            import pandas

            # scikit-learn makes numbers of booleans, which are equal to them.
            known = {label: label for label in getattr(self.dtype, "categories", ())}
            if known:
                values = [known.get(label, label) for label in values.tolist()]
            series = pandas.Series(values, name=self.name)
            self.index.put_on(series)
            series = series.astype(_with_categories(self.dtype, series.unique()))
            return series.to_frame() if self.is_frame else series
        series = nw.new_series(self.name, values, backend=self.backend)
        series = series.cast(_with_categories(self.dtype, np.unique(values)))
        native = nw.to_native(series.to_frame() if self.is_frame else series)
        return native.combine_chunks() if self.is_chunk else native

    def __getstate__(self):
        return {**vars(self), "dtype": _plain(self.dtype)}

    def __setstate__(self, state):
        dtype = state["dtype"]
        if find_spec(state["backend"]):
            dtype = _native(dtype, state["backend"])
        vars(self).update(state, dtype=dtype)


def _plain(dtype):
    """A dtype by what any format of files knows: a name, categories, whether they are ordered."""
    if isinstance(dtype, list):  # it has travelled to where its library is not installed
        return dtype
    if isinstance(dtype, nw.dtypes.DType):
        categories = list(dtype.categories) if isinstance(dtype, nw.Enum) else []
        return [type(dtype).__name__, categories]
    if not hasattr(dtype, "ordered"):
        return [str(dtype)]
    categories = dtype.categories
    return ["category", np.asarray(categories), str(categories.dtype), bool(dtype.ordered)]


def _native(plain, backend):
    name, *rest = plain
    if backend != "pandas":
        kind = getattr(nw, name)
        return kind(rest[0]) if rest[0] else kind()
    if not rest:
        return name
    import pandas

    categories, dtype, ordered = rest
    return pandas.CategoricalDtype(pandas.Index(categories, dtype=dtype), ordered)


def _with_categories(dtype, labels):
    """A dtype that has all labels: y_val may have brought some that y did not have."""
    if isinstance(dtype, nw.Enum):
        new = [label for label in labels if label not in dtype.categories]
        return nw.Enum([*dtype.categories, *new]) if new else dtype
    if not hasattr(dtype, "ordered"):
        return dtype
    new = [label for label in labels if label not in dtype.categories]
    if not new:
        return dtype
    return type(dtype)([*dtype.categories, *new], dtype.ordered)


@dataclass(frozen=True)
class RowContainer:
    """How the rows of a fit came, and their labels; each None, or "", of arrays."""

    index: PandasIndex | None = None
    backend: str = ""  # of tables that describe rows
    y: LabelContainer | None = None

    @classmethod
    def of(cls, X, y=None):
        """Rows that X does not name are named by y."""
        kind, labels = dataframe_kind(X), LabelContainer.of(y)
        if kind == "pandas":
            return cls(PandasIndex(X.index), kind, labels)
        if kind or labels is None:
            return cls(None, kind, labels)
        return cls(labels.index, labels.backend, labels)

    def names(self, n_rows):
        """An array of what names each row: of pandas its index, else positions."""
        return np.arange(n_rows) if self.index is None else self.index.labels

    def labels(self, values):
        """Labels of the rows, in the container that y came in."""
        return values if self.y is None else self.y.filled(values)

    def table(self, columns, order=None):
        """Of a dict of arrays, as `as_table`; of pandas with the rows' own index.

        Columns are in an `order` of the rows, if one is given.
        """
        table = as_table(columns, self.backend)
        if self.index is not None and self.backend == "pandas" and type(table) is not dict:
            self.index.put_on(table, order)
        return table
