"""What `solve` asks of a problem and a solver before a run, and names of solvers."""

from __future__ import annotations

import dataclasses
import math
import warnings
from dataclasses import replace
from numbers import Real
from typing import Any

from .._base import Need, Solver
from .._history import History
from .._implicit import Implicit
from .._options import COUNT, check_options
from .._steps import eps_of, is_finite, norm_of, random_direction
from ._verification import FinishingState

# How far values and derivatives may differ, relatively, and roundings of a value.
DISAGREEMENT, ROUNDINGS = 0.1, 100.0


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


def solver_for(problem, solver):
    """A solver, the default one or one by its name, that a problem can be solved by."""
    from ...problems import BilevelProblem, StochasticProblem

    if not isinstance(problem, BilevelProblem | StochasticProblem):
        raise TypeError(
            "problem must be a BilevelProblem or a StochasticProblem: got "
            f"{type(problem).__name__}."
        )
    is_stochastic = isinstance(problem, StochasticProblem)
    solver = get_solver(solver or ("stochastic-sl-bamm" if is_stochastic else "sl-bamm"))
    if isinstance(solver, type):
        raise TypeError(f"solver must be an instance: got the class {solver.__name__}.")
    if not isinstance(solver, Solver):
        raise TypeError(f"solver must be a name or a Solver: got {type(solver).__name__}.")
    check_options(solver)
    _check_batches(is_stochastic, solver)
    if not is_stochastic:
        _check_needs(problem, solver)
    return solver


def _check_batches(is_stochastic, solver):
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


def _check_needs(problem, solver):
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


def check_run(max_iter, tol, history, max_history):
    """Raise where length, tolerance or history of a run make no sense."""
    if not COUNT.holds(max_iter) and max_iter != 0:
        raise ValueError(f"max_iter must be a whole number not below 0: got {max_iter!r}.")
    if not isinstance(tol, Real) or math.isnan(tol):
        raise ValueError(f"tol must be a number: got {tol!r}.")
    if history is not None and not isinstance(history, History):
        raise TypeError(
            f"history must be a History, such as solution.history: got {type(history).__name__}."
        )
    if max_history is not None and not COUNT.holds(max_history):
        raise ValueError(f"max_history must be {COUNT.words} or None: got {max_history!r}.")


def check_initial_point(problem):
    """Raise where an objective is not finite at the initial point."""
    hyper = problem.project_hyper(problem.initial_hyper)
    params = problem.project_params(problem.initial_params)
    levels = {"upper": problem.upper, "lower": problem.lower}
    values = {name: level.value(hyper, params) for name, level in levels.items()}
    if not is_finite(*values.values()) and problem.solve_lower is not None:
        values = dict(zip(levels, problem.levels(hyper, params), strict=True))
    for name, value in values.items():
        check_value(name, value)
    _check_graphs(problem, hyper, params)


def check_value(name, value, where=""):
    """Raise where a loss at the initial point is one for each row, or not finite."""
    if value.numel() != 1:
        raise ValueError(
            f"{name} must return one value: got a tensor of shape {tuple(value.shape)}; take its "
            "mean or its sum."
        )
    if not is_finite(value):
        raise ValueError(
            f"{name} must be finite at the initial point: got {value.tolist()}{where}; choose "
            "another initial_hyper or initial_params."
        )


def _check_graphs(problem, hyper, params):
    """Raise where autograd sees nothing to differentiate, as in a loss that was detached."""
    import torch

    from ...problems import Objective

    hyper, params = (tensor.detach().clone().requires_grad_() for tensor in (hyper, params))
    names, has_hyper = ["upper", "lower"], False
    if problem.nonsmooth is not None:
        names, has_hyper = ["upper"], True
    for name in names:
        level = getattr(problem, name)
        if type(level).gradients is not Objective.gradients:
            has_hyper = True
            continue  # it has derivatives of its own
        with torch.enable_grad():
            value = level.value(hyper, params).sum()
        of_hyper, of_params = None, None
        if value.requires_grad:
            of_hyper, of_params = torch.autograd.grad(value, (hyper, params), allow_unused=True)
        if of_params is None and (of_hyper is None or name == "lower"):
            raise_constant(name)
        has_hyper = has_hyper or of_hyper is not None
        _warn_of_derivatives(name, level.value, hyper, params)
    if not has_hyper and hyper.numel() > 0:
        raise ValueError(
            "upper or lower must depend on hyper: autograd finds no way from their values to it, "
            "so there is nothing to learn."
        )


def _warn_of_derivatives(name, value, hyper, params):
    """Warn where values change otherwise than autograd says: then a part of them was detached."""
    variables = {"hyper": hyper.detach(), "params": params.detach()}
    for variable, tensor in variables.items():
        direction = random_direction(tensor)

        def along(length, variable=variable, tensor=tensor, direction=direction):
            return value(**{**variables, variable: tensor + length * direction}).sum()

        rates = _disagreement(along, tensor)
        if rates is not None:
            warnings.warn(
                f"{name} and its derivative in {variable} do not go together: values change at a "
                "rate of {:.2g}, autograd says {:.2g}. Is a part of it detached (detach(), "
                "no_grad, .data, a number made anew), or random?".format(*rates),
                UserWarning,
                stacklevel=5,
            )
            return


def _disagreement(function, tensor):
    """The rate at which a function of one number changes, and its derivative, if they differ.

    Some way from 0, as at the point itself there may be kinks. Two steps that agree tell a wrong
    derivative from kinks in between.
    """
    import torch

    eps = eps_of(tensor)
    step = eps ** (1 / 3) * max(norm_of(tensor), 1.0)
    with torch.enable_grad():
        length = torch.tensor(10 * step).to(tensor).requires_grad_()
        value, found = function(length), None
        if value.requires_grad:
            found = torch.autograd.grad(value, length, allow_unused=True)[0]
    derivative, rates, allowed = 0.0 if found is None else float(found), [], 0.0
    for part in (step, step / 4):
        high, low = float(function(10 * step + part)), float(function(10 * step - part))
        rates.append((high - low) / (2 * part))
        allowed = ROUNDINGS * eps * max(abs(high), abs(low)) / part
    allowed += DISAGREEMENT * max(abs(derivative), *map(abs, rates))
    is_wrong = all(abs(rate - derivative) > allowed for rate in rates)
    return (rates[1], derivative) if is_wrong and abs(rates[0] - rates[1]) <= allowed else None


def raise_constant(name):
    """Of an objective from whose value autograd finds no way back."""
    of = "hyper or params" if name == "upper" else "params"
    raise ValueError(
        f"{name} must depend on {of}: autograd finds no way from its value to them; is "
        "something detached, or made anew as a number?"
    )


def first_state(problem, solver, state, check_point):
    """That of a solver, where the problem's initial point is a good one, or the given one."""
    if state is None:
        check_point(problem)
        return solver.init(problem)
    _check_state(problem, solver, state)
    return state


def _check_state(problem, solver, state):
    """Raise where a state is not one that a solver can go on from on a problem."""
    is_record = dataclasses.is_dataclass(state) and not isinstance(state, type)
    if not is_record or not all(hasattr(state, name) for name in ("iteration", "hyper", "params")):
        raise TypeError(
            "state must be what a run ended with, such as solution.state, or checkpoint.state of "
            f"load_checkpoint: got {type(state).__name__}."
        )
    expected = solver.init(problem)
    if isinstance(state, FinishingState):  # of any solver
        expected = replace(state, hyper=expected.hyper, params=expected.params)
    found = _difference(expected, state, "state")
    has = [getattr(one, "multiplier", None) is not None for one in (expected, state)]
    if found is None and has[0] != has[1]:
        found = "state.multiplier", "None", "a tensor"
    if found is not None:
        path, needed, given = found
        raise ValueError(
            f"{type(solver).__name__} cannot go on from this state: {path} must be {needed}, and "
            f"is {given}. Is it of another solver, other options or another problem?"
        )


def _difference(expected, given, path):
    """Where something lacks what another has: the place, what is there and what is here."""
    if expected is None:  # not known at first
        return None
    if hasattr(expected, "detach"):
        kinds = [_kind_of_tensor(value) for value in (expected, given)]
        return None if kinds[0] == kinds[1] else (path, *kinds)
    if isinstance(expected, str):
        return None if expected == given else (path, repr(expected), repr(given))
    if isinstance(expected, int | float):
        return None
    if type(expected) is not type(given):
        return path, f"a {type(expected).__name__}", f"a {type(given).__name__}"
    if dataclasses.is_dataclass(expected):
        parts: Any = [(f"{path}.{name}", part, name) for name, part in vars(expected).items()]
        given = vars(given)
    elif isinstance(expected, dict):
        parts = [(f"{path}[{name!r}]", part, name) for name, part in expected.items()]
    elif isinstance(expected, tuple | list):
        parts = [(f"{path}[{n}]", part, n) for n, part in enumerate(expected)]
        given = dict(enumerate(given))
    else:
        return None
    for place, part, name in parts:
        if name not in given:
            return place, "there", "missing"
        found = _difference(part, given[name], place)
        if found is not None:
            return found
    return None


def _kind_of_tensor(value):
    if not hasattr(value, "detach"):
        return f"a {type(value).__name__}"
    return f"a tensor of shape {tuple(value.shape)}, {value.dtype}, on {value.device}"
