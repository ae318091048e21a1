"""BilevelRegularizedClassifier: logistic and multinomial regression that learns its penalty."""

from __future__ import annotations

import numpy as np
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import FLOAT_DTYPES

from ..._base import fit_atomically
from ..._progress import Progress, attributes_after
from ...data._columns import split_columns
from ...data._tables import dataframe_kind
from ...data._validation import (
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from ...linalg._session import threads_for, torch_session
from ...row_weights._estimator import RowColumns, RowWeightMixin
from .._estimator import PenaltyEstimator
from ._logits import LogitClassifier


class BilevelRegularizedClassifier(LogitClassifier, RowWeightMixin, PenaltyEstimator):
    r"""Logistic or multinomial regression that learns how strongly each feature is penalized.

    The coefficients minimise, on the training rows of each fold,

    .. math:: \mathrm{mean}_i \, \ell(y_i, W x_i + c)
              + \tfrac12 \sum_j \alpha_j s_j^2 \sum_k W_{kj}^2,

    :math:`\ell` being the log loss (or another `penalty`), and the penalty weights
    :math:`\alpha_j` minimise the log loss of the held-out rows of all folds: a bilevel problem,
    solved by sl-BAMM [1]_ within `fit`. A feature has one weight for all classes. The coefficients
    are those on all rows, averaged over the penalties that the folds cannot tell from the best one
    (`standard_errors`). The sibling of `BilevelRegularizedRegressor`.

    Parameters
    ----------
    penalty : {"adaptive", "l2", "l1"}, default="adaptive"
        How few learned numbers generate the penalties of all features.

        - "adaptive": :math:`\alpha_j = e^a (m_j / m)^{-e}`, where :math:`m_j` is the size of the
          feature's coefficients (root mean square over the classes) in a pilot ridge fit and
          :math:`m` the root mean square of all. With groups :math:`m_j^2` is partly its mean over
          the feature's group (`group_share_`). Learned are the strength a, the exponent e and the
          pilot's strength. Exponent 0 gives ridge, larger ones come close to selecting features.
        - "l2": ridge with one strength for each group, and no pilot.
        - "l1": the lasso with one strength for each group: coefficients that are exactly zero.

    groups : None, "feature", "prefix", array-like, mapping or callable, default=None
        Which features belong together: None (all of them), "feature" (each on its own),
        "prefix" (the part of a column name before the first ``"__"``, which is how
        `ColumnTransformer` names its blocks), one label for each feature (a pandas Series is
        matched by name if its index holds names), a mapping from names to columns (positions,
        names, slices or masks) or a callable of a name.

    alpha : "learn", float or mapping, default="learn"
        A number fixes the strength of every feature; a mapping fixes it for the groups
        that it names, and may say "learn". 0 leaves features unpenalized, but for a ridge of 1e-7
        that keeps them finite where classes are separable. On the scale of the
        weighted *mean* of the log loss: with ``penalty="l2"`` and standardized columns
        `LogisticRegression`'s `C` is ``1 / (alpha * sum(sample_weight))``.

    alpha_features : array-like of shape (n_features, n_descriptions) or None, default=None
        What is known of each feature beforehand (its origin, missing rate, a screening score):
        the log strength is also linear in these, with a learned slope for each. Rows of a pandas
        table are matched by name if its index holds names.

    penalty_factors : array-like of shape (n_features,), mapping or None, default=None
        Relative strengths, as in glmnet: the strength of a feature, learned or fixed, is
        multiplied by its factor. 0 leaves it unpenalized (as `alpha` does); what is to be infinite
        should be left out of X. A mapping names columns (or has positions where these have no
        names) and means 1 for others; a pandas Series is matched by name if its index holds names.
        Where strengths are learned only ratios of factors count: `alpha_bounds` and `hyper_` are
        those of a feature whose factor is the geometric mean of all above 0.

    shrinkage : "auto" or float, default="auto"
        How strongly what is learned of single groups and descriptions is shrunk to what is
        common to all, in units of half a nat of log loss for each row. "auto" chooses by nested
        cross-validation, and prefers no difference at all; 0 leaves them free (with
        ``groups="feature"``: the papers' free weights); `numpy.inf`, like any number from 100
        on, allows no difference. With "adaptive", a number also gives each group a strength of
        its own.

    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights by class, 1 where a dict has none; in training and held-out
        losses.

    cv : int, splitter or list of splits, default=5
        Folds whose held-out loss is minimised. With an int they are stratified, and the fold of a
        row is a pseudo-random function of its position within its class (and of `random_state`).
        A splitter may need ``groups`` in `fit`. Ignored when `X_val` is given.

    n_repeats : "auto" or int, default="auto"
        Where `cv` is an int, learn on so many assignments of rows to folds and take the mean of
        the coefficients. "auto" is 3 with "adaptive" or "l2" and up to 1000 rows, else 1.

    solver : str or Solver, default="sl-bamm"
        A name in `skbamm.solvers.SOLVERS`, or an instance with options of its own.

    alpha_bounds : tuple of two floats, default=(1e-9, 1e6)
        Smallest and largest learned strength: of each group with "l2"; with "adaptive" of the
        pilot and of the common strength :math:`e^a`, around which those of features spread.
        With ``standardize=False`` in units of the mean variance of the columns. A warning says
        where a strength ends at a bound and the held-out loss is lower beyond it.

    standard_errors : float, default=1
        With ``penalty="adaptive"`` the coefficients are a weighted mean of those of what was
        learned and of penalties that need no learning: ridge, and adaptive ridge with a few pilots
        and exponents. The weight of each is :math:`\pi \exp(-z^2 / (2 c^2))`, where z is its
        held-out loss less the best one's in standard errors over the folds, c this number, and
        :math:`\pi` a half for ridge and the same for all others: what a few folds cannot tell
        apart is averaged, not chosen. Up to 400 rows the others have to be better than ridge by
        one standard error, with more rows by less. 0 takes the best one alone.

    standardize : bool, default=True
        Whether the penalty acts on coefficients times the standard deviation
        :math:`s_j` of their column, so that its unit does not matter. `coef_` is in
        original units either way.

    fit_intercept : bool, default=True
        Whether to fit an unpenalized intercept.

    exact_zeros : bool, default=False
        Whether features that do not matter get a coefficient of exactly zero: the last fit is
        then an adaptive lasso (Zou, JASA 2006) that penalizes each column by the inverse size of
        its coefficient without zeros; its strength is chosen on the same folds, also where
        `alpha` is given. "l1" has zeros without it.

    max_iter : int, default=100
        Largest number of sl-BAMM iterations. 0 evaluates the initial points, chooses the best and
        refits: what the estimator does before it learns.

    tol : float, default=1e-2
        The run has converged when its stationarity residual is below: the norm of the
        gradient of the held-out loss in the learned numbers, relative to the loss of the best
        ridge fit.

    warm_start : bool, default=False
        Whether a further `fit` also tries the numbers learned before as an initial point.

    random_state : int, RandomState instance or None, default=0
        Seed of the folds where `cv` is an int.

    device : str or None, default=None
        Where torch computes: None for the CPU, "cuda", or "auto" (a GPU if there is one). In double
        precision, which "mps" does not have.

    verbose : int, default=0
        1 prints a line every ten iterations and one at the end, 2 one for each iteration:
        residuals in the unit of `tol`. Of several repeats, the first one is told of.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, in order.

    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients in original units; with two classes those of the second one.

    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; 0.0 where none were fitted.

    alpha_ : ndarray of shape (n_features,)
        Learned or fixed strength of each feature, its factor included, 0 where unpenalized.
        Where fits are averaged (`standard_errors`), the mean of
        their log strengths, with the same weights.

    average_weights_ : dict of str to float
        Weight of each fit in the mean that `coef_` is, the largest first, mean over the repeats:
        of "one strength" (ridge), of adaptive penalties by pilot (in units of the best ridge's
        strength) and exponent, and of what was "learned".

    group_alpha_ : dict of name to float
        Geometric mean of `alpha_` over each group, but for unpenalized features.

    groups_ : dict of name to ndarray of int
        Columns of each group; all of them in "all" where none were given.

    support_ : ndarray of bool of shape (n_features,)
        Features with a coefficient that is not zero, for any class.

    exponents_ : ndarray of shape (n_exponents,)
        The exponent of ``penalty="adaptive"``; empty with others.

    group_share_ : float
        With "adaptive" and groups, how far a group's mean takes the place of the feature's own
        magnitude: 0 is as without groups, 1 one strength for each group.

    shrinkage_ : float
        The `shrinkage` that was used; infinite where no differences were learned.

    hyper_ : ndarray of shape (n_hyper,)
        The numbers of the best fit, mean over the repeats: with "adaptive" the pilot's log
        strength, log strength, exponent and (with groups) share; else the groups' log
        strengths; then slopes of descriptions and deviations of groups.

    hyper_names_ : list of str
        What each entry of `hyper_` is.

    criterion_ : float
        Held-out log loss (weighted mean over the rows) of the mean of the fits that `coef_` is, on
        the folds of all repeats. With `exact_zeros` that before columns are left out.

    initial_criterion_ : float
        The same without learning: what ``max_iter=0`` reaches (and no warm start). Never below
        `criterion_`.

    hypergradient_norm_ : float
        Certificate of the chosen run: norm of the gradient of the criterion in the learned
        numbers at its answer, before any mean is taken.

    residual_ : float
        `hypergradient_norm_` with the error of that gradient added: not above `tol` where
        `status_` says converged.

    n_iter_ : ndarray of shape (1,)
        Number of evaluations: the initialization's, and one for each iteration.

    history_ : History
        Records of the chosen run; residuals in the unit of `tol`. The last row is its answer's.

    dataframe_ : str
        Kind of dataframe that X was in `fit` ("pandas", "polars", ...), "" for none. Tables that
        tell of the fit are of that kind.

    named_columns_ : list of str
        Columns of X in `fit` that `y` and `sample_weight` were, where given by name.

    status_ : str
        Why the run ended, in a sentence, and where less than 1 % of the held-out loss is gained
        over the best fit with one strength for all features.

    sample_weight_ : ndarray of shape (n_samples,)
        Learned weights of rows, of mean 1, without those that were given; only where `fit` was told
        of times, sources, annotators or verified rows. `row_weight_report` tells of them by name.

    row_weights_ : RowWeights
        What they and that report come from.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, if all of them are strings.

    Notes
    -----
    Cost: what counts is the number of products with X. A fit of all folds takes about ten, with a
    column for every fold and class, and there are a few dozen fits: a ridge path, candidates for
    the average, and one for each point that the run visits.

    Passing `X_val` through a Pipeline needs metadata routing and
    ``Pipeline(transform_input=["X_val"])``; otherwise it arrives untransformed.

    References
    ----------
    .. [1] R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang, "Averaged Method of Multipliers
           for Bi-Level Optimization without Lower-Level Strong Convexity", ICML 2023,
           arXiv:2302.03407.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbamm import BilevelRegularizedClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BilevelRegularizedClassifier().fit(X, y)
    >>> bool(model.criterion_ <= model.initial_criterion_)
    True
    """

    _parameter_constraints: dict = {
        **PenaltyEstimator._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        penalty="adaptive",
        *,
        groups=None,
        alpha="learn",
        alpha_features=None,
        penalty_factors=None,
        shrinkage="auto",
        class_weight=None,
        cv=5,
        n_repeats="auto",
        solver="sl-bamm",
        alpha_bounds=(1e-9, 1e6),
        standard_errors=1,
        standardize=True,
        fit_intercept=True,
        exact_zeros=False,
        max_iter=100,
        tol=1e-2,
        warm_start=False,
        random_state=0,
        device=None,
        verbose=0,
    ):
        self.penalty = penalty
        self.groups = groups
        self.alpha = alpha
        self.alpha_features = alpha_features
        self.penalty_factors = penalty_factors
        self.shrinkage = shrinkage
        self.class_weight = class_weight
        self.cv = cv
        self.n_repeats = n_repeats
        self.solver = solver
        self.alpha_bounds = alpha_bounds
        self.standard_errors = standard_errors
        self.standardize = standardize
        self.fit_intercept = fit_intercept
        self.exact_zeros = exact_zeros
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        time=None,
        row_source=None,
        annotator=None,
        is_clean=None,
        target_source=None,
        **params,
    ):
        """Learn the penalty, then fit the coefficients on all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows of numbers, without gaps.

        y : array-like of shape (n_samples,)
            Labels of two or more classes. Like `sample_weight`, it may be the name of a column of
            X, a dataframe or Arrow table, which is no feature then.

        sample_weight : array-like of shape (n_samples,), default=None
            A weight of 2 equals the row twice, in training and held-out losses.

        X_val : like X, of shape (n_val, n_features), default=None
            Rows whose loss the penalty minimises, in place of `cv`. The coefficients are
            fitted on X alone.

        y_val : array-like of shape (n_val,), default=None
            Required with `X_val`, all of its labels being in y; or a column of it by name.

        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the rows of `X_val`; or a column of it by name.

        time : array-like of shape (n_samples,), default=None
            When each row is from: numbers, later ones larger, or dates. With it, or with one of the
            following, weights of rows are learned first, and rows count alike where none are
            better (see the user guide). Each may be the name of a column of X.

        row_source : array-like of shape (n_samples,), default=None
            Where each row is from: a site, batch or sensor. Needs `target_source` or `is_clean`.

        annotator : array-like of shape (n_samples,), default=None
            Who has given each row its label: who does so at random is learned. Rows of equal X are
            held out together.

        is_clean : array-like of bool of shape (n_samples,), default=None
            Which rows are like those to predict: of the target site, or with verified labels. The
            others are weighed by how well these are predicted.

        target_source : label, default=None
            The source whose rows these are, in place of `is_clean`.

        **params : dict
            For the splitter `cv`: ``groups``, one label for each row, for `GroupKFold` and its
            like. With metadata routing enabled, what the splitter requests.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For NaN or infinite entries, wrong lengths, fewer than two classes, groups that do not
            partition the features, and weights that are all zero.
        """
        columns = time, row_source, annotator, is_clean
        self.named_columns_, X, y, sample_weight, *told = split_columns(
            X, y, sample_weight, *columns
        )
        held_out = split_columns(X_val, y_val, sample_weight_val, name="X_val")[1:]
        given = (X, y, sample_weight)
        split_params, told = self._split_params(params), RowColumns.of(told, target_source)
        repeats, make_search = self._folded(*given, held_out, split_params, told)
        self.dataframe_ = dataframe_kind(X)
        self._fit(repeats, make_search, given)
        self._describe_row_weights()
        return self

    def _folded(self, X, y, sample_weight, held_out, split_params, columns=None):
        """What each repeat learns from, and what makes a search of it."""
        from ._input import class_data
        from ._search import class_searches

        self.classes_, repeats = class_data(
            self, X, y, sample_weight, held_out, split_params, columns
        )
        return repeats, class_searches(len(self.classes_))

    def _fit(self, repeats, make_search, given):
        """Learn on folded rows; callbacks see what the user has `given`."""
        from .._fit import explained, learn_penalty
        from .._options import RunOptions, penalty_options
        from .._report import warn_of_bounds

        n_samples, n_features = repeats[0].shape
        options = penalty_options(self, n_features)
        run = RunOptions(
            self.solver, self.max_iter, self.tol, self.standard_errors, self.exact_zeros
        )

        def attributes(learned):
            return attributes_after(self, lambda fitted: fitted._store(learned, options, progress))

        work = n_samples * n_features * len(self.classes_)
        # At most the choice of a shrinkage, a run for each repeat, and the last fit.
        n_stages = len(repeats) + 2
        X, y, weight = given
        with torch_session(), threads_for(work), Progress(self, X, y, weight, n_stages) as progress:
            learned = learn_penalty(
                repeats,
                options,
                run,
                make_search,
                known=self._previous_hyper(),
                progress=progress,
                attributes=attributes,
            )
            self._store(learned, options, progress)
            warn_of_bounds([learned])
            progress.explained = explained([learned], self.standard_errors)

    def _store(self, learned, options, progress):
        self.coef_, self.intercept_ = learned.coef, learned.intercept
        self.support_ = (learned.coef != 0).any(axis=0)
        self.n_iter_ = np.array([learned.first.solution.n_iter + 1])
        self._store_penalty([learned], options.groups, progress)

    def decision_function(self, X):
        """Confidence scores for each class.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of the second class where there are two.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=FLOAT_DTYPES, reset=False)
        scores = safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def score(self, X, y, sample_weight=None):
        """Share of rows whose class is predicted.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,)
            True labels, or the name of a column of X.

        sample_weight : array-like of shape (n_samples,), default=None
            Or the name of a column of X.

        Returns
        -------
        score : float
            Accuracy; 1 is best.
        """
        check_is_fitted(self)
        return super().score(*split_columns(X, y, sample_weight)[1:])

    def to_sklearn(self):
        """The fitted coefficients as a plain `LogisticRegression`.

        It predicts the same without skbamm, and sklearn-onnx converts it;
        `skbamm.export.to_sklearn` does so inside of pipelines, searches and ensembles.

        Returns
        -------
        model : LogisticRegression
            To predict with: fitted again it would learn no penalty.
        """
        from sklearn.linear_model import LogisticRegression

        check_is_fitted(self)
        return self._twin(
            LogisticRegression,
            classes_=self.classes_,
            coef_=self.coef_,
            intercept_=self.intercept_,
            n_iter_=self.n_iter_,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
