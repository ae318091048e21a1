"""How to minimise: one file for each algorithm, one loop, one history."""

from ._bamm import SlBamm
from ._base import Solver
from ._history import History, Status
from ._schedules import PowerLaw
from ._solve import Solution, solve

#: Name of each solver, as the estimators' ``solver`` parameter takes it.
SOLVERS = {"sl-bamm": SlBamm}


def get_solver(solver):
    """The solver of a name with its default options; an instance is returned as it is."""
    if isinstance(solver, str):
        try:
            return SOLVERS[solver]()
        except KeyError:
            raise ValueError(
                f"solver must be one of {sorted(SOLVERS)} or an instance: got {solver!r}."
            ) from None
    return solver


__all__ = [
    "SOLVERS",
    "History",
    "PowerLaw",
    "SlBamm",
    "Solution",
    "Solver",
    "Status",
    "get_solver",
    "solve",
]
