"""SlBamm with published steps against a plain transcription of the paper."""

import numpy as np
import pytest

from skbamm.problems import BilevelProblem, merely_convex_problem, strongly_convex_problem
from skbamm.solvers import PowerLaw, SlBamm
from tests.reference.bamm import merely_convex_levels, sl_bamm, strongly_convex_levels
from tests.reference.problems import coupled_problem

N_ITER = 20


def merely_convex():
    return merely_convex_problem(4), merely_convex_levels()


def strongly_convex():
    return strongly_convex_problem(4)[0], strongly_convex_levels(4)


PROBLEMS = {"MC": merely_convex, "SC": strongly_convex, "coupled": coupled_problem}
AVERAGING = {"none": 0.0, "fixed": 0.1, "decaying": PowerLaw(0.9, 0.1)}
STEPS = {
    "constant": {"params_step": 0.1, "multiplier_step": 0.2, "hyper_step": 0.05},
    "power laws": {
        "params_step": PowerLaw(0.2, 0.01),
        "multiplier_step": PowerLaw(0.1, 0.0125),
        "hyper_step": PowerLaw(0.07, 0.3375),
    },
    "cauchy": {"params_step": 0.1, "multiplier_step": "cauchy", "hyper_step": 0.05},
}


def assert_equal_iterates(problem, levels, options, project=lambda x: x):
    def schedule(option):
        return option if callable(option) or option == "cauchy" else lambda k: option

    expected = sl_bamm(
        *levels,
        problem.initial_hyper.numpy(),
        problem.initial_params.numpy(),
        mu=schedule(options["averaging"]),
        beta=schedule(options["params_step"]),
        eta=schedule(options["multiplier_step"]),
        alpha=schedule(options["hyper_step"]),
        project=project,
        n_iter=N_ITER,
    )
    solver = SlBamm(**options)
    state = solver.init(problem)
    for x, y, v in expected[1:]:
        state = solver.step(problem, state)
        found = (state.hyper.numpy(), state.params.numpy(), state.multiplier.numpy())
        for array, correct in zip(found, (x, y, v), strict=True):
            # Both sides round differently in every iteration; nothing else may differ.
            np.testing.assert_allclose(array, correct, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("averaging", AVERAGING)
@pytest.mark.parametrize("name", PROBLEMS)
def test_iterates_are_those_of_the_paper(name, averaging, steps):
    problem, levels = PROBLEMS[name]()
    options = {"averaging": AVERAGING[averaging], **STEPS[steps]}
    assert_equal_iterates(problem, levels, options)


@pytest.mark.parametrize("name", PROBLEMS)
def test_projected_iterates_are_those_of_the_paper(name):
    problem, levels = PROBLEMS[name]()
    low, high = float(problem.initial_hyper.min()) - 0.01, float(problem.initial_hyper.max())
    boxed = BilevelProblem(
        problem.upper, problem.lower, problem.initial_hyper, problem.initial_params, low, high
    )
    options = {"averaging": 0.1, **STEPS["cauchy"]}
    assert_equal_iterates(boxed, levels, options, lambda x: np.clip(x, low, high))
