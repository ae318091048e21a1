"""What a run tells, while it goes on and afterwards: NumPy only, so that it loads without torch."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


class Status(enum.StrEnum):
    """Why a run ended.

    "converged": the verified residual at the returned point is not above `tol`. "unsolved": the
    lower level could not be solved at the returned point, so that its criterion and residual
    are not to be trusted. "undetermined": the lower level leaves params undetermined where the
    upper objective depends on them, and the method has no answer to that. "exact": the initial
    point fits so exactly that only rounding could be learned; estimators find that, not `solve`.
    """

    CONVERGED = "converged"
    MAX_ITER = "max_iter"
    DIVERGED = "diverged"
    STALLED = "stalled"
    STOPPED = "stopped"
    FROZEN = "frozen"
    EXACT = "exact"
    UNDETERMINED = "undetermined"
    UNSOLVED = "unsolved"


@dataclass
class History:
    """Records of a run, one row for each iteration.

    Parameters
    ----------
    records : dict of str to ndarray of shape (n_iter, ...)
        "criterion" is the value of the upper objective and "lower" that of the lower one
        (at the lower level's exact solution where the problem can compute it), "residual"
        the stationarity residual, infinite where it is not known yet; "hypergradient_norm",
        "averaging", "hyper" and, where the solver has one, "multiplier_norm".

    initial : dict of str to ndarray
        "criterion", "lower" and "hyper" before the first iteration. The regressor adds
        "baseline", the criterion of the best fit with one strength for all features; all that it
        records is of its first repeat.
    """

    records: Mapping[str, np.ndarray] = field(default_factory=dict)
    initial: Mapping[str, np.ndarray] = field(default_factory=dict)

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

    def in_units(self, unit):
        """The same with gradients in another unit.

        Parameters
        ----------
        unit : float
            What residual and norm of the hypergradient are multiplied by.

        Returns
        -------
        history : History
            All else as it is.
        """
        gradients = ("residual", "hypergradient_norm")

        def mapped(name, values):
            return unit * values if name in gradients else values

        return History(self._mapped_records(mapped), self.initial)

    def with_hyper(self, function):
        """The same with a function of `hyper` in its place.

        Parameters
        ----------
        function : callable
            Of an array whose last axis is `hyper`.

        Returns
        -------
        history : History
            All else as it is.
        """

        def mapped(name, values):
            return function(values) if name == "hyper" else values

        initial = {name: mapped(name, value) for name, value in self.initial.items()}
        return History(self._mapped_records(mapped), initial)

    def _mapped_records(self, function):
        """``function(name, values)`` of each; of a run that goes on, when they are read."""
        records = _Lazy(lambda: list(self.records), lambda name: function(name, self.records[name]))
        return dict(records) if isinstance(self.records, dict) else records


class _Lazy(Mapping):
    """A mapping that makes values when they are read, and keeps none."""

    def __init__(self, names, make):
        self._names = names
        self._make = make

    def __getitem__(self, name):
        if name not in self._names():
            raise KeyError(name)
        return self._make(name)

    def __iter__(self):
        return iter(self._names())

    def __len__(self):
        return len(self._names())


class Recorder:
    """Collects the rows of a `History`, or the latest ones; some may be of an earlier run."""

    def __init__(self, earlier=None, max_rows=None):
        self._initial: dict = {}
        self._rows: list[dict] = []
        self._max_rows = max_rows
        self._n_dropped = 0
        if earlier is not None:
            self._initial = dict(earlier.initial)
            names = list(earlier)
            self._rows = [{name: earlier[name][k] for name in names} for k in range(len(earlier))]
            self._drop()

    def begin(self, **row):
        if self._initial:
            return
        self._initial = {name: np.asarray(value) for name, value in _numpy(row).items()}

    def add(self, **row):
        self._rows.append(_numpy(row))
        self._drop()

    def _drop(self):
        if self._max_rows is not None and len(self._rows) > self._max_rows:
            n_dropped = len(self._rows) - self._max_rows
            del self._rows[:n_dropped]
            self._n_dropped += n_dropped

    def __len__(self):
        return self._n_dropped + len(self._rows)

    def amend(self, first, **row):
        """Other values for the rows from `first` on."""
        values = _numpy(row)
        for kept in self._rows[max(first - self._n_dropped, 0) :]:
            kept.update(values)

    def copy(self):
        """Another one with the same rows, to go on with apart."""
        copied = Recorder(max_rows=self._max_rows)
        copied._initial, copied._rows = self._initial, [dict(row) for row in self._rows]
        copied._n_dropped = self._n_dropped
        return copied

    def history(self):
        return History(dict(self.live().records), dict(self._initial))

    def live(self):
        """A history that grows with the run, and stacks rows only where it is read."""
        rows = self._rows
        records = _Lazy(
            lambda: list(rows[0]) if rows else [],
            lambda name: np.stack([row[name] for row in rows]),
        )
        return History(records, self._initial)


def _numpy(row):
    """Copies of a row's tensors as arrays; numbers are as good."""
    return {
        name: value if isinstance(value, float | int) else value.numpy(force=True).copy()
        for name, value in row.items()
    }


@dataclass(frozen=True)
class Snapshot:
    """A run after one of its steps.

    Attributes
    ----------
    state : State
        The new one.
    row : dict
        What the history records of the step; its criterion is the latest known.
    history : History
        Grows with the run, and costs something only where it is read.
    solution : callable
        ``solution()`` returns the `Solution` as if the run had been stopped here, for the price
        of one solution of the lower level and one hypergradient.
    """

    state: Any
    row: dict
    history: Any
    solution: Callable[[], Any]


@dataclass(frozen=True)
class Callback:
    """Functions that `solve` calls before and after every step.

    Parameters
    ----------
    begin : callable
        ``begin(iteration)``, counted from 1.

    end : callable
        ``end(snapshot)`` gets a `Snapshot`. The run stops when it returns True. It is not called
        for a step that diverged.
    """

    begin: Callable[[int], Any]
    end: Callable[[Snapshot], Any]

    def mapped(self, of_solution, of_history=lambda history: history):
        """Hand on functions of solution and history in their place.

        Parameters
        ----------
        of_solution : callable
            Of a `Solution`, or of what another callback makes of it.
        of_history : callable, default=the same
            Of a `History`.

        Returns
        -------
        callback : Callback
            For the run that has them in the other form.
        """

        def end(snapshot):
            return self.end(
                replace(
                    snapshot,
                    history=of_history(snapshot.history),
                    solution=lambda: of_solution(snapshot.solution()),
                )
            )

        return Callback(self.begin, end)


def as_callback(callback):
    """The `Callback` of a function of state and row."""
    if isinstance(callback, Callback):
        return callback
    return Callback(lambda iteration: None, lambda snapshot: callback(snapshot.state, snapshot.row))
