"""What to minimise: objectives, problems, and the papers' examples."""

from ._averaged import AveragedObjective
from ._base import BilevelProblem, CurvatureProducts, FunctionObjective, Gradients, Objective
from ._examples import merely_convex_problem, strongly_convex_problem
from ._module import ModuleProblem, module_problem
from ._nonconvex_examples import sine_product_problem, sine_sum_problem, weighted_lasso_problem
from ._nonsmooth import Box, NonSmooth, WeightedL1

__all__ = [
    "AveragedObjective",
    "BilevelProblem",
    "Box",
    "CurvatureProducts",
    "FunctionObjective",
    "Gradients",
    "ModuleProblem",
    "NonSmooth",
    "Objective",
    "WeightedL1",
    "merely_convex_problem",
    "module_problem",
    "sine_product_problem",
    "sine_sum_problem",
    "strongly_convex_problem",
    "weighted_lasso_problem",
]
