"""Solvers on batches as their papers state them, in plain NumPy: dense vectors, no options.

In the papers' notation: upper-level variable x, lower-level variable y, multiplier v, objectives F
and f. ``F(k)`` and ``f(k)`` are `Level`s, the derivatives on batch k. Each returns all iterates.
"""

from __future__ import annotations

import numpy as np

from tests.reference.bamm import Level


def sl_bamm(F, f, x, y, *, mu, beta, eta, alpha, project, n_iter):
    """Algorithm 1 of arXiv 2302.03407 with batches in its gradients; SOBA where mu is 0."""
    v = np.zeros_like(y)
    iterates = [(x, y, v)]
    for k in range(n_iter):
        Fk, fk, m = F(k), f(k), mu(k)
        g = m * Fk.grad_y(x, y) + (1 - m) * fk.grad_y(x, y)
        Hv = m * Fk.hess_yy(x, y, v) + (1 - m) * fk.hess_yy(x, y, v)
        Jv = m * Fk.hess_xy(x, y, v) + (1 - m) * fk.hess_xy(x, y, v)
        d = Fk.grad_x(x, y) - Jv
        r = Hv - Fk.grad_y(x, y)
        x, y, v = project(x - alpha(k) * d), y - beta(k) * g, v - eta(k) * r
        iterates.append((x, y, v))
    return iterates


def ma_soba(F, f, x, y, *, rho, gamma, theta, project, n_iter):
    """Algorithm 1 of arXiv 2306.12067."""
    v, h = np.zeros_like(y), np.zeros_like(x)
    iterates = [(x, y, v)]
    for k in range(n_iter):
        Fk, fk = F(k), f(k)
        d = Fk.grad_x(x, y) - fk.hess_xy(x, y, v)
        g, r = fk.grad_y(x, y), fk.hess_yy(x, y, v) - Fk.grad_y(x, y)
        x, y, v = project(x - gamma(k) * h), y - rho(k) * g, v - rho(k) * r
        h = (1 - theta(k)) * h + theta(k) * d
        iterates.append((x, y, v))
    return iterates


def stocbio(F, f, x, y, *, alpha, eta, beta, D, Q, project, n_iter):
    """Algorithm 2 of arXiv 2010.07962: v_Q is eta times the sum of Q + 1 terms."""
    iterates, taken = [(x, y, np.zeros_like(y))], 0
    for k in range(n_iter):
        for _ in range(D):
            y = y - alpha * f(taken).grad_y(x, y)
            taken += 1
        r = F(k).grad_y(x, y)
        v = eta * r
        for _ in range(Q):
            r = r - eta * f(taken).hess_yy(x, y, r)
            v = v + eta * r
            taken += 1
        d = F(k).grad_x(x, y) - f(taken).hess_xy(x, y, v)
        taken += 1
        x = project(x - beta * d)
        iterates.append((x, y, v))
    return iterates


def f2sa(F, f, x, y, *, gamma, alpha, beta, penalty, T, project, n_iter):
    """Algorithm 1 of arXiv 2301.10945; y and z share batches."""
    z, taken = y, 0
    iterates = [(x, z, y)]
    for k in range(n_iter):
        c = penalty(k)
        for _ in range(T):
            y_gradient = F(taken).grad_y(x, y) + c * f(taken).grad_y(x, y)
            z = z - gamma(k) * f(taken).grad_y(x, z)
            y = y - alpha(k) * y_gradient
            taken += 1
        d = F(taken).grad_x(x, y) + c * (f(taken).grad_x(x, y) - f(taken).grad_x(x, z))
        taken += 1
        x = project(x - beta(k) * d)
        iterates.append((x, z, y))
    return iterates


def adam(x, gradients, *, lr, betas=(0.9, 0.999), eps=1e-8):
    """Algorithm 1 of Kingma and Ba, ICLR 2015."""
    m = s = np.zeros_like(x)
    for t, g in enumerate(gradients, 1):
        m, s = betas[0] * m + (1 - betas[0]) * g, betas[1] * s + (1 - betas[1]) * g**2
        x = x - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(s / (1 - betas[1] ** t)) + eps)
    return x


def logistic_levels(X, t):
    """Of one batch: f is a logistic loss (targets -1, 1) with a strength exp(x_i) for each y_i.

    F is a squared error with a coupling: mean (Xy - t)^2 / 2 + |x - 1|^2 / 20 + x'y / 10.
    """
    n = len(t)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def curvature(y):
        p = sigmoid(X @ y)
        return p * (1 - p)

    F = Level(
        grad_x=lambda x, y: (x - 1) / 10 + y / 10,
        grad_y=lambda x, y: X.T @ (X @ y - t) / n + x / 10,
        hess_yy=lambda x, y, v: X.T @ (X @ v) / n,
        hess_xy=lambda x, y, v: v / 10,
    )
    f = Level(
        grad_x=lambda x, y: np.exp(x) * y**2 / 2,
        grad_y=lambda x, y: -X.T @ (t * sigmoid(-t * (X @ y))) / n + np.exp(x) * y,
        hess_yy=lambda x, y, v: X.T @ (curvature(y) * (X @ v)) / n + np.exp(x) * v,
        hess_xy=lambda x, y, v: np.exp(x) * y * v,
    )
    return F, f
