"""Steps of one variable that need no length."""

import math

import pytest
import torch

from skbamm.solvers.stochastic._moves import LONGEST, DistanceMove, StepMove

double = torch.float64


def walk(move, tensor, gradients):
    memory, points = move.begin(tensor), [tensor]
    for iteration, gradient in enumerate(gradients):
        tensor, memory = move.move(tensor, gradient, iteration, memory)
        points.append(tensor)
    return points


def test_a_distance_step_is_that_of_the_paper():
    """x - max |x_i - x_0| / sqrt(sum |g_i|^2) g, the first distance being given."""
    generator = torch.Generator().manual_seed(0)
    gradients = list(torch.randn(20, 4, generator=generator, dtype=double))
    found = walk(DistanceMove(0.1, 100.0), torch.ones(4, dtype=double), gradients)
    points, squares = [torch.ones(4, dtype=double)], 0.0
    for gradient in gradients:
        squares += float(gradient @ gradient)
        distance = max([0.2, *(float((point - points[0]).norm()) for point in points)])
        points.append(points[-1] - distance / math.sqrt(squares) * gradient)
    torch.testing.assert_close(found, points)


def test_gradients_of_zero_move_nothing():
    start = torch.ones(3, dtype=double)
    found = walk(DistanceMove(0.1, 1.0), start, [0 * start, 0 * start])
    assert all(torch.equal(point, start) for point in found)


def test_no_number_moves_further_than_the_largest():
    start = torch.zeros(2, dtype=double)
    gradient = torch.tensor([1e6, 1.0], dtype=double)
    _, point = walk(DistanceMove(10.0, 0.3), start, [gradient])
    assert point[0] == -0.3 and -0.3 < point[1] < 0


@pytest.mark.parametrize(("every", "furthest"), [(4, 0.6), (400, LONGEST)])
def test_what_comes_up_rarely_moves_further(every, furthest):
    start = torch.zeros(every, dtype=double)
    gradient = start.clone()
    gradient[0] = 1.0
    _, point = walk(DistanceMove(10.0, 0.3), start, [gradient])
    assert float(point[0]) == -furthest


def test_the_furthest_falls_with_the_moves_that_a_number_has_had():
    move = DistanceMove(10.0, 0.3, 0.5)
    first, second = torch.ones(2, dtype=double), torch.tensor([1.0, 0.0], dtype=double)
    memory = move.begin(0 * first)
    always, _ = move.move(0 * first, first, 8, memory)
    sometimes, _ = move.move(0 * first, second, 8, memory)
    torch.testing.assert_close(always, 0 * first - 0.3 / 8**0.5)
    torch.testing.assert_close(float(sometimes[0]), -0.3 * 2**0.5 / 2)


def test_a_scheduled_step_goes_along_the_gradient():
    gradient = torch.ones(2, dtype=double)
    found = walk(StepMove(lambda iteration: 1 / (iteration + 1)), 0 * gradient, [gradient] * 2)
    assert [float(point[0]) for point in found] == [0.0, -1.0, -1.5]
