"""Stop learning when time is over."""

from __future__ import annotations

from datetime import UTC, datetime
from numbers import Real

from ._base import BilevelCallback


class TimeLimit(BilevelCallback):
    """Stop learning after so many seconds of a fit.

    Time is looked at between two steps: an iteration, or a fold of the choice of `shrinkage`.
    What was learned so far is then used for the last fit, and `status_` says what was left out.
    Preparation before the first step (Gram matrices, label quality scores) and the last fit are
    not cut short.

    Parameters
    ----------
    seconds : float
        Since the fit of the estimator began, as the clock on the wall has it.

    See Also
    --------
    EarlyStopping : Stop when the validation criterion does not get better any more.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.callback import TimeLimit
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BilevelRegularizedRegressor().set_callbacks(TimeLimit(60))
    >>> model.fit(X, y).status_[:9]
    'converged'
    """

    def __init__(self, seconds):
        if not (isinstance(seconds, Real) and float(seconds) >= 0):
            raise ValueError(f"seconds must be a number of at least 0: got {seconds!r}.")
        self.seconds = seconds

    def on_fit_task_end(self, estimator, context):
        """Look at the clock.

        Returns
        -------
        stop : bool
            Whether to stop the tasks of this level.
        """
        # The task of the whole fit: not beyond, where a search or a Pipeline may go on for long.
        while context.parent is not None and context.source_estimator_name is None:
            context = context.parent
        return (datetime.now(UTC) - context.init_time).total_seconds() >= self.seconds
