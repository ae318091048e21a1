"""The data of a cleaning fit: rows stacked, scaled, and laid out in folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.preprocessing import StandardScaler

from ..data._folds import Folds, make_folds, stratified_position_folds
from ..linalg._cross_products import row_blocks
from .label_quality._kernel import FeatureMap

# Beyond this many columns a rotation costs more than it saves.
MAX_ROTATED = 1000


@dataclass(frozen=True)
class LabelRows:
    """All rows of a fit: those of X, then those of X_val."""

    X: Any  # ndarray or sparse matrix of shape (n_rows, n_features)
    labels: np.ndarray  # (n_rows,), positions in `classes`
    weight: np.ndarray  # (n_rows,), sample weights times class weights
    is_clean: np.ndarray  # (n_rows,)
    n_given: int  # how many rows came as X
    classes: np.ndarray

    @property
    def n_classes(self):
        return len(self.classes)

    @property
    def noisy(self):
        return np.flatnonzero(~self.is_clean)

    @property
    def clean(self):
        return np.flatnonzero(self.is_clean)

    def take(self, sample):
        """Only the rows of a `RowSample`."""
        index = sample.positions
        return replace(
            self,
            X=self.X[index],
            labels=self.labels[index],
            weight=self.weight[index] * sample.factor,
            is_clean=self.is_clean[index],
            n_given=int(np.count_nonzero(index < self.n_given)),
        )


@dataclass(frozen=True)
class LabelFolds:
    """Where each row trains, where it is scored in the upper level, and its own fold.

    Models of a row's own fold have not seen its label: its out-of-fold predictions come from there.
    """

    in_training: np.ndarray  # (n_folds, n_rows), 1 where a row trains in a fold
    judging: np.ndarray  # (n_folds, n_rows), weights of held-out rows; sum to 1 over all
    part: np.ndarray  # (n_rows,), own folds

    @classmethod
    def of_use(cls, in_training, judging, part, weight):
        """The folds that have training and judging rows of positive weight; None without any."""
        keep = (judging.sum(axis=1) > 0) & (in_training @ weight > 0)
        if not keep.any():
            return None
        if not keep.all():
            renumbered = np.cumsum(keep) - 1
            part = np.where(keep[part], renumbered[part], 0)
            in_training, judging = in_training[keep], judging[keep]
        return cls(in_training, judging / judging.sum(), part)

    def take(self, sample):
        """The same folds, of the rows of a `RowSample` alone."""
        index = sample.positions
        judging = self.judging[:, index] * sample.factor
        return self.of_use(self.in_training[:, index], judging, self.part[index], sample.factor)

    @property
    def n_folds(self):
        return len(self.in_training)

    @property
    def unseen(self):
        """1 where a row trains in a fold and is not in that fold's own part.

        A single fold has no other part to learn from: there, all training rows.
        """
        if self.n_folds == 1:
            return self.in_training
        own = self.part == np.arange(self.n_folds)[:, None]
        return self.in_training * ~own


def make_label_folds(rows: LabelRows, cv, seed, split_params=None) -> LabelFolds:
    """Folds of an estimator's ``cv``.

    An int splits the judging rows (the clean ones, or all where none is clean), and clean and
    noisy rows apart from each other, by class. Noisy rows train in all folds if clean rows
    judge. A splitter runs over the rows of X, or of X_val where that was given; over X,
    nothing that it holds out trains. It gets `split_params`, such as row ``groups``.
    """
    n_rows = len(rows.labels)
    judges = rows.clean if rows.is_clean.any() else np.arange(n_rows)
    if isinstance(cv, (int, np.integer)):
        folds = make_folds(cv, None, rows.labels[judges], seed=seed, stratify=True)
        splits = [(judges[train], judges[test]) for train, test in folds.splits]
        free = np.setdiff1d(np.arange(n_rows), judges)
    elif rows.n_given < n_rows:
        over = np.arange(rows.n_given, n_rows)
        folds = make_folds(
            cv, rows.X[over], rows.labels[over], seed=seed, split_params=split_params
        )
        splits = [(over[train], over[test]) for train, test in folds.splits]
        free = np.arange(rows.n_given)
    else:
        folds = make_folds(cv, rows.X, rows.labels, seed=seed, split_params=split_params)
        splits, free = list(folds.splits), np.arange(0)
    return _lay_out(rows, Folds(splits), free, judges, seed)


def _lay_out(rows, folds, free, judges, seed):
    n_folds, n_rows = len(folds), len(rows.labels)
    in_training, judging = np.zeros((2, n_folds, n_rows))
    part = np.full(n_rows, -1)
    judge = np.zeros(n_rows, dtype=bool)
    judge[judges] = True
    for k, (train, test) in enumerate(folds.splits):
        np.add.at(in_training[k], train, 1.0)
        np.add.at(judging[k], test[judge[test]], 1.0)
        part[test] = k
    in_training[:, free] = 1.0
    # Rows that no fold holds out get a part of their own, cross-fitted all the same.
    loose = np.flatnonzero(part < 0)
    part[loose] = stratified_position_folds(rows.labels[loose], n_folds, seed + 1)
    judging *= rows.weight
    found = LabelFolds.of_use(in_training, judging, part, rows.weight)
    if found is None:
        raise ValueError(
            "cv must give at least one split with training rows and held-out rows to judge by "
            "(clean ones, where any are marked), all with positive weights: got none."
        )
    return found


class Standardizer:
    """Scales of the columns, a rotation to uncorrelated ones, and a column of ones.

    The penalty acts on coefficients of the scaled columns. Neither rotating these (ridge is
    invariant) nor centring (the intercept is free) changes the fit; both make it quick. With
    more columns than rows the rotation also leaves no more columns than rows. Sparse X is
    neither centred nor rotated.
    """

    def __init__(self, rows: LabelRows, standardize):
        self.is_sparse = sparse.issparse(rows.X)
        n_rows, n_features = rows.X.shape
        self.mean, self.scale = np.zeros(n_features), np.ones(n_features)
        self.rotation = None
        scaler = StandardScaler(with_mean=not self.is_sparse)
        for block in self._blocks(rows.X):
            scaler.partial_fit(rows.X[block], sample_weight=rows.weight[block])
        if not self.is_sparse:
            self.mean = scaler.mean_
        if standardize:
            self.scale = scaler.scale_
        if not self.is_sparse and (n_features <= MAX_ROTATED or n_features > n_rows):
            self.rotation = self._principal_axes(rows.X, np.sqrt(rows.weight)[:, None])

    @classmethod
    def known(cls, mean, scale, rotation):
        """For dense columns of which these are known."""
        known = cls.__new__(cls)
        known.is_sparse, known.mean, known.scale, known.rotation = False, mean, scale, rotation
        return known

    def _blocks(self, X):
        """Slices of rows whose copies fit scikit-learn's ``working_memory``, and a cache."""
        return [slice(None)] if self.is_sparse else row_blocks(X.shape[0], X.shape[1], 1)

    def _scaled(self, X):
        return (X - self.mean) / self.scale

    def _principal_axes(self, X, root):
        if X.shape[1] > X.shape[0]:
            return np.linalg.svd(root * self._scaled(X), full_matrices=False)[2].T
        square = np.zeros((X.shape[1],) * 2)
        for block in self._blocks(X):
            Z = root[block] * self._scaled(X[block])
            square += Z.T @ Z
        return np.linalg.eigh(square)[1]

    def design(self, X):
        """Scaled, rotated columns and ones, as float64."""
        if self.is_sparse:
            X = sparse.csr_matrix(X, dtype=np.float64) @ sparse.diags(1 / self.scale)
            return sparse.hstack([X, np.ones((X.shape[0], 1))]).tocsr()
        n_columns = X.shape[1] if self.rotation is None else self.rotation.shape[1]
        design = np.ones((X.shape[0], n_columns + 1))
        for block in self._blocks(X):
            scaled = self._scaled(X[block])
            design[block, :-1] = scaled if self.rotation is None else scaled @ self.rotation
        return design

    def products(self, X, device):
        """The design, or where it would exceed scikit-learn's ``working_memory``, its products."""
        from ..linalg._design import BlockedDesign

        n_columns = X.shape[1] if self.rotation is None else self.rotation.shape[1]
        allowed = get_config()["working_memory"] * 2**20
        if self.is_sparse or 8 * X.shape[0] * (n_columns + 1) <= allowed:
            return self.design(X)
        return BlockedDesign(X, self.mean, self.scale, self.rotation, device)

    def labelled(self, rows, device, *, bounded=False):
        """Rows as tensors; `bounded` if only products with them are taken."""
        from ..linalg._softmax import LabelledRows

        design = self.products(rows.X, device) if bounded else self.design(rows.X)
        return LabelledRows(design, rows.labels, rows.n_classes, device)

    def project(self, directions):
        """Directions of scaled columns, one a row, in the design's coordinates."""
        return directions if self.rotation is None else directions @ self.rotation

    def raw_map(self, features):
        """A `FeatureMap` of the design's columns as one of the raw columns."""
        coef, offset = self.raw(np.column_stack([features.directions.T, features.offset]))
        return FeatureMap(coef.T, offset)

    def raw(self, params):
        """Coefficients and intercepts in raw units from params of shape (n_scores, n_columns)."""
        coef = params[:, :-1] if self.rotation is None else params[:, :-1] @ self.rotation.T
        coef = coef / self.scale
        return coef, params[:, -1] - coef @ self.mean
