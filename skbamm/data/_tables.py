"""Tables as users pass them: of which kind, which column is at fault, what is said by name."""

from __future__ import annotations

import os
import sys
from collections import Counter
from importlib.util import find_spec

import narwhals as nw
import numpy as np
from scipy import sparse


def dataframe_kind(X) -> str:
    """What kind of dataframe X is, as narwhals calls it; "" for none."""
    frame = _frame(X, eager_only=True)
    return str(frame.implementation.value) if isinstance(frame, nw.DataFrame) else ""


def as_table(columns, kind=""):
    """A dataframe of columns, given as a dict of arrays.

    `kind` is what `dataframe_kind` told; "" is pandas. The dict is returned where that is not
    installed.
    """
    kind = kind or "pandas"
    return nw.to_native(nw.from_dict(columns, backend=kind)) if find_spec(kind) else columns


def is_row_source(X):
    """Whether X is read block by block."""
    if isinstance(X, np.memmap):
        return X.ndim == 2 and X.dtype.kind in "fiu" and X.shape[1] > 0
    if isinstance(X, (str, os.PathLike)):
        return True
    if "pyarrow" not in sys.modules or not type(X).__module__.startswith("pyarrow"):
        return False
    import pyarrow.dataset

    return isinstance(X, (pyarrow.Table, pyarrow.dataset.Dataset))


def check_columns(X, name="X"):
    """Raise where columns hold dates, which would be fitted as numbers of nanoseconds or so."""
    frame = _frame(X, name, eager_only=True)
    if frame is not None:
        dates = [column for column, dtype in frame.schema.items() if dtype.is_temporal()]
        if dates:
            raise TypeError(
                f"{name} has columns of dates or times: {dates[:5]}. Make numbers of them first, "
                "for example of days since the first one, or leave them out."
            )
    elif getattr(getattr(X, "dtype", None), "kind", "") in ("m", "M"):
        raise TypeError(f"{name} must be of numbers: got an array of {X.dtype}.")


def explanation(X, error):
    """What scikit-learn's error does not say of a table: which column, and what to do."""
    frame = _frame(X)
    if isinstance(frame, nw.LazyFrame):
        return "X is a lazy frame, which has no rows yet: call collect() on it first."
    message = str(error)
    if message.startswith("Input X contains"):
        where = _where(X, frame, _has_gap)
        return f"The first such column is {where}." if where else ""
    if "convert" in message or isinstance(error, TypeError):
        where = _where(X, frame, _is_no_number)
        advice = "encode it as numbers first, for example with OneHotEncoder in a ColumnTransformer"
        return f"The first column that holds no numbers is {where}: {advice}." if where else ""
    return ""


def in_feature_order(values, feature_names, parameter):
    """A pandas object that is indexed by feature names, in the order of the features.

    Anything else is returned as it is: it has the order of the features already. Raises if the
    index holds names, but not those of the features.
    """
    if feature_names is None or not hasattr(values, "loc"):
        return values
    labels = list(values.index)
    names = list(feature_names)
    if labels == names or not all(isinstance(label, str) for label in labels):
        return values
    unlike = sorted(set(labels) ^ set(names))
    if unlike or len(labels) != len(names):
        raise ValueError(
            f"the index of {parameter} must be the names of the features, or numbers in their "
            f"order: these are in one of the two only: {unlike[:5]}."
        )
    return values.loc[names]


def columns_by_name(table, names, parameter):
    """Positions of columns in the order of names, of a table that has exactly these; else all.

    Some kinds of tables name columns by texts alone.
    """
    frame = _frame(table, parameter, eager_only=True)
    columns = [] if frame is None else list(frame.columns)
    for known in (list(names), [str(name) for name in names]):
        if set(columns) == set(known):
            return [columns.index(name) for name in known]
    return slice(None)


def _frame(X, name="X", *, eager_only=False):
    """The table as narwhals sees it; None where it is no table.

    Of Dask's, which are lazy, narwhals warns that their support moves to another package.
    """
    try:
        frame = nw.from_native(X, pass_through=True, eager_only=eager_only)
    except nw.exceptions.DuplicateError:
        counts = Counter(getattr(X, "column_names", None) or X.columns)
        twice = [column for column, count in counts.items() if count > 1]
        raise ValueError(
            f"{name} has several columns of one name: {twice[:5]}. Give each a name of its own, or "
            "pass an array."
        ) from None
    return frame if isinstance(frame, (nw.DataFrame, nw.LazyFrame)) else None


def _where(X, frame, is_bad):
    """Position, and name if there is one, of the first bad column; "" if none is found."""
    if frame is not None:
        for position, name in enumerate(frame.columns):
            if is_bad(frame[name].to_numpy()):
                return f"{position}, named {name!r}"
        return ""
    if sparse.issparse(X):
        entries = X.tocoo()
        bad = entries.col[~np.isfinite(entries.data)]
        return str(bad.min()) if len(bad) else ""
    values = np.asarray(X)
    if values.ndim != 2:
        return ""
    return next((str(j) for j in range(values.shape[1]) if is_bad(values[:, j])), "")


def _has_gap(column):
    try:
        return not np.isfinite(column.astype(np.float64)).all()
    except (TypeError, ValueError):  # pandas.NA and its like
        return True


def _is_no_number(column):
    try:
        column.astype(np.float64)
    except (TypeError, ValueError):
        return True
    return column.dtype.kind in "mM"
