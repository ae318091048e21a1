"""Solves with symmetric matrices that are diagonal but for few rows and columns.

Columns of which no two are stored in a row together, as the levels of a category, have a diagonal
Gram matrix. Eliminating them first leaves a small matrix: the first step of a sparse Cholesky
decomposition by minimum degree (George, Liu, "Computer Solution of Large Sparse Positive Definite
Systems", 1981), which is all of it for two crossed categories.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve

# What is left of a low-rank term relative to what it began with: below, digits are lost.
LEAST_CAPACITANCE = 1e-6


def disjoint_columns(gram):
    """Positions of columns between which all entries are zero, those of few entries first."""
    is_stored = gram != 0
    blocked = np.zeros(len(gram), dtype=bool)
    found = []
    for column in np.argsort(np.count_nonzero(is_stored, axis=0), kind="stable"):
        if not blocked[column]:
            found.append(column)
            blocked |= is_stored[column]
    return np.sort(np.array(found, dtype=np.intp))


@dataclass(frozen=True)
class Arrowhead:
    """A symmetric matrix, some of whose columns have a diagonal block."""

    disjoint: np.ndarray  # positions of these columns
    others: np.ndarray
    diagonal: np.ndarray  # (n_disjoint,)
    border: sparse.csr_array  # (n_disjoint, n_others)
    corner: np.ndarray  # (n_others, n_others)

    @classmethod
    def of(cls, matrix, disjoint):
        others = np.setdiff1d(np.arange(len(matrix)), disjoint)
        border = sparse.csr_array(matrix[np.ix_(disjoint, others)])
        corner = matrix[np.ix_(others, others)]
        return cls(disjoint, others, matrix[disjoint, disjoint], border, corner)

    def combine(self, factor, other, other_factor):
        """The sum of both times their factors; `other` has the same columns."""
        mixed = {
            name: factor * getattr(self, name) + other_factor * getattr(other, name)
            for name in ("diagonal", "border", "corner")
        }
        return replace(self, **mixed)

    def product(self, rows):
        """With each of the rows, (n_rows, n)."""
        first, second = rows[:, self.disjoint], rows[:, self.others]
        found = np.empty_like(rows)
        found[:, self.disjoint] = first * self.diagonal + (self.border @ second.T).T
        found[:, self.others] = first @ self.border + second @ self.corner
        return found


class ArrowheadFactor:
    """Of an `Arrowhead` plus a diagonal, `added`, plus ``rows' diag(factors) rows``, of low rank.

    LinAlgError where that is not positive definite, or nearly so.
    """

    def __init__(self, matrix: Arrowhead, added, rows, factors):
        self.matrix = matrix
        self.diagonal = matrix.diagonal + added[matrix.disjoint]
        if not (self.diagonal > 0).all():
            raise LinAlgError("A diagonal entry is not positive.")
        scaled = matrix.border.multiply(1 / self.diagonal[:, None]).tocsr()
        corner = matrix.corner - (matrix.border.T @ scaled).toarray()
        corner[np.diag_indices_from(corner)] += added[matrix.others]
        self.corner = cho_factor(corner, overwrite_a=True, check_finite=False)
        used = np.flatnonzero(factors)
        self.rows = rows[used] * np.sqrt(np.abs(factors[used]))[:, None]
        self.solved = self._solve(self.rows)
        # Woodbury's identity.
        inner = self.rows @ self.solved.T
        inner = np.diag(np.sign(factors[used])) + (inner + inner.T) / 2
        if np.abs(np.linalg.eigvalsh(inner)).min(initial=1.0) < LEAST_CAPACITANCE:
            raise LinAlgError("The low-rank term leaves too little.")
        self.inner = np.linalg.inv(inner)

    def solve(self, rows):
        """Solutions for right-hand sides of shape (n_rows, n)."""
        found = self._solve(rows)
        return found - (found @ self.rows.T) @ self.inner @ self.solved

    def _solve(self, rows):
        disjoint, others, border = self.matrix.disjoint, self.matrix.others, self.matrix.border
        solution, half = np.empty_like(rows), rows[:, disjoint] / self.diagonal
        right = rows[:, others] - half @ border
        solved = cho_solve(self.corner, right.T, overwrite_b=True, check_finite=False)
        solution[:, others] = solved.T
        solution[:, disjoint] = half - (border @ solved).T / self.diagonal
        return solution
