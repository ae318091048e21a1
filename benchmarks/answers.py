"""Whether every answer of every solver is true: what `solve` says beside what is right.

    OMP_NUM_THREADS=1 python benchmarks/answers.py [--only SOLVER] [--problem WORD] [--details]

Each solver at its defaults on the papers' example problems and on five problems of one's own, these
in single and double precision. Here the lower level is solved again in float64 from the returned
params (SciPy's L-BFGS-B, then Newton's method with dense matrices), and the hypergradient
is taken by implicit differentiation with a dense Hessian. Nothing of that is the package's.

For each run: the status, the criterion that was said and that of the solved lower level, the
norm of the true projected hypergradient, in units of `tol`. A "converged" above 10 is false.
"""

import argparse
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from machine import description
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.preprocessing import scale
from torch.nn.functional import cross_entropy, softplus

from skbamm.problems import (
    BilevelProblem,
    Box,
    merely_convex_problem,
    module_problem,
    sine_product_problem,
    sine_sum_problem,
    strongly_convex_problem,
    weighted_lasso_problem,
)
from skbamm.solvers import SOLVERS, solve

double = torch.float64
TOL, MAX_ITER = 1e-4, 60
# What is free in the lower level has no curvature above this, relative to the largest.
FLAT = 1e-9


@dataclass
class Case:
    """A problem in some precision, and its two levels in double precision."""

    name: str
    problem: Any
    upper: Any
    lower: Any
    low: float = -np.inf  # bounds of params
    high: float = np.inf
    weights: Any = None  # of an L1 penalty, by hyper


def example_cases():
    """The problems of the papers."""
    found = {
        "merely convex": merely_convex_problem(10),
        "strongly convex": strongly_convex_problem(10)[0],
        "stiff": strongly_convex_problem(10, identity=False)[0],
        "sine of product": sine_product_problem(start=(4.0, 0.0))[0],
        "sine of sum": sine_sum_problem(10)[0],
        "lasso": weighted_lasso_problem(20),
    }
    for name, problem in found.items():
        case = Case(name, problem, problem.upper.value, problem.lower.value)
        if name == "sine of product":
            case.low, case.high = -2.0, 2.0
        if name == "lasso":
            case.weights = lambda hyper: hyper
        yield case


def tensors(dtype, *arrays):
    return [torch.tensor(array, dtype=dtype) for array in arrays]


def strengths(dtype):
    """A learned strength for each column of a logistic regression."""
    X, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(y))
    X, sign = scale(X)[order], (2.0 * y - 1)[order]

    def levels(dtype):
        data, signs = tensors(dtype, X, sign)

        def upper(hyper, params):
            return softplus(-signs[300:] * (data[300:] @ params)).mean()

        def lower(hyper, params):
            loss = softplus(-signs[:300] * (data[:300] @ params)).mean()
            return loss + (hyper.exp() * params.square()).sum() / 2

        return upper, lower

    initial = torch.full((30,), -3.0, dtype=dtype), torch.zeros(30, dtype=dtype)
    options = {"lower_bound": -8.0, "upper_bound": 3.0, "strongly_convex": True}
    return Case("strengths", BilevelProblem(*levels(dtype), *initial, **options), *levels(double))


def activations(dtype):
    """A small network for digits whose hidden activations are mixed by learned weights."""
    X, y = load_digits(return_X_y=True)
    X, y = X.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(len(y), 16) / 8 - 0.6, torch.tensor(y)

    def levels(dtype, call):
        (data,) = tensors(dtype, X)

        def predict(hyper, model, rows):
            first, second = call(model)
            hidden = data[rows] @ first.T
            mix = hyper.softmax(0)
            hidden = mix[0] * hidden.tanh() + mix[1] * hidden.sin() + mix[2] * softplus(hidden)
            return hidden @ second.T

        def upper(hyper, model):
            rows = slice(150, 450)
            return cross_entropy(predict(hyper, model, rows), y[rows])

        def lower(hyper, model):
            first, second = call(model)
            decay = first.square().sum() + second.square().sum()
            rows = slice(150)
            return cross_entropy(predict(hyper, model, rows), y[rows]) + 0.005 * decay

        return upper, lower

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(16, 6, bias=False), torch.nn.Linear(6, 10, bias=False)
    ).to(dtype)
    named = levels(dtype, lambda model: (model["0.weight"], model["1.weight"]))
    bounds = {"lower_bound": -4.0, "upper_bound": 4.0}
    problem = module_problem(module, *named, torch.zeros(3, dtype=dtype), **bounds)
    plain = levels(double, lambda params: (params[:96].reshape(6, 16), params[96:].reshape(10, 6)))
    return Case("activations", problem, *plain)


def cleaning(dtype):
    """A weight for each row of wine whose label may be wrong."""
    X, y = load_wine(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    X, y = np.column_stack([scale(X), np.ones(len(y))])[order], y[order]
    given = np.where(rng.random(len(y)) < 0.3, rng.integers(0, 3, len(y)), y)
    given, y = torch.tensor(given), torch.tensor(y)

    def levels(dtype):
        (data,) = tensors(dtype, X)

        def loss(params, rows, labels):
            return cross_entropy(data[rows] @ params.T, labels[rows], reduction="none")

        def upper(hyper, params):
            return loss(params.reshape(3, -1), slice(100, None), y).mean()

        def lower(hyper, params):
            weighted = hyper.sigmoid() * loss(params.reshape(3, -1), slice(100), given)
            return weighted.mean() + 0.005 * params.square().sum()

        return upper, lower

    initial = torch.zeros(100, dtype=dtype), torch.zeros(42, dtype=dtype)
    options = {"lower_bound": -6.0, "upper_bound": 6.0, "strongly_convex": True}
    return Case("cleaning", BilevelProblem(*levels(dtype), *initial, **options), *levels(double))


def non_negative(dtype):
    """Ridge with coefficients that are not negative, and a strength for each."""
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), scale(y)

    def levels(dtype):
        data, target = tensors(dtype, X, y)

        def upper(hyper, params):
            return (data[150:] @ params - target[150:]).square().mean() / 2

        def lower(hyper, params):
            loss = (data[:150] @ params - target[:150]).square().mean() / 2
            return loss + (hyper.exp() * params.square()).sum() / 2

        return upper, lower

    initial = torch.full((10,), -3.0, dtype=dtype), torch.zeros(10, dtype=dtype)
    options = {"lower_bound": -8.0, "upper_bound": 3.0, "strongly_convex": True}
    box = Box(0.0, np.inf)
    problem = BilevelProblem(*levels(dtype), *initial, nonsmooth=box, **options)
    return Case("non-negative ridge", problem, *levels(double), low=0.0)


def distillation(dtype):
    """Six rows to train on that stand for all of iris."""
    X, y = load_iris(return_X_y=True)
    X, y, own = scale(X), torch.tensor(y), torch.arange(6) % 3

    def levels(dtype):
        (data,) = tensors(dtype, X)

        def scores(rows, params):
            params = params.reshape(3, 5)
            return rows @ params[:, :4].T + params[:, 4]

        def upper(hyper, params):
            return cross_entropy(scores(data, params), y)

        def lower(hyper, params):
            return cross_entropy(scores(hyper, params), own) + 0.01 * params.square().sum()

        return upper, lower

    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 4, generator=generator, dtype=double).to(dtype)
    initial = rows, torch.zeros(15, dtype=dtype)
    problem = BilevelProblem(*levels(dtype), *initial, strongly_convex=True)
    return Case("distillation", problem, *levels(double))


def cases():
    yield from example_cases()
    for build in (strengths, activations, cleaning, non_negative, distillation):
        for dtype in (torch.float32, double):
            case = build(dtype)
            case.name += {torch.float32: ", float32", double: ", float64"}[dtype]
            yield case


def resolved(case, hyper, params):
    """Minimiser of the lower level in the basin of params, and which entries of it are free."""
    if case.weights is not None:  # the lasso of the papers: soft thresholding
        centre = torch.ones(len(params), dtype=double) / len(params)
        centre[len(params) // 2 :] *= -1
        found = centre.sign() * (centre.abs() - case.weights(hyper)).clamp_min(0)
        return found, found != 0

    def function(vector):
        vector = torch.tensor(vector, requires_grad=True)
        value = case.lower(hyper, vector)
        return value.item(), torch.autograd.grad(value, vector)[0].numpy()

    options = {"maxiter": 10000, "maxfun": 40000, "gtol": 1e-10, "ftol": 0, "maxcor": 30}
    bounds = None
    if np.isfinite([case.low, case.high]).any():
        bounds = [(case.low, case.high)] * len(params)
    begin = params.clamp(case.low, case.high).numpy()
    found = minimize(function, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    gradient = function(found)[1]
    free = (found > case.low) & (found < case.high)
    free |= (found == case.low) & (gradient < 0) | (found == case.high) & (gradient > 0)
    found, free = torch.tensor(found), torch.tensor(free)
    for _ in range(5):  # Newton's method, where it is one
        gradient = torch.tensor(function(found.numpy())[1])
        hessian = hessian_of(case, hyper, found)[free][:, free]
        if len(hessian) and torch.linalg.eigvalsh(hessian)[0] > 1e-12:
            step = torch.zeros_like(found)
            step[free] = torch.linalg.solve(hessian, gradient[free])
            found = (found - step).clamp(case.low, case.high)
    return found, free


def hessian_of(case, hyper, params):
    return torch.autograd.functional.hessian(lambda vector: case.lower(hyper, vector), params)


def true_norm(case, hyper, params, free):
    """Norm of the true projected hypergradient, with what the lower level leaves undetermined."""
    hyper, params = hyper.clone().requires_grad_(), params.clone().requires_grad_()
    lower = case.lower(hyper, params)
    if case.weights is not None:
        lower = lower + (case.weights(hyper) * params.abs()).sum()
    slope = torch.autograd.grad(lower, params, create_graph=True)[0]
    upper = torch.autograd.grad(case.upper(hyper, params), (hyper, params), allow_unused=True)
    by_hyper = torch.zeros_like(hyper) if upper[0] is None else upper[0]
    hessian = hessian_of(case, hyper.detach(), params.detach())
    values, vectors = torch.linalg.eigh(hessian[free][:, free])
    target = vectors.T @ upper[1][free]
    curved = values.abs() > FLAT * values.abs().max() if len(values) else values > 0
    multiplier = torch.zeros_like(params)
    multiplier[free] = vectors[:, curved] @ (target[curved] / values[curved])
    mixed = torch.autograd.grad(slope @ multiplier.detach(), hyper, allow_unused=True)[0]
    gradient = by_hyper - (0 if mixed is None else mixed)
    problem, hyper = case.problem, hyper.detach()
    low, high = (
        torch.as_tensor(b, dtype=double) for b in (problem.lower_bound, problem.upper_bound)
    )
    projected = hyper - torch.minimum(torch.maximum(hyper - gradient, low), high)
    return float(projected.norm()) + float(target[~curved].norm())


def row_of(case, name):
    """What a solver says of a problem, and what is true."""
    begin = time.process_time()
    try:
        solution = solve(case.problem, name, max_iter=MAX_ITER, tol=TOL)
    except ValueError:
        return None  # refused
    seconds = time.process_time() - begin
    hyper, params = solution.hyper.double(), solution.params.double()
    found, free = resolved(case, hyper, params)
    criterion = float(case.upper(hyper, found))
    said = float(solution.criterion)
    # Where the criterion is nearly zero, relative to where it began.
    scale_ = max(abs(criterion), 1e-3 * abs(float(solution.initial_criterion)))
    norm = true_norm(case, hyper, found, free) / TOL
    status = str(solution.status)
    return {
        "status": status,
        "n_iter": solution.n_iter,
        "said": said,
        "criterion": criterion,
        "norm": norm,
        "seconds": seconds,
        "converged": status == "converged" and norm <= 10,
        "false": status == "converged" and not norm <= 10,
        "wrong": status != "unsolved" and not abs(said - criterion) <= 0.01 * scale_,
        "unsolved": status == "unsolved",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=list(SOLVERS))
    parser.add_argument("--problem", action="append")
    parser.add_argument("--details", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = {}
    for case in cases():
        for name in options.only or SOLVERS:
            if any(word in case.name for word in options.problem or [""]):
                rows[name, case.name] = row = row_of(case, name)
                if options.details and row is not None:
                    print(
                        f"{name:20s} {case.name:28s} {row['status']:12s} {row['n_iter']:4d} "
                        f"said {row['said']:.6g} true {row['criterion']:.6g} "
                        f"|gradient| {row['norm']:.1e} tol, {row['seconds']:.2f} s"
                        + " FALSE" * row["false"]
                        + " WRONG" * row["wrong"],
                        flush=True,
                    )
    print(description())
    kinds = ("converged", "false", "wrong", "unsolved")
    print("| name | runs | converged | falsely | criterion off by 1 % | unsolved | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for name in [*(options.only or SOLVERS), "all"]:
        own = [row for (one, _), row in rows.items() if row and name in (one, "all")]
        counts = [sum(row[kind] for row in own) for kind in kinds]
        seconds = sum(row["seconds"] for row in own)
        print(f'| `"{name}"` | {len(own)} | {" | ".join(map(str, counts))} | {seconds:.0f} |')


if __name__ == "__main__":
    main()
