"""AdditiveClassifier: smooth functions of raw columns on the scale of logits."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from .._base import fit_atomically
from ..data._labels import class_factors, require_two_classes, validated_labels
from ..data._validation import StrOptions, _fit_context, check_is_fitted, validate_weight
from ..regularization import BilevelRegularizedClassifier
from ..regularization.classification._logits import LogitClassifier
from ._estimator import AdditiveEstimator
from ._fold_fits import Fold
from ._members import Member, mean_weights

# Up to so many rows, functions whose share of the variance of their block is less count for
# nothing: so much only tells sharper functions than these rows can show (measured).
MANY_ROWS, LEAST_VARIANCE = 5000, 1e-3


class AdditiveClassifier(LogitClassifier, AdditiveEstimator):
    r"""Classes of a raw table: logits that are sums of smooth functions of its columns.

    The sibling of `AdditiveRegressor` for log loss, with the same parameters: `SmoothTerms` makes
    the columns, among them those of pairs that interact on the scale of logits,
    `BilevelRegularizedClassifier` learns a strength for every block of them by sl-BAMM on the
    held-out log loss, and the ridge fit on the linear columns and levels alone is averaged with
    that. With two classes the functions are logits of the second one; with more each class has
    functions of its own, whose smoothness is common to all.

    Parameters
    ----------
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        As in `AdditiveRegressor`.

    interactions : "auto", int, list of pairs or None, default="auto"
        As in `AdditiveRegressor`.

    n_knots : int, default=20
        As in `AdditiveRegressor`.

    order : {1, 2}, default=2
        As in `AdditiveRegressor`.

    cyclic : mapping or None, default=None
        As in `AdditiveRegressor`.

    shrinkage : float, default=0.1
        How strongly the log strengths of blocks are shrunk to what the size of their coefficients
        in an initial fit says, in units of half a nat of held-out log loss for each row; 0 leaves
        them free, `numpy.inf` allows no difference.

    standard_errors : float, default=1
        As in `AdditiveRegressor`.

    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights by class, 1 where a dict has none; in training and held-out
        losses.

    cv : int, splitter or list of splits, default=5
        Folds whose held-out log loss is minimised, and on which interactions are decided. With an
        int they are stratified.

    n_repeats : "auto" or int, default="auto"
        Where `cv` is an int, learn on so many assignments of rows to folds. "auto" is 3 with up to
        400 rows, else 1.

    solver : str or Solver, default="sl-bamm"
        As in `BilevelRegularizedClassifier`.

    max_iter : int, default=100
        Largest number of sl-BAMM iterations. 0 evaluates the initial points only.

    tol : float, default=3e-2
        As in `BilevelRegularizedClassifier`.

    random_state : int, RandomState instance or None, default=0
        Seed of the folds where `cv` is an int.

    device : str or None, default=None
        Where torch computes.

    verbose : int, default=0
        As in `BilevelRegularizedClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in order.

    terms_ : SmoothTerms
        From X to the columns of the terms.

    classifier_ : BilevelRegularizedClassifier
        The fit on all of these, before the mean with the linear fit; of numbers of classes. With no
        more rows than columns of X the linear fit is all there is.

    coef_ : ndarray of shape (1, n_columns) or (n_classes, n_columns)
        Coefficients of the columns that `terms_` makes; with two classes those of the second one.

    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.

    alpha_ : ndarray of shape (n_columns,)
        Learned strength of each column, on the scale of `BilevelRegularizedClassifier`; infinite
        where a column is not used.

    block_alpha_ : dict of str to float
        Learned strength of each block: of "age__smooth" how stiff the functions of age are.

    average_weights_ : dict of str to float
        Weight of the fit of all columns ("smooth") and of the linear columns and levels alone
        ("linear") in `coef_`.

    term_names_ : list of str
        Terms that have columns, as "age", "city", "age:income", in the order of `predict_terms`.

    column_means_ : ndarray of shape (n_columns,)
        Means of the columns that `terms_` makes, over the rows of `fit`.

    mean_decision_ : float or ndarray of shape (n_classes,)
        Mean of `decision_function` over the rows of `fit`.

    criterion_ : float
        Held-out log loss of `classifier_`. Interactions were chosen with all rows, so that it is
        optimistic where there are any.

    status_ : str
        Why the run of `classifier_` ended.

    history_ : History
        Records of that run.

    n_iter_ : ndarray of shape (1,)
        Number of its evaluations.

    dataframe_ : str
        Kind of dataframe that X was in `fit` ("pandas", "polars", ...), "" for none.

    n_features_in_ : int
        Number of columns of X in `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if all of them are strings.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skbamm import AdditiveClassifier
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> model = AdditiveClassifier(interactions=None, n_repeats=1).fit(X, y)
    >>> model.predict_terms(X[:2]).shape == (2, len(model.term_names_), 3)
    True
    """

    _penalized = BilevelRegularizedClassifier
    _few_rows = 400
    _target_type = "classes"

    _parameter_constraints: dict = {
        **AdditiveEstimator._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        categorical_features="from_dtype",
        interactions="auto",
        n_knots=20,
        order=2,
        cyclic=None,
        shrinkage=0.1,
        standard_errors=1,
        class_weight=None,
        cv=5,
        n_repeats="auto",
        solver="sl-bamm",
        max_iter=100,
        tol=3e-2,
        random_state=0,
        device=None,
        verbose=0,
    ):
        super().__init__(
            categorical_features=categorical_features,
            interactions=interactions,
            n_knots=n_knots,
            order=order,
            cyclic=cyclic,
            shrinkage=shrinkage,
            standard_errors=standard_errors,
            cv=cv,
            n_repeats=n_repeats,
            solver=solver,
            max_iter=max_iter,
            tol=tol,
            random_state=random_state,
            device=device,
            verbose=verbose,
        )
        self.class_weight = class_weight

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Learn the terms, the strength of each, and the coefficients.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            Numbers and categories, with gaps (NaN, None, NA).

        y : array-like of shape (n_samples,)
            Labels of two or more classes.

        sample_weight : array-like of shape (n_samples,), default=None
            A weight of 2 equals the row twice.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For texts that are no categories, infinite values, NaN in y, fewer than two classes,
            names of no column, and weights that are all zero.
        """
        return self._fit(X, y, sample_weight)

    def decision_function(self, X):
        """Compute the logits of the classes.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            As in `fit`.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of the second class where there are two.
        """
        check_is_fitted(self)
        scores = self.terms_.transform(X) @ self.coef_.T + self.intercept_
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_terms(self, X):
        """What each term adds to the logits, relative to its mean over the rows of `fit`.

        Parameters
        ----------
        X : {array-like, dataframe} of shape (n_samples, n_features)
            As in `fit`.

        Returns
        -------
        contributions : ndarray of shape (n_samples, n_terms) or (n_samples, n_terms, n_classes)
            In the order of `term_names_`; with two classes those of the second one. Their sum over
            the terms and `mean_decision_` are the `decision_function` of a row.
        """
        check_is_fitted(self)
        columns = self.terms_.transform(X)
        found = []
        for coef in self.coef_:
            effects = coef[:, None] * self._membership()
            found.append(columns @ effects - self.column_means_ @ effects)
        return found[0] if len(found) == 1 else np.stack(found, axis=2)

    def _targets(self, X, y, sample_weight):
        """Numbers of the classes, and weights times the factors of these."""
        if y is None:
            raise ValueError(
                "AdditiveClassifier requires y to be passed, but the target y is None."
            )
        y = check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=None, input_name="y")
        y = validated_labels(y)
        check_consistent_length(X, y)
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = validate_weight(sample_weight, y[:, None], "sample_weight")
        self.classes_, labels = np.unique(y, return_inverse=True)
        mass = np.bincount(labels, weight)
        require_two_classes(mass)
        if self.class_weight is not None:
            weight = weight * class_factors(self.class_weight, self.classes_, mass)[labels]
        return labels, weight

    def _learn(self, design, y, weight, folds, search):
        """Fit the columns of all terms, and the linear ones; `coef_` is their mean."""
        from ._logit_fits import held_out_losses

        blocks = self.terms_.block_names_
        members, varying = {}, self._varying(design, weight)
        for name, kept in self._columns_of_members(design, np.count_nonzero(weight)).items():
            kept = kept & varying
            model = self._model(name, list(blocks[kept]), len(y))
            members[name] = Member(kept, model.fit(design[:, kept], y, weight))
        shares = np.ones(1)
        if len(members) > 1:
            given = y, len(self.classes_), weight, Fold.of(folds, weight)
            losses = [
                held_out_losses(design[:, one.kept], *given, one.model) for one in members.values()
            ]
            shares = mean_weights(np.array(losses), self.standard_errors, np.count_nonzero(weight))
        self.classifier_ = self._store_mean(members, shares)
        if len(self.classes_) > 2:
            # Those of all classes sum to 0, but for what minimisers leave.
            self.coef_ = self.coef_ - self.coef_.mean(axis=0)
            self.intercept_ = self.intercept_ - self.intercept_.mean()

    def _varying(self, design, weight):
        """Which columns rows say something of: smooth functions of next to no variance go.

        Each class has coefficients for all columns, of which these are a half.
        """
        is_smooth = self.terms_._kinds() == "smooth"
        if sparse.issparse(design) or np.count_nonzero(weight) > MANY_ROWS:
            return np.ones_like(is_smooth)
        share = weight / weight.sum()
        variance = share @ design**2 - (share @ design) ** 2
        index = np.unique(self.terms_.block_names_.astype(str), return_inverse=True)[1]
        total = np.bincount(index, variance)[index]
        return ~is_smooth | (variance >= LEAST_VARIANCE * total)

    def _store_means(self, design, weight):
        self.column_means_ = weight @ design / weight.sum()
        mean = self.coef_ @ self.column_means_ + self.intercept_
        self.mean_decision_ = float(mean[0]) if len(mean) == 1 else mean
