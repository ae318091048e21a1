"""Ridge solutions of large Gram matrices for any strength, without eigenvectors of these.

In every fold the solutions for a few strengths, and what the same factors make of these, span
a small subspace that holds the solutions for all other strengths to many digits: a rational
Krylov space (Ruhe, "Rational Krylov sequence methods", 1984). It grows where it is not
good enough.
"""

from __future__ import annotations

import torch

from ._ridge_path import shrunken

# Products with the Gram matrix that the subspace begins with, good for strong penalties.
N_PRODUCTS = 8
# Solves with each factor: far cheaper than another one.
N_SOLVES = 4
# Largest residual beside the moments, of a solution and of one of many to compare.
ACCURACY = 1e-8
COMPARED = 1e-3


class RationalPath:
    """A `RidgePath` from solutions at few strengths.

    Attributes
    ----------
    values : Tensor of shape (n_folds, n_targets, n_vectors)
        Eigenvalues of the Gram matrices on the subspace.
    vectors, images : Tensor of shape (n_folds, n_targets, n_vectors, n_features)
        Eigenvectors there, and Gram matrices times these.
    """

    def __init__(self, loss):
        self.loss = loss
        self._begin()

    def coefficients(self, log_strength):
        pairs = [self._accurate(one[None]) for one in log_strength]
        return tuple(torch.cat(parts) for parts in zip(*pairs, strict=True))

    def _accurate(self, log_strength):
        """Coefficients and slope for one strength."""
        if float(self._residuals(log_strength)[0]) > ACCURACY:
            self._add_solutions(float(log_strength.exp()))
        return [self._expand(reduced, self.vectors) for reduced in self._reduced(log_strength)]

    def survey(self, log_strength):
        for _ in log_strength:
            residuals = self._residuals(log_strength)
            if bool((residuals <= COMPARED).all()):
                break
            self._add_solutions(float(log_strength[residuals.argmax()].exp()))
        return self._expand(self._reduced(log_strength)[0], self.vectors)

    def _begin(self):
        moment = self.loss.moment
        none = moment[:, :, None][:, :, :0]
        self.vectors = self.images = none
        vector, found = moment, []
        for _ in range(N_PRODUCTS):
            # Lengths do not matter, as long as no power overflows.
            vector = vector / vector.norm(dim=-1, keepdim=True).clamp_min(1e-300)
            found.append(vector)
            vector = self.loss.product(vector[None])[0]
        self._extend(torch.stack(found, dim=2))

    def _add_solutions(self, strength):
        if self.vectors.shape[2] + N_SOLVES > self.vectors.shape[3] // 2:
            self._begin()
        penalty = self.loss.moment.new_full(self.loss.moment.shape[-1:], strength)
        solutions = []
        for fold, rows in enumerate(self.loss.moment):
            # In the store, where plain ridge of this strength will find it.
            factor = self.loss.store.factor(self.loss, (0, fold), penalty)
            found = []
            for _ in range(N_SOLVES):
                rows = factor.solve(rows)
                rows = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-300)
                found.append(rows)
            solutions.append(torch.stack(found, dim=1))
        self._extend(torch.stack(solutions))

    def _extend(self, found):
        """Add vectors of shape (n_folds, n_targets, n_found, n_features) to the subspace."""
        n_known = self.vectors.shape[2]
        basis = torch.linalg.qr(torch.cat([self.vectors, found], dim=2).mT)[0].mT
        # The known vectors are orthonormal already: only rounding changes them.
        basis = torch.cat([self.vectors, basis[:, :, n_known:]], dim=2)
        images = torch.cat([self.images, self._images(basis[:, :, n_known:])], dim=2)
        projected = images @ basis.mT
        values, rotation = torch.linalg.eigh((projected + projected.mT) / 2)
        self.values = values.clamp_min(0)
        self.vectors, self.images = rotation.mT @ basis, rotation.mT @ images
        self.target = (self.vectors @ self.loss.moment[..., None])[..., 0]

    def _images(self, vectors):
        n_folds, n_targets, n_vectors, n_features = vectors.shape
        flat = vectors.reshape(1, n_folds, n_targets * n_vectors, n_features)
        return self.loss.product(flat)[0].reshape(vectors.shape)

    def _reduced(self, log_strength):
        return shrunken(self.values, self.target, log_strength)

    def _expand(self, reduced, vectors):
        """From (n_strengths, n_folds, n_targets, n_vectors) to features."""
        return (reduced.permute(1, 2, 0, 3) @ vectors).permute(2, 0, 1, 3)

    def _residuals(self, log_strength):
        """Largest over folds and targets, beside the moments, for each strength."""
        ratio, _ = self._reduced(log_strength)
        strength = log_strength.exp()[:, None, None, None]
        fitted = self._expand(ratio, self.images) + strength * self._expand(ratio, self.vectors)
        size = self.loss.moment.norm(dim=-1)
        residual = (self.loss.moment - fitted).norm(dim=-1)
        return (residual / size.where(size > 0, torch.ones_like(size))).amax((1, 2))
