"""Solvers on batches: value against the number of samples seen, five seeds.

    OMP_NUM_THREADS=1 python benchmarks/stochastic.py [--seeds 5] [--problem strengths cleaning]

Two problems of the shape of the public bilevel benchmark (Dagreou et al., "A framework for bilevel
optimization that enables stochastic and global variance reduction algorithms", NeurIPS 2022), on
made data. *strengths*: logistic regression with a strength for each feature, 22 features and 10 %
positives as in IJCNN1. *cleaning*: a weight for each of 20,000 rows, half with wrong labels,
multinomial regression with 54 features and 7 classes as in covtype, ridge .2. *scaled*: strengths
once more, of 30 columns whose deviations go from .1 to 10; its first seed was seen while defaults
were chosen.

A value is the upper loss on all validation rows at the exact solution of the lower level (Newton's
method, or L-BFGS) for the hyper of the moment, or its mean of late iterates in sl-BAMM, which is
what that returns. "tuned" steps are the best of a grid of twelve on the first seed by the last
value: two of params and multiplier, three of hyper, constant or falling; "default" is what the
class does, untuned. A batch has 64 rows.
"""

import argparse
import time

import numpy as np
import torch
from machine import description
from scipy.optimize import minimize
from sklearn.datasets import make_classification
from torch.nn.functional import cross_entropy, log_softmax, one_hot, softplus

from skbamm.problems import StochasticProblem
from skbamm.solvers import F2sa, MaSoba, PowerLaw, Soba, StocBio, StochasticSlBamm

RIDGE = 0.2
MARKS = [2**power for power in (13, 14, 15, 16, 17, 18)]
double = torch.float64


def strengths(seed, n_train=50_000, n_val=50_000, n_features=22):
    rng = np.random.default_rng(seed)
    mixing = np.eye(n_features) + 0.3 * rng.normal(size=(n_features,) * 2) / n_features**0.5
    X = rng.normal(size=(n_train + n_val, n_features)) @ mixing
    coef = 1.5 * rng.normal(size=n_features) * (rng.random(n_features) < 0.4)
    score = X @ coef + X[:, 0] * X[:, 1] / 2
    score -= np.quantile(score, 0.9)
    t = np.where(rng.random(len(X)) < 1 / (1 + np.exp(-2 * score)), 1.0, -1.0)
    X[:, -1] = 1  # an intercept: without one no classifier is right about 10 % positives
    return logistic(X, t, n_train, seed)


def scaled(seed, n_train=8000, n_val=8000, n_features=30):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_train + n_val, n_features))
    score = X @ (rng.normal(size=n_features) * (rng.random(n_features) < 0.5))
    t = np.where(rng.random(len(X)) < 1 / (1 + np.exp(-2 * score)), 1.0, -1.0)
    return logistic(X * 10 ** np.linspace(-1, 1, n_features), t, n_train, seed)


def logistic(X, t, n_train, seed):
    """A learned strength for each feature."""
    n_features = X.shape[1]
    X, t = torch.tensor(X), torch.tensor(t)

    def upper(hyper, params, batch):
        X, t = batch
        return softplus(-t * (X @ params)).mean()

    def lower(hyper, params, batch):
        return upper(hyper, params, batch) + (hyper.exp() * params.square()).sum() / 2

    return StochasticProblem(
        upper,
        lower,
        (X[n_train:], t[n_train:]),
        (X[:n_train], t[:n_train]),
        torch.zeros(n_features, dtype=double),
        torch.zeros(n_features, dtype=double),
        lower_bound=-12.0,
        upper_bound=12.0,
        strongly_convex=True,
        seed=seed,
    )


def cleaning(seed, n_train=20_000, n_val=5_000):
    X, true = make_classification(
        n_train + n_val, 54, n_informative=20, n_classes=7, class_sep=2.0, random_state=seed
    )
    X = (X - X.mean(0)) / X.std(0)
    rng = np.random.default_rng(seed)
    is_wrong = rng.random(n_train) < 0.5
    y = true.copy()
    y[:n_train][is_wrong] = rng.integers(0, 7, is_wrong.sum())
    X, y = torch.tensor(X), torch.tensor(y)

    def lower(hyper, params, batch):
        X, y, row = batch
        losses = cross_entropy(X @ params, y, reduction="none")
        return (hyper[row].sigmoid() * losses).mean() + RIDGE * params.square().sum()

    def upper(hyper, params, batch):
        X, y = batch
        return cross_entropy(X @ params, y)

    return StochasticProblem(
        upper,
        lower,
        (X[n_train:], y[n_train:]),
        (X[:n_train], y[:n_train], torch.arange(n_train)),
        torch.zeros(n_train, dtype=double),
        torch.zeros(54, 7, dtype=double),
        strongly_convex=True,
        seed=seed,
    )


PROBLEMS = {"strengths": strengths, "cleaning": cleaning, "scaled": scaled}
#: Steps of params and of hyper that are tried.
GRID = {
    "strengths": ((0.1, 0.3), (3.0, 30.0, 300.0)),
    "cleaning": ((0.1, 0.3), (3e3, 3e4, 3e5)),
    "scaled": ((0.01, 0.03), (3.0, 30.0, 300.0)),
}


def single_loop(kind):
    def tuned(step, hyper_step, power):
        fast, slow = PowerLaw(step, power), PowerLaw(hyper_step, 1.5 * power)
        return kind(params_step=fast, multiplier_step=fast, hyper_step=slow)

    return tuned


def stocbio(step, hyper_step, power):
    hyper_step = PowerLaw(hyper_step, power)
    return StocBio(params_step=step, multiplier_step=step, hyper_step=hyper_step)


def f2sa(step, hyper_step, power):
    penalty, steps = PowerLaw(10.0, -power), PowerLaw(step, power)
    return F2sa(
        penalty=penalty,
        params_step=steps,
        penalized_params_step=PowerLaw(step / 10, 2 * power),
        hyper_step=PowerLaw(hyper_step, power),
    )


DEFAULT = {
    "sl-BAMM": StochasticSlBamm(),
    "SOBA": Soba(),
    "MA-SOBA": MaSoba(),
    "stocBiO": StocBio(),
    "F2SA": F2sa(),
}
TUNED = {
    "SOBA": single_loop(Soba),
    "MA-SOBA": single_loop(MaSoba),
    "stocBiO": stocbio,
    "F2SA": f2sa,
}


def solution(problem, hyper, params):
    """The lower level's solution: derivatives are written out, as all rows are met many times."""
    X, y = problem.lower_data[:2]
    if params.ndim == 1:
        return newton(X, y, hyper.exp(), params)
    weight, given = hyper.sigmoid() / len(X), one_hot(y, params.shape[1])

    def value_and_gradient(flat):
        point = torch.tensor(flat).reshape(params.shape)
        log_proba = log_softmax(X @ point, 1)
        value = RIDGE * point.square().sum() - weight @ (given * log_proba).sum(1)
        gradient = X.T @ (weight[:, None] * (log_proba.exp() - given)) + 2 * RIDGE * point
        return float(value), gradient.flatten().numpy()

    options = {"maxiter": 500, "gtol": 1e-6, "ftol": 0.0}
    start = params.flatten().numpy()
    found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    return torch.tensor(found.x).reshape(params.shape)


def newton(X, t, strength, params):
    """The logistic regression with ridge strengths, by Newton's method with halved steps."""

    def value(point):
        return softplus(-t * (X @ point)).mean() + strength @ point.square() / 2

    for _ in range(100):
        chance = (-t * (X @ params)).sigmoid()
        gradient = strength * params - X.T @ (t * chance) / len(X)
        weight = (chance * (1 - chance))[:, None]
        update = torch.linalg.solve(X.T @ (weight * X) / len(X) + strength.diag(), gradient)
        before = value(params)
        while value(params - update) > before + 1e-12 and update.norm() > 1e-9:
            update = update / 2
        params = params - update
        if update.norm() < 1e-8:
            break
    return params


def values(problem, solver, marks=MARKS):
    """The value whenever so many samples have been seen, and CPU seconds of the steps."""
    upper, state = problem.upper_level.whole(), solver.init(problem)
    found, seconds = [], 0.0
    params = state.params
    for mark in marks:
        begun = time.process_time()
        while state.n_samples < mark:
            state = solver.step(problem, state)
        seconds += time.process_time() - begun
        if not state.hyper.isfinite().all() or not state.params.isfinite().all():
            return [np.nan] * len(marks), seconds
        hyper = state.means["hyper"] if isinstance(solver, StochasticSlBamm) else state.hyper
        params = solution(problem, hyper, params)
        found.append(float(upper.value(hyper, params)))
    return found, seconds


def tuned(name, problem, grid):
    """The solver of the steps that are best at the last mark."""
    tried = [
        (step, hyper_step, power)
        for step in grid[0]
        for hyper_step in grid[1]
        for power in (0.0, 0.4)
    ]
    last = [values(problem, TUNED[name](*steps), MARKS[-1:])[0][0] for steps in tried]
    best = tried[int(np.nanargmin(last))]
    return TUNED[name](*best), "step {}, of hyper {}, power {}".format(*best)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problem", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--tune", nargs="*", choices=TUNED, default=["SOBA"], help="on a grid")
    parser.add_argument("--default", nargs="*", choices=DEFAULT, default=list(DEFAULT))
    options = parser.parse_args()
    print(description())
    for name in options.problem:
        problem = PROBLEMS[name](0)
        solvers = [(method, "default", DEFAULT[method]) for method in options.default]
        for method in options.tune:
            solver, steps = tuned(method, problem, GRID[name])
            solvers.append((method, steps, solver))
        print("| " + " | ".join([name, "steps", *map(str, MARKS), "CPU s"]) + " |")
        print("|---" * (len(MARKS) + 3) + "|", flush=True)
        for method, steps, solver in solvers:
            runs = [values(PROBLEMS[name](seed), solver) for seed in range(options.seeds)]
            mean = np.mean([found for found, _ in runs], axis=0)
            seconds = np.mean([used for _, used in runs])
            cells = [method, steps, *(f"{value:.4f}" for value in mean), f"{seconds:.1f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
