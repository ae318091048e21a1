"""Pictures of what a fit learned, each with the numbers behind it as a table.

matplotlib is imported when something is drawn.
"""

from ._convergence import ConvergenceDisplay
from ._penalty import PenaltyDisplay
from ._row_weight import RowWeightDisplay
from ._sample_weight import SampleWeightDisplay
from ._strength import StrengthDisplay
from ._target_weight import TargetWeightDisplay
from ._terms import TermDisplay

__all__ = [
    "ConvergenceDisplay",
    "PenaltyDisplay",
    "RowWeightDisplay",
    "SampleWeightDisplay",
    "StrengthDisplay",
    "TargetWeightDisplay",
    "TermDisplay",
]
