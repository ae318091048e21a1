"""skbamm: scikit-learn estimators that learn many hyperparameters in one fit.

Importing the package does not import torch; the first `fit` does.
"""

from ._metadata import __version__
from .cleaning import HyperCleaningClassifier
from .regularization import BilevelRegularizedRegressor

__all__ = ["BilevelRegularizedRegressor", "HyperCleaningClassifier", "__version__"]
