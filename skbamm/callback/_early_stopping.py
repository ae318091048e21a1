"""Stop a run that does not pay any more."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np

from ._base import BilevelCallback


class EarlyStopping(BilevelCallback):
    """Stop when the validation criterion does not get better any more.

    A run of iterations stops when the lowest criterion (held-out error or loss) has not
    improved by more than `min_improvement`, relatively, in the last `patience` iterations. The
    best iterate is used either way. Where the regressor makes several runs (`n_repeats`, one
    for each target), this holds for each by itself.

    Set it on the estimator, also where that is within a Pipeline or a search; clones share it.

    Parameters
    ----------
    patience : int, default=10
        Number of iterations without improvement. The solver needs some between two steps of
        the learned numbers, and tries points that it then rejects.
    min_improvement : float, default=1e-3
        Smallest relative decrease that counts.

    See Also
    --------
    TimeLimit : Stop learning after so many seconds.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.callback import EarlyStopping
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BilevelRegularizedRegressor("l2", groups="feature", shrinkage=0, tol=0)
    >>> model.set_callbacks(EarlyStopping(patience=5)).fit(X, y).status_[:18]
    'stopped on request'
    """

    def __init__(self, *, patience=10, min_improvement=1e-3):
        if not isinstance(patience, Integral) or int(patience) < 1:
            raise ValueError(f"patience must be an int of at least 1: got {patience!r}.")
        if not (isinstance(min_improvement, Real) and 0 <= float(min_improvement) < 1):
            raise ValueError(
                f"min_improvement must be a number from 0 to below 1: got {min_improvement!r}."
            )
        self.patience = int(patience)
        self.min_improvement = float(min_improvement)

    def on_fit_task_end(self, estimator, context):
        """Decide after an iteration, by the `history_` of the run that goes on.

        Returns
        -------
        stop : bool
            Whether to stop the tasks of this level.
        """
        if context.task_name != "iteration":
            return False
        history = estimator.history_
        criterion = np.append(history.initial["criterion"], history["criterion"])
        if len(criterion) <= self.patience:
            return False
        before = np.nanmin(criterion[: -self.patience])
        gain = before - np.nanmin(criterion)
        return bool(gain <= self.min_improvement * abs(before))
