"""The estimators for Dask collections: rows stay on the workers of a cluster.

Needs ``skbamm[dask]``; importing `skbamm` itself does not import Dask.
"""

from ._classifier import DaskHyperCleaningClassifier
from ._regressor import DaskBilevelRegularizedRegressor

__all__ = ["DaskBilevelRegularizedRegressor", "DaskHyperCleaningClassifier"]
