"""What is told of a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Watch:
    """Functions that `solve` calls before and after every step.

    Parameters
    ----------
    begin : callable
        ``begin(iteration)``, counted from 1.

    end : callable
        ``end(state, row, history, so_far)``: the new state and its record; a `History` that
        grows with the run and costs something only where it is read; and a function that
        returns the `Solution` as if the run had been stopped here, for the price of one solution
        of the lower level. The run stops when it returns True. It is not called for a step
        that diverged.
    """

    begin: Callable[[int], None]
    end: Callable[[Any, dict, Any, Callable], bool]

    def through(self, function, of_history=lambda history: history):
        """Hand on ``function(so_far())`` and ``of_history(history)`` instead.

        Parameters
        ----------
        function : callable
            Of a `Solution`, or of what another watch makes of it.
        of_history : callable, default=the same
            Of a `History`.

        Returns
        -------
        watch : Watch
            For the one who has them in that form.
        """

        def end(state, row, history, so_far):
            return self.end(state, row, of_history(history), lambda: function(so_far()))

        return Watch(self.begin, end)


def as_watch(callback):
    """The watch of a `solve`'s ``callback``; None for None."""
    if callback is None or isinstance(callback, Watch):
        return callback
    return Watch(lambda iteration: None, lambda state, row, history, so_far: callback(state, row))
