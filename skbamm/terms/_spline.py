"""A smooth function of one number, as columns in which a plain ridge penalty is its roughness.

The roughness is the integrated square of the first or the second derivative. Constant and linear
functions are taken out (of cyclic functions the constants). What is left is diagonalized in the
metric of the rows (Demmler and Reinsch, "Oscillation Matrices with Spline Smoothing", 1975):
functions that do not correlate, each divided by the root of its roughness.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.interpolate import BSpline
from scipy.linalg import eigh

DEGREE = 3
# Directions whose variance is a smaller fraction of the first one's are left out, by the order of
# the derivative: a fit that needs them would have to be hardly penalized at all.
NEGLIGIBLE = {1: 4e-3, 2: 3e-5}
# Scale in which a derivative is taken: 0 is that of the values, which makes skewed columns stiff
# where most rows are, 1 that of their ranks, in which knots have equal distances.
CROWDED = 0.42
# Knots are at least this far from each other, in ranges of the column: roughness between nearer
# ones, as of values over ten decades, is beyond all digits.
LEAST_DISTANCE = 1e-5
# Up to so many, products of dense rows are quicker.
FEW_ROWS = 20_000
# Squares below this are 0.
TINY = 1e-20
# Gauss-Legendre points between two knots: exact for squares of quadratic functions.
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(3)


@dataclass(frozen=True)
class CubicSplines:
    """Cubic B-splines on [0, 1]; beyond it they are what they are at its ends."""

    edges: np.ndarray  # (n_knots,), from 0 to 1
    order: int  # of the derivative that is penalized

    @cached_property
    def knots(self):
        return np.concatenate([np.zeros(DEGREE), self.edges, np.ones(DEGREE)])

    @property
    def n_columns(self):
        return len(self.edges) + DEGREE - 1

    def __call__(self, position):
        inside = np.clip(position, 0.0, 1.0)
        return BSpline.design_matrix(inside, self.knots, DEGREE)

    def evaluate(self, position, coefficients):
        """Their sums, which are splines: quicker than all of them times coefficients."""
        return BSpline(self.knots, coefficients, DEGREE)(np.clip(position, 0.0, 1.0))

    def roughness(self):
        derivative = BSpline(self.knots, np.eye(self.n_columns), DEGREE).derivative(self.order)
        width = np.diff(self.edges)
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        points = middle[:, None] + width[:, None] / 2 * POINTS
        # Relative to knots of equal distances.
        stretch = (width[:, None] * len(width)) ** (CROWDED * (2 * self.order - 1))
        weight = width[:, None] / 2 * WEIGHTS * stretch
        rates = derivative(points.ravel())
        return (rates.T * weight.ravel()) @ rates

    def null_space(self):
        """Coefficients of a constant and of a line (Greville's abscissae)."""
        line = sum(self.knots[j + 1 : j + 1 + self.n_columns] for j in range(DEGREE)) / DEGREE
        return np.column_stack([np.ones(self.n_columns), line])


@dataclass(frozen=True)
class Waves:
    """Sines and cosines of period 1, whose roughness is diagonal."""

    n_waves: int
    order: int

    def __call__(self, position):
        angle = 2 * np.pi * np.outer(position, np.arange(1, self.n_waves + 1))
        return np.hstack([np.ones((len(angle), 1)), np.cos(angle), np.sin(angle)])

    def evaluate(self, position, coefficients):
        return self(position) @ coefficients

    def roughness(self):
        order = np.arange(1, self.n_waves + 1)
        return np.diag(np.concatenate([[0.0], order, order]) ** (2 * self.order))

    def null_space(self):
        return np.eye(2 * self.n_waves + 1)[:, :1]


@dataclass(frozen=True)
class SmoothFunctions:
    """The columns of one smooth function; the variances of all of them add up to 1."""

    basis: Any  # CubicSplines or Waves
    coefficients: np.ndarray  # (n_basis, n_columns)
    variance: np.ndarray  # (n_columns,), descending

    @property
    def n_columns(self):
        return len(self.variance)

    def __call__(self, position):
        return self.basis.evaluate(position, self.coefficients)

    def first(self, n_columns):
        """The smoothest ones; their variances add up to 1 again."""
        coefficients, variance = self.coefficients[:, :n_columns], self.variance[:n_columns]
        total = variance.sum()
        coefficients = coefficients / np.sqrt(total)
        return replace(self, coefficients=coefficients, variance=variance / total)

    def standardized(self):
        """Each of variance 1; `variance` stays as it is."""
        return replace(self, coefficients=self.coefficients / np.sqrt(self.variance))

    @classmethod
    def of(cls, basis, position, weight):
        """On rows with weights that sum to 1; no columns where the null space is all there is."""
        columns = basis(position)
        if sparse.issparse(columns) and len(weight) <= FEW_ROWS:
            columns = columns.toarray()
        if sparse.issparse(columns):
            gram = (columns.T @ columns.multiply(weight[:, None])).toarray()
        else:
            gram = columns.T @ (columns * weight[:, None])
        null = gram @ basis.null_space()
        # Functions that do not correlate with the null space, on these rows.
        free = np.linalg.qr(null, mode="complete")[0][:, null.shape[1] :]
        inner, rough = free.T @ gram @ free, free.T @ basis.roughness() @ free
        variance, vectors = eigh(inner, rough)
        variance, vectors = variance[::-1], vectors[:, ::-1]
        kept = variance > NEGLIGIBLE[basis.order] * max(variance[:1].max(initial=0.0), TINY)
        variance, vectors = variance[kept], free @ vectors[:, kept]
        # The sign of an eigenvector is arbitrary, and functions do not vanish at the first row.
        vectors = vectors * np.where(vectors[0] < 0, -1.0, 1.0)
        total = variance.sum()
        return cls(basis, vectors / np.sqrt(total), variance / total)


def spread_knots(position, weight, n_knots):
    """At most `n_knots` edges from 0 to 1, all distinct values where there are no more.

    Quantiles of the distinct values, which count with the roots of their weights: half-way
    between quantiles of rows, which waste knots where values repeat, and evenly many values each.
    """
    values, index = np.unique(position, return_inverse=True)
    if len(values) <= n_knots:
        return _apart(values)
    share = np.sqrt(np.bincount(index, weight))
    rank = np.cumsum(share) - share / 2
    rank = (rank - rank[0]) / (rank[-1] - rank[0])
    inner = np.interp(np.linspace(0, 1, n_knots)[1:-1], rank, values)
    return _apart(np.unique(np.concatenate([[0.0], inner, [1.0]])))


def _apart(edges):
    """Without those that are too near to the one before, or to the end."""
    kept = [edges[0]]
    for edge in edges[1:-1]:
        if edge - kept[-1] >= LEAST_DISTANCE and edges[-1] - edge >= LEAST_DISTANCE:
            kept.append(edge)
    return np.array([*kept, edges[-1]])
