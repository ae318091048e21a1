"""Columns of X by name: targets and weights among them, and those that are no features."""

from __future__ import annotations

import errno
import os
import sys
from collections import Counter

import narwhals as nw
import numpy as np

from ._tables import _frame, explanation


def column_names(columns):
    """Names of columns where `columns` is a name or a list of them, else None."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, (list, tuple)) and all(isinstance(name, str) for name in columns):
        return list(columns) or None
    return None


def names_of(y, *others, several=False):
    """All names among these; y may be a list of `several`."""
    names = column_names(y) if several or isinstance(y, str) else None
    return [*(names or []), *(name for name in others if isinstance(name, str))]


def looked_up(given, columns):
    """Named columns, side by side for a list of names; anything else as it is given."""
    if isinstance(given, str):
        return columns[given]
    names = column_names(given)
    return given if names is None else np.stack([columns[name] for name in names], axis=1)


def split_columns(X, y, *others, several=False, name="X"):
    """Which columns are named, X without them, and y and others with these columns for names."""
    names = names_of(y, *others, several=several)
    if not names or X is None:
        return names, X, y, *others
    refuse_files(X, name)
    if type(X).__module__.startswith("dask") and hasattr(X, "columns"):
        check_names(names, X.columns)
        rest = X.drop(columns=names)
    else:
        frame = _frame(X, name)
        if frame is None:
            raise TypeError(
                f"{names[0]!r} names a column, but {name} has no names of columns: it is of type "
                f"{type(X).__name__}. Pass a dataframe, or the values themselves."
            )
        if isinstance(frame, nw.LazyFrame):
            raise TypeError(explanation(X, ""))
        check_names(names, frame.columns)
        rest = features_only(frame.drop(names).to_native(), ())
    if len(rest.columns) == 0:
        raise ValueError(f"{name} has no columns but {names}, which are no features.")

    def values(given):
        if isinstance(given, str):
            return X[given]
        own = names_of(given, several=several)
        if not own:
            return given
        return X.select(own) if _is_arrow(X) else X[own]

    return names, rest, values(y), *map(values, others)


def check_names(names, known):
    """Raise unless there is one column of each name."""
    counts = Counter(known)
    for name in names:
        if not counts[name]:
            raise ValueError(
                f"X has no column named {name!r}; its columns are {list(counts)[:20]}."
            )
        if counts[name] > 1:
            raise ValueError(f"X has {counts[name]} columns named {name!r}.")


def features_only(X, named):
    """A table without those of the `named` columns that are in it, and without pandas' index."""
    names = [*named, *(index_columns(X.schema) if _is_arrow(X) else ())]
    frame = _frame(X) if names else None
    if frame is None:
        return X
    left_out = [name for name in names if name in frame.columns]
    return frame.drop(left_out).to_native() if left_out else X


def _is_arrow(X):
    return type(X).__module__.startswith("pyarrow") and hasattr(X, "schema")


def index_columns(schema):
    """Names of the columns of Arrow data that pandas reads as its index."""
    stored = (schema.pandas_metadata or {}).get("index_columns", ())
    # A range is stored as a dict, not as a column.
    return [name for name in stored if isinstance(name, str) and name in schema.names]


def check_there(path):
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, "No such file or folder", os.fspath(path))


def refuse_files(X, name):
    """Raise where rows would have to be read from a file first."""
    if isinstance(X, (str, os.PathLike)):
        check_there(X)
        raise TypeError(
            f"{name} must be an array or a table: got the path {os.fspath(X)!r}. Read it first, "
            "for example by pandas.read_parquet(path), or save it as a .npy file and pass "
            "numpy.load(path, mmap_mode='r'). Only X of BilevelRegularizedRegressor may be a path."
        )
    dataset = sys.modules.get("pyarrow.dataset")
    if dataset is not None and isinstance(X, dataset.Dataset):
        raise TypeError(
            f"{name} must be an array or a table: got a {type(X).__name__}. Pass its to_table()."
        )
