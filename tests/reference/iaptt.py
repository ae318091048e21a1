"""IAPTT-GM in plain NumPy, with Jacobians carried *forwards* along the trajectory.

Written from Algorithm 1 of arXiv 2110.00455 in the paper's notation. Reverse mode must give the
same gradient, by another route.
"""

import numpy as np


def jacobian(level, x, y):
    """d grad_y / dx, a row for each entry of y."""
    return np.array([level.hess_xy(x, y, e) for e in np.eye(len(y))])


def hessian(level, x, y):
    return np.array([level.hess_yy(x, y, e) for e in np.eye(len(y))])


def nesterov_weights(T):
    """(t_k - 1) / t_{k+1}, t_0 = 1; zero for the first step."""
    weights, t = [], 1.0
    for _ in range(T):
        following = (1 + np.sqrt(1 + 4 * t**2)) / 2
        weights.append((t - 1) / following)
        t = following
    return weights


def trajectory(levels, x, z, *, s, T, low, high, nesterov=False):
    """Points y_0 ... y_T with their Jacobians in x and z.

    `levels` is a function of the step that returns the level to descend on.
    """
    m, n = len(z), len(x)
    point = (z, np.zeros((m, n)), np.eye(m))
    points = [point]
    for t, weight in enumerate(nesterov_weights(T) if nesterov else [0.0] * T):
        y, by_x, by_z = (
            now + weight * (now - last)
            for now, last in zip(points[-1], points[max(0, len(points) - 2)], strict=True)
        )
        level = levels(t)
        H = hessian(level, x, y)
        moved = y - s * level.grad_y(x, y)
        inside = ((moved >= low) & (moved <= high))[:, None]
        by_x = by_x - s * (H @ by_x + jacobian(level, x, y))
        by_z = by_z - s * H @ by_z
        points.append((np.clip(moved, low, high), inside * by_x, inside * by_z))
    return points


def iaptt(F, f, x, z, *, s, alpha, alpha_z, T, x_box, y_box, n_iter, truncate=True, nesterov=False):
    """All iterates (x, z, y at which the trajectory was cut), the initial point left out."""
    iterates = []
    for k in range(n_iter):
        points = trajectory(
            lambda t: f, x, z, s=s, T=T, low=y_box[0], high=y_box[1], nesterov=nesterov
        )
        values = [F.value(x, y) for y, _, _ in points[1:]]
        y, by_x, by_z = points[1 + int(np.argmax(values))] if truncate else points[-1]
        b = F.grad_y(x, y)
        d_x, d_z = F.grad_x(x, y) + b @ by_x, b @ by_z
        x = np.clip(x - alpha(k) * d_x, *x_box)
        z = np.clip(z - alpha_z(k) * d_z, *y_box)
        iterates.append((x, z, y))
    return iterates
