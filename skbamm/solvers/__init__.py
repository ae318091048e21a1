"""How to minimise: one file for each algorithm, one loop, one history."""

from ._bamm import SlBamm
from ._base import Need, Solver, State
from ._exact import Implicit
from ._history import Callback, History, Snapshot, Status
from ._iaptt import IapttGm
from ._implicit import ConjugateGradient, NeumannSeries
from ._meha import Meha
from ._solve import Solution, solve
from ._steps import PowerLaw
from ._unrolling import Bda, TruncatedUnrolling, Unrolling

#: Name of each solver, as the estimators' ``solver`` parameter takes it.
SOLVERS: dict[str, type[Solver]] = {
    "sl-bamm": SlBamm,
    "iaptt-gm": IapttGm,
    "meha": Meha,
    "unrolling": Unrolling,
    "truncated-unrolling": TruncatedUnrolling,
    "conjugate-gradient": ConjugateGradient,
    "neumann": NeumannSeries,
    "bda": Bda,
    "implicit": Implicit,
}


def get_solver(solver):
    """Look a solver up by its name.

    Parameters
    ----------
    solver : str or Solver
        A name in `SOLVERS`, or an instance.

    Returns
    -------
    solver : Solver
        With its default options; an instance is returned as it is.
    """
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
    "Bda",
    "Callback",
    "ConjugateGradient",
    "History",
    "IapttGm",
    "Implicit",
    "Meha",
    "Need",
    "NeumannSeries",
    "PowerLaw",
    "SlBamm",
    "Snapshot",
    "Solution",
    "Solver",
    "State",
    "Status",
    "TruncatedUnrolling",
    "Unrolling",
    "get_solver",
    "solve",
]
