"""What estimators for Dask share: a client that is no part of the model, and the local twin."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from sklearn.base import BaseEstimator, clone

from ._client import current_client


def with_client(parent):
    """Class decorator: the parent's parameters, and ``client=None`` last."""

    def decorate(cls):
        parameters = inspect.signature(parent.__init__).parameters
        client = inspect.Parameter("client", inspect.Parameter.KEYWORD_ONLY, default=None)
        signature = inspect.Signature([*parameters.values(), client])

        def __init__(self, *args, **kwargs):  # noqa: N807
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            for name, value in list(bound.arguments.items())[1:]:
                setattr(self, name, value)

        __init__.__signature__ = signature  # type: ignore[attr-defined]
        cls.__init__ = __init__
        cls._parent = parent
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
        vars(local).update(
            {name: value for name, value in vars(self).items() if name.endswith("_")}
        )
        return local

    def __getstate__(self) -> Any:
        state: Any = super().__getstate__()
        return {**state, "client": None}

    def __sklearn_clone__(self):
        twin = super(DaskEstimator, copy.copy(self)).__sklearn_clone__()
        twin.client = self.client
        return twin
