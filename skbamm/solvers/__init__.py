"""How to minimise: one file for each algorithm, two loops, one history."""

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
from .loop._checks import get_solver
from .loop._solve import Solution, solve
from .lower._level import LowerGap
from .stochastic import F2sa, MaSoba, Soba, StocBio, StochasticSlBamm

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

#: The same of those that take batches, which a `StochasticProblem` has.
STOCHASTIC_SOLVERS: dict[str, type[Solver]] = {
    "stochastic-sl-bamm": StochasticSlBamm,
    "soba": Soba,
    "ma-soba": MaSoba,
    "stocbio": StocBio,
    "f2sa": F2sa,
}

__all__ = [
    "SOLVERS",
    "STOCHASTIC_SOLVERS",
    "Bda",
    "Callback",
    "Checkpoint",
    "ConjugateGradient",
    "F2sa",
    "History",
    "IapttGm",
    "Implicit",
    "LowerGap",
    "MaSoba",
    "Meha",
    "Need",
    "NeumannSeries",
    "PowerLaw",
    "SlBamm",
    "Snapshot",
    "Soba",
    "Solution",
    "Solver",
    "State",
    "Status",
    "StocBio",
    "StochasticSlBamm",
    "TruncatedUnrolling",
    "Unrolling",
    "get_solver",
    "load_checkpoint",
    "save_checkpoint",
    "solve",
]
