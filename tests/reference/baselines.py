"""Unrolling, implicit differentiation and BDA in plain NumPy."""

import numpy as np

from tests.reference.bamm import Level
from tests.reference.iaptt import hessian, jacobian, trajectory


def averaged(F, f, mu):
    """mu F + (1 - mu) f."""

    def mix(name):
        return lambda *point: mu * getattr(F, name)(*point) + (1 - mu) * getattr(f, name)(*point)

    return Level(*(mix(name) for name in ("grad_x", "grad_y", "hess_yy", "hess_xy")))


def unrolling(F, f, x, y0, *, s, alpha, T, K=None, mu=lambda t: 0.0, n_iter):
    """Forward mode through the last K of T steps (all without K), from y0 every time."""
    iterates = []
    K = T if K is None else K
    for _ in range(n_iter):

        def levels(t):
            return averaged(F, f, mu(t))

        no_box = {"low": -np.inf, "high": np.inf}
        head = trajectory(levels, x, y0, s=s, T=T - K, **no_box)[-1][0]
        tail = trajectory(lambda t: levels(t + T - K), x, head, s=s, T=K, **no_box)
        y, by_x, _ = tail[-1]
        x = x - alpha * (F.grad_x(x, y) + F.grad_y(x, y) @ by_x)
        iterates.append((x, y))
    return iterates


def descend(f, x, y, s, T):
    for _ in range(T):
        y = y - s * f.grad_y(x, y)
    return y


def implicit(F, f, x, y, *, s, alpha, T, solve, n_iter):
    """`solve(H, b, v, s)` returns the next multiplier from the last one."""
    v, iterates = np.zeros_like(y), []
    for _ in range(n_iter):
        y = descend(f, x, y, s, T)
        v = solve(hessian(f, x, y), F.grad_y(x, y), v, s)
        x = x - alpha * (F.grad_x(x, y) - v @ jacobian(f, x, y))
        iterates.append((x, y, v))
    return iterates


def conjugate_gradient(H, b, v, n_steps):
    """The textbook's, from v."""
    r = b - H @ v
    p = r
    for _ in range(n_steps):
        Hp = H @ p
        step = r @ r / (p @ Hp)
        v, following = v + step * p, r - step * Hp
        p, r = following + (following @ following) / (r @ r) * p, following
    return v


def neumann(H, b, v, s, n_terms):
    """n_terms steps of v <- v + s (b - H v), as a power series."""
    M = np.eye(len(b)) - s * H
    powers = [np.linalg.matrix_power(M, j) for j in range(n_terms + 1)]
    return powers[-1] @ v + s * sum(power @ b for power in powers[:-1])
