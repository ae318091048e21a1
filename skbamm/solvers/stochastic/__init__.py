"""Solvers on batches: one file for each algorithm, and their loop."""

from ._bamm import StochasticSlBamm
from ._f2sa import F2sa
from ._run import solve_on_batches
from ._soba import MaSoba, Soba
from ._stocbio import StocBio

__all__ = ["F2sa", "MaSoba", "Soba", "StocBio", "StochasticSlBamm", "solve_on_batches"]
