"""Learning from rows that come block by block, or are added up in shards by several processes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.metadata_routing import UNUSED

from .._base import fit_atomically
from ..data._columns import split_columns
from ..data._folds import Folds, position_folds
from ..data._tables import dataframe_kind
from ..data._validation import _fit_context, available_if, level_of_caller, require_squares
from ..linalg._cross_products import FoldSums, column_shift
from ..linalg._session import PANEL_COLUMNS, threads_for
from ._input import FoldedRows, is_few, make_repeats, n_repeats, regression_rows
from ._statistics import fold_statistics


@dataclass(frozen=True)
class SeenRows:
    """What is remembered of the rows of all blocks.

    Few rows are kept as they are; of more, only sums by fold: ``n_folds`` matrices of
    ``n_features ** 2`` numbers each, however many rows they are.
    """

    options: tuple  # `cv`, `n_repeats` and `fit_intercept`, which must stay the same
    seed: int  # of the folds that follow from positions
    given: bool  # whether folds are given with the rows
    n_samples: int = 0
    rows: Any = None  # all of them, as `Rows`, while they are few
    fold: Any = None  # their given folds
    sums: tuple = ()  # `FoldSums` of each assignment to folds; empty while the rows are few
    # `FoldSums` by position, as long as all given folds are the same: nothing is held out then.
    stand_in: Any = None
    single_target: bool = True

    def extended(self, estimator, block, fold):
        """With the rows of one more block."""
        start, n_samples = self.n_samples, self.n_samples + len(block)
        new = replace(self, n_samples=n_samples, single_target=block.single_target)
        if not self.sums:
            rows = block if self.rows is None else self.rows.below(block)
            if fold is not None and self.fold is not None:
                fold = np.concatenate([self.fold, fold])
            if is_few(estimator, n_samples, rows.X.shape[1]):
                return replace(new, rows=rows, fold=fold)
            start, block = 0, rows
        return new._added(estimator, block, fold, start)

    def _added(self, estimator, block, fold, start):
        if self.sums:
            shift = self.sums[0].shift
        else:
            shift = column_shift(block.X, block.y, estimator.fit_intercept)
        n_folds, positions = int(estimator.cv), range(start, start + len(block))

        def sums_by(labels):
            sums = FoldSums(shift, block.y.shape[1], n_folds)
            with threads_for(PANEL_COLUMNS * block.X.size):
                return sums.add(block.X, block.y, block.weight, labels)

        def by_position(seed):
            return sums_by(position_folds(len(positions), n_folds, seed, start))

        if not self.given:
            seeds = range(self.seed, self.seed + n_repeats(estimator, self.n_samples))
            return self._with_sums([by_position(seed) for seed in seeds])
        new = self._with_sums([sums_by(fold)])
        if len(new.folds_with_rows()) > 1:
            return replace(new, stand_in=None)
        more = by_position(self.seed)
        return replace(new, stand_in=more if self.stand_in is None else self.stand_in + more)

    def merged(self, estimator, other):
        """With the rows of another; all folds are given, so that their order does not matter."""
        if not other.sums:
            return self.extended(estimator, other.rows, other.fold)
        if not self.sums:
            return other if self.rows is None else other.extended(estimator, self.rows, self.fold)
        new = replace(self, n_samples=self.n_samples + other.n_samples)._with_sums(other.sums)
        is_held_out = len(new.folds_with_rows()) > 1
        stand_in = None if is_held_out else self.stand_in + other.stand_in
        return replace(new, stand_in=stand_in)

    def _with_sums(self, more):
        if self.sums:
            more = [known + new for known, new in zip(self.sums, more, strict=True)]
        return replace(self, rows=None, fold=None, sums=tuple(more))

    def folds_with_rows(self):
        """Which of the given folds have rows of positive weight."""
        if self.sums:
            return np.flatnonzero(self.sums[0].weight)
        return np.unique(self.fold[self.rows.weights() > 0])

    def describe_folds(self, n_folds):
        """What `status_` says of folds that were given and have no rows."""
        if not self.given:
            return ""
        known = self.folds_with_rows().tolist()
        if len(known) == 1:
            return f"; all rows are in fold {known[0]}, so they were held out by position"
        empty = sorted(set(range(n_folds)) - set(known))
        return f"; without rows in folds {empty}" if empty else ""

    def repeats(self, estimator):
        """All rows so far in their folds, or the statistics of these."""
        if self.n_samples < 2:
            raise ValueError("Learning needs two rows or more, and there is one so far.")
        if self.sums:
            sums = self.sums if self.stand_in is None else (self.stand_in,)
            return fold_statistics(sums, self.n_samples, self.single_target)
        if self.rows.weight is not None and not self.rows.weight.any():
            raise ValueError("sample_weight must not be all zero.")
        if self.given and len(self.folds_with_rows()) > 1:
            labels, index = np.unique(self.fold, return_inverse=True)
            return [FoldedRows(self.rows, Folds.from_labels(index, len(labels)))]
        return make_repeats(estimator, self.rows, {}, self.seed)


def _needs_only_sums(estimator):
    if estimator.loss != "squared_error":
        raise AttributeError(
            f"partial_fit and merge keep sums over rows, and loss={estimator.loss!r} needs the "
            'rows themselves: use fit, or loss="squared_error". All penalties work with either.'
        )


class PartialFitMixin:
    """`partial_fit` for a regressor whose squared error needs only sums over the rows."""

    cv: Any
    _fit: Any
    status_: str

    # No property of rows, which a meta-estimator would pass on.
    __metadata_request__partial_fit = {"learn": UNUSED}

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coef_")

    @available_if(_needs_only_sums)
    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, *, fold=None, learn=True):
        """Learn from all blocks of rows so far, of which only sums are kept.

        The result is that of `fit` on all blocks, one below the other, to rounding. Every
        call learns anew, so `predict` may follow any of them.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            The next rows; together with the former ones at least two.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Their targets. Or the name, or a list of names, of columns of a dataframe X.

        sample_weight : array-like of shape (n_samples,), default=None
            A weight of 2 equals the row twice. Or the name of a column of X.

        fold : int or array-like of int of shape (n_samples,), default=None
            The fold, from 0 to ``cv - 1``, in which each row is held out, given in all calls or
            in none. The order of the blocks then makes no difference but for rounding, and the
            result is that of `fit` with ``cv=PredefinedSplit(fold)``; `status_` tells which folds
            have no rows, and while all rows are in one, they are held out by position. By default
            a row's fold follows from its position among all rows, as in `fit`.

        learn : bool, default=True
            False only adds up the block, without torch, and leaves what was learned before as it
            is. A later call or `merge` learns from all rows.

        Returns
        -------
        self : object
            The estimator, fitted to all blocks so far.

        Raises
        ------
        ValueError
            For NaN or infinite entries, wrong lengths, a `cv` that is not an int, and where
            features, `cv`, `n_repeats` or `fit_intercept` have changed since the first block.
        AttributeError
            With a `loss` that needs the rows themselves: any but "squared_error".

        Warns
        -----
        UserWarning
            After `fit`, which keeps no sums of its rows: learning begins anew.

        Notes
        -----
        Cost: one pass over the block (``n_samples * n_features ** 2``) and one run of learning,
        which does not depend on the number of rows. So choose large blocks: thousands of rows.
        Up to 1000 rows, or as many as there are features, are kept as they are.
        """
        _check_learn(learn)
        seen = _seen_rows(self)
        more = seen.n_samples > 0
        names, X, y, sample_weight = split_columns(X, y, sample_weight, several=True)
        # A model that stays keeps its features.
        known = more or (not learn and hasattr(self, "coef_"))
        if not known:
            self.named_columns_ = names
        block = regression_rows(self, X, y, sample_weight, more=known, enough=learn and not known)
        # Blocks to come may need another unit: sums are in that of the data.
        require_squares(block.X, "X", block.weight)
        require_squares(block.y, "y", block.weight)
        self.dataframe_ = dataframe_kind(X)
        shape = block.single_target, block.y.shape[1]
        if more and _shape_of_target(seen) != shape:
            raise ValueError("y must have the same targets in all blocks.")
        labels = _given_folds(fold, len(block), int(self.cv))
        if more and seen.given != (labels is not None):
            raise ValueError("fold must be given for all blocks of rows, or for none.")
        seen = replace(seen, given=labels is not None).extended(self, block, labels)
        return self._remember(seen, learn, (X, y, sample_weight))

    @available_if(_needs_only_sums)
    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def merge(self, *others, learn=True):
        """Learn from the rows of other estimators as well, of which they have the sums.

        So any engine that moves Python objects fits one table in shards: each process calls
        ``partial_fit(X, y, fold=fold, learn=False)`` on its own rows.

        Parameters
        ----------
        *others : BilevelRegularizedRegressor
            After `partial_fit` with `fold` given for all rows: a fold that follows from a position
            needs the position among all rows, which no shard knows. They stay as they are. Their
            `cv`, `n_repeats`, `fit_intercept`, features and targets must be those of this
            estimator; its other parameters are the ones that count.

        learn : bool, default=True
            False only adds up, for reductions in a tree; ``merge()`` learns at the end.

        Returns
        -------
        self : object
            The estimator, fitted to the rows of all, its own included. It may have none.

        Raises
        ------
        ValueError
            For other estimators that differ as said, that have no sums or folds by position, and
            where there are no rows at all. The estimator then stays as it was.

        Warns
        -----
        UserWarning
            After `fit`, which keeps no sums of its rows: they do not count.

        Notes
        -----
        The result is that of `fit` on all rows with ``cv=PredefinedSplit(fold)``, to rounding, in
        whatever order shards are merged.
        """
        _check_learn(learn)
        seen = _seen_rows(self)
        for other in others:
            more = _rows_of_other(other, seen)
            if seen.n_samples or (not learn and hasattr(self, "coef_")):
                _check_same_features(self, other)
            else:
                _adopt_features(self, other)
            if seen.n_samples and _shape_of_target(seen) != _shape_of_target(more):
                raise ValueError("y must have the same targets in all shards.")
            seen = replace(seen, given=True).merged(self, more)
        if not seen.n_samples:
            raise ValueError("There are no rows to learn from: neither here nor in others.")
        return self._remember(seen, learn, (None, None, None))

    def _remember(self, seen, learn, given):
        if learn:
            for name in ("row_weights_", "sample_weight_"):  # of a fit before
                vars(self).pop(name, None)
            self._fit(seen.repeats(self), given)
            self.status_ += seen.describe_folds(int(self.cv))
        self.fold_statistics_ = seen
        self.n_samples_seen_ = seen.n_samples
        return self


def _check_learn(learn):
    if not isinstance(learn, (bool, np.bool_)):
        raise TypeError(f"learn must be True or False: got {learn!r}.")


def _seen_rows(estimator):
    """What the estimator remembers; raises where it cannot learn from blocks."""
    if not isinstance(estimator.cv, Integral):
        raise ValueError(
            f"partial_fit needs an int as cv, the number of folds: got {estimator.cv!r}. Pass the "
            "fold of each row as fold=."
        )
    options = (int(estimator.cv), estimator.n_repeats, estimator.fit_intercept)
    seen = vars(estimator).get("fold_statistics_")
    if seen is None:
        if hasattr(estimator, "coef_"):
            warnings.warn(
                "partial_fit begins anew: fit keeps no sums of its rows. To go on from block to "
                "block, use partial_fit from the first one on.",
                UserWarning,
                stacklevel=level_of_caller(),
            )
        return SeenRows(options, estimator._seed(), given=False)
    if seen.options != options:
        raise ValueError(
            "cv, n_repeats and fit_intercept must not change from block to block: they were "
            f"{seen.options}, now they are {options}."
        )
    return seen


def _rows_of_other(other, seen):
    """What another estimator remembers, if it can be merged."""
    more = getattr(other, "fold_statistics_", None)
    if more is None:
        raise ValueError(
            f"{type(other).__name__} has no sums of rows to merge: pass estimators one by one, as "
            "merge(*others), each after partial_fit."
        )
    if not (more.given and (seen.given or not seen.n_samples)):
        raise ValueError(
            "Only rows whose folds are given can be merged: pass fold to partial_fit, for example "
            "random numbers from 0 to cv - 1."
        )
    if more.options != seen.options:
        raise ValueError(
            "cv, n_repeats and fit_intercept must be the same in all shards: here they are "
            f"{seen.options}, in another {more.options}."
        )
    return more


FEATURES = ("n_features_in_", "feature_names_in_")


def _check_same_features(estimator, other):
    here, there = (
        [np.asarray(getattr(one, name, None)).tolist() for name in FEATURES]
        for one in (estimator, other)
    )
    if here != there:
        raise ValueError(f"Features must be the same in all shards: got {there} after {here}.")


def _adopt_features(estimator, other):
    for name in FEATURES:
        vars(estimator).pop(name, None)
        if hasattr(other, name):
            setattr(estimator, name, getattr(other, name))
    estimator.dataframe_, estimator.named_columns_ = other.dataframe_, other.named_columns_


def _shape_of_target(seen):
    n_targets = seen.sums[0].n_targets if seen.sums else seen.rows.y.shape[1]
    return seen.single_target, n_targets


def _given_folds(fold, n_samples, n_folds):
    """One label for each row, or None."""
    if fold is None:
        return None
    labels = np.asarray(fold)
    if labels.ndim == 0:
        labels = np.full(n_samples, labels)
    if labels.shape != (n_samples,):
        raise ValueError(
            f"fold must be an int or have one entry per row: got shape {labels.shape} for "
            f"{n_samples} rows."
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= n_folds:
        raise ValueError(f"fold must be whole numbers from 0 to cv - 1 = {n_folds - 1}.")
    return labels.astype(np.intp)
