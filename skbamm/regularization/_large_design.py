"""Large Gram matrices: the data of a regression in little more memory than these need."""

from __future__ import annotations

import numpy as np
import torch

from ..linalg._cross_products import centre_parts
from ._design import GramDesign, require_folds
from .losses._large_gram import SharedGramLoss, SharedGrams
from .losses._rational_path import RationalPath


class SharedGramDesign(GramDesign):
    """One Gram matrix of all rows and one for each fold, where each row is held out once.

    They are scaled and centred where they stand.
    """

    n_more_starts = 1  # each costs a factor of each fold,
    compares_at_once = False  # which must not live together

    def _set_losses(self, moments):
        total, parts = moments.total, moments.test
        n_rows = total[-1, -1]
        held_out = parts[:, -1, -1] / n_rows
        keep = np.flatnonzero((held_out > 0) & (held_out < 1))
        require_folds(len(keep))
        if len(keep) < len(parts):
            parts, held_out = parts[keep], held_out[keep]
        for square in (total, *parts):
            self._rescale(square, n_rows)
        n_columns = len(self._order)  # the constant one does not count without an intercept
        total, parts = total[:n_columns, :n_columns], parts[:, :n_columns, :n_columns]
        roots, coefficients = centre_parts(total, parts, self._n_nuisance)
        self._total_nuisance = coefficients[None]
        n_features, n_kept = len(self.scale), roots.shape[-1]
        self._shared = SharedGrams(
            *(
                self._move(array[..., :n_features])
                for array in (total[:n_features], parts[:, :n_features], roots)
            )
        )
        edge, part_edge = (square[..., n_features:n_kept, :n_kept] for square in (total, parts))
        root_edge = roots[..., n_features:].swapaxes(1, 2) @ roots
        self._total_edge = edge[None].copy()
        share = 1 / (1 - held_out)
        self.train = self._shared_loss(
            (share, -share, 0 * share), share[:, None, None] * (edge - part_edge)
        )
        weight = np.full(len(parts), 1 / (held_out.sum() * len(self.target_scale)))
        self.test = self._shared_loss(
            (0 * weight, weight, weight), weight[0] * (part_edge + root_edge)
        )

    def _rescale(self, square, n_rows):
        """Columns in their order and their scales, for each unit of weight, in place."""
        n_columns = len(self._order)
        if np.any(self._order != np.arange(n_columns)):
            square[:n_columns, :n_columns] = square[self._order][:, self._order]
        square = square[:n_columns, :n_columns]
        scale = np.concatenate([self.scale, self.target_scale, self.nuisance_scale])
        square /= scale * n_rows
        square /= scale[:, None]

    def _shared_loss(self, shares, edges):
        """Loss of the shared matrices times `shares`.

        `edges` has shape (n_folds, n_targets, n_features + n_targets): moments, then products
        of targets.
        """
        n_features = len(self.scale)
        constant = np.trace(edges[..., n_features:], axis1=1, axis2=2).sum() / 2
        arrays = (*shares, np.ascontiguousarray(edges[..., :n_features]), np.asarray(constant))
        return SharedGramLoss(self._shared, *(self._move(array) for array in arrays))

    def _move(self, array):
        return torch.from_numpy(array).to(self.device)

    def path(self, loss):
        return RationalPath(loss)

    def all_rows(self):
        one = np.ones(1)
        return self._shared_loss((one, 0 * one, 0 * one), self._total_edge)
