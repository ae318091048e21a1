"""IapttGm, Meha and the baselines with given steps against plain transcriptions."""

import numpy as np
import pytest

from skbamm.solvers import (
    Bda,
    ConjugateGradient,
    IapttGm,
    Meha,
    NeumannSeries,
    PowerLaw,
    TruncatedUnrolling,
    Unrolling,
)
from tests.reference import baselines
from tests.reference.iaptt import iaptt
from tests.reference.meha import meha
from tests.reference.problems import coupled_problem, sine_product, sine_sum, weighted_lasso

N_ITER = 20
NO_BOX = (-np.inf, np.inf)


def assert_same(solver, problem, expected, names):
    state = solver.init(problem)
    for point in expected:
        state = solver.step(problem, state)
        for name, correct in zip(names, point, strict=True):
            # Both sides round differently in every iteration; nothing else may differ.
            np.testing.assert_allclose(getattr(state, name), correct, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dynamics", ["gradient", "nesterov"])
@pytest.mark.parametrize("truncation", [True, False])
@pytest.mark.parametrize("name", ["coupled", "boxes"])
def test_iterates_of_iaptt_are_those_of_the_paper(name, truncation, dynamics):
    if name == "coupled":
        (problem, levels), x_box, y_box, s = coupled_problem(), NO_BOX, NO_BOX, 0.02
    else:
        (problem, levels), x_box, y_box, s = sine_product(), (1, 10), (-2, 2), 5e-4
    step = PowerLaw(0.1, 0.3)
    expected = iaptt(
        *levels,
        problem.initial_hyper.numpy(),
        problem.initial_params.numpy(),
        s=s,
        alpha=step,
        alpha_z=lambda k: 0.2,
        T=12,
        x_box=x_box,
        y_box=y_box,
        n_iter=N_ITER,
        truncate=truncation,
        nesterov=dynamics == "nesterov",
    )
    solver = IapttGm(
        n_steps=12,
        params_step=s,
        hyper_step=step,
        initialization_step=0.2,
        truncation=truncation,
        dynamics=dynamics,
    )
    assert_same(solver, problem, expected, ("hyper", "initialization", "params"))


def soft(x, y, step):
    return np.sign(y) * np.maximum(np.abs(y) - step * x, 0)


@pytest.mark.parametrize("name", ["coupled", "sine sum", "lasso"])
def test_iterates_of_meha_are_those_of_the_paper(name):
    nonsmooth = {"prox": lambda x, y, step: y}
    project = c0 = None
    if name == "coupled":
        problem, levels = coupled_problem()
    elif name == "sine sum":
        problem, levels = sine_sum()
    else:
        problem, levels = weighted_lasso()
        nonsmooth = {"prox": soft, "g_grad_x": lambda x, y: np.abs(y)}
        project, c0 = (lambda x: np.clip(x, 0, 1)), 12.0
    c0 = c0 or 1.5
    expected = meha(
        *levels,
        problem.initial_hyper.numpy(),
        problem.initial_params.numpy(),
        c=lambda k: c0 * (k + 1) ** 0.25,
        gamma=1 / 3,
        alpha=0.05,
        beta=0.04,
        eta=0.06,
        project=project or (lambda x: x),
        n_iter=N_ITER,
        **nonsmooth,
    )
    solver = Meha(
        upper_weight=PowerLaw(1 / c0, 0.25),
        proximity=3.0,
        hyper_step=0.05,
        params_step=0.04,
        proximal_step=0.06,
    )
    assert_same(solver, problem, expected, ("hyper", "params", "proximal_params"))


STEPS = {"params_step": 0.05, "hyper_step": 0.04}


@pytest.mark.parametrize("name", ["whole", "truncated", "averaged"])
def test_iterates_of_unrolling_are_those_of_forward_mode(name):
    problem, levels = coupled_problem()
    mu = PowerLaw(0.5, 0.5)
    solver, options = {
        "whole": (Unrolling(n_steps=9, **STEPS), {}),
        "truncated": (TruncatedUnrolling(n_steps=9, n_reverse=4, **STEPS), {"K": 4}),
        "averaged": (Bda(n_steps=9, averaging=mu, **STEPS), {"mu": mu}),
    }[name]
    x, y = problem.initial_hyper.numpy(), problem.initial_params.numpy()
    expected = baselines.unrolling(*levels, x, y, s=0.05, alpha=0.04, T=9, n_iter=N_ITER, **options)
    assert_same(solver, problem, expected, ("hyper", "params"))


@pytest.mark.parametrize("name", ["conjugate gradients", "Neumann series"])
def test_iterates_of_implicit_differentiation_are_those_of_dense_matrices(name):
    problem, levels = coupled_problem()
    options = {"n_steps": 9, "n_linear": 3, **STEPS}
    if name == "conjugate gradients":
        solver = ConjugateGradient(**options)

        def solve(H, b, v, s):
            return baselines.conjugate_gradient(H, b, v, 3)
    else:
        solver = NeumannSeries(**options)

        def solve(H, b, v, s):
            return baselines.neumann(H, b, v, s, 3)

    x, y = problem.initial_hyper.numpy(), problem.initial_params.numpy()
    expected = baselines.implicit(
        *levels, x, y, s=0.05, alpha=0.04, T=9, solve=solve, n_iter=N_ITER
    )
    assert_same(solver, problem, expected, ("hyper", "params", "multiplier"))
