"""sl-BAMM as the paper states it, in plain NumPy: one loop, dense vectors, no options.

Written from Algorithm 1 of arXiv 2302.03407 alone, in the paper's notation: upper-level
variable x, lower-level variable y, multiplier v, objectives F and f.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Level:
    """Derivatives of one objective, as functions of NumPy vectors."""

    grad_x: Any  # (x, y)
    grad_y: Any  # (x, y)
    hess_yy: Any  # (x, y, v): times v
    hess_xy: Any  # (x, y, v): times v, of the length of x
    value: Any = None  # (x, y), where a method compares values


def cauchy(r, Hr):
    """Exact line search along the residual of the multiplier's linear system."""
    curvature = r @ Hr
    return r @ r / curvature if curvature > 0 else 0.0


def sl_bamm(F, f, x, y, *, mu, beta, eta, alpha, project, n_iter):
    """All iterates (x, y, v), the initial point included.

    `mu`, `beta` and `alpha` are functions of the iteration, counted from 0, and so is
    `eta` unless it is "cauchy".
    """
    v = np.zeros_like(y)
    iterates = [(x, y, v)]
    for k in range(n_iter):
        m = mu(k)

        def hess_yy(vector, m=m, x=x, y=y):
            return m * F.hess_yy(x, y, vector) + (1 - m) * f.hess_yy(x, y, vector)

        g = m * F.grad_y(x, y) + (1 - m) * f.grad_y(x, y)
        Jv = m * F.hess_xy(x, y, v) + (1 - m) * f.hess_xy(x, y, v)
        r = hess_yy(v) - F.grad_y(x, y)
        d = F.grad_x(x, y) - Jv
        step = cauchy(r, hess_yy(r)) if eta == "cauchy" else eta(k)
        x, y, v = project(x - alpha(k) * d), y - beta(k) * g, v - step * r
        iterates.append((x, y, v))
    return iterates


def merely_convex_levels():
    """F = 1/2 ||x - y2||^2 + 1/2 ||y1 - e||^2, f = 1/2 ||y1||^2 - x'y1."""

    def stack(first, second):
        return np.concatenate([first, second])

    def first(y):
        return y[: len(y) // 2]

    def second(y):
        return y[len(y) // 2 :]

    F = Level(
        grad_x=lambda x, y: x - second(y),
        grad_y=lambda x, y: stack(first(y) - 1, second(y) - x),
        hess_yy=lambda x, y, v: v,
        hess_xy=lambda x, y, v: -second(v),
    )
    f = Level(
        grad_x=lambda x, y: -first(y),
        grad_y=lambda x, y: stack(first(y) - x, 0 * x),
        hess_yy=lambda x, y, v: stack(first(v), 0 * x),
        hess_xy=lambda x, y, v: -first(v),
    )
    return F, f


def strongly_convex_levels(n):
    """The identity case: F = 1/2 ||y||^2 + 1/2 ||x - e||^2, f = 1/2 ||y||^2 - x'y."""
    F = Level(
        grad_x=lambda x, y: x - np.ones(n),
        grad_y=lambda x, y: y,
        hess_yy=lambda x, y, v: v,
        hess_xy=lambda x, y, v: np.zeros(n),
    )
    f = Level(
        grad_x=lambda x, y: -y,
        grad_y=lambda x, y: y - x,
        hess_yy=lambda x, y, v: v,
        hess_xy=lambda x, y, v: -v,
    )
    return F, f


def coupled_levels(A, B, C, d, E, G):
    """A problem in which no derivative vanishes, x of length n and y of length m > n.

    F = 1/2 ||Cy - d||^2 + 1/2 x'Ex + x'Gy,
    f = 1/2 y'Ay - x'By + 1/4 sum y^4 + 1/2 sum_i exp(x_i) y_i^2, i <= n.
    """
    n, m = B.shape

    def padded(head):
        return np.concatenate([head, np.zeros(m - n)])

    F = Level(
        grad_x=lambda x, y: E @ x + G @ y,
        grad_y=lambda x, y: C.T @ (C @ y - d) + G.T @ x,
        hess_yy=lambda x, y, v: C.T @ (C @ v),
        hess_xy=lambda x, y, v: G @ v,
        value=lambda x, y: ((C @ y - d) ** 2).sum() / 2 + x @ E @ x / 2 + x @ G @ y,
    )
    f = Level(
        grad_x=lambda x, y: -B @ y + np.exp(x) * y[:n] ** 2 / 2,
        grad_y=lambda x, y: A @ y - B.T @ x + y**3 + padded(np.exp(x) * y[:n]),
        hess_yy=lambda x, y, v: A @ v + 3 * y**2 * v + padded(np.exp(x) * v[:n]),
        hess_xy=lambda x, y, v: -B @ v + np.exp(x) * y[:n] * v[:n],
    )
    return F, f
