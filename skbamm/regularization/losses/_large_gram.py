"""Squared losses of folds whose large Gram matrices are parts of one.

A fold's training rows are all rows but the held-out ones, and so is its Gram matrix: the one
of all rows and one for each fold serve the training and the held-out loss.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...linalg._cholesky import factorize, solve_factorized
from ...linalg._scaled_solutions import ScaledSolutions
from ._quadratic import JITTER, GramLoss, MomentLoss, fold_product

# How many products are kept: params, the multiplier, and the params of a point that is tried.
REMEMBERED = 4


class SharedGrams:
    """The matrices, and the latest products with them.

    Parameters
    ----------
    total : Tensor of shape (n_features, n_features)
    part : Tensor of shape (n_folds, n_features, n_features)
    root : Tensor of shape (n_folds, few, n_features)
        What centring with the training rows' means, not with those of all rows, adds.
    """

    def __init__(self, total, part, root):
        self.total, self.part, self.root = total, part, root
        self._latest: dict[str, list] = {"total": [], "part": []}

    def total_product(self, vector):
        # Symmetric: this order is faster for few vectors.
        rows = vector.reshape(-1, len(self.total))
        return self._remembered(
            "total", vector, lambda: (self.total @ rows.mT).mT.reshape(vector.shape)
        )

    def part_product(self, vector):
        return self._remembered("part", vector, lambda: fold_product(vector, self.part))

    def root_product(self, vector):
        return (vector @ self.root.mT) @ self.root

    def _remembered(self, name, vector, product):
        """Both levels ask for products with the same few vectors, one after the other."""
        latest = self._latest[name]
        for known, version, result in latest:
            if known is vector and version == vector._version:
                return result
        result = product()
        latest[:] = [*latest[1 - REMEMBERED :], (vector, vector._version, result)]
        return result


@dataclass(frozen=True)
class SharedGramLoss(MomentLoss):
    """Loss whose Gram matrices are sums of shared ones.

    In fold k it is ``share[k] * total + part_share[k] * part[k]
    + root_share[k] * root[k]' root[k]``.

    Attributes
    ----------
    shared : SharedGrams
    share, part_share, root_share : Tensor of shape (n_folds,)
    moment : Tensor of shape (n_folds, n_targets, n_features)
    constant : Tensor, scalar
    """

    shared: SharedGrams
    share: torch.Tensor
    part_share: torch.Tensor
    root_share: torch.Tensor
    moment: torch.Tensor
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
            mine = GramLoss(self.gram, self.moment, self.constant)
            return mine.combine(factor, other, other_factor)
        names = ("share", "part_share", "root_share", "moment", "constant")
        mixed = {
            name: factor * getattr(self, name) + other_factor * getattr(other, name)
            for name in names
        }
        return replace(self, **mixed, store=FactorStore())

    def metric(self, penalty):
        return StoredMetric(self, penalty)


@dataclass(frozen=True)
class StoredMetric:
    """Inverse of ``G + diag(penalty)``; its factors live in the loss's store."""

    loss: SharedGramLoss
    penalty: torch.Tensor  # (n_candidates, n_folds, [n_targets,] n_features)
    exact = True

    def solve(self, vector):
        return self.loss.store.solve(self.loss, self.penalty, vector)

    def minimizer(self, loss, like):
        if self.penalty.ndim == 3 and loss is self.loss:
            return loss.store.minimizer(loss, self.penalty)
        return self.solve(loss.moment.expand_as(like))


class FactorStore:
    """Cholesky factors of the latest penalty asked for, in memory that is used again.

    Large factors of two points must not live together. An older metric stays valid: it is
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
        """Solutions for the loss's moments, without new factors for a multiple of a penalty."""
        solution = loss.moment.repeat(len(penalty), 1, 1, 1)
        for place in np.ndindex(*penalty.shape[:2]):
            scaled = self._scaled(place, loss.moment[place[1]], penalty[place])
            if scaled is None:
                scaled = self.factor(loss, place, penalty[place]).solve(solution[place])
            solution[place] = scaled
        return solution

    def _scaled(self, place, moment, penalty):
        """Solutions from the factor of a penalty that this one is a multiple of, or None."""
        known = self._factors.get(place)
        if known is None or torch.equal(known.penalty, penalty):
            return None
        ratios = penalty / known.penalty
        ratio = float(ratios[0])
        if not bool(((ratios - ratio).abs() <= 1e-12 * ratio).all()):
            return None
        solutions = [one.solution(ratio) for one in known.scaled(moment)]
        return None if any(one is None for one in solutions) else torch.stack(solutions)

    def factor(self, loss, place, penalty):
        """Factor of the Hessian of ``place = (candidate, fold, ...)``."""
        known = self._factors.pop(place, None)
        if known is None or not torch.equal(known.penalty, penalty):
            memory = None if known is None else known.matrix
            known = PenalizedFactor.build(loss, place[1], penalty, memory)
        self._factors[place] = known
        return known


@dataclass(frozen=True)
class PenalizedFactor:
    """Cholesky factor of one fold's ``(G + diag(penalty)) / scale``."""

    matrix: torch.Tensor
    scale: float
    penalty: torch.Tensor
    _scaled: list = field(default_factory=list, repr=False)

    @classmethod
    def build(cls, loss, fold, penalty, out=None):
        for jitter in (0.0, *JITTER):
            matrix, scale = loss.upper_triangle(fold, out)
            out = matrix
            diagonal = matrix.diagonal()
            diagonal += penalty / scale + jitter * diagonal.mean()
            if factorize(matrix):
                break
        return cls(matrix, scale, penalty.clone())

    def solve(self, rows):
        return solve_factorized(self.matrix, rows) / self.scale

    def scaled(self, moment):
        """Solutions for multiples of the penalty, one record for each row of `moment`."""
        if not self._scaled:
            self._scaled.extend(ScaledSolutions(self, row) for row in moment)
        return self._scaled
