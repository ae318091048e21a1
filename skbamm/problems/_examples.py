"""Numerical problems of the papers, with known optima."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ._base import BilevelProblem
from ._objective import Objective
from ._point import CurvatureProducts, Gradients


class AttractedParams(Objective):
    """``|hyper - y2|^2 / 2 + |y1 - 1|^2 / 2``: the upper level of problem MC."""

    def value(self, hyper, params):
        first, second = params.chunk(2)
        return ((hyper - second).square().sum() + (first - 1).square().sum()) / 2

    def gradients(self, hyper, params, *, differentiable=False):
        first, second = params.chunk(2)
        return Gradients(hyper - second, torch.cat([first - 1, second - hyper]))

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(vector.clone(), -vector[len(hyper) :])


class HalfFreeParams(Objective):
    """``|y1|^2 / 2 - hyper @ y1``, y2 being free: the lower level of problem MC."""

    def value(self, hyper, params):
        first = params[: len(hyper)]
        return first.square().sum() / 2 - hyper @ first

    def gradients(self, hyper, params, *, differentiable=False):
        return Gradients(-params[: len(hyper)], self.params_gradient(hyper, params))

    def params_gradient(self, hyper, params):
        return torch.cat([params[: len(hyper)] - hyper, torch.zeros_like(hyper)])

    def curvature_products(self, hyper, params, vector):
        first = vector[: len(hyper)]
        return CurvatureProducts(torch.cat([first, torch.zeros_like(first)]), -first)


@dataclass(frozen=True)
class QuadraticPair(Objective):
    """``y'Ay / 2 - cross * x'By + |x - target|_D^2 / 2``; matrices that are None are identities.

    Both levels of problem SC: the upper one without the cross term, the lower one without
    the last.
    """

    curvature: torch.Tensor | None  # A
    cross: torch.Tensor | float  # B, or a multiple of the identity
    weight: torch.Tensor | float  # D, or a multiple of the identity
    target: torch.Tensor

    def value(self, hyper, params):
        gap = hyper - self.target
        quadratic = params @ _times(self.curvature, params) + gap @ _times(self.weight, gap)
        return quadratic / 2 - hyper @ _times(self.cross, params)

    def gradients(self, hyper, params, *, differentiable=False):
        by_hyper = _times(self.weight, hyper - self.target) - _times(self.cross, params)
        return Gradients(by_hyper, self.params_gradient(hyper, params))

    def params_gradient(self, hyper, params):
        return _times(self.curvature, params) - _times(self.cross, hyper, transposed=True)

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(_times(self.curvature, vector), -_times(self.cross, vector))

    def hessian_product(self, hyper, params, vector):
        return _times(self.curvature, vector)


def _times(matrix, vector, transposed=False):
    if matrix is None:
        return vector.clone()
    if isinstance(matrix, float):
        return matrix * vector
    return (matrix.T if transposed else matrix) @ vector


def merely_convex_problem(n_hyper=100, *, dtype=torch.float64, device=None):
    r"""Lower level that is convex but not strongly convex (problem MC).

    With params :math:`y = (y_1, y_2)` and hyper :math:`x`, all of length `n_hyper`,

    .. math:: F = \tfrac12 \|x - y_2\|^2 + \tfrac12 \|y_1 - e\|^2, \qquad
              f = \tfrac12 \|y_1\|^2 - x^T y_1,

    so that :math:`y_2` is free in the lower level. The optimum is
    :math:`x = y_1 = y_2 = e` (all ones) with :math:`F = 0`.

    Parameters
    ----------
    n_hyper : int, default=100
        Length of `hyper`.
    dtype, device : torch.dtype, torch.device or str
        Of the tensors of the problem; float64 on the CPU by default.

    Returns
    -------
    problem : BilevelProblem
        With its initial point.

    References
    ----------
    .. [1] R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang, "Averaged Method of Multipliers
           for Bi-Level Optimization without Lower-Level Strong Convexity", ICML 2023.
    """
    initial = {"fill_value": 0.01, "dtype": dtype, "device": device}
    return BilevelProblem(
        AttractedParams(),
        HalfFreeParams(),
        torch.full((n_hyper,), **initial),
        torch.full((2 * n_hyper,), **initial),
    )


def strongly_convex_problem(
    n_hyper=100, *, identity=True, seed=0, dtype=torch.float64, device=None
):
    r"""Quadratic problem with a strongly convex lower level (problem SC).

    .. math:: F = \tfrac12 y^T A y + \tfrac12 (x - \hat x)^T D (x - \hat x), \qquad
              f = \tfrac12 y^T A y - x^T B y,

    whose optimum is :math:`x^* = (B A^{-1} B^T + D)^{-1} D \hat x`.

    Parameters
    ----------
    n_hyper : int, default=100
        Length of `hyper`.
    identity : bool, default=True
        ``A = B = D = I``, :math:`\hat x = e`, initial point `2 e`, optimum `e / 2`. Otherwise
        ``A = Q' diag(1 + U[0, 1]) Q``, ``D = Q' diag(U[0, 1]) Q`` with a random
        orthogonal Q, and B and :math:`\hat x` uniform on [0, 1]: the norm of B grows
        like ``n_hyper / 2``, and no textbook step size is safe.
    seed : int, default=0
        Of the general case.
    dtype, device : torch.dtype, torch.device or str
        Of the tensors of the problem; float64 on the CPU by default.

    Returns
    -------
    problem : BilevelProblem
        With its initial point.
    optimum : Tensor of shape (n_hyper,)
        Of `hyper`.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype, device="cpu")

    target = torch.ones(n_hyper, dtype=dtype, device=device)
    if identity:
        upper = QuadraticPair(None, 0.0, 1.0, target)
        lower = QuadraticPair(None, 1.0, 0.0, target)
        optimum = target / 2
    else:
        Q = torch.linalg.qr(
            torch.randn(n_hyper, n_hyper, generator=generator, dtype=dtype, device="cpu")
        )[0]
        A = Q.T @ (Q * (1 + uniform(n_hyper))[:, None])
        D = Q.T @ (Q * uniform(n_hyper)[:, None])
        A, B, D, target = (
            tensor.to(device) for tensor in (A, uniform(n_hyper, n_hyper), D, uniform(n_hyper))
        )
        upper = QuadraticPair(A, 0.0, D, target)
        lower = QuadraticPair(A, B, 0.0, target)
        optimum = torch.linalg.solve(B @ torch.linalg.solve(A, B.T) + D, D @ target)
    initial = 2 * torch.ones(n_hyper, dtype=dtype, device=device)
    problem = BilevelProblem(upper, lower, initial, initial.clone(), strongly_convex=True)
    return problem, optimum
