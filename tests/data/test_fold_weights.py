"""Weights of fits by their held-out errors on the same folds."""

import numpy as np
import pytest

from skbamm.data._fold_weights import advantage_on, nearness

ERRORS = np.array([[1.0, 2.0, 3.0], [1.1, 1.8, 2.9], [2.0, 2.5, 3.8]])


@pytest.mark.parametrize("advantage", [0.0, 0.7])
def test_nearness_is_the_density_of_a_difference_in_standard_errors(advantage):
    def standard_error(row, other):
        return np.std(row - other, ddof=1) / np.sqrt(3)

    means = ERRORS.mean(axis=1)
    means[1:] += [advantage * standard_error(row, ERRORS[0]) for row in ERRORS[1:]]
    best = means.argmin()
    z = [
        (mean - means[best]) / standard_error(row, ERRORS[best])
        for row, mean in zip(ERRORS, means, strict=True)
        if not np.array_equal(row, ERRORS[best])
    ]
    expected = np.insert(np.exp(-np.square(z) / 2 / 1.5**2), best, 1.0)
    found = nearness(ERRORS, 1.5, int(ERRORS.mean(axis=1).argmin()), advantage=advantage)
    np.testing.assert_allclose(found, expected)


def test_a_weight_of_two_is_two_rows():
    weight = np.array([1, 2, 1])
    options = {"advantage": 0.7}
    found = nearness(ERRORS, 1.5, weight=weight, **options)
    np.testing.assert_allclose(found, nearness(ERRORS.repeat(weight, axis=1), 1.5, **options))


def test_many_rows_leave_the_simplest_fit_no_advantage():
    assert [advantage_on(n) for n in (0, 100, 400, 800)] == [1.0, 1.0, 1.0, 0.5]
