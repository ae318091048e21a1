"""Rows beyond memory and beyond one machine: time for each row, peak memory, linear cost.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--only PART ...]

- linear: CPU seconds of the pass that adds up squares and products of 20 columns, and of the
  regressor's whole fit, for 10,000 to 10,000,000 rows; slopes in the logarithms, and a figure.
- memory: a process whose private memory is limited (RLIMIT_DATA, Linux only) fits a table 4 times
  as large as that limit, from a memory-mapped array and from a parquet file; beside it the fit of
  the same array in memory, without a limit. Needs as much memory as the table, and three times
  as much disk.
- blocks: 100,000,000 rows of 20 columns in 100 calls of partial_fit.
- regression: the fit of 100,000,000 rows of 20 columns from a memory-mapped array of single
  precision (8 GB of disk).
- classification: the fit of 1,000,000 and 10,000,000 rows of 50 columns and 5 classes from a
  memory-mapped array of single precision (2 GB of disk).
- dask: up to 2,000,000 such rows on a Dask cluster of two processes.

Writes Markdown and the figure to ``bench_out/``.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from machine import description

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.data._folds import position_folds
from skbamm.linalg._cross_products import FoldSums

OUT = Path("bench_out")
# Rows that are made at a time.
N_PART = 100_000


def data(n_samples, n_features, seed=0):
    generator = np.random.default_rng(seed)
    X = np.empty((n_samples, n_features))
    for start in range(0, n_samples, 100_000):
        X[start : start + 100_000] = generator.standard_normal(X[start : start + 100_000].shape)
    y = X[:, ::3].sum(axis=1)
    y += 3 * np.sqrt(n_features) * generator.standard_normal(n_samples)
    return X, y


def fewest(function, repeats):
    """Fewest CPU seconds of some calls."""
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        found.append(time.process_time() - begin)
    return min(found)


def status(name):
    """A figure of this process in MB, as Linux tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[name].split()[0]) / 1024


def peak():
    """Largest resident memory so far; what getrusage tells begins with the parent's."""
    return status("VmHWM")


def linear(largest):
    X, y = data(largest, 20)
    sizes = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
    sizes = [n for n in sizes if n <= largest]
    passes, fits = [], []
    shift = np.zeros(21)
    for n in sizes:
        repeats = max(3, min(30, 3_000_000 // n))

        def one_pass(n=n):
            sums = FoldSums(shift, 1, 5)
            sums.add(X[:n], y[:n, None], None, position_folds(n, 5, 0))

        def fit(n=n):
            BilevelRegularizedRegressor().fit(X[:n], y[:n])

        fit()
        passes.append(fewest(one_pass, repeats))
        fits.append(fewest(fit, min(repeats, 5)))
        print(n, passes[-1], fits[-1], flush=True)
    slope = np.polyfit(np.log(sizes), np.log(passes), 1)[0]
    constant, per_row = np.linalg.lstsq(
        np.column_stack([np.ones(len(sizes)), sizes]) / np.array(fits)[:, None],
        np.ones(len(sizes)),
        rcond=None,
    )[0]
    draw(sizes, passes, fits, constant, per_row)
    lines = ["| rows | pass over X, s | fit, s |", "|---|---|---|"]
    lines += [f"| {n:,} | {a:.4f} | {b:.3f} |" for n, a, b in zip(sizes, passes, fits, strict=True)]
    lines.append("")
    lines.append(f"Slope of the pass in the logarithms: {slope:.3f}. ")
    lines.append(f"The fit is about {constant:.3f} s + {1e6 * per_row:.3f} us for each row.")
    return lines


def draw(sizes, passes, fits, constant, per_row):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
    ax.loglog(sizes, passes, "o-", label="pass over X: sums by fold")
    ax.loglog(sizes, fits, "s", label="fit")
    ax.loglog(sizes, constant + per_row * np.array(sizes), ":", color="C1", label="a + b n")
    ax.set(xlabel="rows (20 columns)", ylabel="CPU seconds", title="Cost grows with n, not faster")
    ax.legend()
    figure.savefig(OUT / "scaling.png", dpi=110)


def limited(kind, path, limit):
    """In a process of its own: fit, with a limit on private memory; figures as JSON."""
    import pyarrow.dataset  # noqa: F401

    # What is not data: Python, torch and scikit-learn, which the first fit brings.
    BilevelRegularizedRegressor().fit(*data(2000, 10))
    before = peak()
    if limit:
        total = int(status("VmData") * 2**20) + limit
        resource.setrlimit(resource.RLIMIT_DATA, (total, total))
    y = np.load(path / "y.npy")
    if kind == "parquet":
        X, y = path / "rows.parquet", "y"
    else:
        X = np.load(path / "X.npy", mmap_mode=None if kind == "memory" else "r")
    begin, cpu = time.perf_counter(), time.process_time()
    model = BilevelRegularizedRegressor().fit(X, y)
    found = {
        "kind": kind,
        "wall": time.perf_counter() - begin,
        "cpu": time.process_time() - cpu,
        "peak": peak() - before,
        "coef": model.coef_[:3].tolist(),
    }
    print(json.dumps(found))


def memory(limit_mb, n_features):
    n_samples = 4 * limit_mb * 2**20 // (8 * n_features)
    lines = [
        f"{n_samples:,} rows of {n_features} columns, {4 * limit_mb} MB; limit {limit_mb} MB above "
        "what the libraries take.",
        "",
        "| from | limit | wall us/row | CPU us/row | wall, relative to memory | resident MB more |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(dir=OUT) as folder:
        path = Path(folder)
        write(path, n_samples, n_features)
        base = None
        for kind in ("memory", "memmap", "parquet"):
            limit = 0 if kind == "memory" else limit_mb * 2**20
            runs = []
            for _ in range(2):
                command = [sys.executable, __file__, "--limited", kind, str(path), str(limit)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                runs.append(json.loads(done.stdout.splitlines()[-1]))
            best = min(runs, key=lambda run: run["wall"])
            base = base or best["wall"]
            wall, cpu = (1e6 * best[name] / n_samples for name in ("wall", "cpu"))
            shown = f"{limit_mb} MB" if limit else "none"
            lines.append(
                f"| {kind} | {shown} | {wall:.2f} | {cpu:.2f} | "
                f"{best['wall'] / base:.2f} | {best['peak']:.0f} |"
            )
            print(lines[-1], best["coef"], flush=True)
    return lines


def write(path, n_samples, n_features):
    import pyarrow
    import pyarrow.parquet

    X = np.lib.format.open_memmap(path / "X.npy", "w+", np.float64, (n_samples, n_features))
    y, writer = np.empty(n_samples), None
    for start in range(0, n_samples, 200_000):
        rows = slice(start, min(start + 200_000, n_samples))
        X[rows], y[rows] = data(rows.stop - start, n_features, seed=start)
        table = pyarrow.table({f"x{j}": X[rows, j] for j in range(n_features)} | {"y": y[rows]})
        writer = writer or pyarrow.parquet.ParquetWriter(
            path / "rows.parquet", table.schema, use_dictionary=False
        )
        writer.write_table(table)
    writer.close()
    np.save(path / "y.npy", y)


def blocks(n_calls, n_block):
    X, y = data(n_block, 20)
    model = BilevelRegularizedRegressor()
    model.partial_fit(X[:2000], y[:2000])  # torch is imported
    before, begin, cpu = peak(), time.perf_counter(), time.process_time()
    for _ in range(n_calls):
        model.partial_fit(X, y)
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    learn = fewest(lambda: model.partial_fit(X[:1], y[:1]), 5)
    n = n_calls * n_block
    return [
        f"{n:,} rows of 20 columns in {n_calls} calls: {wall:.1f} s, {cpu:.1f} CPU seconds, "
        f"{1e6 * cpu / n:.3f} us for each row, of which learning {1e6 * learn * n_calls / n:.3f} "
        f"({learn:.3f} s a call); peak {peak() - before:.0f} MB above one block of "
        f"{X.nbytes >> 20} MB."
    ]


def labelled(n_samples, seed):
    """A block of rows with given labels, a fifth of them wrong."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n_samples, 50)).astype(np.float32)
    scores = X @ np.random.default_rng(0).standard_normal((50, 5)) / 7
    y = (3 * scores + generator.gumbel(size=scores.shape)).argmax(axis=1)
    is_clean = generator.random(n_samples) < 5e-4
    wrong = ~is_clean & (generator.random(n_samples) < 0.2)
    y = np.where(wrong, (y + generator.integers(1, 5, n_samples)) % 5, y)
    return X, y, is_clean


def mapped(path, n_samples, n_features, make):
    """A memory-mapped array of single precision, and what comes with it for each row."""
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_samples, n_features))
    others = []
    for start in range(0, n_samples, N_PART):
        X[start : start + N_PART], *more = make(min(N_PART, n_samples - start), start)
        others.append(more)
    X.flush()
    del X
    columns = [np.concatenate(parts) for parts in zip(*others, strict=True)]
    return np.load(path, mmap_mode="r"), columns


def fitted_from_disk(model, sizes, n_features, make, **names):
    """Time and memory of fits on memory-mapped arrays, one after the other."""
    lines = [
        "| rows | wall s | wall us/row | CPU us/row | private MB more |",
        "|---|---|---|---|---|",
    ]
    for n in sizes:
        with tempfile.TemporaryDirectory(dir=OUT) as folder:
            X, others = mapped(Path(folder) / "X.npy", n, n_features, make)
            y, rest = others[0], dict(zip(names, others[1:], strict=True))
            few = {name: column[:20_000] for name, column in rest.items()}
            model.fit(X[:20_000], y[:20_000], **few)  # torch is imported
            before = status("RssAnon")  # y among it
            with private_peak() as found:
                begin, cpu = time.perf_counter(), time.process_time()
                model.fit(X, y, **rest)
                wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
            lines.append(
                f"| {n:,} | {wall:.1f} | {1e6 * wall / n:.2f} | {1e6 * cpu / n:.2f} | "
                f"{max(found) - before:.0f} |"
            )
            print(lines[-1], flush=True)
    return lines


@contextlib.contextmanager
def private_peak():
    """Collect this process's private memory in MB, twenty times a second."""
    found, ended = [status("RssAnon")], threading.Event()

    def look():
        while not ended.wait(0.05):
            found.append(status("RssAnon"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def single(n_samples, seed):
    X, y = data(n_samples, 20, seed)
    return X.astype(np.float32), y


def worker_peak():
    """Largest resident memory of a worker, in MB."""
    return peak()


def on_cluster(sizes):
    import dask
    import dask.array as da
    from distributed import Client, LocalCluster, wait

    from skbamm.dask import DaskHyperCleaningClassifier

    lines = [
        "| rows | wall s | wall us/row | CPU us/row, all workers | peak of a worker, MB |",
        "|---|---|---|---|---|",
    ]
    for n in sizes:
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=None
            ) as cluster,
            Client(cluster) as client,
        ):
            make = dask.delayed(labelled, nout=3)
            parts = [make(N_PART, seed) for seed in range(n // N_PART)]
            shapes = ((N_PART, 50), (N_PART,), (N_PART,))
            kinds = (np.float32, np.int64, bool)
            X, y, clean = (
                da.concatenate([da.from_delayed(part[i], shapes[i], kinds[i]) for part in parts])
                for i in range(3)
            )
            X, y, clean = client.persist([X, y, clean])
            wait([X, y, clean])
            DaskHyperCleaningClassifier(max_iter=0).fit(X[:1000], y[:1000])  # torch is imported
            begin, cpu = time.perf_counter(), sum(client.run(time.process_time).values())
            DaskHyperCleaningClassifier().fit(X, y, is_clean=clean)
            wall = time.perf_counter() - begin
            cpu = sum(client.run(time.process_time).values()) - cpu
            most = max(client.run(worker_peak).values())
            cost = overhead(client)
        lines.append(
            f"| {n:,} | {wall:.1f} | {1e6 * wall / n:.2f} | {1e6 * cpu / n:.2f} | {most:.0f} |"
        )
        print(lines[-1], flush=True)
    lines += ["", f"Regressor: {1e3 * cost:.2f} ms for each partition besides its rows."]
    return lines


def overhead(client):
    """Seconds that a partition costs besides its rows, from few and many of hardly any rows."""
    import dask.array as da

    from skbamm.dask import DaskBilevelRegularizedRegressor

    X, y = data(20_000, 20)
    seconds = {}
    for n_parts in (20, 20, 1000):  # the first time something is imported
        size = len(y) // n_parts
        parts = [da.from_array(X, chunks=(size, 20)), da.from_array(y, chunks=size)]
        parts = client.persist(parts)
        begin = time.perf_counter()
        DaskBilevelRegularizedRegressor().fit(*parts)
        seconds[n_parts] = time.perf_counter() - begin
    return (seconds[1000] - seconds[20]) / 980


def main():
    parser = argparse.ArgumentParser()
    parts = ["linear", "memory", "blocks", "regression", "classification", "dask"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--limited", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help="a thousandth of it, to try it out")
    options = parser.parse_args()
    if options.limited:
        kind, path, limit = options.limited
        limited(kind, Path(path), int(limit))
        return
    OUT.mkdir(exist_ok=True)
    small = options.small
    work = {
        "linear": lambda: linear(100_000 if small else 10_000_000),
        "memory": lambda: memory(256 if small else 1024, 20 if small else 100),
        "blocks": lambda: blocks(3 if small else 100, 10_000 if small else 1_000_000),
        "regression": lambda: fitted_from_disk(
            BilevelRegularizedRegressor(), [100_000] if small else [100_000_000], 20, single
        ),
        "classification": lambda: fitted_from_disk(
            HyperCleaningClassifier(final_estimator="linear"),
            [100_000] if small else [1_000_000, 10_000_000],
            50,
            labelled,
            is_clean=None,
        ),
        "dask": lambda: on_cluster([200_000] if small else [500_000, 1_000_000, 2_000_000]),
    }
    report = [f"# Scaling\n\n{description()}\n"]
    for name in options.only:
        report += [f"## {name}", "", *work[name](), ""]
        (OUT / "scaling.md").write_text("\n".join(report))
    print("\n".join(report))


if __name__ == "__main__":
    main()
