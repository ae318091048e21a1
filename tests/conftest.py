"""What the tests of the core share: the table of example problems."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from skbamm.problems import merely_convex_problem, strongly_convex_problem
from tests.reference.regression import penalty_problem


def boxed_problem(dtype=torch.float64):
    """MC in a box that its path to the optimum runs into."""
    return replace(merely_convex_problem(3, dtype=dtype), lower_bound=-0.5, upper_bound=0.6)


#: Name of each problem and a function of the dtype that builds it.
EXAMPLE_PROBLEMS = {
    "merely convex": lambda dtype=torch.float64: merely_convex_problem(3, dtype=dtype),
    "boxed": boxed_problem,
    "strongly convex": lambda dtype=torch.float64: strongly_convex_problem(3, dtype=dtype)[0],
    "group penalty": lambda dtype=torch.float64: penalty_problem("gram", "groups", dtype=dtype),
    "adaptive penalty": lambda dtype=torch.float64: penalty_problem(
        "rows", "adaptive", dtype=dtype
    ),
}


@pytest.fixture(params=EXAMPLE_PROBLEMS)
def problem(request):
    """Each of the example problems in turn."""
    return EXAMPLE_PROBLEMS[request.param]()
