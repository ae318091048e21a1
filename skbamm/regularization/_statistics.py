"""Sufficient statistics of rows that are not kept: their cross-products by fold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..linalg._cross_products import CrossProducts


@dataclass(frozen=True)
class FoldStatistics:
    """Cross-products of the rows of each fold: all that a squared error needs to know of rows.

    Answers what `FoldedRows` does.
    """

    products: CrossProducts  # of all rows and of each fold
    n_samples: int
    n_targets: int
    single_target: bool  # whether y was 1-D
    held_out: tuple[int, ...]  # the folds that are held out, one after the other
    excluded: int | None = None  # a fold that is left out of all training rows
    exponents = None  # columns are as they are

    @property
    def shape(self):
        return self.n_samples, len(self.products.shift) - self.n_targets

    def target(self, index):
        """The same rows with one target, or a slice of the targets."""
        if isinstance(index, slice):
            return self
        products = self.products
        n_features = self.shape[1]
        kept = np.append(np.arange(n_features), n_features + index)
        columns = np.append(kept, len(products.shift))
        taken = np.ix_(columns, columns)
        test = np.stack([fold[taken] for fold in products.test])
        products = CrossProducts(products.total[taken], test, products.shift[kept])
        return replace(self, products=products, n_targets=1)

    def nested(self):
        """For each fold: the other folds without its held-out rows, and the fold alone."""
        pairs = []
        for fold in self.held_out:
            others = tuple(other for other in self.held_out if other != fold)
            if len(others) > 1:  # with one fewer there are no rows to train on
                inner = replace(self, held_out=others, excluded=fold)
                pairs.append((inner, replace(self, held_out=(fold,))))
        return pairs

    def cross_products(self, fit_intercept):
        """New `CrossProducts` of the folds that are held out."""
        known = self.products
        test = known.test[list(self.held_out)]
        train = None if self.excluded is None else known.total - known.test[self.excluded] - test
        return CrossProducts(known.total.copy(), test, known.shift, train)


def fold_statistics(repeats, n_samples, single_target, *, overwrite=False):
    """`FoldStatistics` from the `FoldSums` of each repeat; only folds with weight are held out."""
    if not repeats[0].weight.any():
        raise ValueError("sample_weight must not be all zero.")
    found = []
    for sums in repeats:
        held_out = tuple(np.flatnonzero(sums.weight).tolist())
        products = sums.cross_products(overwrite=overwrite)
        found.append(FoldStatistics(products, n_samples, sums.n_targets, single_target, held_out))
    return found
