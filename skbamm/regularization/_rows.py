"""What a regressor learns from: rows in memory, or the sums of rows that are not."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import FLOAT_DTYPES

from ..data._chunked_source import MappedRows, column_names, is_row_source, row_source
from ..data._folds import Folds, make_folds, position_folds
from ..data._validation import has_validation_rows, validate_weight
from ..linalg._cross_products import column_shift
from ..linalg._fold_cross_products import FoldSums
from ._input import regression_rows, validation_rows
from ._sufficient_statistics import SummedRows

# On few rows what is learned hangs on which of them are held out together: averaging over three
# assignments predicts better, more do not (docs/design-notes.md).
FEW_ROWS, FEW_ROWS_REPEATS = 1000, 3


def regression_data(estimator, X, y, sample_weight, held_out, split_params):
    """Validated training data, the folds of each repeat, and rows to judge by.

    Parameters
    ----------
    estimator : BilevelRegularizedRegressor
    X, y, sample_weight
        As `fit` takes them.
    held_out : tuple
        ``X_val, y_val, sample_weight_val``.
    split_params : dict
        For the splitter.

    Returns
    -------
    data : RegressionRows or SummedRows
    repeats : list of Folds or SummedFolds
    validation : RegressionRows or None
    """
    stream = None
    if is_row_source(X):
        stream = RowStream.open(X, y, sample_weight)
        if not is_few(estimator, *stream.source.shape):
            data = _summed(estimator, stream, held_out, split_params)
            if data is not None:
                stream.source.describe(estimator, reset=True)
                return data, data.folds(), None
        X, y, sample_weight = stream.whole()
    data = regression_rows(estimator, X, y, sample_weight)
    if stream is not None:
        stream.source.describe(estimator, reset=True)
    validation = validation_rows(estimator, data, *held_out)
    repeats = make_repeats(estimator, data, validation, split_params, estimator._seed())
    return data, repeats, validation


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


def make_repeats(estimator, data, validation, split_params, seed):
    """The folds; several assignments of them where `cv` is an int."""
    if validation is not None:
        return [Folds([(np.arange(len(data)), np.arange(len(validation)))])]
    y = data.y[:, 0] if data.single_target else data.y
    return [
        make_folds(estimator.cv, data.X, y, seed=seed + repeat, split_params=split_params)
        for repeat in range(n_repeats(estimator, len(data)))
    ]


def _summed(estimator, stream, held_out, split_params):
    """The sums of a stream, or None where memory-mapped rows must be looked at themselves."""
    why = ""
    if has_validation_rows(*held_out):
        why = "X_val"
    elif estimator.loss != "squared_error":
        why = f"loss={estimator.loss!r}"
    else:
        fold_of, n_folds = _fold_functions(estimator, stream, split_params)
        if fold_of:
            return stream.sums(fold_of, n_folds, estimator.fit_intercept)
        why = "a splitter whose test rows do not make up all rows"
    if isinstance(stream.source, MappedRows):
        return None
    raise ValueError(
        f"{why} needs all rows at once, but X is read block by block: pass arrays, or use an int "
        "or a splitter like KFold as cv and squared errors."
    )


def _fold_functions(estimator, stream, split_params):
    """For each repeat a function of ``start, stop`` to the folds of these rows."""
    seed = estimator._seed()
    if isinstance(estimator.cv, Integral):
        n_folds = int(estimator.cv)
        return position_labels(n_folds, seed, n_repeats(estimator, len(stream))), n_folds
    folds = make_folds(
        estimator.cv,
        np.empty((len(stream), 0)),
        stream.targets(),
        seed=seed,
        split_params=split_params,
    )
    label = folds.label
    if label is None:
        return [], 0
    return [lambda start, stop: label[start:stop]], len(folds)


@dataclass(frozen=True)
class PositionFolds:
    """The folds of the rows from start to stop, which follow from their positions."""

    n_folds: int
    seed: int

    def __call__(self, start, stop):
        return position_folds(stop - start, self.n_folds, self.seed, start)


def position_labels(n_folds, seed, n_repeats):
    """One `PositionFolds` for each repeat."""
    return [PositionFolds(n_folds, seed + repeat) for repeat in range(n_repeats)]


def needs_rows(estimator):
    """Which option needs more than sums over the rows; empty for none."""
    if estimator.loss != "squared_error":
        return f"loss={estimator.loss!r}"
    if not isinstance(estimator.cv, Integral):
        return f"cv={estimator.cv!r}"
    return ""


@dataclass(frozen=True)
class RowStream:
    """Training rows that are read and checked block by block.

    Attributes
    ----------
    source : MappedRows or ArrowRows
    y, weight : ndarray, or names of columns of the source, or None
    single_target : bool
        Whether y is 1-D.
    """

    source: Any
    y: Any
    weight: Any
    single_target: bool

    @classmethod
    def open(cls, X, y, sample_weight):
        """What `fit` was given; y and weights may be names of columns of files and tables."""
        names = weight_name = None
        if not isinstance(X, np.memmap):
            names, weight_name = column_names(y), column_names(sample_weight)
        source = row_source(X, others=[*(names or []), *(weight_name or [])])
        n_rows = np.empty((len(source), 0))
        if len(source) == 0:
            raise ValueError("Found array with 0 sample(s), but a minimum of 2 is required.")
        if y is None:
            raise ValueError("The estimator requires y to be passed, but the target y is None.")
        if names:
            single_target = isinstance(y, str)
        else:
            y = check_array(y, ensure_2d=False, dtype=FLOAT_DTYPES, input_name="y")
            check_consistent_length(n_rows, y)
            single_target = y.ndim == 1
        if sample_weight is not None and not weight_name:
            sample_weight = validate_weight(sample_weight, n_rows, "sample_weight")
        return cls(source, names or y, weight_name or sample_weight, single_target)

    def __len__(self):
        return len(self.source)

    def blocks(self):
        """First row, X, y (2-D) and weights of each block in turn."""
        start = 0
        for X, columns in self.source.blocks():
            rows = slice(start, start + len(X))
            if isinstance(self.y, list):
                y = np.stack([columns[name] for name in self.y], axis=1)
            else:
                y = self.y[rows].reshape(len(X), -1)
            weight = self.weight
            if isinstance(weight, list):
                weight = columns[weight[0]].astype(np.float64)
                if (weight < 0).any():
                    name = self.weight[0]
                    raise ValueError(f"Negative values in sample_weight, column {name!r}.")
            elif weight is not None:
                weight = weight[rows]
            yield start, X, np.asarray(y, dtype=np.float64), weight
            start = rows.stop

    def sums(self, fold_of, n_folds, fit_intercept):
        """Sums by fold, in one pass.

        Parameters
        ----------
        fold_of : list of callable
            For each repeat, from first and last row of a block to the folds of its rows.

        Returns
        -------
        sums : SummedRows
        """
        repeats: list[FoldSums] = []
        for start, X, y, weight in self.blocks():
            if not repeats:
                shift = column_shift(X, y, fit_intercept)
                repeats = [FoldSums(shift, y.shape[1], n_folds) for _ in fold_of]
            for sums, folds in zip(repeats, fold_of, strict=True):
                sums.add(X, y, weight, folds(start, start + len(y)))
        return summed_rows(repeats, len(self), self.single_target, overwrite=True)

    def targets(self):
        """y as an array of its own."""
        if not isinstance(self.y, list):
            return self.y
        y = np.concatenate([y for _, _, y, _ in self.blocks()])
        return y[:, 0] if self.single_target else y

    def whole(self):
        """X, y and weights, in memory."""
        X, columns = self.source.whole()
        y, weight = self.y, self.weight
        if isinstance(y, list):
            y = np.stack([columns[name] for name in y], axis=1)
            y = y[:, 0] if self.single_target else y
        return X, y, columns[weight[0]] if isinstance(weight, list) else weight


def summed_rows(repeats, n_samples, single_target, *, overwrite=False):
    """`SummedRows` from the `FoldSums` of each repeat."""
    first = repeats[0]
    if not first.weight.any():
        raise ValueError("sample_weight must not be all zero.")
    return SummedRows(
        [sums.moments(overwrite=overwrite) for sums in repeats],
        first.shift,
        n_samples,
        first.n_targets,
        single_target,
    )
