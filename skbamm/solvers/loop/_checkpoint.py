"""A run in a file of tensors and numbers alone, to go on later or elsewhere."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._base import State
from .._history import History
from .._implicit import Evaluation
from .._secant import SecantSearch
from ..lower._level import LowerGap
from ._verification import Answer

FORMAT = 1
KIND, ARRAY = "__kind__", "__array__"
# What a problem makes anew when it is asked.
LEFT_OUT = {"metric"}


class Checkpoint(NamedTuple):
    """What `load_checkpoint` returns: ``solve(problem, solver, **checkpoint._asdict())`` goes on.

    Attributes
    ----------
    state : State
        Of the solver.
    history : History
        Of the run so far.
    """

    state: Any
    history: History


def save_checkpoint(path, run):
    """Write a run to a file that ``torch.load(path, weights_only=True)`` reads.

    Parameters
    ----------
    path : str or path-like
        An older file there is replaced when the new one is complete.
    run : Solution or Snapshot
        What `solve` returned, or what a `Callback` gets while it goes on.
    """
    import torch

    if not hasattr(run, "state") or not hasattr(run, "history"):
        raise TypeError(
            "run must be the Solution that solve returned, or the Snapshot that a Callback gets: "
            f"got {type(run).__name__}."
        )
    records = {name: run.history[name] for name in run.history}
    contents = {
        "format": FORMAT,
        "state": _plain(run.state),
        "records": _plain(records),
        "initial": _plain(dict(run.history.initial)),
    }
    path = Path(path)
    written = path.with_name(f"{path.name}.{os.getpid()}")
    torch.save(contents, written)
    written.replace(path)


def load_checkpoint(path, device=None):
    """Read what `save_checkpoint` wrote.

    Parameters
    ----------
    path : str or path-like
        Of the file.
    device : torch.device, str or None, default=None
        Where the tensors shall be; None for where they were.

    Returns
    -------
    checkpoint : Checkpoint
        `solve` refuses its state where solver or problem are others.

    Raises
    ------
    ValueError
        If the file is damaged, or was written by something else.
    """
    import torch

    name = os.fspath(path)
    try:
        contents = torch.load(path, map_location=device, weights_only=True)
    except OSError:  # no such file
        raise
    except Exception as error:  # torch raises whatever its readers do
        raise ValueError(
            f"{name!r} is damaged, or no checkpoint of save_checkpoint: torch cannot read it "
            f"({type(error).__name__})."
        ) from error
    parts = "state", "records", "initial"
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise ValueError(f"{name!r} is no checkpoint that this version can read.")
    missing = [part for part in parts if part not in contents]
    if missing:
        raise ValueError(f"{name!r} is no whole checkpoint: it lacks {missing}.")
    kinds = _kinds()
    state, records, initial = (_restored(contents[part], kinds) for part in parts)
    return Checkpoint(state, History(records, initial))


def _kinds():
    """Records that a state may consist of, by name; states of own solvers have been imported."""
    from ...problems import Gradients

    found, states = [SecantSearch, Answer, LowerGap, Gradients, Evaluation], [State]
    while states:
        state = states.pop()
        found.append(state)
        states += state.__subclasses__()
    return {f"{kind.__module__}.{kind.__qualname__}": kind for kind in found}


def _plain(value):
    """Tensors, numbers, strings and containers in the place of records and arrays."""
    if isinstance(value, np.ndarray | np.generic):
        import torch

        return {ARRAY: torch.tensor(np.asarray(value))}
    if hasattr(value, "detach"):
        return value.detach().clone()
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        kept = {key: _plain(part) for key, part in fields.items() if key not in LEFT_OUT}
        return {KIND: name, **kept}
    if hasattr(value, "_asdict"):
        return {KIND: name, **{key: _plain(part) for key, part in value._asdict().items()}}
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return kind(_plain(part) for part in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"A state with a {name} cannot be saved: tensors, arrays and numbers can.")


def _restored(value, kinds):
    if isinstance(value, tuple | list):
        return type(value)(_restored(part, kinds) for part in value)
    if not isinstance(value, dict):
        return value
    if ARRAY in value:
        return value[ARRAY].cpu().numpy()
    parts = {key: _restored(part, kinds) for key, part in value.items() if key != KIND}
    if KIND not in value:
        return parts
    if value[KIND] not in kinds:
        raise ValueError(
            f"This checkpoint has a {value[KIND]}: import the solver that it is of before."
        )
    try:
        return kinds[value[KIND]](**parts)
    except TypeError as error:
        raise ValueError(
            f"This checkpoint has a {value[KIND]} of another version: {error}."
        ) from error
