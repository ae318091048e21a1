"""Lengths and steps: schedules, steps of hyper, and the curvature that a step may have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ._secant import SecantSearch

# Power iterations for the largest curvature. They end below it, but above half of it, which
# is all that a step of one over it asks for.
N_POWER_ITER = 8


Schedule = float | Callable[[int], float]


@dataclass(frozen=True)
class PowerLaw:
    """``initial * (iteration + 1) ** -power``, iterations counted from 0.

    The averaging parameter and the step sizes of sl-BAMM's theory are of this kind:
    averaging ``PowerLaw(0.9, 0.1)`` is mu0 = .9, p0 = 10 of the paper.

    Attributes
    ----------
    initial : float
        Value in iteration 0.
    power : float, default=0.0
        How fast it falls; 0 for a constant.
    """

    initial: float
    power: float = 0.0

    def __call__(self, iteration: int) -> float:
        return self.initial * (iteration + 1) ** -self.power


def at(schedule, iteration: int) -> float:
    """Value of a number or of a callable of the iteration."""
    if not callable(schedule):
        return float(schedule)
    value = float(schedule(iteration))
    if not 0 <= value < math.inf:
        raise ValueError(
            f"a schedule must return finite numbers not below 0: got {value} in iteration "
            f"{iteration}."
        )
    return value


def divide(numerator: float, denominator: float) -> float:
    """A ratio that is zero where the denominator is."""
    return numerator / denominator if denominator else 0.0


def eps_of(tensor) -> float:
    """The distance of 1 to the next number of its precision."""
    import torch

    return torch.finfo(tensor.dtype).eps


def norm_of(vector) -> float:
    """Euclidean norm."""
    flat = vector if vector.dim() == 1 else vector.reshape(-1)
    return math.sqrt(flat.dot(flat).item())  # an eighth of the time of `vector.norm()`


def projected_norm(problem, hyper, gradient) -> float:
    """Norm of the projected step along a gradient of hyper: zero where it is stationary."""
    return norm_of(hyper - problem.project_hyper(hyper - gradient))


def random_direction(params):
    """The same unit vector every time, without touching global generators."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return unit(
        torch.randn(params.shape, generator=generator, dtype=params.dtype, device="cpu").to(
            params.device
        )
    )


def unit(vector):
    return divide(1.0, norm_of(vector)) * vector


def largest_curvature(product, params) -> float:
    """Largest absolute eigenvalue of a linear map of params, by power iteration from below."""
    curvature, vector = 0.0, random_direction(params)
    for _ in range(N_POWER_ITER):
        image = product(vector)
        curvature, vector = norm_of(image), unit(image)
    return curvature


@dataclass(frozen=True)
class GradientStep:
    """Along the projected gradient, with a fixed or scheduled length."""

    length: float | Callable[[int], float]

    def begin(self, hyper):
        """Nothing is remembered from step to step."""

    def move(self, project, state, hyper, gradient, value, rounding=0.0):
        """The next hyper, and what the next step is to know."""
        return project(hyper - at(self.length, state.iteration) * gradient), None


@dataclass(frozen=True)
class SecantStep:
    """Along secants, with backtracking on the value."""

    memory: int
    max_move: float
    is_box: bool = True

    @classmethod
    def of(cls, problem, memory, max_move):
        """In the problem's set."""
        return cls(memory, max_move, problem.project is None)

    def begin(self, hyper):
        return SecantSearch(hyper)

    def move(self, project, state, hyper, gradient, value, rounding=0.0):
        """As in `GradientStep`; ``value()`` is the value at `hyper`, known to a `rounding`."""
        return state.search.propose(
            project,
            hyper,
            float(value()),
            gradient,
            memory=self.memory,
            max_move=self.max_move,
            rounding=rounding,
            is_box=self.is_box,
        )


def hyper_step(solver, problem):
    """The step of hyper that a solver's options ask for."""
    if solver.hyper_step == "auto":
        return SecantStep.of(problem, solver.memory, solver.max_move)
    return GradientStep(solver.hyper_step)


def begin(solver, problem, kind, **fields):
    """The first state, of some kind: the problem's initial point, made feasible."""
    hyper = problem.project_hyper(problem.initial_hyper)
    params = problem.project_params(problem.initial_params)
    return kind(0, hyper, params, search=hyper_step(solver, problem).begin(hyper), **fields)


def move_hyper(solver, problem, state, gradient, value, *, rounding=0.0) -> dict:
    """Fields `hyper`, `search` and `stalled` of the state after a step of hyper."""
    hyper, search = hyper_step(solver, problem).move(
        problem.project_hyper, state, state.hyper, gradient, value, rounding
    )
    return {"hyper": hyper, "search": search, "stalled": search is not None and search.stalled}


def changed(state, **fields):
    """As `dataclasses.replace`, in a third of its time."""
    return type(state)(**(vars(state) | fields))


def is_finite(*values) -> bool:
    """Whether numbers and tensors are; None is left out."""
    known = [value for value in values if value is not None]
    total = 0.0  # finite only where all entries are, and quick; it may overflow, though
    for value in known:
        total += value if isinstance(value, float) else value.sum().item()
    if math.isfinite(total):
        return True
    return all(
        math.isfinite(value) if isinstance(value, float) else bool(value.isfinite().all())
        for value in known
    )


def retreat(solver, problem, state, names=()):
    """The state after a step from where something is not finite.

    The step that led there is taken back in part: that of hyper where it is on trial, else that
    of the variables of these names, back to `state.origin`. Where there is none, or its length
    was given, the run has diverged: what the state has is finite, but its residual is NaN.
    """
    following = replace(state, iteration=state.iteration + 1, residual=math.inf)
    search, hyper = state.search, state.hyper
    if solver.hyper_step == "auto" and search.tries and bool((hyper != search.anchor).any()):
        hyper, search = search.retreat(problem.project_hyper)
        return replace(following, hyper=hyper, search=search, stalled=search.stalled)
    if names and state.origin and solver.params_step == "auto":
        points = dict(zip(names, state.origin, strict=True))
        halves = {name: (getattr(state, name) + point) / 2 for name, point in points.items()}
        eps = next(iter(halves.values())).abs().max() * 1e-9
        if any(bool(((half - points[name]).abs() > eps).any()) for name, half in halves.items()):
            return replace(following, **halves)
    return replace(following, residual=math.nan, hypergradient_norm=math.nan)
