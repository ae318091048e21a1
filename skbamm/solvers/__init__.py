"""How to minimise: one file for each algorithm, one loop, one history."""

from ._bamm import SlBamm
from ._base import Need, Solver, State
from ._history import Callback, History, Snapshot, Status
from ._iaptt import IapttGm
from ._implicit import Implicit
from ._linear_system import ConjugateGradient, NeumannSeries
from ._meha import Meha
from ._steps import PowerLaw
from ._unrolling import Bda, TruncatedUnrolling, Unrolling
from .loop._checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .loop._solve import Solution, get_solver, solve
from .lower._level import LowerGap

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


__all__ = [
    "SOLVERS",
    "Bda",
    "Callback",
    "Checkpoint",
    "ConjugateGradient",
    "History",
    "IapttGm",
    "Implicit",
    "LowerGap",
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
    "load_checkpoint",
    "save_checkpoint",
    "solve",
]
