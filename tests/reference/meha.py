"""MEHA in plain NumPy, written from Algorithm 1 of arXiv 2405.09927 in the paper's notation."""


def meha(
    F, f, x, y, *, c, gamma, alpha, beta, eta, project, prox, g_grad_x=lambda x, y: 0.0, n_iter
):
    """All iterates (x, y, theta), the initial point left out.

    `prox(x, y, step)` is the proximal map of g(x, .), `g_grad_x` the gradient of g in x.
    """
    theta, iterates = y, []
    for k in range(n_iter):
        proximal_term = (theta - y) / gamma
        theta = prox(x, theta - eta * (f.grad_y(x, theta) + proximal_term), eta)
        d_x = F.grad_x(x, y) / c(k) + f.grad_x(x, y) + g_grad_x(x, y)
        d_x = d_x - f.grad_x(x, theta) - g_grad_x(x, theta)
        x = project(x - alpha * d_x)
        d_y = F.grad_y(x, y) / c(k) + f.grad_y(x, y) - (y - theta) / gamma
        y = prox(x, y - beta * d_y, beta)
        iterates.append((x, y, theta))
    return iterates
