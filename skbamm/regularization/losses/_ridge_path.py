"""Ridge solutions of every fold for any strength, from one decomposition of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from ...linalg._row_kernels import CountedRows
from ._quadratic import fold_product


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

    counted: CountedRows
    values: torch.Tensor  # (n_folds, n_counted)
    vectors: torch.Tensor  # (n_folds, n_counted, n_counted)
    target: torch.Tensor  # (n_folds, n_targets, n_counted)

    @classmethod
    def build(cls, loss):
        rows, counted = loss.rows, loss.counted
        plain = rows.kernel(torch.arange(rows.train_weight.shape[1]))
        kernels = [
            counted.kernel(fold, plain[index[:, None], index])
            for fold, index in enumerate(counted.index)
        ]
        values, vectors = torch.linalg.eigh(torch.stack(kernels))
        targets = counted.gather(rows.targets)[0]
        return cls(counted, values.clamp_min(0), vectors, targets @ vectors)

    def coefficients(self, log_strength):
        return tuple(
            self.counted.rows.adjoint(self.counted.scatter(fold_product(rotated, self.vectors.mT)))
            for rotated in shrunken(self.values[:, None], self.target, log_strength)
        )

    def survey(self, log_strength):
        return self.coefficients(log_strength)[0]
