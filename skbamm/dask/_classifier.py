"""HyperCleaningClassifier on a Dask cluster: a sample travels, the other rows stay."""

from __future__ import annotations

import operator
import uuid
from dataclasses import fields

import dask
import dask.array as da
import numpy as np
from distributed import get_worker
from distributed.comm import get_address_host
from sklearn.utils.metaestimators import available_if

from .._base import fit_atomically
from ..cleaning import HyperCleaningClassifier
from ..cleaning._classifier import _weighs_others
from ..cleaning._report import LabelRecord, RowIndex
from ..data._validation import _fit_context, check_is_fitted, validate_data
from ._client import alone_on, finished, results
from ._estimator import DaskEstimator, with_client
from ._part_input import checked_labels
from ._parts import by_labelled_partition, by_partition, is_collection, naming, parts_of

# Meeting points of running fits on this worker, by the name of the fit.
_STORES: dict = {}


@with_client(HyperCleaningClassifier)
class DaskHyperCleaningClassifier(DaskEstimator, HyperCleaningClassifier):
    """`HyperCleaningClassifier` for Dask arrays and dataframes.

    As where the local estimator has many rows: what it learns comes from a sample of about ten
    thousand of them, which one worker gets. Each worker judges its own rows, and all take part
    in the last fit, whose gradients they add up by gloo (`torch.distributed`). Rows and their
    weights stay where they are.

    Parameters
    ----------
    weighting, alpha, cv, solver, standardize, relabel, final_estimator, class_weight, \
max_iter, tol, warm_start, random_state, device, verbose : see there
        As in `HyperCleaningClassifier`. With more rows than are sampled, `weighting` must be
        "adaptive", `cv` an int and `final_estimator` None.

    client : distributed.Client or None, default=None
        None for the default client. It is not pickled with the estimator.

    Attributes
    ----------
    client_ : distributed.Client
        The client that is used.

    sample_weight_ : dask array of shape (n_samples,)
        How far each row's label is believed; cut like X, on the workers.

    coef_, intercept_, alpha_, ... : ndarray
        As in `HyperCleaningClassifier`, on the client.

    Notes
    -----
    The result is that of the local estimator on all rows, to rounding. Where the sample would be
    all rows (up to 10,000, or 20 for each column), they come to the client and are fitted there.

    During `fit` each worker that has rows runs one task that others wait for; fits on the same
    workers wait for each other.
    """

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, is_clean=None):
        """Learn which labels to believe, and fit with what was learned.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Partitions may be uneven or empty, and their sizes unknown.

        y : dask array or series of shape (n_samples,)
            Given labels; cut like X, or of known chunk sizes.

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
            When a worker that has rows is lost, within seconds. The estimator is as it was.
        """
        client = self.client_
        parts = parts_of(X, y, weight=sample_weight, is_clean=is_clean)
        validate_data(self, parts.head, reset=True, skip_check_array=True)
        pieces = [dask.delayed(_part)(number, **columns) for number, columns in parts.rows()]
        rows = client.compute(pieces)
        finished(client, rows)
        lengths = results(client, client.map(len, rows, pure=False))
        owners = _owners(client, rows)
        if sum(lengths) < 2:
            raise ValueError(f"Found {sum(lengths)} rows, but a minimum of 2 is required.")
        with alone_on(client, owners):
            fits = _start(client, self.to_local(), owners, rows, self._seed())
            finished(client, list(fits.values()), pinned=sorted(owners))
        first = results(client, [client.submit(_bare, next(iter(fits.values())), pure=False)])[0]
        if first is None:
            gathered = parts.gathered(client)
            super().fit(
                gathered["X"],
                gathered["y"],
                gathered.get("weight"),
                is_clean=gathered.get("is_clean"),
            )
            whole = {"trust": self.sample_weight_}
            whole |= {name: getattr(self.label_record_, name) for name in RECORD}
            columns = {name: da.from_array(whole[name], (tuple(lengths),)) for name in whole}
        else:
            self._store_learned(first.classes, first.learned, *first.layers[0])
            self.noise_rate_, self.class_noise_rate_ = first.noise_rate, first.class_noise_rate
            self.status_ = self._describe(first.learned.solution, self.residual_)
            columns = _columns(client, fits, owners, lengths)
        self.sample_weight_ = columns.pop("trust")
        self.label_record_ = LabelRecord(RowIndex(), **columns)
        return self

    def to_local(self):
        """The same model without Dask; weights and records of the rows come to the client.

        Returns
        -------
        estimator : HyperCleaningClassifier
            Fitted if this one is; it needs no cluster.
        """
        local = super().to_local()
        if hasattr(local, "sample_weight_"):
            record = {name: getattr(local.label_record_, name) for name in RECORD}
            weight, *values = dask.compute(local.sample_weight_, *record.values())
            local.sample_weight_ = weight
            local.label_record_ = LabelRecord(
                local.label_record_.index, **dict(zip(record, values, strict=True))
            )
        return local

    def __getstate__(self):
        state = super().__getstate__()
        if "sample_weight_" in state:
            local = self.to_local()
            for name in ("sample_weight_", "label_record_"):
                state[name] = getattr(local, name)
        return state

    def _lazily(self, method, X, dtype, n_columns):
        check_is_fitted(self)
        local = self._without_rows()
        if not is_collection(X):
            return getattr(local, method)(X)
        return by_partition(X, getattr(local, method), dtype, n_columns)

    def _without_rows(self):
        """A local twin that predicts."""
        local = super().to_local()
        del local.sample_weight_, local.label_record_
        return local

    def predict(self, X):
        """Predict classes.

        Parameters
        ----------
        X : dask array or dataframe, or whatever the local estimator takes
            Of shape (n_samples, n_features).

        Returns
        -------
        y : dask array of shape (n_samples,)
            Lazy; an ndarray where X is no Dask collection.
        """
        check_is_fitted(self)
        return self._lazily("predict", X, self.classes_.dtype, None)

    def predict_proba(self, X):
        """Predict probabilities of the classes.

        Parameters
        ----------
        X : dask array or dataframe, or whatever the local estimator takes
            Of shape (n_samples, n_features).

        Returns
        -------
        probabilities : dask array of shape (n_samples, n_classes)
            Lazy; an ndarray where X is no Dask collection.
        """
        check_is_fitted(self)
        return self._lazily("predict_proba", X, np.float64, len(self.classes_))

    def decision_function(self, X):
        """Confidence scores for each class.

        Parameters
        ----------
        X : dask array or dataframe, or whatever the local estimator takes
            Of shape (n_samples, n_features).

        Returns
        -------
        scores : dask array of shape (n_samples,) or (n_samples, n_classes)
            Lazy; an ndarray where X is no Dask collection.
        """
        check_is_fitted(self)
        n_columns = len(self.classes_) if len(self.classes_) > 2 else None
        return self._lazily("decision_function", X, np.float64, n_columns)

    @available_if(_weighs_others)
    def weigh(self, X, y):
        """How far labels are believed of rows that were not in `fit`.

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

        Raises
        ------
        ValueError
            For labels that were not in `fit`, when the partition that has them is computed.
        """
        check_is_fitted(self)
        local = self._without_rows()
        if not is_collection(X):
            return local.weigh(X, y)
        return by_labelled_partition(X, y, local.weigh, np.float64)

    def label_report(self):
        """What the fit thinks of the labels; a table on the client, as `to_local` gives it.

        Returns
        -------
        report : dataframe
            As of `HyperCleaningClassifier`, rows named by position.
        """
        return self.to_local().label_report()

    def fix_labels(self):
        """The labels, those of issues replaced; an array on the client, as `to_local` gives it.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            As of `HyperCleaningClassifier`.
        """
        return self.to_local().fix_labels()


RECORD = [field.name for field in fields(LabelRecord) if field.name != "index"]


def _part(number, X, y, weight=None, is_clean=None):
    """A validated partition."""
    from ._shared_rows import RowsPart

    with naming(number):
        return RowsPart(number, *checked_labels(X, y, weight, is_clean))


def _owners(client, rows):
    """Numbers of the partitions on each worker."""
    places = client.who_has(rows)
    owners: dict[str, list[int]] = {}
    for number, future in enumerate(rows):
        holders = places[future.key]
        if not holders:
            raise RuntimeError(f"Partition {number} was lost with its worker: call fit again.")
        owners.setdefault(min(holders), []).append(number)
    return owners


def _start(client, estimator, owners, rows, seed):
    """The fit's task on each worker, the first being process 0."""
    name = uuid.uuid4().hex
    addresses = sorted(owners)
    here = {"pure": False, "allow_other_workers": False, "retries": 0}
    meeting = client.submit(_open, name, workers=[addresses[0]], **here)
    place = results(client, [meeting], pinned=addresses)[0]
    return {
        address: client.submit(
            _fit,
            estimator,
            [rows[number] for number in owners[address]],
            (name, *place, rank, len(addresses)),
            seed,
            workers=[address],
            **here,
        )
        for rank, address in enumerate(addresses)
    }


def _open(name):
    """Where the processes of a fit meet: host and port of a store on this worker."""
    from torch.distributed import TCPStore

    host = get_address_host(get_worker().address)
    _STORES[name] = TCPStore(host, 0, None, is_master=True, wait_for_workers=False)
    return host, _STORES[name].port


def _fit(estimator, parts, place, seed):
    """One process's share of a fit; None where the rows are too few to share."""
    from datetime import timedelta

    from torch.distributed import TCPStore

    from .._base import torch_session
    from .._collective import GlooCollective
    from ._label_parts import fit_parts
    from ._shared_rows import TooFewRows

    name, host, port, rank, size = place
    try:
        store = TCPStore(host, port, None, is_master=False, timeout=timedelta(seconds=20))
        collective = GlooCollective(store, rank, size)
        try:
            with torch_session():
                return fit_parts(estimator, parts, collective, seed=seed)
        except TooFewRows:
            return None
        except BaseException:
            collective.fail()
            raise
    finally:
        _STORES.pop(name, None)


def _bare(fit):
    from dataclasses import replace

    return None if fit is None else replace(fit, rows={})


def _columns(client, fits, owners, lengths):
    """A dask array of each thing there is one of for each row, from the workers' shares."""
    pieces = {}
    for address, numbers in owners.items():
        shares = client.submit(operator.attrgetter("rows"), fits[address], pure=False)
        for number in numbers:
            pieces[number] = client.submit(operator.getitem, shares, number, pure=False)
    kinds = {"trust": float, "labels": np.intp, "suggested": np.intp}
    columns = {}
    for name in ("trust", *RECORD):
        get = operator.attrgetter(name)
        columns[name] = da.concatenate(
            [
                da.from_delayed(
                    dask.delayed(client.submit(get, pieces[number], pure=False)),
                    (length,),
                    kinds.get(name, bool),
                )
                for number, length in enumerate(lengths)
            ]
        )
    return columns
