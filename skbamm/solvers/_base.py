"""What every solver promises."""

from __future__ import annotations

from typing import Any, ClassVar

from sklearn.base import BaseEstimator


class Solver(BaseEstimator):
    """An algorithm with options, and nothing that changes.

    `init` makes the first state from a problem and `step` the next one from a state;
    both leave their arguments alone. A state is a frozen record with at least
    `iteration`, `hyper`, `params`, `residual` and `hypergradient_norm`. Options are
    stored untouched, so that `clone`, `repr` and
    ``GridSearchCV(param_grid={"solver__averaging": ...})`` work.

    Attributes
    ----------
    handles_nonsmooth : bool
        Whether the lower level may have a `nonsmooth` term.
    needs_strong_convexity : bool
        Whether the method, in theory, needs a lower level with one solution. Where that is
        missing, a run ends as `Status.UNDETERMINED`.
    """

    handles_nonsmooth: ClassVar[bool] = False
    needs_strong_convexity: ClassVar[bool] = False

    def init(self, problem) -> Any:
        """Make the first state.

        Parameters
        ----------
        problem : BilevelProblem
            What is solved.

        Returns
        -------
        state : object
            A frozen record.
        """
        raise NotImplementedError

    def step(self, problem, state) -> Any:
        """Do one iteration.

        Parameters
        ----------
        problem : BilevelProblem
            What is solved.
        state : object
            Of `init` or of the last `step`; it stays as it is.

        Returns
        -------
        state : object
            After the iteration.
        """
        raise NotImplementedError
