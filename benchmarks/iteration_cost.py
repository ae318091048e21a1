"""What an iteration with given steps costs, relative to a loop in torch as one writes it by hand.

    OMP_NUM_THREADS=1 python benchmarks/iteration_cost.py [--only SOLVER] [--check]

CPU seconds an iteration of `solve(..., verify=False)` and of the loops below, in turn in one run;
the median of their ratios counts, and both must end at the same hyper. Two problems: a pair of
functions (a logistic regression with a learned strength for each of 30 columns) and a module (a
network of 1,210 parameters on digits with a learned strength for each of its four tensors).
`--check` exits with 1 above a limit.
"""

import argparse
import statistics
import sys
import time

import torch
from machine import description
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import scale
from torch.autograd import grad
from torch.nn.functional import cross_entropy, softplus

from skbamm.problems import BilevelProblem, module_problem
from skbamm.solvers import SOLVERS, solve

LIMITS = {"functions": 1.5, "module": 2.0}
N_STEPS, N_LINEAR, N_REVERSE = 20, 20, 10
STEPS = {"params_step": 0.1, "hyper_step": 0.01}
UNROLLED = {**STEPS, "n_steps": N_STEPS}
OPTIONS = {
    "sl-bamm": {**STEPS, "multiplier_step": 0.1, "averaging": 0.0},
    "sl-bamm, averaging": {**STEPS, "multiplier_step": 0.1, "averaging": 0.1},
    "meha": {**STEPS, "proximal_step": 0.1, "proximity": 0.1, "upper_weight": 0.5},
    "iaptt-gm": {**UNROLLED, "truncation": True},
    "unrolling": UNROLLED,
    "truncated-unrolling": {**UNROLLED, "n_reverse": N_REVERSE},
    "conjugate-gradient": {**UNROLLED, "n_linear": N_LINEAR},
    "neumann": {**UNROLLED, "n_linear": N_LINEAR},
    "bda": {**UNROLLED, "averaging": 0.1},
}


class Tensors(tuple):
    """Several tensors that are moved together, as the params of a module are."""

    def minus(self, step, others):
        return Tensors(a - step * b for a, b in zip(self, others, strict=True))

    def dot(self, others):
        return sum((a * b).sum() for a, b in zip(self, others, strict=True))

    def leaves(self):
        return Tensors(a.detach().requires_grad_() for a in self)


def products(gradient, inputs, vector):
    return grad(gradient, inputs, vector, retain_graph=True)


def sl_bamm(F, f, x, y, n_iter, mu):
    v = Tensors(torch.zeros_like(part) for part in y)
    for _ in range(n_iter):
        x, y = x.detach().requires_grad_(), y.leaves()
        upper = F(x, y)
        averaged = mu * upper + (1 - mu) * f(x, y) if mu else f(x, y)
        g = grad(averaged, y, create_graph=True)
        mixed, *curved = products(g, (x, *y), v)
        of_x, *of_y = grad(upper, (x, *y), allow_unused=True)
        direction = -mixed if of_x is None else of_x - mixed
        with torch.no_grad():
            x = x - 0.01 * direction
            v = v.minus(0.1, [a - b for a, b in zip(curved, of_y, strict=True)])
            y = y.minus(0.1, g)
    return x


def meha(F, f, x, y, n_iter):
    proximal, weight, proximity = y, 0.5, 0.1
    for _ in range(n_iter):
        x, y, proximal = x.detach().requires_grad_(), y.leaves(), proximal.leaves()
        g = grad(f(x, proximal), proximal)
        with torch.no_grad():
            proximal = proximal.minus(0.1, g).minus(0.1 * proximity, proximal.minus(1, y))
        of_upper = grad(F(x, y), x, allow_unused=True)[0]
        gap = grad(f(x, y), x)[0] - grad(f(x, proximal), x)[0]
        direction = gap if of_upper is None else weight * of_upper + gap
        x = (x - 0.01 * direction).detach()
        upper, lower = grad(F(x, y), y), grad(f(x, y), y)
        with torch.no_grad():
            moved = y.minus(0.1 * weight, upper).minus(0.1, lower)
            y = moved.minus(-0.1 * proximity, y.minus(1, proximal))
    return x


def descent(f, x, y, n_steps, differentiable):
    points = [y]
    for _ in range(n_steps):
        g = grad(f(x, y), y, create_graph=differentiable)
        y = y.minus(0.1, g)
        y = y if differentiable else y.leaves()
        points.append(y)
    return points


def unrolling(F, f, x, y0, n_iter, n_reverse=N_STEPS, mu=0.0):
    def averaged(x, y):
        return mu * F(x, y) + (1 - mu) * f(x, y) if mu else f(x, y)

    for _ in range(n_iter):
        x = x.detach().requires_grad_()
        y = descent(averaged, x, y0.leaves(), N_STEPS - n_reverse, False)[-1]
        y = descent(averaged, x, y, n_reverse, True)[-1]
        x = x - 0.01 * grad(F(x, y), x)[0]
    return x


def iaptt(F, f, x, z, n_iter):
    for _ in range(n_iter):
        x, z = x.detach().requires_grad_(), z.leaves()
        points = descent(f, x, z, N_STEPS, True)
        with torch.no_grad():
            last = int(torch.stack([F(x, point) for point in points[1:]]).argmax()) + 1
        of_x, *of_z = grad(F(x, points[last]), (x, *z))
        x, z = x - 0.01 * of_x, z.minus(0.01, of_z)
    return x


def implicit(F, f, x, y, n_iter, linear):
    v = Tensors(torch.zeros_like(part) for part in y)
    for _ in range(n_iter):
        x = x.detach().requires_grad_()
        y = descent(f, x, y.leaves(), N_STEPS, False)[-1]
        of_x, *target = grad(F(x, y), (x, *y), allow_unused=True)
        g = grad(f(x, y), y, create_graph=True)
        v = linear(lambda vector, g=g, y=y: Tensors(products(g, y, vector)), Tensors(target), v)
        mixed = products(g, x, v)[0]
        x = x - 0.01 * (-mixed if of_x is None else of_x - mixed)
    return x


def conjugate_gradient(product, target, v):
    left = target.minus(1, product(v))
    direction, square = left, left.dot(left)
    for _ in range(N_LINEAR):
        if square < 1e-20:
            break
        curved = product(direction)
        step = square / direction.dot(curved)
        v, left = v.minus(-step, direction), left.minus(step, curved)
        last, square = square, left.dot(left)
        direction = left.minus(-square / last, direction)
    return v


def neumann(product, target, v):
    left = target.minus(1, product(v))
    for _ in range(N_LINEAR):
        v = v.minus(-0.1, left)
        left = left.minus(0.1, product(left))
    return v


LOOPS = {
    "sl-bamm": lambda *args: sl_bamm(*args, 0.0),
    "sl-bamm, averaging": lambda *args: sl_bamm(*args, 0.1),
    "meha": meha,
    "iaptt-gm": iaptt,
    "unrolling": unrolling,
    "truncated-unrolling": lambda *args: unrolling(*args, N_REVERSE),
    "conjugate-gradient": lambda *args: implicit(*args, conjugate_gradient),
    "neumann": lambda *args: implicit(*args, neumann),
    "bda": lambda *args: unrolling(*args, mu=0.1),
}


def functions():
    """The problem, and both losses of (hyper, tuple of tensors) with their initial points."""
    X, y = load_breast_cancer(return_X_y=True)
    X, sign = torch.tensor(scale(X)), torch.tensor(2.0 * y - 1)

    def upper(hyper, params):
        return softplus(-sign[300:] * (X[300:] @ params)).mean()

    def lower(hyper, params):
        loss = softplus(-sign[:300] * (X[:300] @ params)).mean()
        return loss + (hyper.exp() * params.square()).sum() / 2

    hyper, params = torch.full((30,), -3.0).double(), torch.zeros(30).double()
    problem = BilevelProblem(upper, lower, hyper, params, strongly_convex=True)
    return (
        problem,
        (lambda x, y: upper(x, y[0]), lambda x, y: lower(x, y[0]), hyper, Tensors([params])),
    )


def module():
    """The same for a network, which a script would call by `torch.func.functional_call`."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16), torch.tensor(labels)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10)
    ).double()
    hyper, names = torch.full((4,), -1.0).double(), [name for name, _ in network.named_parameters()]

    def loss(rows, predict):
        return cross_entropy(predict(images[rows]), labels[rows])

    def decay(hyper, tensors):
        return sum(s * p.square().sum() for s, p in zip(hyper.exp(), tensors, strict=True)) / 2

    train, held_out = slice(300), slice(300, 600)

    def predict(y):
        named = dict(zip(names, y, strict=True))
        return lambda X: torch.func.functional_call(network, named, (X,))

    problem = module_problem(
        network,
        lambda hyper, model: loss(held_out, model),
        lambda hyper, model: loss(train, model) + decay(hyper, model.parameters()),
        hyper,
        strongly_convex=True,
    )
    params = Tensors(p.detach() for p in network.parameters())
    return problem, (
        lambda x, y: loss(held_out, predict(y)),
        lambda x, y: loss(train, predict(y)) + decay(x, y),
        hyper,
        params,
    )


def seconds(call):
    """And what was called for."""
    begin = time.process_time()
    found = call()
    return time.process_time() - begin, found


def compare(name, problem, by_hand, repeats, n_iter):
    """Seconds an iteration of both, and the median of their ratios."""
    solver = SOLVERS[name.split(",")[0]](**OPTIONS[name])
    ours, theirs = [], []
    for _ in range(repeats + 1):
        run = {"max_iter": n_iter, "tol": -1.0, "verify": False}
        elapsed, solution = seconds(lambda run=run: solve(problem, solver, **run))
        ours.append(elapsed)
        elapsed, hyper = seconds(lambda: LOOPS[name](*by_hand, n_iter))
        theirs.append(elapsed)
        # Linear systems are solved to their last digits, which differ.
        torch.testing.assert_close(solution.state.hyper, hyper.detach(), rtol=1e-6, atol=1e-6)
    pairs = list(zip(ours, theirs, strict=True))[1:]
    ratio = statistics.median(a / b for a, b in pairs)
    return *(statistics.median(found) / n_iter for found in zip(*pairs, strict=True)), ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", help="one row of the table")
    parser.add_argument("--problem", choices=LIMITS, help="one of the two problems")
    parser.add_argument("--check", action="store_true", help="exit with 1 above a limit")
    options = parser.parse_args()
    print(description())
    print("| problem | solver | ms, by hand | ms, skbamm | ratio |\n|---|---|---|---|---|")
    too_slow = []
    for kind, build in (("functions", functions), ("module", module)):
        problem, by_hand = build()
        for name in LOOPS:
            if options.only not in (None, name) or options.problem not in (None, kind):
                continue
            n_iter = 500 if name.startswith(("sl-bamm", "meha")) else 30
            ours, theirs, ratio = compare(name, problem, by_hand, options.repeats, n_iter)
            cells = f"{1e3 * theirs:.3f} | {1e3 * ours:.3f} | {ratio:.2f}"
            print(f"| {kind} | {name} | {cells} |", flush=True)
            if ratio > LIMITS[kind]:
                too_slow.append(f"{name} ({kind})")
    if options.check and too_slow:
        sys.exit(f"too slow: {', '.join(too_slow)}")


if __name__ == "__main__":
    main()
