"""What solvers on batches share: their state, how variables move, running and tail means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from .._base import Solver, State
from .._options import FUNCTION, MAKER, NOT_NEGATIVE, NOTHING, POSITIVE
from ._moves import OptimizerMove, StepMove, share_met

# A row of the history is a mean over about so many iterations, over fewer where there are fewer.
WINDOW = 50
# Iterate k of n has a weight near (k / n) ** POWER in a tail mean.
POWER = 8


@dataclass(frozen=True)
class StochasticState(State):
    """What the states of all solvers on batches have.

    `hypergradient_norm` is a running mean of the norms of noisy ones, and `residual` is not known:
    what the returned point is worth is found out on all data. What the moves of variables remember
    is part of the state, optimizers' own states too: a run is continued to the bit.
    """

    n_samples: int = 0  # rows of batches so far, of both levels
    upper_value: float = 0.0  # running means of batch values
    lower_value: float = 0.0
    means: dict = field(default_factory=dict)  # of each variable's iterates, late ones above all
    moves: dict = field(default_factory=dict)  # what each variable's move remembers


def kinds_of(*names, also=(), **kinds):
    """Kinds of the options of variables by name; steps may `also` be of others."""
    for name in names:
        # A step of zero stands still: hyper may, but params would never solve the lower level.
        length = NOT_NEGATIVE if name == "hyper" else POSITIVE
        kinds[f"{name}_step"] = (length, FUNCTION, *also)
        kinds[f"{name}_optimizer"] = kinds[f"{name}_scheduler"] = (MAKER, NOTHING)
    return kinds


@dataclass(kw_only=True, eq=False, repr=False)
class StochasticSolver(Solver):
    """A solver that takes a `StochasticProblem`.

    Each variable that moves has an option for its step, for an optimizer and for a scheduler.

    `init` and `step` are those of all solvers. Which batches a step takes follows from the
    iteration alone, so that a state is all that a run is continued from.

    Attributes
    ----------
    is_stochastic : bool
        Whether it takes batches.
    """

    is_stochastic: ClassVar[bool] = True

    def _begin(self, problem, kind, *names, **fields):
        """The first state, at the initial point; further variables than both are named."""
        hyper, params = problem.first_point()
        tensors = {"hyper": hyper, "params": params, **dict.fromkeys(names, params * 0)}
        tensors |= {name: value for name, value in fields.items() if name in names}
        self._check_schedulers(tensors)
        moves = {name: self._move_of(name).begin(tensor) for name, tensor in tensors.items()}
        fields = {**fields, **tensors}
        return kind(iteration=0, means=tensors, moves=moves, hypergradient_norm=0.0, **fields)

    def _check_schedulers(self, names):
        """Raise where one has no optimizer to schedule."""
        for name in names:
            optimizer, scheduler = (
                getattr(self, f"{name}_{kind}", None) for kind in ("optimizer", "scheduler")
            )
            if scheduler is not None and optimizer is None:
                raise ValueError(
                    f"{name}_scheduler needs {name}_optimizer, which is None: steps without one "
                    f"are scheduled by a function of the iteration, {name}_step."
                )

    def _move_of(self, name, length=None):
        """How a variable moves: by its optimizer, else by steps of a length."""
        optimizer = getattr(self, f"{name}_optimizer", None)
        if optimizer is not None:
            if "LBFGS" in str(getattr(optimizer, "func", optimizer)):
                raise ValueError(
                    f"{name}_optimizer must be one that steps along a gradient (Adam, SGD): LBFGS "
                    "evaluates a loss, and the gradients of these methods are those of none."
                )
            return OptimizerMove(optimizer, getattr(self, f"{name}_scheduler"))
        return StepMove(getattr(self, f"{name}_step") if length is None else length)

    def _advance(self, problem, state, gradients, *, lengths=None, **fields):
        """The state after one move of each variable along its gradient."""
        k, moves, moved = state.iteration, dict(state.moves), {}
        for name, gradient in gradients.items():
            move = self._move_of(name, (lengths or {}).get(name))
            moved[name], moves[name] = move.move(getattr(state, name), gradient, k, moves[name])
        moved["hyper"] = problem.project_hyper(moved["hyper"])
        following = replace(state, iteration=k + 1, moves=moves, **moved, **fields)
        weight = (POWER + 1) / (k + POWER + 1)
        weights = {"hyper": _weight_of_visits(weight, gradients["hyper"])}
        means = {
            name: mean + weights.get(name, weight) * (getattr(following, name) - mean)
            for name, mean in state.means.items()
        }
        return replace(following, means=means)


def _weight_of_visits(weight, gradient):
    """Weight of the latest iterate in the tail mean of each entry of hyper.

    An entry that is met in every t-th batch has a mean over its own visits, the weight of each t
    times as large: over all iterations, its mean would still be near the initial value for a tenth
    of the run after the only visits that it may have.
    """
    share = share_met(gradient)
    if share == 1.0:
        return weight
    return weight + (gradient != 0).to(gradient.dtype) * (min(1.0, weight / share) - weight)


def observed(state, hypergradient, upper, lower, n_rows):
    """Fields of the next state: running means and the number of samples."""

    def running(mean, latest):
        return mean + (latest - mean) / min(state.iteration + 1, WINDOW)

    return {
        "n_samples": state.n_samples + n_rows,
        "upper_value": running(state.upper_value, upper),
        "lower_value": running(state.lower_value, lower),
        "hypergradient_norm": running(state.hypergradient_norm, float(hypergradient.norm())),
    }
