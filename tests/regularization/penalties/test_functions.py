"""Penalties of one coefficient against their formulas and their derivatives by autograd."""

import pytest
import torch

from skbamm.regularization.penalties._functions import Absolute, Barrier, Square

SMOOTHING = 0.3


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


#: Zero, both signs, and sizes from far below the smoothing to far above it.
PARAMS = tensor(-20.0, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.2, 0.7, 5.0)


@pytest.fixture(params=[Absolute(SMOOTHING), Square()], ids=["absolute", "square"])
def function(request):
    return request.param


def derivative(function, argument):
    argument = argument.clone().requires_grad_()
    return torch.autograd.grad(function(argument).sum(), argument)[0]


def test_absolute_follows_its_formula():
    expected = torch.hypot(PARAMS, tensor(SMOOTHING)) - SMOOTHING
    torch.testing.assert_close(Absolute(SMOOTHING).value(PARAMS), expected)


def test_absolute_is_the_absolute_value_but_for_its_smoothing():
    found = Absolute(1e-9).value(PARAMS)
    # It lies below by the smoothing at most, but for rounding.
    torch.testing.assert_close(found, PARAMS.abs(), rtol=0, atol=1.1e-9)


def test_gradient_is_the_derivative_of_the_value(function):
    torch.testing.assert_close(function.gradient(PARAMS), derivative(function.value, PARAMS))


def test_curvature_is_the_derivative_of_the_gradient(function):
    torch.testing.assert_close(function.curvature(PARAMS), derivative(function.gradient, PARAMS))


def test_stretch_is_the_derivative_of_the_inverse_majorizer():
    function = Absolute(SMOOTHING)
    expected = derivative(lambda w: 1 / function.majorizer(w), PARAMS)
    torch.testing.assert_close(function.stretch(PARAMS), expected)


def test_majorizing_parabola_touches_the_penalty(function):
    parabola = function.majorizer(PARAMS) * PARAMS
    torch.testing.assert_close(parabola, function.gradient(PARAMS))


def test_majorizing_parabola_is_nowhere_below_the_penalty(function):
    touch, elsewhere = PARAMS[:, None], torch.linspace(-30, 30, 601, dtype=torch.float64)
    parabola = function.value(touch) + function.majorizer(touch) * (elsewhere**2 - touch**2) / 2
    excess = parabola - function.value(elsewhere)
    # But for rounding, where they are the same.
    assert (excess >= -1e-12 * parabola.abs().clamp_min(1)).all()


def test_largest_gradient_is_approached_and_not_exceeded(function):
    gradient = function.gradient(tensor(1e3, 1e6, 1e150))
    assert (gradient <= function.largest_gradient).all()
    assert gradient[-1] >= min(function.largest_gradient, 1e100)


# The barrier


BARRIER = Barrier(100.0)
AWAY_FROM_ZERO = PARAMS[PARAMS != 0]


def test_barrier_is_nothing_for_positive_coefficients():
    assert (BARRIER.value(PARAMS.clamp_min(0)) == 0).all()


def test_barrier_is_a_stiff_square_for_negative_coefficients():
    torch.testing.assert_close(BARRIER.value(tensor(-0.2)), tensor(100 * 0.2**2 / 2))


def test_gradient_of_the_barrier_is_its_derivative():
    torch.testing.assert_close(BARRIER.gradient(PARAMS), derivative(BARRIER.value, PARAMS))


def test_curvature_of_the_barrier_is_its_second_derivative():
    expected = derivative(BARRIER.gradient, AWAY_FROM_ZERO)
    torch.testing.assert_close(BARRIER.curvature(AWAY_FROM_ZERO), expected)


def test_barrier_holds_only_a_zero_that_would_become_negative():
    params, gradient = tensor(0.0, 0.0, 0.0, 1.0, -1.0), tensor(2.0, -2.0, 0.0, 2.0, 2.0)
    expected = tensor(100.0, 0.0, 0.0, 0.0, 0.0)
    assert torch.equal(BARRIER.holding(params, gradient), expected)


def test_a_step_that_would_cross_zero_stops_there():
    found = BARRIER.step(tensor(1.0, 1.0, 0.0, -1.0), tensor(-3.0, 2.0, -1.0, -1.0))
    assert torch.equal(found, tensor(0.0, 3.0, -1.0, -2.0))


def test_without_stiffness_a_step_crosses_zero():
    assert torch.equal(Barrier().step(tensor(1.0), tensor(-3.0)), tensor(-2.0))
