"""From rows and folds to a standardized design, and softmax fits of all folds on it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.preprocessing import StandardScaler

from ..linalg._cross_products import row_blocks
from ..linalg._design import BlockedDesign
from ..linalg._softmax import CrossEntropy, LabelledRows, minimize
from ..linalg._tensors import as_tensor, to_numpy, to_tensor
from ._constants import (
    EXACT,
    FEW_USED,
    KEY_DIGITS,
    MAX_FOLDS,
    MAX_ROTATED,
    N_FEATURES,
    TINY,
)
from ._rows import LabelRows
from .label_quality._kernel import FeatureMap, KernelRows, random_directions
from .label_quality._scorer import LinearScores


class Standardizer:
    """Scales of the columns, a rotation to uncorrelated ones, and a column of ones.

    The penalty acts on coefficients of the scaled columns. Neither rotating these (ridge is
    invariant) nor centring (the intercept is free) changes the fit; both make it quick. With
    more columns than rows the rotation also leaves no more columns than rows. Sparse X is
    neither centred nor rotated, and `spread` is what its columns vary together.
    """

    spread = 0.0

    def __init__(self, mean, scale, rotation, *, is_sparse=False):
        self.mean, self.scale, self.rotation, self.is_sparse = mean, scale, rotation, is_sparse

    @classmethod
    def of(cls, rows: LabelRows, standardize):
        """Of the weighted rows of a fit."""
        is_sparse = sparse.issparse(rows.X)
        n_rows, n_features = rows.X.shape
        scaler = _scaler(rows)
        mean = np.zeros(n_features) if is_sparse else scaler.mean_
        scale = (
            np.where(scaler.scale_ > 0, scaler.scale_, 1.0) if standardize else np.ones(n_features)
        )
        scaled = cls(mean, scale, None, is_sparse=is_sparse)
        scaled.spread = float(np.sum(scaler.var_))
        if is_sparse or MAX_ROTATED < n_features <= n_rows:
            return scaled
        return cls(mean, scale, scaled._principal_axes(rows.X, np.sqrt(rows.weight)[:, None]))

    def of_one_scale(self):
        """The same with one scale for all columns, between a column's deviation and a row's.

        So usual ridge strengths are usual for columns of text, too.
        """
        n_features = len(self.scale)
        scale = np.sqrt(self.spread / np.sqrt(n_features)) or 1.0
        return Standardizer(self.mean, np.full(n_features, scale), None, is_sparse=self.is_sparse)

    def _scaled(self, X):
        return (X - self.mean) / self.scale

    def _principal_axes(self, X, root):
        if X.shape[1] > X.shape[0]:
            return np.linalg.svd(root * self._scaled(X), full_matrices=False)[2].T
        square = np.zeros((X.shape[1],) * 2)
        for block in _blocks(X):
            Z = root[block] * self._scaled(X[block])
            square += Z.T @ Z
        return np.linalg.eigh(square)[1]

    def columns(self, X):
        """Scaled, rotated columns and ones, as float64."""
        if self.is_sparse:
            X = sparse.csr_matrix(X, dtype=np.float64) @ sparse.diags(1 / self.scale)
            return sparse.hstack([X, np.ones((X.shape[0], 1))]).tocsr()
        design = np.ones((X.shape[0], self._n_columns(X) + 1))
        for block in _blocks(X):
            scaled = self._scaled(X[block])
            design[block, :-1] = scaled if self.rotation is None else scaled @ self.rotation
        return design

    def labelled(self, rows, device):
        """Rows as tensors, of which products alone are taken.

        Where the columns would exceed scikit-learn's ``working_memory``, they are made block by
        block.
        """
        allowed = get_config()["working_memory"] * 2**20
        if self.is_sparse or 8 * rows.X.shape[0] * (self._n_columns(rows.X) + 1) <= allowed:
            design = self.columns(rows.X)
        else:
            design = BlockedDesign(rows.X, self.mean, self.scale, self.rotation, device)
        return LabelledRows(design, rows.labels, rows.n_classes, device)

    def _n_columns(self, X):
        return X.shape[1] if self.rotation is None else self.rotation.shape[1]

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


def _blocks(X):
    """Slices of rows whose copies fit scikit-learn's ``working_memory``, and a cache."""
    return [slice(None)] if sparse.issparse(X) else row_blocks(X.shape[0], X.shape[1], 1)


def _scaler(rows):
    """A `StandardScaler` of weighted rows."""
    scaler = StandardScaler(with_mean=not sparse.issparse(rows.X))
    with np.errstate(invalid="ignore"):  # rounding may leave a variance below zero
        for block in _blocks(rows.X):
            scaler.partial_fit(rows.X[block], sample_weight=rows.weight[block])
    return scaler


def column_order(rows, own):
    """The columns, (n_features,), in an order that does not depend on how they are numbered.

    By the means of standardized, bounded columns, then by how these go with the squares of rows and
    with folds, `own`, in each class, whatever its number: columns of zeros and ones may be equally
    frequent. Units do not matter, and rows only as a weighted distribution in each fold.
    """
    scaler, share = _scaler(rows), rows.weight / rows.weight.sum()
    in_classes = np.cos(own) * np.eye(rows.n_classes)[rows.labels].T
    # Sparse X keeps its zeros: what these become is added to sums.
    at_zero = np.tanh(-scaler.mean_ / scaler.scale_) * sparse.issparse(rows.X)
    sums: Any = 0.0
    total: Any = 0.0
    for block in _blocks(rows.X):
        bounded = _bounded(rows.X[block], scaler, at_zero)
        squares = (bounded**2).sum(axis=1) + 2 * (bounded @ at_zero) + at_zero @ at_zero
        factors = share[block] * np.vstack([np.ones_like(squares), squares, in_classes[:, block]])
        sums, total = sums + factors @ bounded, total + factors.sum(axis=1)
    mean, with_squares, *with_folds = sums + np.outer(total, at_zero)
    keys = np.square(with_folds).sum(axis=0), with_squares / max(total[1], TINY), mean
    return np.lexsort(np.round(keys, KEY_DIGITS))


def _bounded(X, scaler, at_zero):
    """Standardized columns between -1 and 1; of sparse X, less what zeros become."""
    if not sparse.issparse(X):
        return np.tanh((X - scaler.mean_) / scaler.scale_)
    X = sparse.csr_array(X, dtype=np.float64, copy=True)
    column = X.indices
    X.data = np.tanh((X.data - scaler.mean_[column]) / scaler.scale_[column]) - at_zero[column]
    return X


class FoldedDesign:
    """Rows and folds as tensors, softmax fits of all folds, and their scores.

    Weights of rows have shape (n_folds, n_rows), params (n_folds, n_scores, n_columns), scores
    (n_folds, n_rows, n_classes).
    """

    def __init__(self, rows, folds, standardizer, device):
        self.rows = rows
        self.folds = folds
        self.standardizer = standardizer
        self.device = device
        self._columns = standardizer.columns(rows.X)
        self.labelled = LabelledRows(self._columns, rows.labels, rows.n_classes, device)
        self.every = np.arange(len(rows.labels))
        # Folds and positions of all validation rows, fold by fold, with their labels and weights.
        self.validation_fold, self.validation_row = np.nonzero(folds.validation)
        self.validation_labels = rows.labels[self.validation_row]
        self.validation_weight = folds.validation[self.validation_fold, self.validation_row]

    def with_few_folds(self, most=MAX_FOLDS):
        """The same rows with folds put together: what is fitted for pairs of them costs much."""
        if self.folds.n_folds <= most:
            return self
        few = copy.copy(self)
        few.folds = self.folds.merged(most)
        return few

    def tensor(self, array):
        return to_tensor(array, self.device)

    def positions(self, index):
        """Positions of rows, as a tensor."""
        return as_tensor(index, self.device)

    def fit(self, weights, ridge, initial=None, *, tol=EXACT, smoothing=0.0):
        """Params of every fold's fit on rows with these weights.

        Rows without weight in any fold cost nothing.
        """
        rows, weights = self.labelled, self.tensor(weights)
        weights = weights / weights.sum(-1, keepdim=True)
        used = weights.any(0)
        if initial is None:
            initial = rows.zeros(len(weights))
        if float(used.double().mean()) < FEW_USED:
            rows, weights = rows.subset(used), weights[:, used]
        targets = rows.smoothed(smoothing) if smoothing else None
        ridge = weights.new_tensor(ridge)
        return minimize(CrossEntropy(rows, weights, ridge, targets), initial, tol=tol)

    def scores(self, params):
        """Of all classes and rows, from every fold's fit."""
        scores = to_numpy(self.labelled.design.matmul(params)).transpose(0, 2, 1)
        if self.labelled.has_reference:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=2)
        return scores

    def out_of_fold(self, scores):
        """Scores of each row from its own fold, (n_rows, n_classes)."""
        return scores[self.folds.own, self.every]

    def held_out(self, scores):
        """Scores of all validation rows, fold by fold."""
        return scores[self.validation_fold, self.validation_row]

    def raw_scores(self, params):
        """The mean of the folds' models, for other rows."""
        return LinearScores(*self.standardizer.raw(to_numpy(params.mean(0))))

    def targets(self, probabilities):
        """Targets of all rows: of noisy ones, probabilities of classes; (n_scores, n_rows)."""
        targets = self.labelled.targets.clone()
        first = 1 if self.labelled.has_reference else 0
        targets[:, self.positions(self.rows.noisy)] = self.tensor(probabilities.T[first:])
        return targets

    def validation(self, weight):
        """The rows that some fold validates on with a weight, and their weights."""
        used = weight.any(0)
        if bool(used.all()):
            return self.labelled, weight
        return self.labelled.subset(used), weight[:, used]

    def kernel_rows(self):
        """Features for kernel models of all rows."""
        order = column_order(self.rows, self.folds.own)
        directions = np.empty((N_FEATURES // 2, len(order)))
        directions[:, order] = random_directions(len(order), N_FEATURES // 2)
        directions = self.standardizer.project(directions)
        return KernelRows(self._columns[:, :-1], directions, self.rows.weight)
