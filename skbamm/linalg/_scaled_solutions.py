"""Ridge solutions for multiples of a penalty from one factor."""

from __future__ import annotations

import torch

# Beyond so many solves another factor costs less.
MOST_SOLVES = 15
# Largest error of a solution relative to the first one, in the norm of the Hessian.
ACCURACY = 1e-9


class ScaledSolutions:
    """Solutions ``(G + ratio * A)^-1 b`` for any ratio near 1.

    They come from the Krylov space of ``M^-1 A``, ``M = G + A``, whose vectors cost a solve
    each and no product with G: ``M`` times a new one is ``A`` times the last.
    `factor` is M's, `right_side`, of shape (n_features,), is b.
    """

    def __init__(self, factor, right_side):
        self.factor = factor
        solution = factor.solve(right_side[None])[0]
        #: Norm of the first solution: ``w' M w = w' b``.
        self.size = float(right_side @ solution) ** 0.5
        self._vectors, self._images = [], []  # orthonormal as M measures, and M times these
        if self.size > 0:
            self._append(solution, right_side, self.size)

    def solution(self, ratio):
        """Solution for a ratio, or None where that would take too many solves."""
        if not self.size > 0:
            return torch.zeros_like(self.factor.penalty)
        while len(self._vectors) < MOST_SOLVES:
            vectors = torch.stack(self._vectors)
            values, rotation = torch.linalg.eigh((vectors * self.factor.penalty) @ vectors.mT)
            weights = rotation @ (self.size * rotation[0] / (1 + (ratio - 1) * values))
            following, image, length = self._next()
            # The residual lies along the next vector.
            if abs(ratio - 1) * length * abs(float(weights[-1])) <= ACCURACY * self.size:
                return weights @ vectors
            self._append(following, image, length)
        return None

    def _next(self):
        image = self.factor.penalty * self._vectors[-1]
        following = self.factor.solve(image[None])[0]
        vectors, images = torch.stack(self._vectors), torch.stack(self._images)
        for _ in range(2):  # once would leave rounding
            along = vectors @ image
            image, following = image - along @ images, following - along @ vectors
        return following, image, max(float(following @ image), 0.0) ** 0.5

    def _append(self, vector, image, length):
        self._vectors.append(vector / length)
        self._images.append(image / length)
