"""Learned row weights: a classifier that learns how far each label can be relied on."""

from ._classifier import HyperCleaningClassifier

__all__ = ["HyperCleaningClassifier"]
