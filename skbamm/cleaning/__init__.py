"""Learned row weights: estimators that learn how far each label, or target, can be relied on."""

from ._classifier import HyperCleaningClassifier
from .targets._regressor import HyperCleaningRegressor

__all__ = ["HyperCleaningClassifier", "HyperCleaningRegressor"]
