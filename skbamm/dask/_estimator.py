"""What estimators for Dask share: a client that is no part of the model, and the local twin."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import dask
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.metrics import accuracy_score, r2_score

from ..data._columns import split_columns
from ._client import current_client
from ._partitions import by_partition, is_collection


def with_client(parent):
    """Class decorator: the parent's parameters, and ``client=None`` last."""

    def decorate(cls):
        def __init__(self, *args, client=None, **kwargs):  # noqa: N807
            parent.__init__(self, *args, **kwargs)
            self.client = client

        parameters = inspect.signature(parent.__init__).parameters.values()
        more = inspect.Parameter("client", inspect.Parameter.KEYWORD_ONLY, default=None)
        __init__.__signature__ = inspect.Signature([*parameters, more])  # type: ignore[attr-defined]
        cls.__init__, cls._parent = __init__, parent
        return cls

    return decorate


class DaskEstimator(BaseEstimator):
    """Its `client` is used where it was made, and does not travel."""

    client: Any
    _parent: type

    @property
    def client_(self):
        # No docstring: the class's says it, and Sphinx would link to one where there is no entry.
        return current_client(self.client)

    def to_local(self):
        """The same model without Dask.

        Returns
        -------
        estimator : estimator
            Fitted if this one is; it needs no cluster.
        """
        params = self.get_params(deep=False)
        del params["client"]
        local = self._parent(**{name: clone(value, safe=False) for name, value in params.items()})
        fitted = {name: value for name, value in vars(self).items() if name.endswith("_")}
        vars(local).update(fitted)
        return local

    def _predictor(self):
        return self.to_local()

    def _lazily(self, method, *given, empty):
        """What a method of the local twin gives; see `by_partition` where X is a collection."""
        function = getattr(self._predictor(), method)
        if not is_collection(given[0]):
            return function(*given)
        return by_partition(function, *given, empty=empty)

    def score(self, X, y, sample_weight=None):
        """Score predictions as the local estimator does, on the client.

        Parameters
        ----------
        X : dask array or dataframe, or whatever the local estimator takes
            Of shape (n_samples, n_features).

        y : like X, of shape (n_samples,) or (n_samples, n_targets)
            True targets or labels, or the name of a column of X.

        sample_weight : like X, of shape (n_samples,), default=None
            Or the name of a column of X.

        Returns
        -------
        score : float
            Coefficient of determination, or accuracy.
        """
        if is_collection(X):
            _, X, y, weight = split_columns(X, y, sample_weight, several=is_regressor(self))
            # One by one: dask warns of arrays and dataframes together.
            y, predicted, weight = (dask.compute(one)[0] for one in (y, self.predict(X), weight))
            metric = r2_score if is_regressor(self) else accuracy_score
            return metric(y, predicted, sample_weight=weight)
        return super().score(X, y, sample_weight)

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        return {**state, "client": None}

    def __sklearn_clone__(self):
        twin = super(DaskEstimator, copy.copy(self)).__sklearn_clone__()
        twin.client = self.client
        return twin
