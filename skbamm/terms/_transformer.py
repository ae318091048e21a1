"""SmoothTerms: from columns of a raw table to columns in which a ridge penalty is roughness."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin

from .._base import Documented, fit_atomically
from ..data._folds import seed_of
from ..data._validation import (
    Interval,
    Options,
    StrOptions,
    _check_feature_names_in,
    _fit_context,
    check_alike,
    check_is_fitted,
    validate_weight,
)
from ._columns import CategoricalColumn, NumericColumn
from ._pairs import PairSearch, dense, named_pairs, position_of
from ._table import column_names, read_columns, refuse_same
from ._targets import pairs_for

# Columns of all smooth functions together, so that their Gram matrix stays cheap; of many columns
# each has the smoothest ones, but at least so many.
MOST_SMOOTH, LEAST_SMOOTH = 240, 5

# Rows whose columns are made at a time: they stay in the cache.
BLOCK_ROWS = 4096


class SmoothTerms(Documented, TransformerMixin, BaseEstimator):
    r"""Smooth functions of the columns of a mixed table, as columns for a linear model.

    A numeric column becomes a linear column of variance 1 and a block of penalized splines in
    which the plain ridge penalty :math:`\sum_j w_j^2` of the coefficients is, but for a factor of
    the block, the roughness :math:`\int f''(x)^2 dx` of the function (of :math:`f'` with
    ``order=1``), in a scale between that of the values and that of their ranks. The splines do not
    correlate with the linear column, and their variances add up to 1: one strength means the same
    in every block [1]_. A categorical column becomes an indicator for each level, whose
    coefficients under a ridge penalty are random effects. Interactions are products of both, with
    main effects taken out. A regressor that learns a strength for each block (`block_names_`)
    learns how smooth each function is; `AdditiveRegressor` does all of it.

    Parameters
    ----------
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Columns that hold categories: positions, names, or a mask. "from_dtype": in a dataframe
        those of categories or texts, in an array none, as None. Texts of which more than nine
        tenths are distinct are refused unless they are named here.

    interactions : "auto", int, list of pairs or None, default="auto"
        Pairs of columns, by name or position; or so many (True is one), found by a fast
        screening of what main effects leave of y [2]_. "auto" takes up to 12, as many as predict
        held-out rows better than none; both need `y`, and without it "auto" takes none.

    n_knots : int, default=20
        Knots of a spline, at most: between quantiles of the rows and of the distinct values. A
        column with fewer distinct values has as many as these.

    order : {1, 2}, default=2
        Of the derivative that makes roughness. 1 follows kinks and thresholds, which interactions
        do in any case, and outlying values of a column too.

    cyclic : mapping or None, default=None
        From columns to their periods, as ``{"hour": 24}``: functions whose ends meet, without a
        linear column.

    target_type : {"auto", "continuous", "classes"}, default="auto"
        What `y` is, where interactions are chosen by it: those of classes are on the scale of
        logits. "auto" takes texts and whole numbers of up to 20 distinct values for classes.

    cv : int, splitter or list of splits, default=5
        Folds on which "auto" decides.

    sparse_output : bool, default=False
        Whether to return a CSR matrix, which pays where most columns are levels of categories.

    dtype : {numpy.float64, numpy.float32}, default=numpy.float64
        Of the output.

    random_state : int, RandomState instance or None, default=0
        Seed of the folds where `cv` is an int.

    Attributes
    ----------
    block_names_ : ndarray of shape (n_columns,)
        Block of each column of the output, for the `groups` of a regressor: "age__linear",
        "age__smooth", "age__missing", "city", "age:income__smooth".

    term_names_ : ndarray of shape (n_columns,)
        Term of each of them: "age", "city", "age:income".

    interactions_ : list of pairs
        Names of the columns that interact, the strongest first.

    is_categorical_ : list of bool
        Which columns of X hold categories.

    columns_ : list
        What is known of each column of X.

    pairs_ : list
        What is known of each interaction.

    n_features_in_ : int
        Number of columns of X in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if all of them are strings.

    Notes
    -----
    Rows that are unlike those of `fit`: beyond the range of a numeric column only its linear part
    goes on, up to half of the range, and an interaction never leaves the values that it had. A
    missing number is 0 in all columns of its term, which is its mean, and has an indicator (of
    variance 1 once it is centred) where `fit` saw missing ones. A level that `fit` did not see, and
    a missing one where it saw none, is 0 everywhere. Interactions are of the seven most frequent
    levels of a category (of equally frequent ones the first by name), other levels have none.

    Columns that are constant in `fit`, have one level, or are all missing become nothing. With two
    distinct values a column is linear. Infinite values are refused.

    Memory: the output, with about 12 columns for each number (fewer where there are more than 50 of
    these) and up to 24 for each pair; where interactions are looked for, three times that in
    `fit`. Without these `fit` needs no more than quantiles and levels, for which a sample of the
    rows will do.

    References
    ----------
    .. [1] A. Demmler, C. Reinsch, "Oscillation Matrices with Spline Smoothing", Numerische
           Mathematik 24, 1975.
    .. [2] Y. Lou, R. Caruana, J. Gehrke, G. Hooker, "Accurate Intelligible Models with Pairwise
           Interactions", KDD 2013.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbamm import SmoothTerms
    >>> table = pd.DataFrame({"age": [21.0, 35, 48, 62, 70], "city": list("aabba")})
    >>> terms = SmoothTerms().fit(table)
    >>> terms.get_feature_names_out()
    array(['age__linear', 'age__smooth_1', 'age__smooth_2', 'age__smooth_3', 'city__a', 'city__b'],
          dtype=object)
    """

    _parameter_constraints: dict = {
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "interactions": [
            Interval(Integral, 0, None, closed="left"),
            StrOptions({"auto"}),
            "array-like",
            None,
        ],
        "n_knots": [Interval(Integral, 4, None, closed="left")],
        "order": [Options(Integral, {1, 2})],
        "cyclic": [dict, Mapping, None],
        "target_type": [StrOptions({"auto", "continuous", "classes"})],
        "cv": ["cv_object"],
        "sparse_output": ["boolean"],
        "dtype": "no_validation",
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        categorical_features="from_dtype",
        interactions="auto",
        n_knots=20,
        order=2,
        cyclic=None,
        target_type="auto",
        cv=5,
        sparse_output=False,
        dtype=np.float64,
        random_state=0,
    ):
        self.categorical_features = categorical_features
        self.interactions = interactions
        self.n_knots = n_knots
        self.order = order
        self.cyclic = cyclic
        self.target_type = target_type
        self.cv = cv
        self.sparse_output = sparse_output
        self.dtype = dtype
        self.random_state = random_state

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Learn ranges, knots and levels of the columns, and which of them interact.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            Numbers and categories, with gaps (NaN, None, NA).

        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            What the interactions are to explain; labels of classes may be texts.

        sample_weight : array-like of shape (n_samples,), default=None
            A weight of 2 equals the row twice.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            For texts that are no categories, infinite values, and names of no column.
        """
        self._fit(X, y, sample_weight)
        return self

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None, sample_weight=None):
        """Fit, then give the columns of all terms.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            As in `fit`.

        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            As in `fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        columns : {ndarray, sparse matrix, dataframe} of shape (n_samples, n_columns)
            What `transform` returns for these rows.
        """
        return self._columns_of(self._fit(X, y, sample_weight))

    def transform(self, X):
        """The columns of all terms.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            As in `fit`.

        Returns
        -------
        columns : {ndarray, sparse matrix, dataframe} of shape (n_samples, n_columns)
            A dataframe where `set_output` asks for one.
        """
        check_is_fitted(self)
        return self._transform(read_columns(self, X, reset=False))

    def get_feature_names_out(self, input_features=None):
        """Give the names of the columns: "age__linear", "age__smooth_3", "city__Paris".

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, if it had none in `fit`.

        Returns
        -------
        names : ndarray of str
            One for each column.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return self._named(names)[0]

    def _stored_share(self):
        """Share of the entries of the output that are not zero, about."""
        kinds = self._kinds()
        stored = np.count_nonzero(kinds != "levels") + sum(self.is_categorical_)
        return stored / max(len(kinds), 1)

    def _fit(self, X, y, sample_weight):
        """What was formed of the columns of X; sets all attributes."""
        if np.dtype(self.dtype) not in (np.float64, np.float32):
            raise ValueError(f"dtype must be float64 or float32: got {self.dtype!r}.")
        values = read_columns(self, X, reset=True)
        names = column_names(self)
        weight = np.ones(len(values[0]))
        if sample_weight is not None:
            weight = validate_weight(sample_weight, weight[:, None], "sample_weight")
            check_alike(weight)
        periods = self._periods(names)
        n_numbers = max(len(names) - sum(self.is_categorical_), 1)
        most = max(MOST_SMOOTH // n_numbers, LEAST_SMOOTH)
        self.columns_ = [
            CategoricalColumn.of(column, weight)
            if is_category
            else NumericColumn.of(
                column, weight, self.n_knots, self.order, periods.get(j), most=most
            )
            for j, (column, is_category) in enumerate(
                zip(values, self.is_categorical_, strict=True)
            )
        ]
        search = PairSearch(self.columns_, values, weight, self.n_knots)
        pairs = self._pairs(search, names, y)
        self.pairs_ = [part for part in map(search.of, pairs) if part.n_columns]
        self.interactions_ = [tuple(names[j] for j in part.pair) for part in self.pairs_]
        _, blocks, terms = self._named(names)
        self.block_names_, self.term_names_ = blocks, terms
        return search

    def _periods(self, names):
        """Period of each cyclic column, by position."""
        found = {}
        for column, period in (self.cyclic or {}).items():
            j = position_of(column, names, "cyclic")
            is_length = isinstance(period, Real) and 0 < float(period) < np.inf
            if not is_length or self.is_categorical_[j]:
                raise ValueError(
                    "cyclic must give numeric columns and the length of their periods, above 0: "
                    f"got {period!r} for {column!r}."
                )
            found[j] = float(period)
        return found

    def _pairs(self, search, names, y):
        asked = self.interactions
        if asked is None or (isinstance(asked, Integral) and asked == 0):
            return []
        if not isinstance(asked, (str, Integral)):
            return named_pairs(asked, names)
        if y is None:
            if asked == "auto":
                return []
            raise ValueError(f"interactions={asked} are chosen by y: pass y, or name the pairs.")
        seed = seed_of(self.random_state)
        return pairs_for(search, y, self.target_type, asked, self.cv, seed)

    def _columns_of(self, search):
        """The output for the rows of `fit`, of what was formed then."""
        if self.sparse_output or not search.mains:
            return self._transform(search.values)
        parts = [search.main(j) for j in range(len(self.columns_))]
        parts += [search.block(part.pair) for part in self.pairs_]
        output = np.empty((len(search.weight), len(self.block_names_)), dtype=self.dtype)
        return np.concatenate(parts, axis=1, out=output)

    def _transform(self, values):
        dtype = np.dtype(self.dtype)
        if self.sparse_output:
            parts = [sparse.csr_matrix(part, dtype=dtype) for part in self._parts(values)]
            return sparse.hstack(parts, format="csr")
        output = np.empty((len(values[0]), len(self.block_names_)), dtype=dtype)
        for start in range(0, len(output), BLOCK_ROWS):
            rows, end = slice(start, start + BLOCK_ROWS), 0
            for part in self._parts([some[rows] for some in values]):
                begin, end = end, end + part.shape[1]
                output[rows, begin:end] = dense(part)
        return output

    def _parts(self, values):
        """The columns of each term."""
        parts = [c.transform(v) for c, v in zip(self.columns_, values, strict=True)]
        return parts + [
            part.transform([values[j] for j in part.pair], [dense(parts[j]) for j in part.pair])
            for part in self.pairs_
        ]

    def _named(self, names):
        """Name, block and term of each column of the output, given names of X's."""
        found = [c.names(name) for c, name in zip(self.columns_, names, strict=True)]
        terms = list(names)
        for part in self.pairs_:
            pair = [names[j] for j in part.pair]
            found.append(part.names(*pair))
            terms.append(":".join(pair))
        labels = [[term] * len(both[0]) for term, both in zip(terms, found, strict=True)]
        columns, blocks = zip(*found, strict=True)
        refuse_same("terms", map(set, labels))
        refuse_same("blocks", map(set, blocks))
        refuse_same("columns", columns)
        return [np.array(list(chain(*some)), dtype=object) for some in (columns, blocks, labels)]

    def _kinds(self):
        """What each column of the output is of: "linear", "smooth", "missing" or "levels"."""
        found = [c.kinds for c in self.columns_]
        return np.array(list(chain(*found, *(["smooth"] * p.n_columns for p in self.pairs_))))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags
