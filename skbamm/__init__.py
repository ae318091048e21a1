"""skbamm: scikit-learn estimators that learn many hyperparameters in one fit.

Importing the package does not import torch; the first `fit` does.
"""

from importlib.metadata import PackageNotFoundError, version

from .estimators import BilevelRegularizedRegressor, HyperCleaningClassifier

try:
    __version__ = version("skbamm")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

__all__ = ["BilevelRegularizedRegressor", "HyperCleaningClassifier", "__version__"]
