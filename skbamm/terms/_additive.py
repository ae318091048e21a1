"""AdditiveRegressor: smooth functions of raw columns, each with a learned smoothness."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from .._base import fit_atomically
from ..data._validation import _fit_context, check_is_fitted, validate_weight
from ..regularization import BilevelRegularizedRegressor
from ._estimator import AdditiveEstimator
from ._fold_fits import FoldFits
from ._members import LinearFit, Member, centre_and_scale, fitted, mean_weights
from ._pairs import standardized_targets


class AdditiveRegressor(RegressorMixin, AdditiveEstimator):
    r"""Sum of smooth functions of the columns of a raw table, and of some of their pairs.

    `SmoothTerms` makes the columns, `BilevelRegularizedRegressor` learns a strength for every
    block of them: how smooth each function is, how much the levels of a category and an
    interaction may count; all at once, by sl-BAMM on the held-out error, with a prior that holds
    them together. Its ``penalty="adaptive"`` begins where the sizes of coefficients in an initial
    fit point to, so that terms without an effect are found among many. The ridge fit on the linear
    columns and levels alone is averaged with that, by out-of-fold errors.

    Parameters
    ----------
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Columns that hold categories: positions, names, or a mask. "from_dtype": in a dataframe
        those of categories or texts, in an array none, as None.

    interactions : "auto", int, list of pairs or None, default="auto"
        Pairs of columns, by name or position; so many of the strongest (True is one); with "auto"
        up to 12, as many as predict held-out rows better than none.

    n_knots : int, default=20
        Knots of a spline, at most.

    order : {1, 2}, default=2
        Of the derivative that makes roughness. 1 follows kinks and thresholds, which interactions
        do in any case, and outlying values of a column too.

    cyclic : mapping or None, default=None
        From columns to their periods, as ``{"hour": 24}``.

    shrinkage : float, default=0.01
        How strongly the log strengths of blocks are shrunk to what the size of their coefficients
        in an initial fit says, in units of the held-out error; 0 leaves them free,
        `numpy.inf` allows no difference.

    standard_errors : float, default=1
        Scale on which the linear fit's weight in the mean falls with what its held-out error is
        above the other one's, and the other way round, in standard errors over the folds; 0 takes
        the better one alone.

    cv : int, splitter or list of splits, default=5
        Folds whose held-out error is minimised, and on which interactions are decided.

    n_repeats : "auto" or int, default="auto"
        Where `cv` is an int, learn on so many assignments of rows to folds. "auto" is 3 with up to
        200 rows, else 1.

    solver : str or Solver, default="sl-bamm"
        As in `BilevelRegularizedRegressor`.

    max_iter : int, default=200
        Largest number of sl-BAMM iterations. 0 evaluates the initial points only.

    tol : float, default=2e-2
        As in `BilevelRegularizedRegressor`.

    random_state : int, RandomState instance or None, default=0
        Seed of the folds where `cv` is an int.

    device : str or None, default=None
        Where torch computes.

    verbose : int, default=0
        As in `BilevelRegularizedRegressor`.

    Attributes
    ----------
    terms_ : SmoothTerms
        From X to the columns of the terms.

    regressor_ : BilevelRegularizedRegressor
        The fit on all of these, before the mean with the linear fit. With no more rows than columns
        of X the linear fit is all there is.

    coef_ : ndarray of shape (n_columns,)
        Coefficients of the columns that `terms_` makes.

    intercept_ : float
        Intercept.

    alpha_ : ndarray of shape (n_columns,)
        Learned strength of each column, on the scale of `BilevelRegularizedRegressor`; infinite
        where a column is not used.

    block_alpha_ : dict of str to float
        Learned strength of each block: of "age__smooth" how stiff the function of age is.

    average_weights_ : dict of str to float
        Weight of the fit of all columns ("smooth") and of the linear columns and levels alone
        ("linear") in `coef_`.

    term_names_ : list of str
        Terms that have columns, as "age", "city", "age:income", in the order of `predict_terms`.

    column_means_ : ndarray of shape (n_columns,)
        Means of the columns that `terms_` makes, over the rows of `fit`.

    mean_prediction_ : float
        Mean prediction of the rows of `fit`.

    criterion_ : float
        Held-out error of `regressor_`, in units of the variance of y. Interactions were chosen
        with all rows, so that it is optimistic where there are any.

    status_ : str
        Why the run of `regressor_` ended.

    history_ : History
        Records of that run.

    n_iter_ : int
        Number of its evaluations.

    dataframe_ : str
        Kind of dataframe that X was in `fit` ("pandas", "polars", ...), "" for none.

    n_features_in_ : int
        Number of columns of X in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if all of them are strings.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import AdditiveRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = AdditiveRegressor().fit(X, y)
    >>> model.predict_terms(X[:2]).shape == (2, len(model.term_names_))
    True
    """

    _penalized = BilevelRegularizedRegressor
    _few_rows = 200
    _target_type = "continuous"

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Learn the terms, the strength of each, and the coefficients.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            Numbers and categories, with gaps (NaN, None, NA).

        y : array-like of shape (n_samples,)
            Targets.

        sample_weight : array-like of shape (n_samples,), default=None
            A weight of 2 equals the row twice.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For texts that are no categories, infinite values, NaN in y, names of no column, and
            weights that are all zero.
        """
        return self._fit(X, y, sample_weight)

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            As in `fit`.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predictions.
        """
        check_is_fitted(self)
        return self.terms_.transform(X) @ self.coef_ + self.intercept_

    def predict_terms(self, X):
        """What each term adds to the prediction, relative to its mean over the rows of `fit`.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            As in `fit`.

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_terms)
            In the order of `term_names_`. A row's sum and `mean_prediction_` are its prediction.
        """
        check_is_fitted(self)
        effects = self.coef_[:, None] * self._membership()
        return self.terms_.transform(X) @ effects - self.column_means_ @ effects

    def _targets(self, X, y, sample_weight):
        """Targets and weights as float64."""
        if y is None:
            raise ValueError("AdditiveRegressor requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        check_consistent_length(X, y)
        if sample_weight is None:
            return y, np.ones(len(y))
        return y, validate_weight(sample_weight, y[:, None], "sample_weight")

    def _learn(self, design, y, weight, folds, search):
        """Fit the columns of all terms, and the linear ones; `coef_` is their mean."""
        members, parts = {}, self._columns_of_members(design, np.count_nonzero(weight))
        fits = None
        if len(parts) > 1:
            fits = self._known_fits(search)
            if fits is None:
                # Of variance 1, as the regressor has its criterion.
                fits = FoldFits.of(design, standardized_targets(y, weight), weight, folds)
        for name, kept in parts.items():
            if name == "linear" and fits is not None:
                linear = LinearFit.of(fits.only(kept), *centre_and_scale(y, weight))
                members[name] = Member(kept, linear)
                continue
            some = design if kept.all() else design[:, kept]
            model = self._model(name, list(self.terms_.block_names_[kept]), len(y))
            members[name] = Member(kept, fitted(model, fits, some, y, weight, folds))
        shares = np.ones(1)
        if fits is not None:
            errors = np.array([one.errors(fits) for one in members.values()])
            shares = mean_weights(errors, self.standard_errors, np.count_nonzero(weight))
        self.regressor_ = self._store_mean(members, shares)
        self.intercept_ = float(self.intercept_)

    def _known_fits(self, search):
        """What the search of pairs has formed of the same columns, rows and folds, or None."""
        is_same = search.main_fits and not self.terms_.pairs_ and isinstance(self.cv, Integral)
        return search.main_fits[0] if is_same else None

    def _store_means(self, design, weight):
        self.column_means_ = weight @ design / weight.sum()
        self.mean_prediction_ = float(self.column_means_ @ self.coef_) + self.intercept_
