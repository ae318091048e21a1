"""What a run tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


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
        of one solution of the lower level.
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
    """The `Callback` of a function of state and row; one that does nothing for None."""
    if isinstance(callback, Callback):
        return callback
    return Callback(
        lambda iteration: None,
        lambda snapshot: callback is not None and callback(snapshot.state, snapshot.row),
    )
