"""What every solver promises, and what it may need of a problem."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn.base import BaseEstimator

from ._history import Status
from ._options import Kind
from ._secant import SecantSearch


class Need(enum.StrEnum):
    """What a solver may need of a problem.

    `solve` refuses a problem that lacks a smooth lower level or curvature products. Whether the
    lower level has one solution, only a run can tell: where it has more, a run that needs one
    ends as `Status.UNDETERMINED`.
    """

    SMOOTH_LOWER_LEVEL = "a smooth lower level"
    CURVATURE_PRODUCTS = "curvature products"
    ONE_LOWER_SOLUTION = "a lower level with one solution"


@dataclass(frozen=True)
class State:
    """What the states of all solvers have; a solver adds fields of its own.

    Attributes
    ----------
    iteration : int
        How many steps led here.
    hyper, params : Tensor
        The point.
    residual : float or None
        Stationarity over every variable that moves, at the point that the last step began
        from; infinite where it is not known.
    hypergradient_norm : float or None
        Of the projected hypergradient, at the same point.
    stalled : bool
        Whether no step of hyper decreases the value any more.
    undetermined : bool
        Whether the upper objective depends on params in a direction in which the lower level
        is flat.
    search : SecantSearch or None
        Of the secant steps of hyper.
    """

    iteration: int
    hyper: Any
    params: Any
    residual: float | None = None
    hypergradient_norm: float | None = None
    stalled: bool = False
    undetermined: bool = False
    search: SecantSearch | None = None


class Solver(BaseEstimator):
    """An algorithm with options, and nothing that changes.

    `init` makes the first state from a problem, `step` the next one from a state, and
    `terminate` ends a run. They take a `problem`, a `BilevelProblem`, and a `state`, a frozen
    record (a `State` as a rule), and leave both alone. Options are stored untouched, so that
    `clone`, `repr` and ``GridSearchCV(param_grid={"solver__averaging": ...})`` work.

    Attributes
    ----------
    needs : frozenset of Need
        What the method, in theory, needs of a problem.
    kinds : dict of str to tuple
        What each option may be; `solve` checks those that are named in it.
    is_stochastic : bool
        Whether it takes a `StochasticProblem`, and no other.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    kinds: ClassVar[dict[str, tuple[Kind, ...]]] = {}
    is_stochastic: ClassVar[bool] = False

    def init(self, problem) -> Any:
        """Make the first state.

        Returns
        -------
        state : State
            At the problem's initial point.
        """
        raise NotImplementedError

    def step(self, problem, state) -> Any:
        """Do one iteration.

        Returns
        -------
        state : State
            After the iteration.
        """
        raise NotImplementedError

    def terminate(self, state, tol) -> Status | None:
        """Decide whether a run ends at the state after a step.

        Parameters
        ----------
        state : State
            Of the last `step`.
        tol : float
            The residual at which the run has converged.

        Returns
        -------
        status : Status or None
            Why it ends; None to go on.
        """
        if state.residual <= tol:
            return Status.CONVERGED
        stalled = getattr(state, "stalled", False)
        if getattr(state, "undetermined", False) and (stalled or state.hypergradient_norm <= tol):
            return Status.UNDETERMINED
        return Status.STALLED if stalled else None
