"""A prior that keeps learned numbers together, on top of a plain objective."""

import pytest
import torch

from skbamm.problems import FunctionObjective
from skbamm.regularization.losses._quadratic import HeldOutError, WithPrior
from tests.reference.regression import losses, make_data

STRENGTH = torch.tensor([0.7, 0.0], dtype=torch.float64)
HYPER = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.1, 4.0]], dtype=torch.float64)
#: Squared deviations from the mean.
SPREAD = torch.eye(3, dtype=torch.float64) - 1 / 3


def random_params(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 2, 5, generator=generator, dtype=torch.float64)


@pytest.fixture
def upper():
    return HeldOutError(losses("gram", make_data())[1])


@pytest.fixture
def with_prior(upper):
    return WithPrior(upper, SPREAD, STRENGTH)


def test_value_adds_half_the_strength_times_the_spread(upper, with_prior):
    params = random_params(0)
    added = with_prior.value(HYPER, params) - upper.value(HYPER, params)
    deviations = HYPER - HYPER.mean(1, keepdim=True)
    torch.testing.assert_close(added, STRENGTH / 2 * deviations.square().sum(1))


def test_gradients_agree_with_autograd(with_prior):
    params = random_params(0)
    slow = FunctionObjective(with_prior.value).gradients(HYPER, params)
    torch.testing.assert_close(tuple(with_prior.gradients(HYPER, params)), tuple(slow))


def test_curvature_products_agree_with_autograd(with_prior):
    params, vector = random_params(0), random_params(1)
    slow = FunctionObjective(with_prior.value).curvature_products(HYPER, params, vector)
    fast = with_prior.curvature_products(HYPER, params, vector)
    torch.testing.assert_close(tuple(fast), tuple(slow))


def test_equal_numbers_are_not_with_prior(upper, with_prior):
    params, equal = random_params(0), torch.full_like(HYPER, 3.0)
    gradient = with_prior.gradients(equal, params).hyper
    torch.testing.assert_close(gradient, upper.gradients(equal, params).hyper)
