"""Problems with derivatives by hand, and the torch ones that they are the same as."""

import numpy as np
import torch

from skbamm.problems import (
    BilevelProblem,
    sine_product_problem,
    sine_sum_problem,
    weighted_lasso_problem,
)
from tests.reference.bamm import Level, coupled_levels


def coupled_problem():
    """A problem in which no derivative vanishes."""
    generator = np.random.default_rng(0)
    root = generator.normal(size=(5, 5))
    A = root @ root.T / 5 + np.eye(5)
    B, G = generator.normal(size=(2, 3, 5)) / 2
    C, d = generator.normal(size=(4, 5)) / 2, generator.normal(size=4)
    E = np.diag([1.0, 2.0, 3.0])
    tensors = [torch.from_numpy(array) for array in (A, B, C, d, E, G)]

    def upper(x, y):
        _, _, C, d, E, G = tensors
        return (C @ y - d).square().sum() / 2 + x @ E @ x / 2 + x @ G @ y

    def lower(x, y):
        A, B = tensors[:2]
        quartic = y.pow(4).sum() / 4 + (x.exp() * y[:3].square()).sum() / 2
        return y @ A @ y / 2 - x @ B @ y + quartic

    initial = torch.from_numpy(generator.normal(size=8))
    problem = BilevelProblem(upper, lower, initial[:3], initial[3:])
    return problem, coupled_levels(A, B, C, d, E, G)


def sine_product(n_hyper=3, initial=(8.0, 0.0)):
    """F = sum x + x y, f = -sum sin(x y)."""
    F = Level(
        grad_x=lambda x, y: 1 + y,
        grad_y=lambda x, y: x,
        hess_yy=lambda x, y, v: 0 * v,
        hess_xy=lambda x, y, v: v,
        value=lambda x, y: (x + x * y).sum(),
    )
    f = Level(
        grad_x=lambda x, y: -y * np.cos(x * y),
        grad_y=lambda x, y: -x * np.cos(x * y),
        hess_yy=lambda x, y, v: x**2 * np.sin(x * y) * v,
        hess_xy=lambda x, y, v: (x * y * np.sin(x * y) - np.cos(x * y)) * v,
    )
    return sine_product_problem(n_hyper, start=initial)[0], (F, f)


def sine_sum(n_hyper=3):
    """F = |x - 2|^2 + |y - 4|^2, f = sum sin(x + y - 2)."""
    F = Level(
        grad_x=lambda x, y: 2 * (x - 2),
        grad_y=lambda x, y: 2 * (y - 4),
        hess_yy=lambda x, y, v: 2 * v,
        hess_xy=lambda x, y, v: 0 * v,
    )
    f = Level(
        grad_x=lambda x, y: np.cos(x + y - 2),
        grad_y=lambda x, y: np.cos(x + y - 2),
        hess_yy=lambda x, y, v: -np.sin(x + y - 2) * v,
        hess_xy=lambda x, y, v: -np.sin(x + y - 2) * v,
    )
    return sine_sum_problem(n_hyper)[0], (F, f)


def weighted_lasso(n_hyper=6):
    """F = sum y, f = 1/2 |y - a|^2; the non-smooth part is sum x |y|."""
    a = np.where(np.arange(n_hyper) < n_hyper // 2, 1.0, -1.0) / n_hyper
    zero = np.zeros(n_hyper)
    F = Level(
        grad_x=lambda x, y: zero,
        grad_y=lambda x, y: zero + 1,
        hess_yy=lambda x, y, v: zero,
        hess_xy=lambda x, y, v: zero,
    )
    f = Level(
        grad_x=lambda x, y: zero,
        grad_y=lambda x, y: y - a,
        hess_yy=lambda x, y, v: v,
        hess_xy=lambda x, y, v: zero,
    )
    return weighted_lasso_problem(n_hyper), (F, f)
