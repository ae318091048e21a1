"""From rows and what is said of them to `RowWeights`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ._record import Rows, RowWeights, equal_rows, standardized


@dataclass(frozen=True)
class RunOptions:
    """Options of the runs of sl-BAMM."""

    solver: Any
    max_iter: int


def learn_row_weights(X, y, weight, columns, run, *, labels=None, seed=0):
    """A `RowWeights`, from validated rows and checked `RowColumns`.

    `y` is 2-D, `weight` the user's or None. With `labels`, (n_samples,), y are indicators of
    classes: levels become weights of these, and annotators give labels. Kinds multiply: each is
    learned from rows with the weights, and less the levels, of those before it.
    """
    n_samples = len(y)
    kept = np.ones(n_samples, bool) if weight is None else weight > 0
    given = np.ones(n_samples) if weight is None else weight
    if not kept.all():
        X, y, given, columns = X[kept], y[kept], given[kept], columns.rows(kept)
        labels = None if labels is None else labels[kept]
    y, given, unit = np.asarray(y, np.float64), given / given.mean(), 1.0
    if labels is None:
        y, unit = standardized(y, given)
    rows = Rows(X, y, given, labels, unit)
    parts, items = [], None
    if columns.annotator is not None:
        from ._annotator import learn_annotator

        if labels is None and rows.y.shape[1] > 1:
            raise ValueError(
                f"annotator needs ratings, one for each row: y has {rows.y.shape[1]} columns."
            )
        ratings = rows.y[:, 0] if labels is None else labels
        items = equal_rows(X, kept)
        parts.append(learn_annotator(rows, ratings, columns.annotator, items[kept]))
    if columns.row_source is not None:
        from ._source import learn_source

        told = columns.row_source, columns.is_target, run, seed, columns.target_name
        parts.append(learn_source(_weighted(rows, parts), *told))
    if columns.time is not None:
        from ._time import learn_time

        parts.append(learn_time(_weighted(rows, parts), columns.time, run, columns.time_unit))
    parts = [one if one.level is None else replace(one, level=one.level * unit) for one in parts]
    return RowWeights.of(parts, kept, items)


def _weighted(rows, parts):
    weight, y = rows.weight, rows.y
    for part in parts:
        if part.weight is not None:
            weight = weight * part.weight
        if part.level is not None:
            y = y - part.level
    return replace(rows, y=y, weight=weight / weight.mean())
