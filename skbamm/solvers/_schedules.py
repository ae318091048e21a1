"""Numbers that change with the iteration: constants and power laws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Schedule = float | Callable[[int], float]


@dataclass(frozen=True)
class PowerLaw:
    """``initial * (iteration + 1) ** -power``, iterations counted from 0.

    The averaging parameter and the step sizes of sl-BAMM's theory are of this kind:
    averaging ``PowerLaw(0.9, 0.1)`` is mu0 = .9, p0 = 10 of the paper.

    Attributes
    ----------
    initial : float
        Value in iteration 0.
    power : float, default=0.0
        How fast it falls; 0 for a constant.
    """

    initial: float
    power: float = 0.0

    def __call__(self, iteration: int) -> float:
        return self.initial * (iteration + 1) ** -self.power


def at(schedule, iteration: int) -> float:
    """Value of a number or of a callable of the iteration."""
    return float(schedule(iteration) if callable(schedule) else schedule)
