"""Drawing of the learned numbers (`hyper_`) after each iteration."""

from __future__ import annotations

import numpy as np

from ._display import COLORS, GRAY, MARKERS, legend_beside, shortened

# More lines than this say nothing one by one; their quantiles do.
MAX_LINES = 12
QUANTILES = {"smallest": 0.0, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "largest": 1.0}


def draw_path(ax, names, path, final, *, is_log, marked):
    """A line for each number, through its values after each iteration; diamonds end it."""
    iteration = np.arange(len(path))
    for number, (name, values, end) in enumerate(_lines(names, path, final)):
        if is_log:
            name, values, end = name.replace("log ", "", 1), np.exp(values), np.exp(end)
        color = COLORS[number % len(COLORS)]
        line = {"linestyle": "-" if number < len(COLORS) else "--", "linewidth": 1.4}
        mark = {"marker": MARKERS[number % len(MARKERS)] if marked else "", "markersize": 4}
        ax.plot(iteration, values, color=color, label=shortened(name), **line, **mark)
        diamond = {"markeredgecolor": "black", "markersize": 7, "clip_on": False}
        after = iteration[-1] + 0.04 * max(len(iteration), 2)
        ax.plot([after], [end], "D", color=color, **diamond)
    ax.plot([], [], "D", color="white", markeredgecolor=GRAY, label="final fit: mean of repeats")
    if is_log:
        ax.set_yscale("log")
    ax.set_ylabel("value (log scale)" if is_log else "value")
    legend_beside(ax)


def _lines(names, paths, finals):
    """Name, path and final value of each line; equal ones together, many as quantiles."""
    equal: dict = {}
    for name, path, final in zip(names, paths.T, finals, strict=True):
        equal.setdefault((path.tobytes(), float(final)), []).append((name, path, final))
    if len(equal) > MAX_LINES:
        return [
            (f"{label} of {len(names)}", np.quantile(paths, q, axis=1), np.quantile(finals, q))
            for label, q in QUANTILES.items()
        ]
    return [
        (name if not others else f"{name} and {len(others)} alike", path, final)
        for (name, path, final), *others in equal.values()
    ]
