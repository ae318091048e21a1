"""Ridge solutions of every fold for any strength, from one decomposition of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from ._quadratic import Rows, fold_product


class RidgePath(Protocol):
    """Ridge coefficients as a smooth function of the log strength."""

    def coefficients(self, log_strength: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Coefficients for each candidate's strength, and their slope.

        Parameters
        ----------
        log_strength : Tensor of shape (n_candidates,)

        Returns
        -------
        coefficients, slope : Tensor of shape (n_candidates, n_folds, n_targets, n_features)
            The slope is the derivative in `log_strength`.
        """

    def survey(self, log_strength: torch.Tensor) -> torch.Tensor:
        """Coefficients alone, good enough to compare many strengths."""


def shrunken(values, target, log_strength):
    """``target / (values + strength)`` and its derivative in the log strength.

    `values` and `target` must broadcast to (n_folds, n_targets, n_values).
    """
    strength = log_strength.exp()[:, None, None, None]
    ratio = target / (values + strength)
    return ratio, -ratio * strength / (values + strength)


@dataclass(frozen=True)
class GramPath:
    """From the eigenvectors of the folds' Gram matrices."""

    values: torch.Tensor  # (n_folds, n_features)
    vectors: torch.Tensor  # (n_folds, n_features, n_features)
    target: torch.Tensor  # (n_folds, n_targets, n_features): moments, rotated

    @classmethod
    def build(cls, loss):
        values, vectors = torch.linalg.eigh(loss.gram)
        return cls(values.clamp_min(0), vectors, loss.moment @ vectors)

    def coefficients(self, log_strength):
        return tuple(
            fold_product(rotated, self.vectors.mT)
            for rotated in shrunken(self.values[:, None], self.target, log_strength)
        )

    def survey(self, log_strength):
        return self.coefficients(log_strength)[0]


@dataclass(frozen=True)
class RowPath:
    """From the eigenvectors of the folds' kernels of rows; for n_features > n_rows."""

    rows: Rows
    values: torch.Tensor  # (n_folds, n_rows)
    vectors: torch.Tensor  # (n_folds, n_rows, n_rows)
    root_weight: torch.Tensor  # (n_folds, 1, n_rows)
    target: torch.Tensor  # (n_folds, n_targets, n_rows)

    @classmethod
    def build(cls, loss):
        rows, root = loss.rows, loss.weight.sqrt()
        n_features = rows.design.shape[1]
        kernel = rows.kernel(root.new_ones(1, 1, n_features).expand(1, len(root), n_features))[0]
        values, vectors = torch.linalg.eigh(root[:, :, None] * kernel * root[:, None, :])
        root = root[:, None]
        return cls(rows, values.clamp_min(0), vectors, root, (root * rows.targets)[0] @ vectors)

    def coefficients(self, log_strength):
        return tuple(
            self.rows.adjoint(self.root_weight * fold_product(rotated, self.vectors.mT))
            for rotated in shrunken(self.values[:, None], self.target, log_strength)
        )

    def survey(self, log_strength):
        return self.coefficients(log_strength)[0]
