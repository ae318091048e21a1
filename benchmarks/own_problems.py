"""Problems of one's own, each solver at its defaults: what it finds, the lower level solved again.

    OMP_NUM_THREADS=1 python benchmarks/own_problems.py [--only PROBLEM] [--solver NAME]

Few-shot sinusoids with a learned initialization (five networks of 141 parameters), activation
mixing on digits, digits distilled to ten images, 30 learned strengths of a logistic regression; all
in float64, with `solve_lower="lbfgs"`. Each run has some CPU seconds; then SciPy's L-BFGS solves
the lower level again from the returned params. The loop is what one writes by hand: Adam on hyper,
L-BFGS below, conjugate gradients between them.
"""

import argparse
import math
import resource
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from answers import activations, double, strengths
from machine import description
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from torch.autograd import grad
from torch.nn.functional import cross_entropy

from skbamm.problems import BilevelProblem
from skbamm.solvers import SOLVERS, solve


@dataclass
class Task:
    """A problem, the step of the loop's Adam, and CPU seconds for each run."""

    name: str
    problem: Any
    loop_step: float
    seconds: float


def few_shot(seed=0):
    """As in examples/plot_few_shot.py, by batched matrices in place of `vmap`."""
    n_tasks, n_shots, strength = 5, 10, 0.1
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": double}
    amplitude = 0.1 + 4.9 * torch.rand(n_tasks, 1, **options)
    phase = math.pi * torch.rand(n_tasks, 1, **options)
    X = 10 * torch.rand(n_tasks, 2 * n_shots, **options) - 5
    y = amplitude * torch.sin(X - phase)
    shapes = [(1, 10), (10,), (10, 10), (10,), (10, 1), (1,)]
    sizes = [math.prod(shape) for shape in shapes]
    start = [
        torch.randn(s, **options) / s[0] ** 0.5 if len(s) == 2 else torch.zeros(s) for s in shapes
    ]
    start = torch.cat([part.flatten().double() for part in start])

    def errors(params, rows):
        parts = zip(params.split(sizes, 1), shapes, strict=True)
        W1, b1, W2, b2, W3, b3 = (part.reshape(n_tasks, *shape) for part, shape in parts)
        hidden = torch.tanh(X[:, rows, None] * W1 + b1[:, None])
        hidden = torch.tanh(hidden @ W2 + b2[:, None])
        return ((hidden @ W3)[..., 0] + b3 - y[:, rows]).square()

    def lower(hyper, params):
        proximal = strength / 2 * (params - hyper).square().sum()
        return errors(params, slice(n_shots)).mean(1).sum() / 2 + proximal

    problem = BilevelProblem(
        lambda hyper, params: errors(params, slice(n_shots, None)).mean(),
        lower,
        start,
        start.repeat(n_tasks, 1),
        solve_lower="lbfgs",
    )
    return Task("few-shot sinusoids", problem, 0.02, 25.0)


def distilled_digits():
    """Ten images whose model is good for all digits."""
    X, y = load_digits(return_X_y=True)
    X, y, own = torch.tensor(X / 16), torch.tensor(y), torch.arange(10)

    def scores(images, params):
        return images @ params[:, :64].T + params[:, 64]

    def lower(hyper, params):
        return cross_entropy(scores(hyper, params), own) + 0.005 * params.square().sum()

    problem = BilevelProblem(
        lambda hyper, params: cross_entropy(scores(X, params), y),
        lower,
        torch.stack([X[y == label].mean(0) for label in own]),
        torch.zeros(10, 65, dtype=double),
        strongly_convex=True,
        solve_lower="lbfgs",
    )
    return Task("digits to ten images", problem, 0.05, 10.0)


def tasks():
    yield few_shot()
    problem = replace(activations(double).problem, solve_lower="lbfgs")
    yield Task("activation mixing", problem, 0.05, 10.0)
    yield distilled_digits()
    problem = replace(strengths(double).problem, solve_lower="lbfgs")
    yield Task("30 strengths", problem, 0.05, 10.0)


def descended(problem, hyper, params, max_iter=5000, gtol=1e-9):
    """The lower level's solution by SciPy."""

    def function(x):
        point = torch.from_numpy(x.copy()).reshape(params.shape).requires_grad_()
        value = problem.lower.value(hyper, point)
        return value.item(), grad(value, point)[0].flatten().numpy()

    options = {"maxiter": max_iter, "gtol": gtol, "ftol": 1e-15, "maxfun": 10**6}
    start = params.flatten().numpy()
    found: Any = minimize(function, start, jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x).reshape(params.shape)


def loop(task):
    """By hand: the last hyper and params."""
    upper, lower = task.problem.upper.value, task.problem.lower.value
    hyper = task.problem.initial_hyper.clone().requires_grad_()
    params, begin = task.problem.initial_params, time.process_time()
    multiplier, adam = torch.zeros_like(params), torch.optim.Adam([hyper], task.loop_step)
    while time.process_time() - begin < task.seconds:
        params = descended(task.problem, hyper.detach(), params, 50, 1e-6).requires_grad_()
        of_hyper, target = grad(upper(hyper, params), (hyper, params), allow_unused=True)
        slope = grad(lower(hyper, params), params, create_graph=True)[0]
        left = target - grad(slope, params, multiplier, retain_graph=True)[0]
        direction, square = left, left.square().sum()
        for _ in range(20):
            curved = grad(slope, params, direction, retain_graph=True)[0]
            along = (direction * curved).sum()
            if along <= 0 or square < 1e-16:
                break
            multiplier = multiplier + square / along * direction
            left = left - square / along * curved
            last, square = square, left.square().sum()
            direction = left + square / last * direction
        mixed = grad(slope, hyper, multiplier)[0]
        hyper.grad = -mixed if of_hyper is None else of_hyper - mixed
        adam.step()
        with torch.no_grad():
            hyper.copy_(task.problem.project_hyper(hyper))
        params = params.detach()
    return hyper.detach(), params


def run(task, name):
    """Hyper, params and status of a run; what each costs."""
    begin = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if name == "by hand":
        (hyper, params), status = loop(task), ""
    else:

        def is_late(state, row):
            return time.process_time() - begin > task.seconds

        found = solve(task.problem, name, max_iter=10_000, tol=1e-5, callback=is_late)
        hyper, params, status = found.hyper, found.params, f"{found.status}, {found.n_iter}"
    seconds = time.process_time() - begin
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    params = descended(task.problem, hyper, params)
    return float(task.problem.upper.value(hyper, params)), status, seconds, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="a part of the problem's name")
    parser.add_argument("--solver", help="a solver, or 'by hand'")
    options = parser.parse_args()
    print(description())
    print("| problem | solver | criterion, solved again | status, iterations | CPU s | MB more |")
    print("|---|---|---|---|---|---|")
    for task in tasks():
        if options.only and options.only not in task.name:
            continue
        problem = task.problem
        start = descended(problem, problem.initial_hyper, problem.initial_params)
        value = float(problem.upper.value(problem.initial_hyper, start))
        print(f"| {task.name} | without learning | {value:.4f} | | | |")
        for name in ["by hand", *SOLVERS] if options.solver is None else [options.solver]:
            value, status, seconds, memory = run(task, name)
            cells = f"{value:.4f} | {status} | {seconds:.1f} | {memory:.0f}"
            print(f"| {task.name} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
