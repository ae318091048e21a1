"""Numerical problems of the papers, with known optima."""

from __future__ import annotations

import torch

from ._base import BilevelProblem


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
    dtype, device
        Of the tensors of the problem.

    Returns
    -------
    problem : BilevelProblem

    References
    ----------
    .. [1] R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang, "Averaged Method of Multipliers
           for Bi-Level Optimization without Lower-Level Strong Convexity", ICML 2023.
    """

    def upper(hyper, params):
        first, second = params.chunk(2)
        return ((hyper - second).square().sum() + (first - 1).square().sum()) / 2

    def lower(hyper, params):
        first, _ = params.chunk(2)
        return first.square().sum() / 2 - hyper @ first

    start = {"fill_value": 0.01, "dtype": dtype, "device": device}
    return BilevelProblem(
        upper, lower, torch.full((n_hyper,), **start), torch.full((2 * n_hyper,), **start)
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
    identity : bool, default=True
        ``A = B = D = I``, :math:`\hat x = e`, start `2 e`, optimum `e / 2`. Otherwise
        ``A = Q' diag(1 + U[0, 1]) Q``, ``D = Q' diag(U[0, 1]) Q`` with a random
        orthogonal Q, and B and :math:`\hat x` uniform on [0, 1]: the norm of B grows
        like ``n_hyper / 2``, and no textbook step size is safe.
    seed : int, default=0
        Of the general case.
    dtype, device
        Of the tensors of the problem.

    Returns
    -------
    problem : BilevelProblem
    optimum : Tensor of shape (n_hyper,)
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    if identity:
        eye = torch.eye(n_hyper, dtype=dtype, device=device)
        A, B, D, target = eye, eye, eye, torch.ones(n_hyper, dtype=dtype, device=device)
    else:
        Q = torch.linalg.qr(torch.randn(n_hyper, n_hyper, generator=generator, dtype=dtype))[0]
        A = Q.T @ (Q * (1 + uniform(n_hyper))[:, None])
        D = Q.T @ (Q * uniform(n_hyper)[:, None])
        A, B, D, target = (
            tensor.to(device) for tensor in (A, uniform(n_hyper, n_hyper), D, uniform(n_hyper))
        )
    optimum = torch.linalg.solve(B @ torch.linalg.solve(A, B.T) + D, D @ target)

    def upper(hyper, params):
        gap = hyper - target
        return (params @ (A @ params) + gap @ (D @ gap)) / 2

    def lower(hyper, params):
        return params @ (A @ params) / 2 - hyper @ (B @ params)

    start = 2 * torch.ones(n_hyper, dtype=dtype, device=device)
    problem = BilevelProblem(upper, lower, start, start.clone(), strongly_convex=True)
    return problem, optimum
