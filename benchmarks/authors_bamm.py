"""sl-BAMM as a research script would write it: autograd, the authors' settings, no package.

    OMP_NUM_THREADS=1 python benchmarks/authors_bamm.py

CPU seconds to a relative error of 1e-3 beside `skbamm.solvers.SlBamm` at its defaults, on the
merely and the strongly convex problem; the runs alternate, the median of some repeats counts.
"""

import argparse
import statistics
import time

import torch

from skbamm.problems import merely_convex_problem, strongly_convex_problem
from skbamm.solvers import SlBamm, solve

# Of the published experiments: strategy s3 with tau = 1/40 and averaging fixed at .1 in the
# lower level's place (the decaying one enters alpha only), beta = .1; for the strongly
# convex problem alpha = .01, beta = .2 and no averaging.
SETTINGS = {
    "merely convex": {
        "mu": 0.1,
        "beta": 0.1,
        "alpha": lambda k: (k + 1) ** (-3 / 80) * (0.9 * (k + 1) ** -0.1) ** 3 * 0.1,
    },
    "strongly convex": {"mu": 0.0, "beta": 0.2, "alpha": lambda k: 0.01},
}


def authors_script(upper, lower, x, y, optimum, *, mu, beta, alpha, tol=1e-3, max_iter=5000):
    """Number of updates until the relative error of x is below `tol`."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    v = torch.zeros_like(y)
    for k in range(max_iter):
        averaged = mu * upper(x, y) + (1 - mu) * lower(x, y)
        g = torch.autograd.grad(averaged, y, create_graph=True)[0]
        hessian_v, mixed_v = torch.autograd.grad(g, (y, x), v, retain_graph=True)
        upper_x, upper_y = torch.autograd.grad(upper(x, y), (x, y), allow_unused=True)
        r = hessian_v - upper_y
        hessian_r = torch.autograd.grad(g, y, r)[0]
        curvature = (r * hessian_r).sum()
        eta = (r * r).sum() / curvature if curvature > 0 else 0.0
        with torch.no_grad():
            x_gradient = upper_x - mixed_v
            y -= beta * g.detach()
            v = v - eta * r
            x -= alpha(k) * x_gradient
            if (x - optimum).norm() <= tol * optimum.norm():
                return k + 1
    return max_iter


def package(problem, optimum, tol=1e-3):
    """The same number for `SlBamm`."""

    def near(state, row):
        return bool((state.hyper - optimum).norm() <= tol * optimum.norm())

    return solve(problem, SlBamm(), max_iter=5000, tol=0.0, callback=near).n_iter


def problems(n_hyper):
    problem = merely_convex_problem(n_hyper)
    yield "merely convex", problem, torch.ones_like(problem.initial_hyper)
    yield ("strongly convex", *strongly_convex_problem(n_hyper))


def compare(n_hyper, repeats):
    """Rows of name, updates and CPU seconds of both, and their ratio."""
    for name, problem, optimum in problems(n_hyper):
        runs = {
            "script": lambda p=problem, o=optimum, name=name: authors_script(
                p.upper.value,
                p.lower.value,
                p.initial_hyper,
                p.initial_params,
                o,
                **SETTINGS[name],
            ),
            "skbamm": lambda p=problem, o=optimum: package(p, o),
        }
        seconds, updates = {key: [] for key in runs}, {}
        for _ in range(repeats):
            for key, run in runs.items():
                begin = time.process_time()
                updates[key] = run()
                seconds[key].append(time.process_time() - begin)
        script, ours = (statistics.median(seconds[key]) for key in runs)
        yield name, n_hyper, updates["script"], script, updates["skbamm"], ours, script / ours


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print("| problem | n | script: updates | CPU s | skbamm: updates | CPU s | ratio |")
    print("|---|---|---|---|---|---|---|")
    for n_hyper in options.n:
        for name, n, *rest in compare(n_hyper, options.repeats):
            cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in rest]
            cells[-1] = f"{rest[-1]:.1f}"
            print("| " + " | ".join([name, str(n), *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
