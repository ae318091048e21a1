"""The estimators for Dask collections: rows stay on the workers of a cluster.

Needs ``skbamm[dask]``; importing `skbamm` itself does not import Dask.
"""

try:
    import dask  # noqa: F401
    import distributed  # noqa: F401
except ImportError as error:
    raise ImportError(
        "skbamm.dask needs Dask: install it with pip install 'skbamm[dask]'."
    ) from error

from ._classifier import DaskHyperCleaningClassifier
from ._regressor import DaskBilevelRegularizedRegressor

__all__ = ["DaskBilevelRegularizedRegressor", "DaskHyperCleaningClassifier"]
