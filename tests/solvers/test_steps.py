"""Numbers that change with the iteration."""

import pickle

import pytest

from skbamm.solvers import PowerLaw
from skbamm.solvers._steps import at


@pytest.mark.parametrize("power", [0.0, 0.1, 0.5])
def test_power_law_counts_iterations_from_zero(power):
    law = PowerLaw(0.9, power)
    assert [law(k) for k in range(4)] == pytest.approx([0.9 / (k + 1) ** power for k in range(4)])


def test_a_number_is_its_own_schedule():
    assert at(0.25, 7) == 0.25


def test_any_function_of_the_iteration_is_a_schedule():
    assert at(lambda iteration: 2 * iteration, 7) == 14.0


def test_power_law_survives_pickling():
    assert pickle.loads(pickle.dumps(PowerLaw(0.9, 0.1))) == PowerLaw(0.9, 0.1)
