"""What users meet: estimators that fit, predict, and show what they learned."""

from ._classifier import HyperCleaningClassifier
from ._regressor import BilevelRegularizedRegressor

__all__ = ["BilevelRegularizedRegressor", "HyperCleaningClassifier"]
