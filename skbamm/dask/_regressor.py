"""BilevelRegularizedRegressor on a Dask cluster: one pass of sums, then the local fit."""

from __future__ import annotations

import numpy as np

from .._base import fit_atomically
from ..data._columns import split_columns
from ..data._tables import dataframe_kind
from ..data._validation import _fit_context, check_is_fitted, validate_data
from ..linalg._cross_products import SHIFT_ROWS, FoldSums, column_shift
from ..regularization import BilevelRegularizedRegressor
from ..regularization._input import is_few, n_repeats
from ..regularization._statistics import fold_statistics
from ..regularization._stream import needs_rows, position_labels
from ._client import results, summed
from ._estimator import DaskEstimator, with_client
from ._partitions import checked_rows, partitions_of


@with_client(BilevelRegularizedRegressor)
class DaskBilevelRegularizedRegressor(DaskEstimator, BilevelRegularizedRegressor):
    """`BilevelRegularizedRegressor` for Dask arrays and dataframes.

    Every worker adds up cross-products of the rows of its partitions, by fold; the sums
    are added in a tree, and the client learns from them. The result is that of the local
    estimator on all rows, to rounding.

    Parameters
    ----------
    penalty, groups, alpha, alpha_features, penalty_factors, shrinkage, loss, cv, n_repeats, \
solver, alpha_bounds, standard_errors, standardize, fit_intercept, positive, exact_zeros, \
alpha_per_target, max_iter, tol, warm_start, random_state, device, verbose : see there
        As in `BilevelRegularizedRegressor`. `loss` must be "squared_error" and `cv` an int: others
        need the rows themselves.

    client : distributed.Client or None, default=None
        None for the default client. It is not pickled with the estimator.

    Attributes
    ----------
    client_ : distributed.Client
        The client that is used.

    coef_, intercept_, alpha_, ... : ndarray
        As in `BilevelRegularizedRegressor`, on the client.

    Notes
    -----
    Of Dask collections, `predict` gives a lazy Dask array; else an ndarray.

    Up to 1000 rows, or as many as there are features, come to the client and are fitted there.

    A row's fold follows from its position, so partitions must have known sizes or be counted
    first, which is a pass of its own over y: call ``compute_chunk_sizes`` or persist the data
    where reading them twice is slow.

    Memory of a worker: a partition for each thread, and ``cv * n_features ** 2`` numbers for each
    partition that it has summed.
    """

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Learn the penalty, then fit the coefficients on all rows.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Partitions may be uneven or empty, and their sizes unknown.
        y : dask array, series or dataframe of shape (n_samples,) or (n_samples, n_targets)
            Cut like X, or of known chunk sizes. Or, like `sample_weight`, the name of a column of
            a dataframe X; a list of names for several targets.
        sample_weight : dask array or series of shape (n_samples,), default=None
            A weight of 2 equals the row twice.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            As `BilevelRegularizedRegressor.fit`, with the number of the partition; also for
            a `loss` but "squared_error" and a `cv` that is not an int.
        RuntimeError
            When all workers are lost or paused for 15 seconds; a single one's work is done anew.
        """
        why = needs_rows(self)
        if why:
            raise ValueError(f"{why} needs all rows at once: use BilevelRegularizedRegressor.")
        client = self.client_
        named, X, y, sample_weight = split_columns(X, y, sample_weight, several=True)
        partitions = partitions_of(X, y=y, weight=sample_weight).counted(client)
        if partitions.n_samples < 2:
            raise ValueError(f"Found {partitions.n_samples} rows, but a minimum of 2 is required.")
        if is_few(self, partitions.n_samples, partitions.head.shape[1]):
            rows = partitions.gathered(client)
            super().fit(rows["X"], rows["y"], rows.get("weight"))
            self.named_columns_ = named
            return self
        validate_data(self, partitions.head, reset=True, skip_check_array=True)
        shift = _shift(client, partitions, self.fit_intercept)
        labels = position_labels(int(self.cv), self._seed(), n_repeats(self, partitions.n_samples))
        pieces = partitions.each(
            _sums, partitions.starts.tolist(), labels=labels, shift=shift, n_folds=int(self.cv)
        )
        has_rows = partitions.lengths > 0
        sums = summed(client, [piece for piece, has in zip(pieces, has_rows, strict=True) if has])
        repeats = fold_statistics(sums, partitions.n_samples, y.ndim == 1, overwrite=True)
        self.dataframe_, self.named_columns_ = dataframe_kind(X), named
        self._fit(repeats, (X, y, sample_weight))
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self._lazily("predict", X, empty=np.empty((0, *self.coef_.shape[:-1])))


def _shift(client, partitions, fit_intercept):
    """What the local estimator takes off the columns: the means of the first rows."""
    n_first = int(np.searchsorted(np.cumsum(partitions.lengths), SHIFT_ROWS)) + 1
    heads = results(client, partitions.each(_first_rows)[:n_first])
    X, y = (np.concatenate(arrays) for arrays in zip(*heads, strict=True))
    return column_shift(X, y, fit_intercept)


def _first_rows(X, y, weight=None):
    X, y, _ = checked_rows(X[:SHIFT_ROWS], y[:SHIFT_ROWS])
    return X.toarray() if hasattr(X, "toarray") else X, y


def _sums(start, X, y, weight=None, *, labels, shift, n_folds):
    """Sums of one partition for each repeat."""
    X, y, weight = checked_rows(X, y, weight)
    return [
        FoldSums(shift, y.shape[1], n_folds).add(X, y, weight, fold_of(start, start + len(y)))
        for fold_of in labels
    ]
