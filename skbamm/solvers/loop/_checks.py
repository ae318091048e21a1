"""What `solve` asks of a problem and a solver before a run, and names of solvers."""

from __future__ import annotations

import math
from numbers import Real

from .._base import Need
from .._implicit import Implicit
from .._options import COUNT
from .._steps import is_finite


def get_solver(solver):
    """Look a solver up by its name.

    Parameters
    ----------
    solver : str or Solver
        A name in `SOLVERS` or `STOCHASTIC_SOLVERS`, or an instance.

    Returns
    -------
    solver : Solver
        With its default options; an instance is returned as it is.
    """
    from .. import SOLVERS, STOCHASTIC_SOLVERS

    if isinstance(solver, str):
        try:
            return {**SOLVERS, **STOCHASTIC_SOLVERS}[solver]()
        except KeyError:
            raise ValueError(
                f"solver must be one of {sorted(SOLVERS)}, of {sorted(STOCHASTIC_SOLVERS)} on "
                f"batches, or an instance: got {solver!r}."
            ) from None
    return solver


def check_lengths(max_iter, tol, max_history):
    """Raise where a run has no length, or nothing it may end at."""
    if not COUNT.holds(max_iter) and max_iter != 0:
        raise ValueError(f"max_iter must be a whole number not below 0: got {max_iter!r}.")
    if not isinstance(tol, Real) or math.isnan(tol):
        raise ValueError(f"tol must be a number: got {tol!r}.")
    if max_history is not None and not COUNT.holds(max_history):
        raise ValueError(f"max_history must be {COUNT.words} or None: got {max_history!r}.")


def check_batches(is_stochastic, solver):
    """Raise where a solver takes batches and the problem has none, or the other way round."""
    from .. import SOLVERS, STOCHASTIC_SOLVERS

    if solver.is_stochastic == is_stochastic:
        return
    name = type(solver).__name__
    if is_stochastic:
        raise ValueError(
            f"{name} takes no batches: use one of {sorted(STOCHASTIC_SOLVERS)} for a "
            "StochasticProblem, or solve(problem.full_batch(), ...)."
        )
    raise ValueError(
        f"{name} takes a StochasticProblem: use one of {sorted(SOLVERS)} for a BilevelProblem."
    )


def check_initial_point(problem):
    """Raise where an objective is not finite at the initial point."""
    hyper = problem.project_hyper(problem.initial_hyper)
    params = problem.project_params(problem.initial_params)
    levels = {"upper": problem.upper, "lower": problem.lower}
    values = {name: level.value(hyper, params) for name, level in levels.items()}
    if not is_finite(*values.values()) and problem.solve_lower is not None:
        values = dict(zip(levels, problem.levels(hyper, params), strict=True))
    for name, value in values.items():
        if not is_finite(value):
            raise ValueError(
                f"{name} must be finite at the initial point: got {value.tolist()}; choose another "
                "initial_hyper or initial_params."
            )
    _check_graphs(problem, hyper, params)


def _check_graphs(problem, hyper, params):
    """Raise where autograd sees nothing to differentiate, as in a loss that was detached."""
    import torch

    from ...problems import Objective

    hyper, params = (tensor.detach().clone().requires_grad_() for tensor in (hyper, params))
    needed = {"upper": (hyper, params), "lower": (params,)}
    if problem.nonsmooth is not None:
        del needed["lower"]
    for name, inputs in needed.items():
        level = getattr(problem, name)
        if type(level).gradients is not Objective.gradients:
            continue  # it has derivatives of its own
        with torch.enable_grad():
            value = level.value(hyper, params).sum()
        found: tuple = (None,)
        if value.requires_grad:
            found = torch.autograd.grad(value, inputs, allow_unused=True)
        if all(gradient is None for gradient in found):
            raise_constant(name)


def raise_constant(name):
    """Of an objective from whose value autograd finds no way back."""
    of = "hyper or params" if name == "upper" else "params"
    raise ValueError(
        f"{name} must depend on {of}: autograd finds no way from its value to them; is "
        "something detached, or made anew as a number?"
    )


def check_needs(problem, solver):
    """Raise where a problem lacks what a solver needs, and name the solvers that do without."""
    from .. import SOLVERS

    if problem.project is not None and isinstance(solver, Implicit):
        able = sorted(name for name, kind in SOLVERS.items() if kind is not Implicit)
        raise ValueError(
            "Implicit takes no set of hyper but a box (lower_bound, upper_bound), and this problem "
            f"has a project: use one of {able}."
        )
    levels = problem.upper, problem.lower
    lacks = {}
    if problem.nonsmooth is not None:
        lacks[Need.SMOOTH_LOWER_LEVEL] = "this problem has a nonsmooth term"
    if not all(level.twice_differentiable for level in levels):
        lacks[Need.CURVATURE_PRODUCTS] = "an objective of this problem is not twice_differentiable"
    for need in Need:
        if need in lacks and need in solver.needs:
            able = sorted(name for name, kind in SOLVERS.items() if not kind.needs & lacks.keys())
            raise ValueError(
                f"{type(solver).__name__} needs {need}, and {lacks[need]}: use one of {able}."
            )
