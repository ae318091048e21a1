"""Units of targets that a few wrong targets, however far off, do not move."""

from __future__ import annotations

import numpy as np

from ._constants import WINSORIZED


def limits(y, weight):
    """Least and largest value that is no gross error, whatever tails are; finite y."""
    middle = weighted_median(y, weight)
    off = 1.4826 * WINSORIZED * weighted_median(np.abs(y - middle), weight)
    if off <= 1e-12 * abs(middle):  # most targets are equal
        return -np.inf, np.inf
    return middle - off, middle + off


def weighted_median(values, weight):
    """The middle of the values, of an even number that of both; a row of weight 2 is two."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    half = total[-1] / 2
    edge = 1e-12 * half
    both = np.searchsorted(total, [half - edge, half + edge])
    return float(values[order][np.minimum(both, len(values) - 1)].mean())


def target_unit(y, weight):
    """Mean and standard deviation of targets without gross errors; 1 of constant ones."""
    near = np.clip(y, *limits(y, weight))
    largest = np.abs(near).max() or 1.0  # squares of small units vanish
    near = near / largest
    mean = float(np.average(near, weights=weight))
    unit = float(np.sqrt(np.average((near - mean) ** 2, weights=weight)))
    unit = unit if unit > 1e-12 * abs(mean) else 1.0
    return mean * largest, unit * largest
