"""Tables in the kind that the user works with; below every room."""

from __future__ import annotations

from importlib.util import find_spec

import narwhals as nw
import numpy as np


def dataframe_kind(X) -> str:
    """What kind of dataframe X is, as narwhals calls it; "" for none."""
    frame = nw.from_native(X, pass_through=True, eager_only=True)
    return str(frame.implementation.value) if isinstance(frame, nw.DataFrame) else ""


def native_index(X):
    """The index of a pandas dataframe as an array; None of anything else."""
    return np.asarray(X.index) if dataframe_kind(X) == "pandas" else None


def as_table(columns, kind=""):
    """A dataframe of columns, given as a dict of arrays.

    Parameters
    ----------
    columns : dict of str to ndarray
    kind : str, default=""
        What `dataframe_kind` told; "" is pandas. The dict is returned where that is not installed.
    """
    kind = kind or "pandas"
    return nw.to_native(nw.from_dict(columns, backend=kind)) if find_spec(kind) else columns
