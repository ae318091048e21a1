"""One fit by several processes, each with some of the rows: for torchrun, Ray, Spark and alike.

Whoever starts the processes brings a collective with three methods; `TorchCollective` wraps a
process group of `torch.distributed`. For Dask there is `skbamm.dask`.
"""

from __future__ import annotations

from ._base import fit_atomically
from ._collective import Collective, LocalCollective, TorchCollective
from .cleaning import HyperCleaningClassifier
from .regularization import BilevelRegularizedRegressor

__all__ = ["Collective", "LocalCollective", "TorchCollective", "fit_together"]


def fit_together(estimator, X, y, sample_weight=None, *, is_clean=None, collective=None):
    """Fit with the rows of all processes, in the order of their ranks.

    Every process calls this with its own rows and an estimator of the same parameters, and has the
    fitted estimator afterwards: that of ``fit`` on all rows, to rounding. Rows stay where they are;
    sums over them are added up, and of a classifier's a sample of about ten thousand travels.

    Parameters
    ----------
    estimator : BilevelRegularizedRegressor or HyperCleaningClassifier
        It is fitted in place.
    X : {array-like, dataframe} of shape (n_samples, n_features)
        The rows of this process; there may be none.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Their targets or labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Given by all processes or by none.
    is_clean : array-like of bool of shape (n_samples,), default=None
        For classifiers: whose labels are known to be right.
    collective : Collective, default=None
        None for a `TorchCollective` of the default process group.

    Returns
    -------
    estimator : estimator
        The one given. What there is one of for each row, as `sample_weight_`, is there for the
        rows of this process.

    Raises
    ------
    TypeError
        For any other estimator.
    ValueError
        In all processes, where one has invalid rows or an option needs all rows at once: as
        ``loss="huber"``, ``weighting="sample"``, `final_estimator` or a `cv` that is no int.
    RuntimeError
        When another process is gone, as the collective reports it. The estimator stays as it was.
    """
    if not isinstance(estimator, (BilevelRegularizedRegressor, HyperCleaningClassifier)):
        raise TypeError(
            "estimator must be a BilevelRegularizedRegressor or a HyperCleaningClassifier: got "
            f"{type(estimator).__name__}."
        )
    collective = TorchCollective() if collective is None else collective
    if isinstance(estimator, BilevelRegularizedRegressor):
        if is_clean is not None:
            raise ValueError("is_clean is for classifiers.")
        return _fit_regressor(estimator, collective, X, y, sample_weight)
    return _fit_classifier(estimator, collective, X, y, sample_weight, is_clean)


@fit_atomically
def _fit_regressor(estimator, *args):
    from .dask._shared_fit import fit_regressor

    return fit_regressor(estimator, *args)


@fit_atomically
def _fit_classifier(estimator, *args):
    from .dask._shared_fit import fit_classifier

    return fit_classifier(estimator, *args)
