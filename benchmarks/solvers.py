"""Every solver on every example problem of the papers, and in both estimators.

    OMP_NUM_THREADS=1 python benchmarks/solvers.py

Default options, and published or tuned steps beside them. For each run: iterations and CPU seconds
to a relative error of 1e-2 and 1e-3, why it ended, and what an iteration cost in gradients
and in curvature products (both objectives together). Writes a table and a figure, error against
CPU time, to ``bench_out/``.
"""

import argparse
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import description
from sklearn.datasets import load_diabetes, load_digits

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.problems import (
    Objective,
    merely_convex_problem,
    sine_product_problem,
    sine_sum_problem,
    strongly_convex_problem,
    weighted_lasso_problem,
)
from skbamm.solvers import SOLVERS, IapttGm, Meha, PowerLaw, SlBamm, solve

LEVELS = (1e-2, 1e-3)


class Counted(Objective):
    """Another objective that counts what it is asked."""

    def __init__(self, objective, counts):
        self.objective, self.counts = objective, counts

    def value(self, hyper, params):
        return self.objective.value(hyper, params)

    def gradients(self, hyper, params, *, differentiable=False):
        self.counts["gradients"] += 1
        return self.objective.gradients(hyper, params, differentiable=differentiable)

    def params_gradient(self, hyper, params):
        self.counts["gradients"] += 1
        return self.objective.params_gradient(hyper, params)

    def curvature_products(self, hyper, params, vector):
        self.counts["products"] += 1
        return self.objective.curvature_products(hyper, params, vector)

    def hessian_product(self, hyper, params, vector):
        self.counts["products"] += 1
        return self.objective.hessian_product(hyper, params, vector)

    def mixed_product(self, hyper, params, vector):
        self.counts["products"] += 1
        return self.objective.mixed_product(hyper, params, vector)


@dataclass(frozen=True)
class Case:
    """A problem, how far a state is from its optimum, and how long to try."""

    name: str
    problem: Any
    error: Any
    tuned: dict
    max_iter: int = 1000


def cases(n_hyper):
    def relative(optimum):
        return lambda state: float((state.hyper - optimum).norm() / optimum.norm())

    def steps(size, **others):
        return {"params_step": size, "proximal_step": size, "hyper_step": size, **others}

    problem = merely_convex_problem(n_hyper)
    yield Case(
        "merely convex",
        problem,
        relative(torch.ones_like(problem.initial_hyper)),
        {
            "sl-bamm": SlBamm(averaging=0.5, params_step=1.0, hyper_step=0.3),
            "iaptt-gm": IapttGm(params_step=0.5, dynamics="nesterov", truncation=False),
            "meha": Meha(upper_weight=PowerLaw(1 / 0.6, 0.49), proximity=0.2, **steps(0.5)),
        },
    )
    problem, optimum = strongly_convex_problem(n_hyper)
    tuned = {"sl-bamm": SlBamm(params_step=0.5, hyper_step=0.1)}
    yield Case("strongly convex", problem, relative(optimum), tuned)
    problem, optimum = strongly_convex_problem(10, identity=False)
    yield Case("strongly convex, stiff (n = 10)", problem, relative(optimum), {})
    problem, optimum = sine_product_problem(start=(4.0, 0.0))
    tuned = {"iaptt-gm": IapttGm(params_step=5e-4, hyper_step=0.1)}
    yield Case("sine of product (n = 1)", problem, relative(optimum), tuned, 300)
    problem, optimum = sine_sum_problem(n_hyper)
    published = Meha(upper_weight=PowerLaw(1.0, 0.49), proximity=3.0, **steps(0.05))
    yield Case("sine of sum", problem, relative(optimum), {"meha": published}, 600)
    problem = weighted_lasso_problem(n_hyper)

    def gap(state):
        return float(problem.criterion(state.hyper, state.params)) + 0.5

    weight = PowerLaw(1 / (2 * n_hyper), 0.25)
    published = Meha(upper_weight=weight, proximity=0.1, **steps(0.1))
    yield Case("lasso", problem, gap, {"meha": published}, 300)


def run(case, solver, seconds):
    """The errors of a run with their CPU seconds, why it ended, and costs an iteration."""
    counts = {"gradients": 0, "products": 0}
    problem = replace(
        case.problem,
        upper=Counted(case.problem.upper, counts),
        lower=Counted(case.problem.lower, counts),
    )
    times, errors = [], []
    begin = time.process_time()

    def record(state, row):
        times.append(time.process_time() - begin)
        errors.append(case.error(state))
        return errors[-1] <= LEVELS[-1] or times[-1] > seconds

    try:
        solution = solve(problem, solver, max_iter=case.max_iter, tol=1e-8, callback=record)
    except ValueError:
        return None
    costs = {name: count / solution.n_iter for name, count in counts.items()}
    status = "reached" if errors[-1] <= LEVELS[-1] else solution.status
    status = "time is up" if status == "stopped" else status
    return np.array(times), np.array(errors), status, costs


def first_below(times, errors, level):
    """Iterations and seconds until an error is below a level."""
    below = np.flatnonzero(errors <= level)
    return f"{below[0] + 1} / {times[below[0]]:.2f}" if len(below) else "never"


def clocked(name):
    """A solver of the table, and the CPU times at which its steps end."""
    ticks = []

    class Clocked(SOLVERS[name]):
        def step(self, problem, state):
            following = super().step(problem, state)
            ticks.append(time.process_time())
            return following

    return Clocked(), ticks


def estimator_runs():
    """Both estimators with each solver."""
    X, y = load_diabetes(return_X_y=True)
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:600], labels[:600]
    generator = np.random.default_rng(0)
    is_clean = np.arange(600) < 150
    wrong = ~is_clean & (generator.random(600) < 0.4)
    given = np.where(wrong, (labels + generator.integers(1, 10, 600)) % 10, labels)
    for name in SOLVERS:
        solver, ticks = clocked(name)
        model = BilevelRegularizedRegressor(solver=solver)
        yield "regressor (diabetes)", name, model, (X, y), {}, ticks
        solver, ticks = clocked(name)
        options = {"final_estimator": "linear", "cv": 2, "max_iter": 40}
        model = HyperCleaningClassifier(solver=solver, **options)
        yield "classifier (digits)", name, model, (images, given), {"is_clean": is_clean}, ticks


def run_estimators(curves):
    """Rows of the table; and the excess of each criterion over the lowest, as curves."""
    histories = {}
    BilevelRegularizedRegressor(max_iter=2, tol=1e9).fit(*load_diabetes(return_X_y=True))  # warm
    for title, name, model, data, extra, ticks in estimator_runs():
        begin = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(*data, **extra)
        seconds = time.process_time() - begin
        best = np.minimum.accumulate(model.history_["criterion"])
        histories.setdefault(title, []).append((name, np.array(ticks[: len(best)]) - begin, best))
        status = model.status_.split(" after")[0].split(" at")[0]
        yield table_row(title, name, f"{best[-1]:.4f}", model.n_iter_, f"{seconds:.2f}", status)
    for title, runs in histories.items():
        lowest = min(best[-1] for _, _, best in runs)
        curves[title] = [
            (name, False, times, best[: len(times)] / lowest - 1) for name, times, best in runs
        ]


def table_row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def _error_of(title):
    if "(d" in title:
        return "criterion above the lowest"
    return "value gap" if title == "lasso" else "relative error of hyper"


def draw(curves, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(16, 7.5), layout="constrained")
    colors = dict(zip(SOLVERS, plt.rcParams["axes.prop_cycle"].by_key()["color"], strict=False))
    for panel, (title, runs) in zip(axes.flat, curves.items(), strict=False):
        for name, tuned, times, errors in runs:
            style = {"color": colors[name], "linestyle": ":" if tuned else "-"}
            label = None if tuned else name
            # Estimators differ by less than a decade of time.
            plot = panel.semilogy if "(d" in title else panel.loglog
            plot(
                np.maximum(times, 1e-4), np.maximum(errors, 1e-6), label=label, linewidth=1.2,
                marker="." if len(times) < 100 else "", markersize=3, **style,
            )  # fmt: skip
        panel.axhline(LEVELS[-1], color="gray", linewidth=0.8, linestyle="--")
        panel.set(title=title, xlabel="CPU seconds", ylabel=_error_of(title))
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle("Error against CPU time: defaults solid, published or tuned steps dotted")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="dimension of the scalable problems")
    parser.add_argument("--seconds", type=float, default=5.0, help="CPU seconds a run may take")
    parser.add_argument("--out", default="bench_out")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(exist_ok=True)
    lines = [description(), "", f"Scalable problems at n = {options.n}.", ""]
    lines += [
        table_row(
            "problem", "solver", "1e-2: iterations / s", "1e-3: iterations / s", "ended",
            "gradients", "products", "ms / iteration",
        ),
        "|---" * 8 + "|",
    ]  # fmt: skip
    print("\n".join(lines), flush=True)
    curves = {}
    for case in cases(options.n):
        solvers = [(name, "", SOLVERS[name]()) for name in SOLVERS]
        solvers += [(name, ", tuned", solver) for name, solver in case.tuned.items()]
        for name, mark, solver in solvers:
            found = run(case, solver, options.seconds)
            if found is None:
                lines.append(table_row(case.name, name, "", "", "refused: not smooth", "", "", ""))
                print(lines[-1], flush=True)
                continue
            times, errors, status, costs = found
            curves.setdefault(case.name, []).append((name, bool(mark), times, errors))
            lines.append(
                table_row(
                    case.name, name + mark, *(first_below(times, errors, at) for at in LEVELS),
                    status, f"{costs['gradients']:.0f}", f"{costs['products']:.0f}",
                    f"{1e3 * times[-1] / len(times):.2f}",
                )
            )  # fmt: skip
            print(lines[-1], flush=True)
    lines += ["", table_row("estimator", "solver", "criterion", "iterations", "CPU s", "status")]
    lines.append("|---" * 6 + "|")
    for row in run_estimators(curves):
        lines.append(row)
        print(row, flush=True)
    (out / "solvers.md").write_text("\n".join(lines) + "\n")
    draw(curves, out / "solvers.png")
    print(f"\nwritten: {out / 'solvers.md'}, {out / 'solvers.png'}")


if __name__ == "__main__":
    main()
