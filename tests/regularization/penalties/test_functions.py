"""Penalties of one coefficient against their formulas and their derivatives by autograd."""

import pytest
import torch

from skbamm.regularization.penalties._functions import Barrier, Bridge, Square

SMOOTHING = 0.3
POWERS = (0.2, 0.5, 1.0, 1.5, 2.0)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


#: Zero, both signs, and sizes from far below the smoothing to far above it.
PARAMS = tensor(-20.0, -1.0, -0.3, -1e-3, 0.0, 1e-3, 0.2, 0.7, 5.0)


@pytest.fixture(params=POWERS, ids="power {}".format)
def power(request):
    return tensor(request.param)


@pytest.fixture(params=[Bridge(SMOOTHING), Square()], ids=["bridge", "square"])
def function(request):
    return request.param


def derivative(function, argument):
    argument = argument.clone().requires_grad_()
    return torch.autograd.grad(function(argument).sum(), argument)[0]


def test_bridge_follows_its_formula(power):
    expected = ((PARAMS**2 + SMOOTHING**2) ** (power / 2) - SMOOTHING**power) / power
    torch.testing.assert_close(Bridge(SMOOTHING).value(PARAMS, power), expected)


def test_bridge_of_power_two_is_half_the_square():
    found = Bridge(SMOOTHING).value(PARAMS, tensor(2.0))
    torch.testing.assert_close(found, Square().value(PARAMS, tensor(2.0)))


def test_bridge_of_power_one_is_the_absolute_value_but_for_its_smoothing():
    found = Bridge(1e-9).value(PARAMS, tensor(1.0))
    # It lies below by the smoothing at most, but for rounding.
    torch.testing.assert_close(found, PARAMS.abs(), rtol=0, atol=1.1e-9)


def test_gradient_is_the_derivative_of_the_value(function, power):
    found = function.gradient(PARAMS, power)
    torch.testing.assert_close(found, derivative(lambda w: function.value(w, power), PARAMS))


def test_curvature_is_the_derivative_of_the_gradient(function, power):
    found = function.curvature(PARAMS, power)
    torch.testing.assert_close(found, derivative(lambda w: function.gradient(w, power), PARAMS))


def test_stretch_is_the_derivative_of_the_inverse_majorizer(power):
    function = Bridge(SMOOTHING)
    expected = derivative(lambda w: 1 / function.majorizer(w, power), PARAMS)
    torch.testing.assert_close(function.stretch(PARAMS, power), expected)


def test_majorizing_parabola_touches_the_penalty(function, power):
    parabola = function.majorizer(PARAMS, power) * PARAMS
    torch.testing.assert_close(parabola, function.gradient(PARAMS, power))


def test_majorizing_parabola_is_nowhere_below_the_penalty(function, power):
    touch, elsewhere = PARAMS[:, None], torch.linspace(-30, 30, 601, dtype=torch.float64)
    curvature = function.majorizer(touch, power)
    parabola = function.value(touch, power) + curvature * (elsewhere**2 - touch**2) / 2
    excess = parabola - function.value(elsewhere, power)
    # But for rounding, where they are the same.
    assert (excess >= -1e-12 * parabola.abs().clamp_min(1)).all()


def test_value_by_power_is_the_derivative_in_the_power(power):
    function, powers = Bridge(SMOOTHING), power.expand_as(PARAMS)
    expected = derivative(lambda q: function.value(PARAMS, q), powers)
    torch.testing.assert_close(function.value_by_power(PARAMS, powers), expected)


def test_gradient_by_power_is_the_derivative_in_the_power(power):
    function, powers = Bridge(SMOOTHING), power.expand_as(PARAMS)
    expected = derivative(lambda q: function.gradient(PARAMS, q), powers)
    torch.testing.assert_close(function.gradient_by_power(PARAMS, powers), expected)


@pytest.mark.parametrize("power", [0.2, 0.5, 0.9])
def test_largest_gradient_of_a_concave_power_is_reached_and_not_exceeded(power):
    function, grid = Bridge(SMOOTHING), torch.linspace(0, 5, 50001, dtype=torch.float64)
    steepest = function.gradient(grid, tensor(power)).max()
    # A grid misses the top by the square of its spacing.
    torch.testing.assert_close(
        function.largest_gradient(grid[:1], tensor(power))[0], steepest, rtol=1e-6, atol=0
    )


def test_largest_gradient_of_power_one_is_one():
    found = Bridge(SMOOTHING).largest_gradient(PARAMS[:1], tensor(1.0))
    torch.testing.assert_close(found, tensor(1.0))


@pytest.mark.parametrize("power", [1.5, 2.0])
def test_gradients_of_powers_above_one_have_no_bound(power):
    assert torch.isinf(Bridge(SMOOTHING).largest_gradient(PARAMS[:1], tensor(power))).all()


def test_gradients_of_a_square_have_no_bound():
    assert torch.isinf(Square().largest_gradient(PARAMS[:1], tensor(2.0))).all()


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
