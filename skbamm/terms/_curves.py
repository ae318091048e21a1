"""What each term of an additive model does, on points to draw it at, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from ..data._validation import validate_weight
from ._columns import CategoricalColumn
from ._fold_fits import JITTER
from ._pairs import dense
from ._table import column_names, read_columns

# A strength that leaves nothing of a coefficient.
UNUSED = 1e12
N_POINTS, N_CELLS, N_RUG = 101, 31, 21


@dataclass(frozen=True)
class TermCurve:
    """Values of one term."""

    name: str
    kind: str  # "numeric", "categorical" or "interaction"
    points: Any  # values of the column, levels, or a pair of these
    values: np.ndarray  # (n_points,), or (n_first, n_second)
    deviation: np.ndarray  # of the posterior, like `values`
    rug: np.ndarray  # quantiles of the rows
    variance: float  # of what it adds to predictions, over the rows
    effective_df: float


def term_curves(model, X, y, sample_weight=None):
    """A `TermCurve` for each term of a fitted `AdditiveRegressor`, given the rows of `fit`."""
    terms = model.terms_
    y = np.asarray(y, dtype=np.float64)
    weight = np.ones(len(y))
    if sample_weight is not None:
        weight = validate_weight(sample_weight, y[:, None], "sample_weight")
    share = weight / weight.sum()
    design = np.asarray(terms._transform(read_columns(terms, X, reset=False)), dtype=np.float64)
    centred = design - model.column_means_
    gram = (centred * share[:, None]).T @ centred
    penalized = gram + np.diag(np.minimum(model.alpha_, UNUSED) + JITTER)
    inverse = cho_solve(cho_factor(penalized), np.eye(len(gram)))
    freedom = np.einsum("ij,ji->i", inverse, gram)
    left = y - model.mean_prediction_ - centred @ model.coef_
    n_rows = np.count_nonzero(weight)
    noise = share @ left**2 * n_rows / max(n_rows - 1 - freedom.sum(), 1.0)
    covariance = inverse * noise / n_rows
    variances = dict(
        zip(model.term_names_, share @ _contributions(model, centred) ** 2, strict=True)
    )
    found = []
    for name, kind, points, columns, rug in _evaluated(terms, X):
        mine = terms.term_names_ == name
        if not mine.any():
            continue
        columns = columns - model.column_means_[mine]
        spread = np.einsum("ij,jk,ik->i", columns, covariance[np.ix_(mine, mine)], columns)
        values, deviation = columns @ model.coef_[mine], np.sqrt(np.maximum(spread, 0.0))
        if kind == "interaction":
            shape = tuple(map(len, points))
            values, deviation = values.reshape(shape), deviation.reshape(shape)
        found.append(
            TermCurve(
                name,
                kind,
                points,
                values,
                deviation,
                rug,
                float(variances[name]),
                float(freedom[mine].sum()),
            )
        )
    return found


def _contributions(model, centred):
    return (centred * model.coef_) @ model._membership()


def _evaluated(terms, X):
    """Name, kind, points, columns at these and quantiles of each term."""
    values, names = read_columns(terms, X, reset=False), column_names(terms)
    for column, name, some in zip(terms.columns_, names, values, strict=True):
        kind = "categorical" if isinstance(column, CategoricalColumn) else "numeric"
        points = _points(column, N_POINTS)
        shown = _shown(column, name) if kind == "categorical" else points
        rug = np.empty(0)
        if kind == "numeric" and column.varies:
            rug = np.nanquantile(some, np.linspace(0, 1, N_RUG))
        yield name, kind, shown, dense(column.transform(points)), rug
    for part in terms.pairs_:
        pair = [terms.columns_[j] for j in part.pair]
        ends = [_points(column, N_CELLS) for column in pair]
        first, second = (np.arange(len(end)) for end in ends)
        grid = [rows.ravel() for rows in np.meshgrid(first, second, indexing="ij")]
        cells = [end[rows] for end, rows in zip(ends, grid, strict=True)]
        mains = [dense(c.transform(v)) for c, v in zip(pair, cells, strict=True)]
        shown = tuple(
            _shown(column, names[j]) if isinstance(column, CategoricalColumn) else end
            for column, end, j in zip(pair, ends, part.pair, strict=True)
        )
        name = ":".join(names[j] for j in part.pair)
        yield name, "interaction", shown, part.transform(cells, mains), np.empty(0)


def _points(column, n_points):
    """Values of a column from its least to its largest, or all its levels."""
    if not isinstance(column, CategoricalColumn):
        return np.linspace(column.low, column.high, n_points)
    data = np.append(column.levels, column.levels[:1]) if column.has_missing else column.levels
    mask = np.arange(len(data)) >= len(column.levels)
    return np.ma.array(data, mask=mask)


def _shown(column, name):
    """Names of levels, without that of the column."""
    return np.array([level[len(name) + 2 :] for level in column.names(name)[0]], dtype=object)
