"""In the columns of a smooth function a ridge penalty is its roughness."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.interpolate import BSpline

from skbamm import SmoothTerms
from skbamm.terms._spline import CROWDED, DEGREE, CubicSplines, SmoothFunctions, Waves, spread_knots


@pytest.fixture
def position():
    x = np.random.default_rng(0).gamma(2.0, size=200)
    return (x - x.min()) / (x.max() - x.min())


def smooth(position, n_knots=12, weight=None, order=2):
    weight = np.ones(len(position)) if weight is None else weight
    basis = CubicSplines(spread_knots(position, weight, n_knots), order)
    return SmoothFunctions.of(basis, position, weight / weight.sum())


def numerical_roughness(basis, coefficients):
    """By a fine sum, weighted by the distances of knots as the module says."""
    edges, total = basis.edges, 0.0
    derivative = BSpline(basis.knots, coefficients, DEGREE).derivative(basis.order)
    power = CROWDED * (2 * basis.order - 1)
    for low, high in pairwise(edges):
        grid = low + (high - low) * (np.arange(2000) + 0.5) / 2000
        weight = ((high - low) * (len(edges) - 1)) ** power
        total += weight * (high - low) * np.mean(derivative(grid) ** 2)
    return total


@pytest.mark.parametrize("order", [1, 2])
def test_squares_of_coefficients_are_roughness(position, order):
    functions = smooth(position, order=order)
    weights = np.random.default_rng(1).normal(size=functions.n_columns)
    found = numerical_roughness(functions.basis, functions.coefficients @ weights)
    first = numerical_roughness(functions.basis, functions.coefficients[:, 0])
    assert found == pytest.approx(first * (weights @ weights), rel=1e-5)


def test_columns_do_not_correlate_with_each_other_or_with_a_line(position):
    columns = smooth(position)(position)
    others = np.column_stack([np.ones(len(position)), position])
    np.testing.assert_allclose(others.T @ columns, 0, atol=1e-9)
    gram = columns.T @ columns / len(position)
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-10)
    assert np.trace(gram) == pytest.approx(1.0)


def test_ridge_is_the_penalized_spline_of_the_normal_equations(position):
    """The whole basis, with the roughness matrix, solved directly."""
    y = np.sin(6 * position) + np.random.default_rng(2).normal(scale=0.1, size=len(position))
    functions = smooth(position)
    basis = functions.basis
    scale = numerical_roughness(basis, functions.coefficients[:, 0])
    strength = 0.02
    splines, rough = basis(position).toarray(), basis.roughness()
    n = len(y)
    penalized = splines.T @ splines / n + strength / scale * rough
    expected = splines @ np.linalg.solve(penalized, splines.T @ y / n)

    columns = np.column_stack([np.ones(n), position, functions(position)])
    ridge = np.diag([0.0, 0.0] + [strength] * functions.n_columns)
    found = columns @ np.linalg.solve(columns.T @ columns / n + ridge, columns.T @ y / n)
    # Directions of negligible variance are left out.
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_weight_of_two_is_the_row_twice(position):
    weight = np.random.default_rng(3).integers(0, 3, size=len(position)).astype(float)
    weight[[position.argmin(), position.argmax()]] = 1.0
    twice = np.repeat(position, weight.astype(int))
    used = weight > 0
    weighted, repeated = smooth(position[used], weight=weight[used]), smooth(twice)
    np.testing.assert_allclose(weighted(position), repeated(position), atol=1e-8)


def test_beyond_its_ends_a_function_is_what_it_is_there(position):
    functions = smooth(position)
    np.testing.assert_allclose(functions(np.array([-3.0, 5.0])), functions(np.array([0.0, 1.0])))


@pytest.mark.parametrize("n_values", [3, 4, 7])
def test_few_values_have_as_many_functions_as_they_can_tell_apart(n_values):
    position = np.linspace(0, 1, n_values)[np.arange(60) % n_values]
    assert smooth(position).n_columns == n_values - 2


def test_waves_meet_at_their_ends():
    position = np.random.default_rng(0).uniform(size=80)
    functions = SmoothFunctions.of(Waves(4, 2), position, np.full(80, 1 / 80))
    np.testing.assert_allclose(functions(np.array([0.0])), functions(np.array([1.0])), atol=1e-12)
    near = functions(np.array([1e-6])) - functions(np.array([1 - 1e-6]))
    np.testing.assert_allclose(near, 0, atol=1e-4)


@pytest.mark.parametrize(
    "values",
    [
        10.0 ** -np.random.default_rng(0).uniform(0, 10, 1000),
        10.0 ** -np.random.default_rng(0).uniform(0, 300, 1000),
        np.random.default_rng(0).lognormal(sigma=6, size=500),
        np.random.default_rng(0).gamma(0.05, size=500),
        np.random.default_rng(0).standard_cauchy(500) ** 3,
        np.repeat([0.0, 1e-160, 1.0], 20),
        np.append(np.random.default_rng(0).normal(size=99), 1e300),
    ],
    ids=["ten decades", "all decades", "lognormal", "gamma", "cauchy", "tiny", "sentinel"],
)
@pytest.mark.parametrize("order", [1, 2])
def test_columns_of_any_skewness_have_functions(values, order):
    found = SmoothTerms(order=order).fit_transform(values[:, None])
    assert np.isfinite(found).all()
    assert found[:, 1:].var(axis=0).sum() == pytest.approx(1.0, rel=1e-6) or found.shape[1] == 1
