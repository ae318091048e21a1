"""What callbacks of the estimators share."""

from __future__ import annotations

from .._base import BilevelEstimator


class BilevelCallback:
    """Hooks of scikit-learn's callback protocol that do nothing, and where it may be set.

    Instances keep nothing of a fit, so that one serves clones, threads and processes at once.

    Each hook gets `estimator`, the one that is fitted, and `context`, a
    `sklearn.callback.CallbackContext`: the task, in the tree of tasks. A True that
    `on_fit_task_end` returns stops the tasks of this level.
    """

    def setup(self, estimator, context):
        """Refuse estimators that are not of this package.

        Raises
        ------
        TypeError
            If the estimator is a Pipeline, a search or any other estimator.
        """
        if not isinstance(estimator, BilevelEstimator):
            raise TypeError(
                f"{type(self).__name__} is for the estimators of skbamm, not for a "
                f"{type(estimator).__name__}: set it on the estimator within that."
            )

    def teardown(self, estimator, context):
        """Nothing to do."""

    def on_fit_task_begin(self, estimator, context):
        """Nothing to do."""

    def __repr__(self):
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"
