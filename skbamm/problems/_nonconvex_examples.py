"""Numerical problems of the papers whose lower level is not convex, or not smooth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ._base import BilevelProblem
from ._nonsmooth import Box, WeightedL1


@dataclass(frozen=True)
class LipschitzMetric:
    """One over a bound of the lower level's curvature, as a metric."""

    step: float
    exact = False

    def solve(self, vector):
        return self.step * vector


def sine_product_problem(n_hyper=1, *, start=(8.0, 0.0), dtype=torch.float64, device=None):
    r"""Lower level with many local minima: the non-convex problem of IAPTT-GM (problem NC1).

    Summed over `n_hyper` independent coordinates,

    .. math:: F = \sum_i x_i + x_i y_i, \qquad f = -\sum_i \sin(x_i y_i),
              \qquad x \in [1, 10], \; y \in [-2, 2].

    The optimum is :math:`x = 11 \pi / 4`, :math:`y = -2`; wrong basins of the lower level
    have local optima at smaller x.

    Parameters
    ----------
    n_hyper : int, default=1
        Length of `hyper`.
    start : tuple of two floats, default=(8, 0)
        Every entry of hyper and of params.
    dtype, device : torch.dtype, torch.device or str
        Of the tensors of the problem; float64 on the CPU by default.

    Returns
    -------
    problem : BilevelProblem
        Its metric is one over the largest curvature in the box, 100.
    optimum : Tensor of shape (n_hyper,)
        Of `hyper`.

    References
    ----------
    .. [1] R. Liu, Y. Liu, S. Zeng, J. Zhang, "Towards Gradient-based Bilevel Optimization
           with Non-convex Followers and Beyond", NeurIPS 2021, arXiv:2110.00455.
    """
    options = {"dtype": dtype, "device": device}
    largest = 10.0

    def upper(hyper, params):
        return (hyper + hyper * params).sum()

    def lower(hyper, params):
        return -(hyper * params).sin().sum()

    def metric(hyper, params, averaging):
        return LipschitzMetric(1 / largest**2)

    problem = BilevelProblem(
        upper,
        lower,
        torch.full((n_hyper,), float(start[0]), **options),
        torch.full((n_hyper,), float(start[1]), **options),
        lower_bound=1.0,
        upper_bound=largest,
        metric=metric,
        nonsmooth=Box(-2.0, 2.0),
    )
    return problem, torch.full((n_hyper,), 11 * math.pi / 4, **options)


def sine_sum_problem(n_hyper=100, *, dtype=torch.float64, device=None):
    r"""Weakly convex lower level of MEHA (problem NC2).

    .. math:: F = \|x - 2e\|^2 + \|y - 4e\|^2, \qquad f = \sum_i \sin(x_i + y_i - 2).

    The optimum is :math:`x = 3\pi/4`, :math:`y = x + 2`, the initial point (-6, 0): the basin of
    the lower level that is nearest to it is a wrong one.

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
    optimum : Tensor of shape (n_hyper,)
        Of `hyper`.

    References
    ----------
    .. [1] R. Liu, Z. Liu, W. Yao, S. Zeng, J. Zhang, "Moreau Envelope for Nonconvex Bi-Level
           Optimization: A Single-loop and Hessian-free Solution Strategy", ICML 2024,
           arXiv:2405.09927.
    """

    def upper(hyper, params):
        return (hyper - 2).square().sum() + (params - 4).square().sum()

    def lower(hyper, params):
        return (hyper + params - 2).sin().sum()

    options = {"dtype": dtype, "device": device}
    problem = BilevelProblem(
        upper,
        lower,
        torch.full((n_hyper,), -6.0, **options),
        torch.zeros(n_hyper, **options),
    )
    return problem, torch.full((n_hyper,), 3 * math.pi / 4, **options)


def weighted_lasso_problem(n_hyper=100, *, dtype=torch.float64, device=None):
    r"""Non-smooth lower level of MEHA: a lasso with a learned weight each (problem NS).

    .. math:: F = \sum_i y_i, \qquad f + g = \tfrac12 \|y - a\|^2 + \sum_i x_i |y_i|,
              \qquad x \in [0, 1]^n,

    with :math:`a_i = 1/n` on the first half and :math:`-1/n` on the second. The optimal value
    is -1/2: weights of zero on the second half, of at least 1/n on the first, where many
    solutions are as good. Initial point: x = 0, y = a.

    Parameters
    ----------
    n_hyper : int, default=100
        Even.
    dtype, device : torch.dtype, torch.device or str
        Of the tensors of the problem; float64 on the CPU by default.

    Returns
    -------
    problem : BilevelProblem
        Its `solve_lower` is soft thresholding, so that the criterion of a run is exact.

    References
    ----------
    .. [1] R. Liu, Z. Liu, W. Yao, S. Zeng, J. Zhang, "Moreau Envelope for Nonconvex Bi-Level
           Optimization: A Single-loop and Hessian-free Solution Strategy", ICML 2024,
           arXiv:2405.09927.
    """
    if n_hyper % 2:
        raise ValueError(f"n_hyper must be even: got {n_hyper}.")
    options = {"dtype": dtype, "device": device}
    sign = torch.ones(n_hyper, **options)
    sign[n_hyper // 2 :] = -1
    centre = sign / n_hyper
    penalty = WeightedL1(lambda hyper: hyper)

    def upper(hyper, params):
        return params.sum()

    def lower(hyper, params):
        return (params - centre).square().sum() / 2

    return BilevelProblem(
        upper,
        lower,
        torch.zeros(n_hyper, **options),
        centre.clone(),
        lower_bound=0.0,
        upper_bound=1.0,
        strongly_convex=True,
        nonsmooth=penalty,
        solve_lower=lambda hyper, params: penalty.prox(hyper, centre, 1.0),
    )
