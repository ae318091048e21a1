"""Callbacks for `set_callbacks`, next to those of `sklearn.callback`."""

from ._early_stopping import EarlyStopping
from ._time_limit import TimeLimit

__all__ = ["EarlyStopping", "TimeLimit"]
