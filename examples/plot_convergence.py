"""
Five lower levels, and who solves them
======================================

The numerical problems of the papers behind skbamm: relative error (or gap of the value) against
iterations, everything at its defaults, at dimension 100. sl-BAMM lends the upper level's strong
convexity to a lower level that is merely convex; IAPTT-GM learns where to start among many local
minima; MEHA takes a non-smooth lower level, with first derivatives only. Unrolling, which needs a
lower level with one solution, ends where theory says: its run is called *undetermined*.
"""

import matplotlib.pyplot as plt
import torch

from skbamm.problems import (
    merely_convex_problem,
    sine_product_problem,
    sine_sum_problem,
    strongly_convex_problem,
    weighted_lasso_problem,
)
from skbamm.solvers import solve


def relative_to(optimum):
    return lambda hyper: float((hyper - optimum).norm() / optimum.norm())


lasso = weighted_lasso_problem(100)


def gap(hyper):
    return float(lasso.criterion(hyper, hyper)) + 0.5


# %%
# The problems, how to measure the error, and the solvers to show.
merely = merely_convex_problem(100)
strongly, strongly_optimum = strongly_convex_problem(100)
product, product_optimum = sine_product_problem(start=(4.0, 0.0))
total, total_optimum = sine_sum_problem(100)
panels = {
    "merely convex": (
        merely,
        relative_to(torch.ones_like(merely.initial_hyper)),
        ("sl-bamm", "meha", "bda", "unrolling", "conjugate-gradient"),
    ),
    "strongly convex": (
        strongly,
        relative_to(strongly_optimum),
        ("sl-bamm", "meha", "bda", "unrolling", "conjugate-gradient"),
    ),
    "many local minima: -sin(x y)": (product, relative_to(product_optimum), ("iaptt-gm", "meha")),
    "weakly convex: sin(x + y - 2)": (total, relative_to(total_optimum), ("meha", "sl-bamm")),
    "non-smooth: lasso": (lasso, gap, ("meha", "truncated-unrolling")),
}

# %%
# Run, print why each run ended, draw.
figure, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
*axes, last = axes.flat
colors = {}
for axis, (title, (problem, error, names)) in zip(axes, panels.items(), strict=True):
    print(f"\n{title}")
    for name in names:
        errors = [error(problem.initial_hyper)]

        def record(state, row, errors=errors, error=error):
            errors.append(error(state.hyper))
            return errors[-1] < 1e-4

        solution = solve(problem, name, max_iter=200, tol=1e-8, callback=record)
        status = "error below 1e-4" if errors[-1] < 1e-4 else solution.status
        print(f"  {name:20} {len(errors) - 1:4} iterations, error {errors[-1]:.0e}: {status}")
        color = colors.setdefault(name, f"C{len(colors)}")
        shown = [max(value, 1e-5) for value in errors]
        # Curves that coincide are told apart by their dashes.
        style = ("-", "--", "-.", ":", (0, (1, 3)))[names.index(name)]
        axis.loglog(range(1, len(errors) + 1), shown, color=color, linestyle=style)
    axis.axhline(1e-3, color="gray", linewidth=0.8, linestyle="--")
    axis.set(title=title, xlabel="iteration + 1", ylim=(7e-6, 20))
axes[0].set_ylabel("relative error of hyper")
axes[-1].set_ylabel("gap of the value")
lines = [plt.Line2D([], [], color=color) for color in colors.values()]
last.legend(lines, colors, loc="center")
last.axis("off")
figure.savefig("convergence.png", dpi=110)
print("\nfigure: convergence.png")
