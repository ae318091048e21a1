"""What to minimise: objectives, problems, and the papers' examples."""

from importlib import import_module

from ._averaged import AveragedObjective
from ._base import BilevelProblem
from ._module import ModuleProblem, module_problem
from ._nonsmooth import Box, NonSmooth, WeightedL1
from ._objective import FunctionObjective, Objective
from ._point import CurvatureProducts, Gradients, Point
from ._projections import Ball, Simplex
from ._stochastic import StochasticProblem

# The papers' examples are loaded when they are asked for: no estimator needs them.
_EXAMPLES = {
    "merely_convex_problem": "._examples",
    "strongly_convex_problem": "._examples",
    "sine_product_problem": "._nonconvex_examples",
    "sine_sum_problem": "._nonconvex_examples",
    "weighted_lasso_problem": "._nonconvex_examples",
}

__all__ = [
    "AveragedObjective",
    "Ball",
    "BilevelProblem",
    "Box",
    "CurvatureProducts",
    "FunctionObjective",
    "Gradients",
    "ModuleProblem",
    "NonSmooth",
    "Objective",
    "Point",
    "Simplex",
    "StochasticProblem",
    "WeightedL1",
    "merely_convex_problem",
    "module_problem",
    "sine_product_problem",
    "sine_sum_problem",
    "strongly_convex_problem",
    "weighted_lasso_problem",
]


def __getattr__(name):
    if name not in _EXAMPLES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXAMPLES[name], __name__), name)


def __dir__():
    return __all__
