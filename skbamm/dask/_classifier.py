"""HyperCleaningClassifier on a Dask cluster: a sample travels, the other rows stay."""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import replace

import dask
import dask.array as da
import numpy as np

from .._base import fit_atomically
from ..cleaning import HyperCleaningClassifier
from ..cleaning._prediction import _weighs_others
from ..data._columns import split_columns
from ..data._validation import _fit_context, available_if, check_is_fitted, validate_data
from ._client import kept
from ._estimator import DaskEstimator, with_client
from ._label_rows import RECORD
from ._partitions import checked_labels, partitions_of


@with_client(HyperCleaningClassifier)
class DaskHyperCleaningClassifier(DaskEstimator, HyperCleaningClassifier):
    """`HyperCleaningClassifier` for Dask arrays and dataframes.

    As where the local estimator has many rows: what it learns comes from a sample of about ten
    thousand of them, which the client gets. Workers weigh the labels of their partitions and add
    up the gradients of the last fit. Rows and their weights stay on the cluster.

    Where X is a Dask collection, `predict`, `predict_proba`, `predict_log_proba`,
    `decision_function` and `weigh` give lazy Dask arrays, cut like X; else ndarrays, as the local
    estimator does.

    Parameters
    ----------
    weighting, alpha, cv, solver, standardize, relabel, final_estimator, class_weight, \
standard_errors, unlabeled, max_iter, tol, warm_start, random_state, device, verbose : see there
        As in `HyperCleaningClassifier`, but None is "linear" as `final_estimator`: no trees are
        grown. With more rows than are sampled, `weighting` must be "adaptive", `cv` an int and
        `final_estimator` no model of yours; `unlabeled` must always be None.

    client : distributed.Client or None, default=None
        None for the default client. It is not pickled with the estimator.

    Attributes
    ----------
    client_ : distributed.Client
        The client that is used.

    sample_weight_ : dask array of shape (n_samples,)
        Label weight of each row; cut like X, on the workers.

    coef_, intercept_, alpha_, ... : ndarray
        As in `HyperCleaningClassifier`, on the client.

    Notes
    -----
    `fit` does not take `X_val`, `pred_probs` and `votes`.

    The result is that of the local estimator with ``final_estimator="linear"`` on all rows, to
    rounding. Where the sample would be
    all rows (up to 10,000, or 20 for each column), they come to the client and are fitted there.

    The last fit is some twenty rounds of the cluster, each of which reads all rows, for each fit
    that is averaged (``standard_errors=0``: for one).
    """

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, is_clean=None):
        """Learn the label weights, and fit with what was learned.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Partitions may be uneven or empty, and their sizes unknown.
        y : dask array or series of shape (n_samples,)
            Given labels; cut like X, or of known chunk sizes. Like `sample_weight` and `is_clean`
            it may be the name of a column of a dataframe X.
        sample_weight : dask array or series of shape (n_samples,), default=None
            On top of what is learned.
        is_clean : dask array or series of bool of shape (n_samples,), default=None
            Which rows have labels that are known to be right.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            As `HyperCleaningClassifier.fit`, with the number of the partition.
        RuntimeError
            When all workers are lost or paused for 15 seconds; a single one's work is done anew.
        """
        from ._cleaning_fit import fit_sampled
        from ._sample import Census

        if self.unlabeled is not None:
            raise ValueError(
                f"unlabeled={self.unlabeled!r} needs all rows at once: use HyperCleaningClassifier "
                "on rows in memory, or leave out the rows without a label."
            )
        client = self.client_
        named, X, y, sample_weight, is_clean = split_columns(X, y, sample_weight, is_clean)
        partitions = partitions_of(X, y=y, weight=sample_weight, is_clean=is_clean)
        validate_data(self, partitions.head, reset=True, skip_check_array=True)
        columns = kept(client, partitions.each(checked_labels))
        census = Census.take(client, columns)
        fit = fit_sampled(self, client, columns, census)
        if fit is None:
            rows = partitions.gathered(client)
            weight, clean = rows.get("weight"), rows.get("is_clean")
            super().fit(rows["X"], rows["y"], weight, is_clean=clean)
            whole = [self.sample_weight_, *(getattr(self.label_record_, name) for name in RECORD)]
            found = [da.from_array(column, (census.lengths,)) for column in whole]
            columns = dict(zip(RECORD, found[1:], strict=True))
            self.label_record_ = replace(self.label_record_, **columns)
        else:
            self._store_learned(census.classes, fit.learned, *fit.layer)
            found = _columns(fit.records, census.lengths)
            self._store_rates(fit.sums, found[1:], fit.container)
            self.status_ = self._describe_fit(fit.learned)
        self.sample_weight_ = found[0]
        self.named_columns_ = named
        return self

    def _grows_trees(self):
        return False  # of partitions they cannot be fitted

    def to_local(self):
        # Weights and records of the rows come to the client.
        local = super().to_local()
        if hasattr(local, "sample_weight_"):
            record = local.label_record_
            lazy = {name: getattr(record, name) for name in (*RECORD, "rows")}
            try:
                local.sample_weight_, *found = dask.compute(local.sample_weight_, *lazy.values())
            except (CancelledError, KeyError, ValueError) as error:  # without a client the last two
                raise RuntimeError(
                    "Weights and labels of the training rows were on the cluster, and are gone: it "
                    "was restarted or closed. Call fit again. What predicts is still there, and "
                    "to_sklearn() gives a model that predicts the same."
                ) from error
            local.label_record_ = replace(record, **dict(zip(lazy, found, strict=True)))
        return local

    def __getstate__(self):
        state = super().__getstate__()
        if "sample_weight_" in state:
            local = self.to_local()
            for name in ("sample_weight_", "label_record_"):
                state[name] = getattr(local, name)
        return state

    def _predictor(self):
        # What is known of each training row stays where it is.
        local = super().to_local()
        del local.sample_weight_, local.label_record_
        return local

    def predict(self, X):
        check_is_fitted(self)
        return self._lazily("predict", X, empty=self.classes_[:0])

    def predict_proba(self, X):
        check_is_fitted(self)
        return self._lazily("predict_proba", X, empty=np.empty((0, len(self.classes_))))

    def decision_function(self, X):
        check_is_fitted(self)
        shape = (0, len(self.classes_)) if len(self.classes_) > 2 else 0
        return self._lazily("decision_function", X, empty=np.empty(shape))

    @available_if(_weighs_others)
    def weigh(self, X, y):
        """Label weights of rows that were not in `fit`.

        Parameters
        ----------
        X : dask array or dataframe, or whatever the local estimator takes
            Of shape (n_samples, n_features).

        y : dask array or series of shape (n_samples,)
            Given labels, all of them in `classes_`; cut like X, or of known chunk sizes.

        Returns
        -------
        sample_weight : dask array of shape (n_samples,)
            Lazy; an ndarray where X is no Dask collection. In [0, 1], as `sample_weight_`.
        """
        check_is_fitted(self)
        _, X, y = split_columns(X, y)
        return self._lazily("weigh", X, y, empty=np.empty(0))

    def label_report(self, *, precision=None):
        return self.to_local().label_report(precision=precision)

    def fix_labels(self, force=False, *, precision=None):
        return self.to_local().fix_labels(force, precision=precision)


def _columns(records, lengths):
    """A dask array of each thing there is one of for each row, from futures of partitions."""
    delayed = list(zip(map(dask.delayed, records), lengths, strict=True))
    return [
        da.concatenate(
            [da.from_delayed(record[index], (length,), kind) for record, length in delayed]
        )
        for index, kind in enumerate((float, *RECORD.values()))
    ]
