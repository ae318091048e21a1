"""What to minimise: objectives, problems, and the papers' examples."""

from ._averaged import AveragedObjective
from ._base import BilevelProblem, CurvatureProducts, FunctionObjective, Gradients, Objective
from ._examples import merely_convex_problem, strongly_convex_problem

__all__ = [
    "AveragedObjective",
    "BilevelProblem",
    "CurvatureProducts",
    "FunctionObjective",
    "Gradients",
    "Objective",
    "merely_convex_problem",
    "strongly_convex_problem",
]
