"""Numbers behind row weights, learned by bilevel optimization: ridge fits below, errors above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..linalg._tensors import memo_last, to_numpy, to_tensor
from ..problems import BilevelProblem, Objective
from ..solvers import solve

# A run ends with a gradient of the criterion below this, or after so many steps: beyond, the mean
# that the answer is one member of does not change.
TOL, MAX_ITER = 1e-2, 30


@dataclass(frozen=True, eq=False)
class _Metric:
    """The inverse Hessian of the training errors."""

    factor: torch.Tensor  # (n_folds, p + 1, p + 1)
    exact: bool

    def solve(self, vector):
        return torch.cholesky_solve(vector, self.factor)


@dataclass(frozen=True, eq=False)
class TrainingError(Objective):
    """Half the weighted mean squared error of each fold's rows, plus ridge.

    ``combine(hyper)`` returns cross-products of weighted rows, (n_folds, d, d), and a strength on
    the scale of their sums. `params` are (n_folds, n_features + 1, n_targets), intercepts last.
    """

    combine: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    n_targets: int

    @memo_last()
    def _parts(self, hyper):
        products, strength = self.combine(hyper)
        size = products[:, -1, -1, None, None]
        p = products.shape[-1] - self.n_targets - 1
        index = [*range(p), products.shape[-1] - 1]
        gram = products[:, index][:, :, index] / size
        right = products[:, index, p : p + self.n_targets] / size
        ridge = torch.ones(p + 1, dtype=hyper.dtype, device=hyper.device)
        ridge[-1] = 0.0
        return gram + torch.diag_embed(ridge * strength / size[:, 0]), right

    def value(self, hyper, params):
        gram, right = self._parts(hyper)
        return (params * ((gram @ params) / 2 - right)).sum()

    def params_gradient(self, hyper, params):
        gram, right = self._parts(hyper.detach())
        return gram @ params - right

    def hessian_product(self, hyper, params, vector):
        return self._parts(hyper.detach())[0] @ vector

    def metric(self, hyper, params, averaging):
        gram = self._parts(hyper)[0] * (1 - averaging)
        return _Metric(torch.linalg.cholesky(gram), averaging == 0)

    def solve_lower(self, hyper, params):
        gram, right = self._parts(hyper)
        return torch.cholesky_solve(right, torch.linalg.cholesky(gram))


@dataclass(frozen=True, eq=False)
class HeldOutError(Objective):
    """Mean over the folds of their squared error, or of its logarithm."""

    products: torch.Tensor  # (n_folds, d, d), of held-out rows
    n_targets: int
    logarithm: float | None = None  # what is added to errors before it is taken; None: no logarithm

    def value(self, hyper, params):
        folds, p = params.shape[0], params.shape[1] - 1
        minus = -torch.eye(self.n_targets, dtype=params.dtype, device=params.device)
        combined = torch.cat([params[:, :p], minus.expand(folds, -1, -1), params[:, p:]], dim=1)
        size = self.products[:, -1, -1]
        squares = (combined * (self.products @ combined)).sum((1, 2)) / self.n_targets
        if self.logarithm is None:
            return squares.sum() / size.sum()
        return (squares / size + self.logarithm).log().mean()


def make_problem(combine, held_out, n_targets, initial, bounds, *, logarithm=None):
    """A `BilevelProblem` from NumPy arrays; `combine` as `TrainingError` has it."""
    lower = TrainingError(combine, n_targets)
    hyper = to_tensor(initial)
    d = held_out.shape[-1]
    params = hyper.new_zeros((len(held_out), d - n_targets, n_targets))
    return BilevelProblem(
        upper=HeldOutError(to_tensor(held_out), n_targets, logarithm),
        lower=lower,
        initial_hyper=hyper,
        initial_params=lower.solve_lower(hyper, params),
        lower_bound=to_tensor(bounds[0]),
        upper_bound=to_tensor(bounds[1]),
        strongly_convex=True,
        metric=lower.metric,
        solve_lower=lower.solve_lower,
    )


def learn(problem, run) -> np.ndarray:
    """The learned numbers."""
    solution = solve(problem, run.solver, max_iter=min(run.max_iter, MAX_ITER), tol=TOL)
    return to_numpy(solution.hyper)
