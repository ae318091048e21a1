"""Smooth terms: from raw tables to functions of their columns, each with a learned smoothness."""

from ._additive import AdditiveRegressor
from ._classifier import AdditiveClassifier
from ._transformer import SmoothTerms

__all__ = ["AdditiveClassifier", "AdditiveRegressor", "SmoothTerms"]
