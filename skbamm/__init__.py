"""skbamm: scikit-learn estimators that learn many hyperparameters in one fit.

Importing the package does not import torch; the first `fit` does.
"""

from ._metadata import __version__
from .cleaning import HyperCleaningClassifier, HyperCleaningRegressor
from .cleaning.label_quality._given_probabilities import LabelScores, label_quality
from .regularization import BilevelRegularizedClassifier, BilevelRegularizedRegressor
from .terms import AdditiveClassifier, AdditiveRegressor, SmoothTerms

__all__ = [
    "AdditiveClassifier",
    "AdditiveRegressor",
    "BilevelRegularizedClassifier",
    "BilevelRegularizedRegressor",
    "HyperCleaningClassifier",
    "HyperCleaningRegressor",
    "LabelScores",
    "SmoothTerms",
    "__version__",
    "label_quality",
]
