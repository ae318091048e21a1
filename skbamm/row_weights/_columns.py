"""What users say of rows, checked: times, sources, annotators, the rows that are like new ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d


@dataclass(frozen=True)
class RowColumns:
    """Columns of a fit, as given; None for those that are not."""

    time: Any = None
    row_source: Any = None
    annotator: Any = None
    is_clean: Any = None
    target_source: Any = None

    @classmethod
    def of(cls, told, target_source):
        """From the columns, in their order, but for the last."""
        time, row_source, annotator, is_clean = told
        return cls(time, row_source, annotator, is_clean, target_source)

    def __bool__(self):
        return any(getattr(self, field.name) is not None for field in fields(self))

    def checked(self, n_samples):
        """The same as arrays of one entry for each row, `is_clean` for the rows of the target."""
        time = _times(self.time, n_samples)
        source = _labels(self.row_source, "row_source", n_samples)
        annotator = _labels(self.annotator, "annotator", n_samples)
        is_target = _mask(self.is_clean, n_samples)
        if self.target_source is not None:
            is_target = self._of_target(source, is_target)
        if source is not None and is_target is None:
            raise ValueError(
                "row_source needs to know which rows are like those that are predicted: pass "
                "target_source=, one of the sources, or a mask is_clean= of rows, some of them "
                "True."
            )
        if is_target is not None and source is None:
            source = np.where(is_target, "target", "other rows")
        return RowColumns(time, source, annotator, is_target)

    def _of_target(self, source, is_clean):
        if source is None:
            raise ValueError("target_source needs row_source=, the source of each row.")
        if is_clean is not None:
            raise ValueError(
                "Pass is_clean or target_source, not both: either says which rows count."
            )
        is_target = source == self.target_source
        if not np.any(is_target):
            known = np.unique(source)[:20].tolist()
            raise ValueError(
                f"target_source={self.target_source!r} is none of the sources: {known}."
            )
        return is_target

    def rows(self, kept):
        """Those of some rows."""
        values = (getattr(self, field.name) for field in fields(self))
        return RowColumns(*(None if one is None else one[kept] for one in values))


def _column(values, name, n_samples):
    if values is None:
        return None
    found = column_or_1d(np.asarray(values))
    if len(found) != n_samples:
        raise ValueError(
            f"{name} must have an entry for each row: got {len(found)} for {n_samples}."
        )
    return found


def _times(values, n_samples):
    """As float64; dates in days."""
    found = _column(values, "time", n_samples)
    if found is None:
        return None
    if found.dtype.kind == "M":
        gaps = np.isnat(found)
        found = found.astype("datetime64[ns]").astype(np.int64) / 86400e9
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
    return found


def _labels(values, name, n_samples):
    found = _column(values, name, n_samples)
    if found is None:
        return None
    missing = [one is None or one != one for one in found.tolist()]
    if any(missing):
        raise ValueError(f"{name} must be known for each row: {sum(missing)} entries are missing.")
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
