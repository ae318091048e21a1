"""Learned penalties: linear models that learn how strongly each feature is penalized."""

from ._regressor import BilevelRegularizedRegressor
from .classification._classifier import BilevelRegularizedClassifier

__all__ = ["BilevelRegularizedClassifier", "BilevelRegularizedRegressor"]
