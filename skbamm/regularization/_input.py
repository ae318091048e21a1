"""From what users pass to validated rows and their folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import FLOAT_DTYPES

from ..data._columns import names_of, split_columns
from ..data._folds import Folds, make_folds, position_folds, warn_of_few_rows
from ..data._tables import check_columns, is_row_source
from ..data._validation import (
    has_validation_rows,
    validate_data,
    validate_weight,
    warn_if_unlike,
)
from ..linalg._cross_products import (
    CrossProducts,
    column_shift,
    fold_cross_products,
    split_cross_products,
)
from ..linalg._session import PANEL_COLUMNS, threads_for
from ._constants import FEW_ROWS, FEW_ROWS_REPEATS
from ._extremes import moderated, moderated_alike


@dataclass(frozen=True)
class Rows:
    """Validated rows: targets 2-D, weights None when all equal."""

    X: Any  # ndarray or sparse, (n_samples, n_features)
    y: np.ndarray  # (n_samples, n_targets)
    weight: np.ndarray | None = None
    single_target: bool = True
    # (n_features + n_targets,): of 2, by which columns were divided; None for no columns.
    exponents: np.ndarray | None = None

    def target(self, index):
        """The same rows with one target, or a slice of the targets."""
        if isinstance(index, slice):
            return self
        exponents, n_features = self.exponents, self.X.shape[1]
        if exponents is not None:
            exponents = np.append(exponents[:n_features], exponents[n_features + index])
        return Rows(self.X, self.y[:, [index]], self.weight, exponents=exponents)

    def __len__(self):
        return len(self.y)

    def weights(self):
        return np.ones(len(self)) if self.weight is None else self.weight

    def below(self, other):
        """These rows with others below them."""
        both = [self.X, other.X]
        is_sparse = any(sparse.issparse(X) for X in both)
        X = sparse.vstack(both, format="csr") if is_sparse else np.vstack(both)
        weight = None
        if self.weight is not None or other.weight is not None:
            weight = np.concatenate([self.weights(), other.weights()])
        return Rows(X, np.vstack([self.y, other.y]), weight, self.single_target)


@dataclass(frozen=True)
class FoldedRows:
    """Training rows, which of them are held out when, and validation rows in place of these."""

    rows: Rows
    folds: Folds
    validation: Rows | None = None

    @property
    def shape(self):
        return self.rows.X.shape

    @property
    def n_targets(self):
        return self.rows.y.shape[1]

    @property
    def single_target(self):
        return self.rows.single_target

    @property
    def exponents(self):
        return self.rows.exponents

    def target(self, index):
        """The same rows with one target, or a slice of the targets."""
        validation = self.validation and self.validation.target(index)
        return FoldedRows(self.rows.target(index), self.folds, validation)

    def nested(self):
        """Pairs of what to learn from and what to validate on.

        For each fold the others without its rows, and the fold; with validation rows their
        halves.
        """
        if self.validation is None:
            pairs = self.folds.nested()
        else:
            half = position_folds(len(self.validation), 2, seed=0)
            train = self.folds.splits[0][0]
            halves = [Folds([(train, np.flatnonzero(half == k))]) for k in (0, 1)]
            pairs = [(halves[0], halves[1]), (halves[1], halves[0])]
        return [tuple(replace(self, folds=folds) for folds in pair) for pair in pairs]

    def cross_products(self, fit_intercept) -> CrossProducts:
        """The statistics of a squared error, in one pass where each row is held out once."""
        X, y, weight = self.rows.X, self.rows.y, self.rows.weight
        shift = column_shift(X, y, fit_intercept)
        folds, val = self.folds, self.validation
        with threads_for(PANEL_COLUMNS * X.size):
            if val is None and folds.label is not None:
                return fold_cross_products(X, y, weight, folds.label, len(folds), shift)
            held_out = None if val is None else (val.X, val.y, val.weight)
            return split_cross_products(X, y, weight, folds.splits, shift, held_out)


ROWS_AT_ONCE = (
    "time, row_source, annotator and is_clean need all rows at once: X must be an array or a "
    "dataframe in memory, not a file, an Arrow table or a memory-mapped array."
)


def split_named(X, y, *others):
    """See `split_columns`; rows that are read block by block stay as they are."""
    if is_row_source(X) and not isinstance(X, np.memmap):
        return names_of(y, *others, several=True), X, y, *others
    return split_columns(X, y, *others, several=True)


def regression_data(estimator, X, y, sample_weight, held_out, split_params, columns=None):
    """For each repeat the validated rows with their folds, or the statistics of these.

    `held_out` is ``(X_val, y_val, sample_weight_val)``; `split_params` are for the splitter;
    `columns` are `RowColumns`, which need the rows themselves.
    """
    source = None
    if is_row_source(X):
        if columns:
            raise TypeError(ROWS_AT_ONCE)
        from ._stream import RowStream, stream_statistics

        stream = RowStream.open(X, y, sample_weight)
        source = stream.source
        if not is_few(estimator, *source.shape):
            repeats = stream_statistics(estimator, stream, held_out, split_params)
            if repeats is not None:
                source.describe(estimator, reset=True)
                return repeats
        X, y, sample_weight = stream.whole()
    rows = regression_rows(estimator, X, y, sample_weight)
    if source is not None:
        source.describe(estimator, reset=True)
    rows, items = weighted_rows(estimator, rows, columns)
    if not has_validation_rows(*held_out):
        warn_of_few_rows(estimator.cv, len(rows))
        return make_repeats(estimator, rows, split_params, estimator._seed(), items)
    validation = _validation_rows(estimator, rows, *held_out)
    rows = moderated(rows, estimator)
    validation = moderated_alike(rows, validation)
    warn_if_unlike(rows.X, validation.X)
    folds = Folds([(np.arange(len(rows)), np.arange(len(validation)))])
    return [FoldedRows(rows, folds, validation)]


def weighted_rows(estimator, rows, columns):
    """The rows with learned weights, less learned levels, and numbers of rows held out together."""
    found = estimator._learn_row_weights(rows.X, rows.y, rows.weight, columns)
    if found is None:
        return rows, None
    if found.found:
        y = rows.y if found.level is None else rows.y - found.level
        rows = replace(rows, y=y, weight=rows.weights() * found.weight)
    return rows, found.items


def is_few(estimator, n_samples, n_features):
    """Whether rows are so few that they are kept: no more numbers than in a Gram matrix."""
    n_folds = estimator.cv if isinstance(estimator.cv, Integral) else 0
    return n_samples <= max(FEW_ROWS, n_features, n_folds)


def n_repeats(estimator, n_samples):
    """How many assignments of rows to folds are learned from."""
    if not isinstance(estimator.cv, Integral):
        return 1
    if estimator.n_repeats != "auto":
        return estimator.n_repeats
    cheap = estimator.penalty in ("adaptive", "l2")
    return FEW_ROWS_REPEATS if cheap and n_samples <= FEW_ROWS else 1


def make_repeats(estimator, rows, split_params, seed, items=None):
    """The rows in their folds; in several assignments of these where `cv` is an int.

    Rows of one number in `items` are held out together.
    """
    y = rows.y[:, 0] if rows.single_target else rows.y
    moderate = moderated(rows, estimator)
    return [
        FoldedRows(
            moderate,
            make_folds(
                estimator.cv,
                rows.X,
                y,
                seed=seed + repeat,
                split_params=split_params,
                items=items,
            ),
        )
        for repeat in range(n_repeats(estimator, len(y)))
    ]


def regression_rows(estimator, X, y, sample_weight, *, more=False, enough=True):
    """Validated training rows; sets what the estimator knows of its features.

    With ``more`` these must be the features that it knows. Unless they must be ``enough`` to learn
    from, one row will do, also without weight.
    """
    return _rows(
        estimator,
        X,
        y,
        sample_weight,
        "sample_weight",
        all_zero=not enough,
        ensure_min_samples=2 if enough else 1,
        reset=not more,
    )


def _rows(estimator, X, y, weight, weight_name, *, all_zero=False, **options):
    X, y = validate_data(
        estimator,
        X,
        y,
        accept_sparse=["csr", "csc"],
        dtype=FLOAT_DTYPES,
        y_numeric=True,
        multi_output=True,
        **options,
    )
    check_columns(y, "y_val" if "name" in options else "y")
    if weight is not None:
        weight = validate_weight(weight, X, weight_name, all_zero=all_zero)
    if sparse.issparse(X):
        X = X.tocsr()
    targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    return Rows(X, targets, weight, np.ndim(y) == 1)


def _validation_rows(estimator, rows, X_val, y_val, weight):
    found = _rows(estimator, X_val, y_val, weight, "sample_weight_val", reset=False, name="X_val")
    n_targets, n_given = rows.y.shape[1], found.y.shape[1]
    if n_given != n_targets:
        raise ValueError(f"y_val must have as many targets as y: got {n_given}, not {n_targets}.")
    if sparse.issparse(rows.X) != sparse.issparse(found.X):
        convert = sparse.csr_matrix if sparse.issparse(rows.X) else sparse.csr_matrix.toarray
        found = replace(found, X=convert(found.X))
    return found
