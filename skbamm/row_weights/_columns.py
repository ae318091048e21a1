"""What users say of rows, checked: times, sources, annotators, the rows that are like new ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date
from numbers import Real
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RowColumns:
    """Columns of a fit, as given or `checked`; None for those that are not."""

    time: Any = None
    row_source: Any = None
    annotator: Any = None
    is_clean: Any = None
    target_source: Any = None
    # Once they are checked: a mask, what the target is called, and what times are in.
    is_target: Any = None
    target_name: str = "target"
    time_unit: str = ""

    @classmethod
    def of(cls, told, target_source):
        """From the columns, in their order, but for the last."""
        time, row_source, annotator, is_clean = told
        return cls(time, row_source, annotator, is_clean, target_source)

    def __bool__(self):
        told = (self.time, self.row_source, self.annotator, self.is_clean, self.target_source)
        return any(one is not None for one in told)

    def checked(self, n_samples):
        """The same as arrays of one entry for each row; what the user said of the target in one."""
        time, unit = _times(self.time, n_samples)
        source = _labels(self.row_source, "row_source", n_samples)
        annotator = _labels(self.annotator, "annotator", n_samples)
        is_target, name = _mask(self.is_clean, n_samples), "target"
        if self.target_source is not None:
            is_target = self._of_target(source, is_target)
            name = str(source[is_target][0])
        if source is not None and is_target is None:
            raise ValueError(
                "row_source needs to know which rows are like those that are predicted: pass "
                "target_source=, one of the sources, or a mask is_clean= of rows, some of them "
                "True."
            )
        if is_target is not None and source is None:
            source = np.where(is_target, "target", "other rows")
        told = {"is_target": is_target, "target_name": name, "time_unit": unit}
        return RowColumns(time, source, annotator, **told)

    def _of_target(self, source, is_clean):
        if source is None:
            raise ValueError("target_source needs row_source=, the source of each row.")
        if is_clean is not None:
            raise ValueError(
                "Pass is_clean or target_source, not both: either says which rows count."
            )
        if np.ndim(self.target_source):
            raise ValueError(
                "target_source must be one of the sources; for rows of several give a mask of them "
                f"as is_clean. Got {self.target_source!r}."
            )
        is_target = _column(self.row_source, "row_source", len(source)) == self.target_source
        if source.dtype.kind == "U":  # labels of several types have become strings
            is_target = is_target | (source == str(self.target_source))
        if not np.any(is_target):
            known = np.unique(source)[:20].tolist()
            raise ValueError(
                f"target_source={self.target_source!r} is none of the sources: {known}."
            )
        return is_target

    def rows(self, kept):
        """Those of some rows, once they are checked."""
        names = ("time", "row_source", "annotator", "is_target")
        found = {name: getattr(self, name) for name in names}
        some = {name: one[kept] for name, one in found.items() if one is not None}
        return replace(self, **some)


def _column(values, name, n_samples):
    if values is None:
        return None
    found = np.asarray(values)
    if found.ndim != 1 and found.shape != (n_samples, 1):
        raise ValueError(f"{name} must be one column: got an array of shape {found.shape}.")
    found = found.ravel()
    if len(found) != n_samples:
        raise ValueError(
            f"{name} must have an entry for each row: got {len(found)} for {n_samples}."
        )
    return found


def _times(values, n_samples):
    """As float64, and their unit: "days" of dates, else "", which is not known."""
    found = _column(values, "time", n_samples)
    if found is None:
        return None, ""
    if found.dtype.kind == "O":
        known = [one for one in found if not _is_missing(one)]
        if all(isinstance(one, date) for one in known):
            found = np.array([_without_zone(one) for one in found], "datetime64[ns]")
        elif all(isinstance(one, Real) for one in known):
            found = np.array([np.nan if _is_missing(one) else float(one) for one in found])
    unit = "days" if found.dtype.kind == "M" else ""
    if found.dtype.kind == "M":
        gaps = np.isnat(found)
        # Nanoseconds end in 2262.
        found = found.astype("datetime64[us]").astype(np.int64) / 86400e6
        found[gaps] = np.nan
    if found.dtype.kind not in "iufb":
        raise TypeError(
            f"time must be numbers or dates: got an array of {found.dtype}. Convert it first, for "
            "example by pandas.to_datetime."
        )
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise ValueError(
            f"time must be known for each row: {np.count_nonzero(~np.isfinite(found))} entries are "
            "missing or infinite."
        )
    return found, unit


def _without_zone(one):
    """A date for NumPy, which has no time zones: in UTC. That of pandas with one is an object."""
    if _is_missing(one):
        return np.datetime64("NaT")
    if getattr(one, "tzinfo", None) is not None:
        one = one.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(one, "ns")


def _is_missing(one):
    """None, NaN, NaT or the NA of pandas, which cannot be compared."""
    return one is None or type(one).__name__ == "NAType" or one != one


def _labels(values, name, n_samples):
    found = _column(values, name, n_samples)
    if found is None:
        return None
    n_missing = sum(map(_is_missing, found.tolist()))
    if n_missing:
        raise ValueError(f"{name} must be known for each row: {n_missing} entries are missing.")
    # Labels of several types have no order.
    return found.astype(str) if found.dtype.kind == "O" else found


def _mask(values, n_samples):
    """None where no row is True."""
    found = _column(values, "is_clean", n_samples)
    if found is None:
        return None
    if not np.isin(found, (0, 1)).all():
        raise ValueError("is_clean must be a mask of True and False.")
    return found.astype(bool) if found.any() else None
