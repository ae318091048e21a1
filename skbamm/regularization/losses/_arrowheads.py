"""Large Gram matrices of which most columns are levels of categories: few rows share any two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError

from ...linalg._arrowhead import Arrowhead, ArrowheadFactor, disjoint_columns

# It pays where so many of the columns can be eliminated first, and so few entries are not zero.
LEAST_DISJOINT, MOST_STORED = 0.5, 0.25


@dataclass(frozen=True)
class Arrowheads:
    """Gram matrices of all rows and of each fold's before centring, and what centring takes off.

    Centred, all rows' is less ``means' means`` and training rows' are less
    ``training_means' training_means``; held-out rows' is what is left.
    """

    total: Arrowhead
    part: list[Arrowhead]
    means: np.ndarray  # (few, n_features)
    training_means: np.ndarray  # (n_folds, few, n_features)

    @classmethod
    def of(cls, total, test, n_features, n_eliminated):
        """From cross-products, the columns to be eliminated last; None where it would not pay."""
        gram = total[:n_features, :n_features]
        if np.count_nonzero(gram) > MOST_STORED * gram.size:
            return None
        disjoint = disjoint_columns(gram)
        if len(disjoint) < LEAST_DISJOINT * n_features:
            return None
        part = [Arrowhead.of(one[:n_features, :n_features], disjoint) for one in test]
        means = _means(total, n_features, n_eliminated)
        training = [_means(total - one, n_features, n_eliminated) for one in test]
        return cls(Arrowhead.of(gram, disjoint), part, means, np.stack(training))

    def total_product(self, rows):
        return self.total.product(rows) - rows @ self.means.T @ self.means

    def part_product(self, fold, rows):
        found = self.part[fold].product(rows) - rows @ self.means.T @ self.means
        return found + rows @ self.training_means[fold].T @ self.training_means[fold]

    def factor(self, fold, shares, root, penalty):
        """Of ``share * total + part_share * part + root_share * root' root + diag(penalty)``.

        `total` and `part` are the centred ones. None where that is too near to singular.
        """
        share, part_share, root_share = shares
        rows = [(self.means, -share - part_share), (self.training_means[fold], part_share)]
        rows.append((root, root_share))
        factors = np.repeat([factor for _, factor in rows], [len(each) for each, _ in rows])
        matrix = self.total.combine(share, self.part[fold], part_share)
        try:
            return ArrowheadFactor(matrix, penalty, np.vstack([each for each, _ in rows]), factors)
        except LinAlgError:
            return None


def _means(square, n_features, n_eliminated):
    """Rows whose cross-product centring takes off, (n_eliminated, n_features)."""
    gone = slice(len(square) - n_eliminated, None)
    values, vectors = np.linalg.eigh(square[gone, gone])
    known = values > len(values) * np.finfo(float).eps * values.max(initial=0.0)
    inverse = np.where(known, 1 / np.sqrt(np.where(known, values, 1.0)), 0.0)
    return inverse[:, None] * (vectors.T @ square[gone, :n_features])
