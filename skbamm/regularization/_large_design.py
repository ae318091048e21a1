"""Large Gram matrices: the losses of a regression in little more memory than these need."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..linalg._cross_products import partial_out_in_place
from ..linalg._tensors import as_tensor
from ._design import GramDesign, require_folds
from .losses._arrowheads import Arrowheads
from .losses._large_gram import RationalPath, SharedGramLoss, SharedGrams


class SharedGramDesign(GramDesign):
    """One Gram matrix of all rows and one for each fold, where each row is held out once.

    They are scaled and centred where they stand.
    """

    n_initial, n_strength_steps = 3, 0  # each costs a factor of each fold

    def _set_losses(self, products):
        total, test = products.total, products.test
        n_rows = total[-1, -1]
        held_out = test[:, -1, -1] / n_rows
        keep = np.flatnonzero((held_out > 0) & (held_out < 1))
        require_folds(len(keep))
        if len(keep) < len(test):
            test, held_out = test[keep], held_out[keep]
        for square in (total, *test):
            self._rescale(square, n_rows)
        n_columns = len(self._order)  # the constant one does not count without an intercept
        total, test = total[:n_columns, :n_columns], test[:, :n_columns, :n_columns]
        n_features, on_cpu = len(self.units.scale), self.device.type == "cpu"
        arrowheads = Arrowheads.of(total, test, n_features, self._n_covariates) if on_cpu else None
        roots, self._regression = partial_out_in_place(total, test, self._n_covariates)
        n_kept = roots.shape[-1]
        gram, part, root = (
            as_tensor(array[..., :n_features], self.device)
            for array in (total[:n_features], test[:, :n_features], roots)
        )
        self._shared = SharedGrams(gram, part, root, arrowheads)
        edge, test_edge = (square[..., n_features:n_kept, :n_kept] for square in (total, test))
        root_edge = roots[..., n_features:].swapaxes(1, 2) @ roots
        self._total_edge = edge[None].copy()
        share = 1 / (1 - held_out)
        self.train = self._shared_loss(
            (share, -share, 0 * share), share[:, None, None] * (edge - test_edge)
        )
        weight = np.full(len(test), 1 / (held_out.sum() * len(self.units.target_scale)))
        self.test = self._shared_loss(
            (0 * weight, weight, weight), weight[0] * (test_edge + root_edge)
        )

    def _rescale(self, square, n_rows):
        """Columns in their order and their scales, for each unit of weight, in place."""
        n_columns = len(self._order)
        if np.any(self._order != np.arange(n_columns)):
            square[:n_columns, :n_columns] = square[self._order][:, self._order]
        square = square[:n_columns, :n_columns]
        square /= self._scale * n_rows
        if (self._scale != 1).any():
            square /= self._scale[:, None]

    def _shared_loss(self, shares, edges):
        """Loss of the shared matrices times `shares`.

        `edges`, of shape (n_folds, n_targets, n_features + n_targets), are the targets' products
        with features, then with targets.
        """
        n_features = len(self.units.scale)
        constant = np.trace(edges[..., n_features:], axis1=1, axis2=2).sum() / 2
        arrays = (*shares, np.ascontiguousarray(edges[..., :n_features]), np.asarray(constant))
        return SharedGramLoss(self._shared, *(as_tensor(array, self.device) for array in arrays))

    def path(self):
        return RationalPath(self.train)

    def all_rows(self):
        one = np.ones(1)
        loss = self._shared_loss((one, 0 * one, 0 * one), self._total_edge)
        return loss, partial(self._raw, self._regression)
