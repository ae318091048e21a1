"""What callbacks of both estimators share."""

from __future__ import annotations

from .._base import BilevelEstimator


class BilevelCallback:
    """Hooks of scikit-learn's callback protocol that do nothing, and where it may be set.

    Instances keep nothing of a fit, so that one serves clones, threads and processes at once.
    """

    def setup(self, estimator, context):
        """Refuse estimators that are not of this package.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : sklearn.callback.CallbackContext
            The task, in the tree of tasks.

        Raises
        ------
        TypeError
            If `estimator` is a Pipeline, a search or any other estimator.
        """
        if not isinstance(estimator, BilevelEstimator):
            raise TypeError(
                f"{type(self).__name__} is for the estimators of skbamm, not for a "
                f"{type(estimator).__name__}: set it on the estimator within that."
            )

    def teardown(self, estimator, context):
        """Nothing to do.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : sklearn.callback.CallbackContext
            The task, in the tree of tasks.
        """

    def on_fit_task_begin(self, estimator, context):
        """Nothing to do.

        Parameters
        ----------
        estimator : estimator
            The one that is fitted.
        context : sklearn.callback.CallbackContext
            The task, in the tree of tasks.
        """

    def __repr__(self):
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"
