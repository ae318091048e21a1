"""Convex sets that hyper may be kept in, by the projection on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch


def _check_positive(name, value: Any):
    if not isinstance(value, Real) or not float(value) > 0 or value == float("inf"):
        raise ValueError(f"{name} must be a finite number above 0: got {value!r}.")


@dataclass(frozen=True)
class Simplex:
    """Numbers that are not negative and have a given sum, along the last axis.

    Parameters
    ----------
    total : float, default=1.0
        Their sum.
    """

    total: float = 1.0

    def __post_init__(self):
        _check_positive("total", self.total)

    def __call__(self, hyper: torch.Tensor) -> torch.Tensor:
        """Project on the set.

        Parameters
        ----------
        hyper : Tensor
            Of any shape.

        Returns
        -------
        hyper : Tensor
            The nearest point.
        """
        # A constant along the axis changes nothing; sums of what is left keep their digits.
        hyper = hyper - hyper.amax(-1, keepdim=True)
        ordered = hyper.sort(dim=-1, descending=True).values
        excess = ordered.cumsum(-1) - self.total
        count = torch.arange(1, hyper.shape[-1] + 1, dtype=hyper.dtype, device=hyper.device)
        # How many entries stay above zero.
        n_positive = (ordered - excess / count > 0).sum(-1, keepdim=True).clamp_min(1)
        shift = excess.gather(-1, n_positive - 1) / n_positive.to(hyper.dtype)
        return (hyper - shift).clamp_min(0)


@dataclass(frozen=True)
class Ball:
    """Points within a Euclidean distance of a centre.

    Parameters
    ----------
    radius : float, default=1.0
        Largest distance.
    centre : Tensor or float, default=0.0
        Broadcast against hyper.
    """

    radius: float = 1.0
    centre: torch.Tensor | float = 0.0

    def __post_init__(self):
        _check_positive("radius", self.radius)

    def __call__(self, hyper: torch.Tensor) -> torch.Tensor:
        """Project on the set.

        Parameters
        ----------
        hyper : Tensor
            Of any shape.

        Returns
        -------
        hyper : Tensor
            The nearest point.
        """
        away = hyper - self.centre
        size = float(away.abs().max()) if away.numel() else 0.0
        # Squares of very large numbers are infinite.
        direction = away / size if size > 0 else away
        length = float(direction.norm())
        if length * size <= self.radius:
            return hyper
        return self.centre + self.radius / length * direction


@dataclass(frozen=True)
class PartwiseProjection:
    """Projections of some entries of a dict; the others stay as they are."""

    of_parts: dict[Any, Callable]

    def check(self, nesting):
        """Raise where hyper has no such entries, or they have no function."""
        keys = list(nesting) if isinstance(nesting, dict) else []
        for key, project in self.of_parts.items():
            if key not in keys:
                raise ValueError(
                    f"project has the key {key!r}, which initial_hyper has not: "
                    + (f"its keys are {keys}." if keys else "it is no dict.")
                )
            if isinstance(project, type) or not callable(project):
                raise TypeError(
                    f"project[{key!r}] must be a Simplex(), a Ball() or a function: got "
                    f"{project!r}."
                )

    def __call__(self, hyper):
        return {
            key: self.of_parts[key](part) if key in self.of_parts else part
            for key, part in hyper.items()
        }
