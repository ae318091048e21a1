"""Losses, penalties and problems of a regression, formed fold by fold the plain way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from skbamm.linalg._design import DenseDesign
from skbamm.linalg._row_kernels import FoldRows
from skbamm.regularization.losses._quadratic import (
    GramLoss,
    GramPath,
    HeldOutError,
    PenalizedError,
    PenaltyProblem,
)
from skbamm.regularization.losses._rows import RowLoss, RowPath
from skbamm.regularization.penalties._specs import AdaptivePenalty, LinearPenalty

# Groups of the five features; the fourth feature's penalty is fixed.
GROUPS = np.array([0, 0, 1, 1, 2])
LEARNED = np.array([True, True, True, False, True])
KINDS = ("gram", "rows", "sparse")
PENALTIES = ("groups", "adaptive", "adaptive with groups")


@dataclass(frozen=True)
class Data:
    """Rows with weights, in folds that overlap nowhere, and two covariates."""

    X: np.ndarray  # (n_rows, n_features)
    y: np.ndarray  # (n_rows, n_targets)
    covariates: np.ndarray  # (n_rows, 2)
    train: np.ndarray  # (n_folds, n_rows), rows sum to 1
    test: np.ndarray  # (n_folds, n_rows), sums to 1 / n_targets


def make_data(seed=0, n_rows=14, n_targets=2, n_folds=3):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_rows, 5)) * (generator.random((n_rows, 1)) < 0.8)
    X[:, 1] += X[:, 0]
    coef = generator.normal(size=(5, n_targets)) * np.array([[2], [1], [0.1], [0], [1]])
    covariates = np.column_stack([generator.normal(size=n_rows), np.ones(n_rows)])
    y = (
        X @ coef
        + covariates.sum(axis=1, keepdims=True)
        + generator.normal(size=(n_rows, n_targets))
    )
    weight = generator.uniform(0.5, 1.5, size=n_rows)
    held_out = np.arange(n_rows) % n_folds == np.arange(n_folds)[:, None]
    train, test = weight * ~held_out, weight * held_out
    return Data(
        X, y, covariates, train / train.sum(axis=1, keepdims=True), test / (test.sum() * n_targets)
    )


def partialled_out(data, fold, columns):
    """What a fold's weighted training fit on the covariates leaves of all rows."""
    root = np.sqrt(data.train[fold])[:, None]
    fit = np.linalg.lstsq(root * data.covariates, root * columns, rcond=None)[0]
    return columns - data.covariates @ fit


def gram_loss(data, weight):
    gram, cross, constant = [], [], 0.0
    for fold, row_weight in enumerate(weight):
        X, y = partialled_out(data, fold, data.X), partialled_out(data, fold, data.y)
        gram.append(X.T @ (row_weight[:, None] * X))
        cross.append(y.T @ (row_weight[:, None] * X))
        constant += (row_weight[:, None] * y**2).sum() / 2
    return GramLoss(*(torch.tensor(np.array(part)) for part in (gram, cross, constant)))


def losses(kind, data):
    """Training and held-out loss."""
    if kind == "gram":
        return gram_loss(data, data.train), gram_loss(data, data.test)
    design = sparse.csr_matrix(data.X) if kind == "sparse" else data.X
    tensors = (torch.tensor(array) for array in (data.y.T, data.covariates, data.train))
    rows = FoldRows(design, *tensors)
    return RowLoss(rows, rows.train_weight), RowLoss(rows, torch.tensor(data.test))


def ridge_path(loss):
    return GramPath.build(loss) if isinstance(loss, GramLoss) else RowPath.build(loss)


def make_penalty(name, train, limit=(-12.0, 12.0)):
    fixed = torch.tensor(np.where(LEARNED, 0.0, -1.0))
    if name == "groups":
        member = (np.arange(3)[:, None] == GROUPS) & LEARNED
        return LinearPenalty(torch.tensor(member.astype(float)), fixed, train.n_folds)
    membership = None
    if name == "adaptive with groups":
        member = ((np.arange(3)[:, None] == GROUPS) & LEARNED).astype(float)
        membership = torch.tensor(member / member.sum(axis=1, keepdims=True))
    learned = torch.tensor(LEARNED.astype(float))
    return AdaptivePenalty(ridge_path(train), learned, fixed, limit, membership)


def make_hyper(penalty, n_candidates=2, seed=1):
    """Distinct interior points of the box of `penalty_problem`."""
    generator = np.random.default_rng(seed)
    return torch.tensor(generator.uniform(0.1, 1.0, (n_candidates, penalty.n_hyper)))


def penalty_problem(kind, penalty_name, *, dtype=torch.float64, n_points=1):
    """Three folds, two targets, five features in three groups; objectives may take more points."""
    train, test = losses(kind, make_data())
    if dtype != torch.float64:
        train, test = _cast(train, dtype), _cast(test, dtype)
    penalty = make_penalty(penalty_name, train)
    if dtype != torch.float64:
        penalty = _cast(penalty, dtype)
    hyper = make_hyper(penalty, n_points).to(dtype)
    box = hyper[0] * 0 - 4, hyper[0] * 0 + 4
    return PenaltyProblem(PenalizedError(train, penalty), HeldOutError(test)).problem(hyper, *box)


def _cast(record, dtype):
    """A copy of a record of tensors, nested records included."""
    if isinstance(record, torch.Tensor):
        return record.to(dtype) if record.is_floating_point() else record
    if isinstance(record, DenseDesign):
        return DenseDesign(record.X.to(dtype))
    if not hasattr(record, "__dict__"):
        return record
    copy = object.__new__(type(record))
    for name, value in vars(record).items():
        object.__setattr__(copy, name, _cast(value, dtype))
    return copy
