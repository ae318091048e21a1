"""Solve a lower level by a descent from where it was last: L-BFGS, or Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..linalg._tensors import as_tensor
from ._nonsmooth import Box
from ._objective import Objective

METHODS = ("lbfgs", "adam")
MAX_ITER = {"lbfgs": 200, "adam": 2000}
# Of a gradient's largest entry, relative to that at the start and to the value: rounding to this
# power (1e-7 in double precision, 8e-4 in single). What is left is told by `lower_gap`.
ACCURACY = 0.45
# What one descent takes off the gradient at most; the next one begins where it ended.
PROGRESS = 1e-2
# Adam's largest first step, how often it is divided by four until it descends, and after how many
# steps without a lower value it is halved.
ADAM_STEP, MAX_QUARTERS, PATIENCE = 1e-2, 8, 20


@dataclass(frozen=True)
class LowerMinimizer:
    """``minimizer(hyper, params)`` is near the minimum of a lower level whose basin params are in.

    What is left shrinks with the steps of hyper; answers are solved to the end by Newton's method.

    Attributes
    ----------
    method : {"lbfgs", "adam"}
        SciPy's L-BFGS-B, which takes bounds; or Adam, with a step halved where it does not descend.
    lower : Objective
        What to minimise.
    nonsmooth : NonSmooth or None
        A `Box`, or nothing.
    """

    method: str
    lower: Objective
    nonsmooth: Any = None

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(
                f"solve_lower must be a function of (hyper, params) or one of {list(METHODS)}: got "
                f"{self.method!r}."
            )
        if self.nonsmooth is not None and not isinstance(self.nonsmooth, Box):
            raise ValueError(
                f"solve_lower={self.method!r} takes no non-smooth term but a Box: leave it out, or "
                "give a function of (hyper, params)."
            )

    def __call__(self, hyper: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(False), torch.no_grad():
            hyper, params = hyper.detach(), params.detach()
            if self.nonsmooth is not None:
                params = self.nonsmooth.project(params)
            return getattr(self, f"_by_{self.method}")(hyper, params)

    def _evaluate(self, hyper, params):
        point = self.lower.point(hyper, params)
        return float(point.value), point.params_gradient

    def _by_lbfgs(self, hyper, params):
        from scipy.optimize import minimize

        shape = params.shape

        def tensor(x):
            return as_tensor(x.copy(), params).reshape(shape)

        def function(x):
            value, gradient = self._evaluate(hyper, tensor(x))
            return value, gradient.double().flatten().cpu().numpy()

        options = {
            "maxiter": MAX_ITER["lbfgs"],
            "maxcor": 20,
            "gtol": _enough(params, *self._largest(hyper, params)),
            "ftol": 0.0,
        }
        bounds = None
        if self.nonsmooth is not None:
            bounds = [(self.nonsmooth.lower, self.nonsmooth.upper)] * params.numel()
        found: Any = minimize(
            function,
            params.double().flatten().cpu().numpy(),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options=options,
        )
        return tensor(found.x)

    def _largest(self, hyper, params):
        """Value, and largest entry of the gradient."""
        value, gradient = self._evaluate(hyper, params)
        return value, float(gradient.abs().max())

    def _by_adam(self, hyper, params):
        value, gradient = self._evaluate(hyper, params)
        enough = _enough(params, value, float(gradient.norm()))
        if float(gradient.norm()) <= enough:
            return params
        step = self._first_step(hyper, params, value, gradient)
        leaf, optimizer = _adam(params, step)
        best, lowest, waited = params, value, 0
        for _ in range(MAX_ITER["adam"]):
            leaf.grad = gradient
            optimizer.step()
            if self.nonsmooth is not None:
                leaf.copy_(self.nonsmooth.project(leaf))
            value, gradient = self._evaluate(hyper, leaf.clone())
            if value < lowest:
                best, lowest, waited = leaf.clone(), value, 0
            else:
                waited += 1
            if float(gradient.norm()) <= enough:
                # Values that rounding alone tells apart are equal.
                return leaf if value <= lowest + _rounding(params, lowest) else best
            if waited == PATIENCE:
                waited, step = 0, step / 2
                leaf, optimizer = _adam(best, step)
                gradient = self._evaluate(hyper, best)[1]
        return best

    def _first_step(self, hyper, params, value, gradient):
        """One that descends, as Adam's first step does not become shorter near a solution."""
        step = ADAM_STEP
        for _ in range(MAX_QUARTERS):
            arrived = params - step * gradient.sign()
            if self.nonsmooth is not None:
                arrived = self.nonsmooth.project(arrived)
            if self._evaluate(hyper, arrived)[0] <= value + _rounding(params, value):
                break
            step /= 4
        return step


def _adam(params, step):
    """A leaf at params, and its optimizer."""
    leaf = params.clone()
    return leaf, torch.optim.Adam([leaf], lr=step)


def _enough(params, value, steepness):
    """The size of a gradient at which a descent ends, from that at its start."""
    tolerance = torch.finfo(params.dtype).eps ** ACCURACY
    # Of gradients that are large: the one at the start, but never below the value's own scale.
    scale = max(min(steepness, 1.0), min(abs(value), 1.0), 1e-3)
    return max(tolerance * scale, PROGRESS * steepness)


def _rounding(params, value):
    return 10 * torch.finfo(params.dtype).eps * abs(value)
