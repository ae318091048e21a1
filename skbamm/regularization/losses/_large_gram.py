"""Squared losses of folds whose large Gram matrices are parts of one, and their ridge path.

A fold's training rows are all rows but the held-out ones, and so is its Gram matrix: the one
of all rows and one for each fold serve the training and the held-out loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...linalg._arrowhead import ArrowheadFactor
from ...linalg._cholesky import factorize, solve_factorized
from ...linalg._scaled_solutions import ScaledSolutions
from ...linalg._tensors import as_tensor, memo_last
from .._constants import (
    COMPARED,
    JITTER,
    MULTIPLE,
    N_PRODUCTS,
    N_SOLVES,
    PATH_ACCURACY,
    REMEMBERED,
    TINIEST,
)
from ._arrowheads import Arrowheads
from ._quadratic import GramLoss, QuadraticLoss, fold_product, shrunken


@dataclass(frozen=True)
class SharedGrams:
    """The matrices, and the latest products with them.

    Both levels ask for products with the same few vectors, one after the other.
    """

    total: torch.Tensor  # (n_features, n_features)
    part: torch.Tensor  # (n_folds, n_features, n_features)
    # What centring with the training rows' means, not with those of all rows, adds.
    root: torch.Tensor  # (n_folds, few, n_features)
    arrowheads: Arrowheads | None = None  # where most columns are levels of a category

    @memo_last(REMEMBERED)
    def total_product(self, vector):
        # Symmetric: this order is faster for few vectors.
        rows = vector.reshape(-1, len(self.total))
        if self.arrowheads is not None:
            return as_tensor(self.arrowheads.total_product(rows.numpy())).reshape(vector.shape)
        return (self.total @ rows.mT).mT.reshape(vector.shape)

    @memo_last(REMEMBERED)
    def part_product(self, vector):
        if self.arrowheads is None:
            return fold_product(vector, self.part)
        found = torch.empty_like(vector)
        for place in np.ndindex(*vector.shape[:2]):
            rows = vector[place].numpy()
            found[place] = as_tensor(self.arrowheads.part_product(place[1], rows))
        return found

    def root_product(self, vector):
        return (vector @ self.root.mT) @ self.root


@dataclass(frozen=True)
class SharedGramLoss(QuadraticLoss):
    """Loss whose Gram matrices are sums of shared ones.

    In fold k it is ``share[k] * total + part_share[k] * part[k]
    + root_share[k] * root[k]' root[k]``.
    """

    shared: SharedGrams
    share: torch.Tensor  # (n_folds,), as the other shares
    part_share: torch.Tensor
    root_share: torch.Tensor
    cross: torch.Tensor  # (n_folds, n_targets, n_features)
    constant: torch.Tensor
    store: FactorStore = field(default_factory=lambda: FactorStore(), repr=False)

    @property
    def n_folds(self):
        return len(self.share)

    @property
    def gram(self):
        """All matrices, as new ones."""
        return torch.stack([self.matrix(fold) for fold in range(self.n_folds)])

    def matrix(self, fold):
        half, scale = self.upper_triangle(fold)
        return scale * (half.triu() + half.triu(1).mT)

    def upper_triangle(self, fold, out=None, size=256):
        """One matrix, in the memory `out` where that is given, and its scale.

        It must still be multiplied by the scale, and below the diagonal may be anything.
        """
        total, part, root = self.shared.total, self.shared.part[fold], self.shared.root[fold]
        share, part_share, root_share = (
            float(shares[fold]) for shares in (self.share, self.part_share, self.root_share)
        )
        out = torch.empty_like(part) if out is None else out
        scale = share or 1.0
        for start in range(0, len(part), size):
            block = slice(start, start + size), slice(start, None)
            if share:
                # A single pass for training rows: all rows but the held-out ones.
                torch.add(total[block], part[block], alpha=part_share / scale, out=out[block])
            else:
                torch.mul(part[block], part_share, out=out[block])
        if root_share:
            out.addmm_(root.mT, root, alpha=root_share / scale)
        return out, scale

    def product(self, vector):
        result = torch.zeros_like(vector)
        for share, product in (
            (self.share, self.shared.total_product),
            (self.part_share, self.shared.part_product),
            (self.root_share, self.shared.root_product),
        ):
            if bool(share.any()):
                result += share[:, None, None] * product(vector)
        return result

    def combine(self, factor, other, other_factor):
        if not isinstance(other, SharedGramLoss):
            mine = GramLoss(self.gram, self.cross, self.constant)
            return mine.combine(factor, other, other_factor)
        names = ("share", "part_share", "root_share", "cross", "constant")
        mixed = {
            name: factor * getattr(self, name) + other_factor * getattr(other, name)
            for name in names
        }
        return replace(self, **mixed, store=FactorStore())

    def metric(self, penalty):
        return StoredMetric(self, penalty)


@dataclass(frozen=True)
class StoredMetric:
    """Inverse of ``G + diag(penalty)``; the loss's store keeps its factors."""

    loss: SharedGramLoss
    penalty: torch.Tensor  # (n_candidates, n_folds, [n_targets,] n_features)
    exact = True

    def solve(self, vector):
        return self.loss.store.solve(self.loss, self.penalty, vector)

    def minimizer(self, loss, like):
        if self.penalty.ndim == 3 and loss is self.loss:
            return loss.store.minimizer(loss, self.penalty)
        return self.solve(loss.cross.expand_as(like))


class FactorStore:
    """Cholesky factors of the latest penalty asked for, in memory that is used again.

    Large factors of two points must not be in memory together. An older metric stays valid: it is
    factorized again when it is used again.
    """

    def __init__(self):
        self._factors = {}

    def solve(self, loss, penalty, vector):
        solution = torch.empty_like(vector)
        for candidate, of_folds in enumerate(penalty):
            for fold, weights in enumerate(of_folds):
                columns = vector[candidate, fold]
                if weights.ndim == 1:
                    factor = self.factor(loss, (candidate, fold), weights)
                    solution[candidate, fold] = factor.solve(columns)
                    continue
                for target, own in enumerate(weights):
                    factor = self.factor(loss, (candidate, fold, target), own)
                    solution[candidate, fold, target] = factor.solve(columns[[target]])[0]
        return solution

    def minimizer(self, loss, penalty):
        """Solutions for the loss's ``b``, without new factors for a multiple of a penalty."""
        solution = loss.cross.repeat(len(penalty), 1, 1, 1)
        for place in np.ndindex(*penalty.shape[:2]):
            scaled = self._scaled(place, loss.cross[place[1]], penalty[place])
            if scaled is None:
                scaled = self.factor(loss, place, penalty[place]).solve(solution[place])
            solution[place] = scaled
        return solution

    def _scaled(self, place, cross, penalty):
        """Solutions from the factor of a penalty that this one is a multiple of, or None."""
        known = self._factors.get(place)
        if known is None or torch.equal(known.penalty, penalty):
            return None
        ratios = penalty / known.penalty
        ratio = float(ratios[0])
        if not bool(((ratios - ratio).abs() <= MULTIPLE * ratio).all()):
            return None
        solutions = [one.solution(ratio) for one in known.scaled(cross)]
        return None if any(one is None for one in solutions) else torch.stack(solutions)

    def factor(self, loss, place, penalty):
        """Factor of the Hessian of ``place = (candidate, fold, ...)``."""
        known = self._factors.pop(place, None)
        if known is None or not torch.equal(known.penalty, penalty):
            memory = None if known is None else known.memory
            known = PenalizedFactor.build(loss, place[1], penalty, memory)
        self._factors[place] = known
        return known


@dataclass(frozen=True)
class PenalizedFactor:
    """Cholesky factor of one fold's ``(G + diag(penalty)) / scale``."""

    matrix: torch.Tensor | ArrowheadFactor
    scale: float
    penalty: torch.Tensor
    _scaled: list = field(default_factory=list, repr=False)

    @classmethod
    def build(cls, loss, fold, penalty, out=None):
        if loss.shared.arrowheads is not None:
            shares = [float(each[fold]) for each in (loss.share, loss.part_share, loss.root_share)]
            root = loss.shared.root[fold].numpy()
            found = loss.shared.arrowheads.factor(fold, shares, root, penalty.numpy())
            if found is not None:
                return cls(found, 1.0, penalty.clone())
        for jitter in (0.0, *JITTER):
            matrix, scale = loss.upper_triangle(fold, out)
            out = matrix
            diagonal = matrix.diagonal()
            diagonal += penalty / scale + jitter * diagonal.mean()
            if factorize(matrix):
                break
        return cls(matrix, scale, penalty.clone())

    @property
    def memory(self):
        """Which another factor may take."""
        return self.matrix if isinstance(self.matrix, torch.Tensor) else None

    def solve(self, rows):
        if isinstance(self.matrix, ArrowheadFactor):
            return as_tensor(self.matrix.solve(rows.numpy()))
        return solve_factorized(self.matrix, rows) / self.scale

    def scaled(self, cross):
        """Solutions for multiples of the penalty, one record for each row of `cross`."""
        if not self._scaled:
            self._scaled.extend(ScaledSolutions(self, row) for row in cross)
        return self._scaled


class RationalPath:
    """Ridge path from solutions at few strengths, without eigenvectors of Gram matrices.

    In every fold these solutions, and what the same factors make of them, span a small subspace
    that holds the solutions for all other strengths to many digits: a rational Krylov space
    (Ruhe, "Rational Krylov sequence methods", 1984). It grows where it is not good enough.

    `values` are the eigenvalues on the subspace, (n_folds, n_targets, n_vectors), `vectors` the
    eigenvectors and `images` the Gram matrices times these, (..., n_features).
    """

    def __init__(self, loss):
        self.loss = loss
        self._begin()

    def coefficients(self, log_strength):
        pairs = [self._accurate(one[None]) for one in log_strength]
        return tuple(torch.cat(parts) for parts in zip(*pairs, strict=True))

    def _accurate(self, log_strength):
        """Coefficients and their derivative for one strength."""
        if float(self._residuals(log_strength)[0]) > PATH_ACCURACY:
            self._add_solutions(float(log_strength.exp()))
        return [self._expand(reduced, self.vectors) for reduced in self._reduced(log_strength)]

    def compared(self, log_strength):
        for _ in log_strength:
            residuals = self._residuals(log_strength)
            if bool((residuals <= COMPARED).all()):
                break
            self._add_solutions(float(log_strength[residuals.argmax()].exp()))
        return self._expand(self._reduced(log_strength)[0], self.vectors)

    def _begin(self):
        cross = self.loss.cross
        none = cross[:, :, None][:, :, :0]
        self.vectors = self.images = none
        vector, found = cross, []
        for _ in range(N_PRODUCTS):
            # Lengths do not matter, as long as no power overflows.
            vector = vector / vector.norm(dim=-1, keepdim=True).clamp_min(TINIEST)
            found.append(vector)
            vector = self.loss.product(vector[None])[0]
        self._extend(torch.stack(found, dim=2))

    def _add_solutions(self, strength):
        if self.vectors.shape[2] + N_SOLVES > self.vectors.shape[3] // 2:
            self._begin()
        penalty = self.loss.cross.new_full(self.loss.cross.shape[-1:], strength)
        solutions = []
        for fold, rows in enumerate(self.loss.cross):
            # In the store, where plain ridge of this strength will find it.
            factor = self.loss.store.factor(self.loss, (0, fold), penalty)
            found = []
            for _ in range(N_SOLVES):
                rows = factor.solve(rows)
                rows = rows / rows.norm(dim=-1, keepdim=True).clamp_min(TINIEST)
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
        self.target = (self.vectors @ self.loss.cross[..., None])[..., 0]

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
        """Largest over folds and targets, relative to ``b``, for each strength."""
        ratio, _ = self._reduced(log_strength)
        strength = log_strength.exp()[:, None, None, None]
        fitted = self._expand(ratio, self.images) + strength * self._expand(ratio, self.vectors)
        size = self.loss.cross.norm(dim=-1)
        residual = (self.loss.cross - fitted).norm(dim=-1)
        return (residual / size.where(size > 0, torch.ones_like(size))).amax((1, 2))

    def rounding(self, log_strength):
        return torch.full_like(log_strength, torch.nan)
