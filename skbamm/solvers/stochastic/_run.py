"""The loop on batches, and what its answer is worth on all data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...linalg._session import torch_session
from .._history import Snapshot, Status, as_callback
from .._steps import is_finite, projected_norm
from ..loop._checks import check_value, first_state, raise_constant
from ..loop._solve import Solution
from ..lower._level import LowerGap


@dataclass(frozen=True)
class _Answer:
    """A point, and what is known of it on all data."""

    hyper: Any
    params: Any
    criterion: float
    residual: float | None = None
    hypergradient_norm: float | None = None
    lower_gap: LowerGap | None = None


def solve_on_batches(problem, solver, max_iter, tol, callback, state, verify, recorder):
    """As `solve`, whose arguments were checked; rows go to the recorder."""
    with torch_session():
        state = first_state(problem, solver, state, _check_initial_point)
        initial = _Whole(problem, verify).criterion(state.hyper, state.params)
        end = partial(_solution, problem, tol, verify, initial)
        recorder.begin(criterion=initial, hyper=state.hyper)
        callback = None if callback is None else as_callback(callback)
        n_iter, status = 0, Status.MAX_ITER if max_iter else Status.FROZEN
        for n_iter in range(1, max_iter + 1):
            if callback is not None:
                callback.begin(n_iter)
            previous, state = state, solver.step(problem, state)
            row = _row(state)
            recorder.add(**row)
            if not is_finite(row["criterion"], state.hyper, state.params):
                # What is returned is finite.
                status, state = Status.DIVERGED, previous
                break
            if callback is not None:
                live = recorder.live()
                so_far = partial(end, state, Status.STOPPED, n_iter, live)
                if callback.end(Snapshot(state, row, live, so_far)):
                    status = Status.STOPPED
                    break
        return end(state, status, n_iter, recorder.history())


def _row(state):
    """What the history records of a step: numbers only, as hyper may be a network."""
    row = {
        "criterion": state.upper_value,
        "lower": state.lower_value,
        "hypergradient_norm": state.hypergradient_norm,
        "averaging": getattr(state, "averaging", 0.0),
        "n_samples": state.n_samples,
    }
    multiplier = getattr(state, "multiplier", None)
    return row if multiplier is None else row | {"multiplier_norm": float(multiplier.norm())}


def _check_initial_point(problem):
    """Raise where a loss is not one finite value, or autograd finds no way to the variables."""
    hyper, params = problem.first_point()
    for name in ("upper", "lower"):
        batch = getattr(problem, f"{name}_level").batch(0)
        value = batch.value(hyper, params)
        check_value(name, value, " on the first batch")
        found = batch.evaluate(hyper, params, with_hyper=name == "upper")
        if not found.depends:
            raise_constant(name)


class _Whole:
    """Values and derivatives on all data."""

    def __init__(self, problem, verify):
        self.problem = problem
        self.verify = verify
        self.upper = problem.upper_level.whole()
        self.lower = problem.lower_level.whole()

    def criterion(self, hyper, params):
        return float(self.upper.value(hyper, params)) if self.verify else math.nan

    def answer(self, state):
        """The mean of late iterates, in which the noise of batches cancels.

        Where the last params solve the lower level better, as far from convexity or in a short
        run, they are taken instead.
        """
        hyper, params = state.means["hyper"], state.means["params"]
        if not self.verify:
            return _Answer(hyper, params, math.nan)
        values = [float(self.lower.value(hyper, one)) for one in (params, state.params)]
        if not values[0] <= values[1]:
            params = state.params
        return self._certified(hyper, params, state.means["multiplier"])

    def _certified(self, hyper, params, multiplier):
        """With the norm of the gradient of all that moves."""
        upper = self.upper.gradients(hyper, params)
        products = self.lower.curvature_products(hyper, params, multiplier)
        lower_norm = float(self.lower.params_gradient(hyper, params).norm())
        norm = projected_norm(self.problem, hyper, upper.hyper - products.mixed)
        left = float((products.hessian - upper.params).norm())
        return _Answer(
            hyper,
            params,
            self.criterion(hyper, params),
            residual=norm + left + lower_norm,
            hypergradient_norm=norm,
            lower_gap=LowerGap(math.nan, lower_norm),
        )


def _solution(problem, tol, verify, initial, state, status, n_iter, history):
    whole = _Whole(problem, verify)
    answer = whole.answer(state) if n_iter else _Answer(state.hyper, state.params, initial)
    if verify and not math.isfinite(answer.criterion):
        status = Status.DIVERGED
    elif status is Status.MAX_ITER and answer.residual is not None and answer.residual <= tol:
        status = Status.CONVERGED
    criterion, first = answer.hyper.new_tensor([answer.criterion, initial])
    return Solution(
        hyper=answer.hyper,
        params=answer.params,
        criterion=criterion,
        initial_criterion=first,
        status=status,
        n_iter=n_iter,
        residual=answer.residual,
        hypergradient_norm=answer.hypergradient_norm,
        lower_gap=answer.lower_gap,
        history=history,
        state=state,
    )
