"""What every solver promises."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator


class Solver(BaseEstimator):
    """An algorithm with options, and nothing that changes.

    `init` makes the first state from a problem and `step` the next one from a state;
    both leave their arguments alone. A state is a frozen record with at least
    `iteration`, `hyper`, `params`, `residual` and `hypergradient_norm`. Options are
    stored untouched, so that `clone`, `repr` and
    ``GridSearchCV(param_grid={"solver__averaging": ...})`` work.
    """

    def init(self, problem) -> Any:
        """First state."""
        raise NotImplementedError

    def step(self, problem, state) -> Any:
        """State after one iteration."""
        raise NotImplementedError
