"""What solvers share: steps for each candidate, curvature, and moves of hyper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._schedules import at
from ._secant import SecantSearch

# Power iterations for the largest curvature. They end below it, but above half of it, which
# is all that a step of one over it asks for.
N_POWER_ITER = 8


@dataclass(frozen=True)
class OuterState:
    """State of the methods that solve the lower level anew for every hypergradient.

    ``()`` or ``(n_candidates,)`` where not said otherwise.

    Attributes
    ----------
    iteration : int
    hyper, params : Tensor
        `params` is where the lower level's descent ended, under the `hyper` before this one.
    residual : Tensor
        Projected hypergradient plus an estimate of its error.
    hypergradient_norm : Tensor
    undetermined : Tensor of bool
        Whether the upper objective depends on params in a direction in which the lower level
        is flat.
    stalled : Tensor of bool
        Whether the search on `hyper` has reached rounding.
    multiplier : Tensor
        Solution of the linear system, in the methods that solve one.
    """

    iteration: int
    hyper: Any
    params: Any
    multiplier: Any = None
    averaging: float = 0.0
    residual: Any = None
    hypergradient_norm: Any = None
    undetermined: Any = None
    stalled: Any = None
    search: SecantSearch | None = None


def scale(step, vector):
    """A step for each candidate, times a vector."""
    if not hasattr(step, "ndim") or step.ndim == 0:
        return step * vector
    return spread(step, vector) * vector


def spread(values, like):
    """Values of candidates, broadcast against a tensor whose first axis runs over these."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def divide(numerator, denominator):
    """A ratio that is zero where the denominator is."""
    safe = denominator.where(denominator != 0, denominator * 0 + 1)
    return (numerator / safe).where(denominator != 0, numerator * 0)


def rows(problem, hyper):
    """Hyper as a matrix, a row for each candidate."""
    return hyper.reshape(problem.n_candidates or 1, -1)


def projected_norm(problem, hyper, gradient):
    """Norm of the projected step along a gradient of hyper: zero where it is stationary."""
    return problem.norm(hyper - problem.project_hyper(hyper - gradient))


def begin_search(problem, hyper):
    """A `SecantSearch` that has seen nothing yet."""
    return SecantSearch.begin(rows(problem, hyper))


def search_hyper(problem, search, settled, hyper, value, gradient, *, memory, max_move):
    """Move hyper along secants, in the shapes of the problem.

    Returns
    -------
    hyper : Tensor
    search : SecantSearch
    """

    def project(points):
        return rows(problem, problem.project_hyper(points.reshape(hyper.shape)))

    target, search = search.propose(
        project,
        settled.reshape(-1),
        rows(problem, hyper),
        value.reshape(-1),
        rows(problem, gradient),
        memory=memory,
        max_move=max_move,
    )
    return target.reshape(hyper.shape), search


def move_hyper(solver, problem, state, value, gradient):
    """Step of hyper by a solver's options: secants with "auto", else the projected gradient.

    Returns
    -------
    changes : dict
        ``hyper``, ``search`` and ``stalled`` of the next state.
    """
    hyper = state.hyper
    if solver.hyper_step != "auto":
        step = at(solver.hyper_step, state.iteration)
        return {"hyper": problem.project_hyper(hyper - step * gradient)}
    settled = value == value
    hyper, search = search_hyper(
        problem,
        begin_search(problem, hyper) if state.search is None else state.search,
        settled | ~settled,
        hyper,
        value,
        gradient,
        memory=solver.memory,
        max_move=solver.max_move,
    )
    return {"hyper": hyper, "search": search, "stalled": search.stalled.reshape(value.shape)}


def random_direction(problem, params, seed=0):
    """The same unit vector for every candidate, without touching global generators."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    shape = params.shape if problem.n_candidates is None else params.shape[1:]
    vector = torch.randn(shape, generator=generator, dtype=params.dtype).to(params.device)
    return unit(problem, vector.expand(params.shape))


def unit(problem, vector):
    return scale(divide(problem.norm(vector) * 0 + 1, problem.norm(vector)), vector)


def largest_curvature(problem, product, params, n_iter=N_POWER_ITER):
    """Largest absolute eigenvalue of a linear map of params, by power iteration.

    Parameters
    ----------
    product : callable
        The (preconditioned) Hessian times a vector.

    Returns
    -------
    curvature : Tensor, scalar or of shape (n_candidates,)
        Approached from below.
    """
    vector = random_direction(problem, params)
    for _ in range(n_iter):
        moved = product(vector)
        curvature = problem.norm(moved)
        vector = unit(problem, moved)
    return curvature
