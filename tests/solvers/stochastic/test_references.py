"""Solvers on batches against plain transcriptions, and against solvers without batches."""

from functools import partial

import numpy as np
import pytest
import torch

from skbamm.problems import StochasticProblem
from skbamm.solvers import F2sa, MaSoba, PowerLaw, SlBamm, Soba, StocBio, StochasticSlBamm, solve
from tests.reference import stochastic as reference
from tests.solvers.stochastic.problems import data, double, tensors_problem

N_ITER = 25
PARAMS, HYPER = PowerLaw(0.3, 0.2), PowerLaw(0.5, 0.3)


def iterates(problem, solver, *names):
    """Tensors of all states by name, as arrays."""
    state = solver.init(problem)
    states = [state]
    for _ in range(N_ITER):
        state = solver.step(problem, state)
        states.append(state)
    return [np.concatenate([getattr(s, name).numpy() for name in names]) for s in states]


def levels(problem):
    """The derivatives on the batches that the problem draws."""

    def of(level, which):
        def batch(number):
            X, t = (x.numpy() for x in level.batches.batch(number).contents)
            return reference.logistic_levels(X, t)[which]

        return batch

    return of(problem.upper_level, 0), of(problem.lower_level, 1)


def start(problem):
    return [tensor.numpy() for tensor in problem.first_point()]


def project(x):
    return np.minimum(x, 0.3)


def assert_equal(found, expected):
    assert len(found) == len(expected) == N_ITER + 1
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, np.concatenate(other), rtol=0, atol=1e-12)


@pytest.mark.parametrize("averaging", [0.0, PowerLaw(0.5, 0.3)])
def test_sl_bamm_equals_its_transcription(averaging):
    problem = tensors_problem()
    steps = {"params_step": PARAMS, "multiplier_step": 0.2, "hyper_step": HYPER}
    solver = StochasticSlBamm(averaging=averaging, **steps)
    expected = reference.sl_bamm(
        *levels(problem),
        *start(problem),
        mu=averaging if callable(averaging) else lambda k: averaging,
        beta=PARAMS,
        eta=lambda k: 0.2,
        alpha=HYPER,
        project=project,
        n_iter=N_ITER,
    )
    assert_equal(iterates(problem, solver, "hyper", "params", "multiplier"), expected)


def test_soba_equals_its_transcription():
    problem = tensors_problem()
    solver = Soba(params_step=PARAMS, multiplier_step=PARAMS, hyper_step=HYPER)
    expected = reference.sl_bamm(
        *levels(problem),
        *start(problem),
        mu=lambda k: 0.0,
        beta=PARAMS,
        eta=PARAMS,
        alpha=HYPER,
        project=project,
        n_iter=N_ITER,
    )
    assert_equal(iterates(problem, solver, "hyper", "params", "multiplier"), expected)


def test_ma_soba_equals_its_transcription():
    problem = tensors_problem()
    theta = PowerLaw(0.8, 0.5)
    steps = {"params_step": PARAMS, "multiplier_step": PARAMS, "hyper_step": HYPER}
    solver = MaSoba(direction_step=theta, **steps)
    options = {"rho": PARAMS, "gamma": HYPER, "theta": theta}
    expected = reference.ma_soba(
        *levels(problem), *start(problem), **options, project=project, n_iter=N_ITER
    )
    assert_equal(iterates(problem, solver, "hyper", "params", "multiplier"), expected)


def test_stocbio_equals_its_transcription():
    problem = tensors_problem()
    steps = {"params_step": 0.3, "multiplier_step": 0.2, "hyper_step": 0.5}
    solver = StocBio(n_steps=3, n_linear=4, **steps)
    options = {"alpha": 0.3, "eta": 0.2, "beta": 0.5, "D": 3, "Q": 4}
    expected = reference.stocbio(
        *levels(problem), *start(problem), **options, project=project, n_iter=N_ITER
    )
    assert_equal(iterates(problem, solver, "hyper", "params", "multiplier"), expected)


def test_f2sa_equals_its_transcription():
    problem = tensors_problem()
    penalty = PowerLaw(2.0, -0.2)
    solver = F2sa(
        n_steps=2,
        penalty=penalty,
        params_step=PARAMS,
        penalized_params_step=0.1,
        hyper_step=HYPER,
    )
    expected = reference.f2sa(
        *levels(problem),
        *start(problem),
        gamma=PARAMS,
        alpha=lambda k: 0.1,
        beta=HYPER,
        penalty=penalty,
        T=2,
        project=project,
        n_iter=N_ITER,
    )
    assert_equal(iterates(problem, solver, "hyper", "params", "penalized_params"), expected)


@pytest.mark.parametrize("averaging", [0.0, 0.3])
def test_with_all_data_in_a_batch_sl_bamm_is_the_one_without_batches(averaging):
    problem = tensors_problem(batch_size=100)
    steps = {"params_step": PARAMS, "multiplier_step": 0.2, "hyper_step": HYPER}
    names = "hyper", "params", "multiplier"
    found = iterates(problem, StochasticSlBamm(averaging=averaging, **steps), *names)
    expected = iterates(problem.full_batch(), SlBamm(averaging=averaging, **steps), *names)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


CONVERGING = {
    "sl-bamm": StochasticSlBamm(),
    "soba": Soba(params_step=0.5, multiplier_step=0.5, hyper_step=0.5),
    "ma-soba": MaSoba(params_step=0.5, multiplier_step=0.5, hyper_step=0.5, direction_step=0.5),
    "stocbio": StocBio(params_step=0.5, multiplier_step=0.5, n_linear=20, hyper_step=5.0),
    # What is left of hyper is the bias of the penalty, about one over it.
    "f2sa": F2sa(params_step=0.5, penalized_params_step=5e-4, hyper_step=0.3, penalty=1e3),
}


@pytest.mark.parametrize("name", CONVERGING)
def test_with_all_data_in_a_batch_a_run_converges_to_the_optimum(name):
    problem = tensors_problem(batch_size=100, upper_bound=2.0)
    optimum = solve(problem.full_batch(), "implicit", tol=1e-9).hyper
    solver = CONVERGING[name]
    state = solver.init(problem)
    for _ in range(60 if name == "stocbio" else 400):
        state = solver.step(problem, state)
    torch.testing.assert_close(state.hyper, optimum, rtol=0, atol=2e-3)


def weights_problem(n_rows, batch_size):
    """A learned weight for each row, which a batch brings along."""
    X, t = data(n_rows, 0)

    def lower(hyper, params, batch):
        X, t, row = batch
        return (hyper[row].sigmoid() * (X @ params - t).square()).mean() + params.square().sum()

    def upper(hyper, params, batch):
        X, t = batch
        return (X @ params - t).square().mean()

    rows = X, t, torch.arange(n_rows)
    hyper, params = torch.zeros(n_rows, dtype=double), torch.zeros(3, dtype=double)
    options = {"batch_size": batch_size, "strongly_convex": True}
    return StochasticProblem(upper, lower, data(30, 1), rows, hyper, params, **options)


@pytest.mark.parametrize("solver", [StochasticSlBamm(), Soba(hyper_step=10.0)])
def test_rows_that_are_met_rarely_have_a_mean_of_their_own_visits(solver):
    problem = weights_problem(200, batch_size=2)
    state, met = solver.init(problem), set()
    for number in range(30):
        state = solver.step(problem, state)
        if number:  # the first multiplier is zero
            met |= set(problem.lower_level.batches.batch(number).contents[2].tolist())
    # In a tenth of a pass nobody was met twice: the first visit is all that there is.
    torch.testing.assert_close(state.means["hyper"], state.hyper)
    assert set(state.hyper.nonzero()[:, 0].tolist()) == met


def test_the_mean_is_over_late_iterates_where_all_rows_are_met():
    problem = weights_problem(8, batch_size=8)
    solver = Soba(hyper_step=10.0)
    state = solver.init(problem)
    expected = state.hyper
    for number in range(20):
        state = solver.step(problem, state)
        if number:  # its gradient is zero: no row was met
            expected = expected + 9 / (number + 9) * (state.hyper - expected)
    torch.testing.assert_close(state.means["hyper"], expected, rtol=0, atol=0)


def test_an_optimizer_moves_a_variable_along_the_gradients_of_the_method():
    """One whose step of params is Adam's, against Adam itself on the same gradients."""
    problem = tensors_problem()
    optimizer = partial(torch.optim.Adam, lr=0.05)
    solver = StochasticSlBamm(params_optimizer=optimizer, multiplier_step=0.2, hyper_step=0.0)
    found = iterates(problem, solver, "params")
    _, f = levels(problem)
    x, y = start(problem)
    gradients = [f(k).grad_y(x, found[k]) for k in range(N_ITER)]
    np.testing.assert_allclose(found[-1], reference.adam(y, gradients, lr=0.05), atol=1e-12)


def test_a_scheduler_changes_the_learning_rate():
    problem = tensors_problem()
    scheduler = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=PARAMS)
    sgd = {"params_optimizer": partial(torch.optim.SGD, lr=1.0), "params_scheduler": scheduler}
    rest = {"multiplier_step": 0.2, "hyper_step": HYPER}
    found = iterates(problem, Soba(**sgd, **rest), "hyper", "params")
    expected = iterates(problem, Soba(params_step=PARAMS, **rest), "hyper", "params")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_default_steps_need_no_scale_of_the_upper_loss():
    problem = tensors_problem()
    scaled = StochasticProblem(
        lambda *arguments: 1024 * problem.upper(*arguments),
        problem.lower,
        data(30, 1),
        data(40, 0),
        torch.zeros(3, dtype=double),
        torch.full((3,), 0.1, dtype=double),
        batch_size=8,
        strongly_convex=True,
        upper_bound=0.3,
    )
    found, expected = (iterates(one, StochasticSlBamm(), "hyper") for one in (scaled, problem))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
