"""Learned penalties: linear regression that learns how strongly each feature is penalized."""

from ._regressor import BilevelRegularizedRegressor

__all__ = ["BilevelRegularizedRegressor"]
