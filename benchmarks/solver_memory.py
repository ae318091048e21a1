"""Peak memory of a few iterations of every solver, in copies of params.

    OMP_NUM_THREADS=1 python benchmarks/solver_memory.py

The strongly convex problem with 250,000 params, each solver at its defaults in a process of its
own; resident memory above that of the problem and its start.
"""

import argparse
import resource
import subprocess
import sys

import torch

from skbamm.problems import strongly_convex_problem
from skbamm.solvers import SOLVERS, solve

N_PARAMS = 250_000


def peak():
    """Largest resident memory so far, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def copies(name, n_params):
    """Peak memory of a run above its start, in vectors of params."""
    # A small run first, so that libraries do not count.
    solve(strongly_convex_problem(10)[0], name, max_iter=4, tol=0.0)
    # The start is moved a little, or the identity problem would be solved in two iterations.
    problem, _ = strongly_convex_problem(n_params)
    with torch.no_grad():
        problem.initial_params.mul_(torch.linspace(0.5, 1.5, n_params, dtype=torch.float64))
    before = peak()
    solve(problem, name, max_iter=4, tol=0.0)
    return (peak() - before) / (8 * n_params)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solver", choices=list(SOLVERS))
    options = parser.parse_args()
    if options.solver:
        print(f"{copies(options.solver, N_PARAMS):.0f}")
        return
    for name in SOLVERS:
        command = [sys.executable, __file__, "--solver", name]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(f"| {name} | {found.strip()} |", flush=True)


if __name__ == "__main__":
    main()
