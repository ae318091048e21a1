"""What a run leaves behind, in NumPy only, so that it loads without torch."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np


class Status(enum.StrEnum):
    """Why a run ended.

    "undetermined": the lower level leaves params undetermined where the upper objective
    depends on them, and the method has no answer to that.
    """

    CONVERGED = "converged"
    MAX_ITER = "max_iter"
    DIVERGED = "diverged"
    STALLED = "stalled"
    STOPPED = "stopped"
    FROZEN = "frozen"
    UNDETERMINED = "undetermined"


@dataclass
class History:
    """Records of a run, one row for each iteration.

    Attributes
    ----------
    records : dict of str to ndarray of shape (n_iter, ...)
        "criterion" is the value of the upper objective (at the lower level's exact
        solution where the problem can compute it), "residual" the stationarity residual;
        "hypergradient_norm", "averaging" and "hyper".
        Where candidates were stacked, the second axis runs over them.
    """

    records: dict[str, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, name):
        return self.records[name]

    def keys(self):
        """List the names of the records.

        Returns
        -------
        names : dict_keys of str
            Such as "criterion".
        """
        return self.records.keys()

    def __iter__(self):
        return iter(self.records)

    def __len__(self):
        return len(next(iter(self.records.values()), ()))

    def __repr__(self):
        return f"History(n_iter={len(self)}, records={sorted(self.records)})"

    def candidate(self, index):
        """Take the records of one of several stacked candidates.

        Parameters
        ----------
        index : int
            Its position on the second axis.

        Returns
        -------
        history : History
            Records without that axis.
        """
        return History(
            {
                name: values if values.ndim == 1 else values[:, index]
                for name, values in self.records.items()
            }
        )


class Recorder:
    """Collects the rows of a `History`."""

    def __init__(self):
        self._rows: list[dict] = []

    def add(self, **row):
        self._rows.append({name: np.array(_numpy(value), copy=True) for name, value in row.items()})

    def __len__(self):
        return len(self._rows)

    def amend(self, first, **row):
        """Other values for the rows from `first` on."""
        values = {name: np.array(_numpy(value), copy=True) for name, value in row.items()}
        for kept in self._rows[first:]:
            kept.update(values)

    def history(self):
        names = self._rows[0] if self._rows else ()
        return History({name: np.stack([row[name] for row in self._rows]) for name in names})


def _numpy(value):
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value
