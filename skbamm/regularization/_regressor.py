"""BilevelRegularizedRegressor: linear regression that learns its penalty."""

from __future__ import annotations

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.extmath import safe_sparse_dot

from .._base import fit_atomically
from .._progress import Progress, attributes_after
from ..data._columns import looked_up, split_columns
from ..data._tables import dataframe_kind, is_row_source
from ..data._validation import (
    StrOptions,
    _fit_context,
    check_is_fitted,
    validate_data,
)
from ..linalg._session import PANEL_COLUMNS, threads_for, torch_session
from ..row_weights._estimator import RowColumns, RowWeightMixin
from ._estimator import PenaltyEstimator
from ._input import regression_data, split_named
from ._partial_fit import PartialFitMixin


class BilevelRegularizedRegressor(
    MultiOutputMixin, RegressorMixin, PartialFitMixin, RowWeightMixin, PenaltyEstimator
):
    r"""Linear regression that learns how strongly each feature is penalized.

    The coefficients minimise, on the training rows of each fold,

    .. math:: \tfrac12 \, \mathrm{mean}_i (y_i - x_i^T w - c)^2
              + \tfrac12 \sum_j \alpha_j (s_j w_j)^2

    (or another `penalty`), and the penalty weights :math:`\alpha_j` minimise the squared error on
    the held-out rows of all folds: a bilevel problem, solved by sl-BAMM [1]_ within `fit`. The
    coefficients are those on all rows, averaged over the penalties that the folds cannot tell
    from the best one (`standard_errors`).

    Parameters
    ----------
    penalty : {"adaptive", "l2", "l1"}, default="adaptive"
        How few learned numbers generate the penalties of all features.

        - "adaptive": :math:`\alpha_j = e^a (m_j / m)^{-e}`, where :math:`m_j` is the size of the
          feature's coefficient in a pilot ridge fit and :math:`m` the root mean square of all.
          With groups :math:`m_j^2` is partly its mean over the feature's group
          (`group_share_`). Learned are the strength a, the exponent e and the pilot's
          strength. Exponent 0 gives ridge, larger ones come close to selecting features.
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
        that it names, and may say "learn". 0 leaves features unpenalized, exactly. On the
        scale of `ElasticNet`: `Ridge`'s `alpha` is ``sum(sample_weight)`` times larger,
        `Lasso`'s the same.

    alpha_features : array-like of shape (n_features, n_descriptions) or None, default=None
        What is known of each feature beforehand (its origin, missing rate, a screening score):
        the log strength is also linear in these, with a learned slope for each. Rows of a pandas
        table are matched by name if its index holds names.

    penalty_factors : array-like of shape (n_features,), mapping or None, default=None
        Relative strengths, as in glmnet: the strength of a feature, learned or fixed, is
        multiplied by its factor. 0 leaves it unpenalized, exactly; what is to be infinite should be
        left out of X. A mapping names columns (or has positions where these have no
        names) and means 1 for others; a pandas Series is matched by name if its index holds names.
        Where strengths are learned only ratios of factors count: `alpha_bounds` and `hyper_` are
        those of a feature whose factor is the geometric mean of all above 0.

    shrinkage : "auto" or float, default="auto"
        How strongly what is learned of single groups and descriptions is shrunk to what is
        common to all, in units of the best global fit's error. "auto" chooses by nested
        cross-validation, and prefers no difference at all; 0 leaves them free (with
        ``groups="feature"``: the papers' free weights); `numpy.inf`, like any number from 100
        on, allows no difference. With "adaptive", a number also gives each group a strength of
        its own.

    loss : {"squared_error", "huber", "absolute_error"}, default="squared_error"
        Error on the held-out rows, which the penalties minimise. "huber" counts errors beyond 1.345
        robust standard deviations linearly, so that few outlying rows cannot rule the penalty,
        "absolute_error" all of them; each evaluation then costs a pass over the rows. The
        coefficients minimise squares in any case: they are means, not medians.

    cv : int, splitter or list of splits, default=5
        Folds whose held-out error is minimised. With an int the fold of a row is a
        pseudo-random function of its position (and of `random_state`), so sorted rows do
        no harm (more folds than rows are as many as rows, with a warning). A splitter may need
        ``groups`` in `fit`. Every fold costs a Gram matrix, also each of leave-one-out's. Ignored
        when `X_val` is given.

    n_repeats : "auto" or int, default="auto"
        Where `cv` is an int, learn on so many assignments of rows to folds and take the mean of
        the log strengths. "auto" is 3 with "adaptive" or "l2" and up to 1000 rows, else 1.

    solver : str or Solver, default="sl-bamm"
        A name in `skbamm.solvers.SOLVERS`, or an instance with options of its own.

    alpha_bounds : tuple of two floats, default=(1e-9, 1e6)
        Smallest and largest learned strength: of each group with "l2"; with "adaptive" of the
        pilot and of the common strength :math:`e^a`, around which those of features spread.
        With ``standardize=False`` in units of the mean variance of the columns. A warning says
        where a strength ends at a bound and the held-out error is lower beyond it.

    standard_errors : float, default=1
        With ``penalty="adaptive"`` the coefficients are a weighted mean of those of what was
        learned and of penalties that need no learning: ridge, and adaptive ridge with a few pilots
        and exponents. The weight of each is :math:`\pi \exp(-z^2 / (2 c^2))`, where z is its
        held-out error less the best one's in standard errors over the folds, c this number, and
        :math:`\pi` a half for ridge and the same for all others: what a few folds cannot tell
        apart is averaged, not chosen. 0 takes the best one alone, as `positive` does.

    standardize : bool, default=True
        Whether the penalty acts on coefficients times the standard deviation
        :math:`s_j` of their column, so that its unit does not matter. `coef_` is in
        original units either way.

    fit_intercept : bool, default=True
        Whether to fit an unpenalized intercept.

    positive : bool, default=False
        Whether coefficients must not be negative, while learning and in the last fit.
        Unpenalized ones are free.

    exact_zeros : bool, default=False
        Whether features that do not matter get a coefficient of exactly zero: the last fit is
        then an adaptive lasso (Zou, JASA 2006) that penalizes each column by the inverse size of
        its coefficient without zeros; its strength is chosen on the same folds, also where
        `alpha` is given. Finds the columns
        that matter far better than `LassoCV`. "l1" has zeros without it.

    alpha_per_target : bool, default=False
        Whether each target learns a penalty of its own; otherwise they share one.

    max_iter : int, default=200
        Largest number of sl-BAMM iterations. 0 evaluates the initial points, chooses the best and
        refits: what the estimator does before it learns.

    tol : float, default=1e-2
        The run has converged when its stationarity residual is below: the norm of the
        gradient of the held-out error in the learned numbers, relative to the error of the best
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
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients in original units.

    intercept_ : float or ndarray of shape (n_targets,)
        Intercept; 0.0 where none was fitted.

    alpha_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Learned or fixed strength of each feature, its factor included, 0 where unpenalized; 2-D
        with ``alpha_per_target=True``. Where fits are averaged (`standard_errors`), the mean of
        their log strengths, with the same weights.

    average_weights_ : dict of str to float, or list of dict
        Weight of each fit in the mean that `coef_` is, the largest first, mean over the repeats:
        of "one strength" (ridge), of adaptive penalties by pilot (in units of the best ridge's
        strength) and exponent, and of what was "learned".

    group_alpha_ : dict of name to float, or list of dict
        Geometric mean of `alpha_` over each group, but for unpenalized features; one dict for each
        target with ``alpha_per_target=True``.

    groups_ : dict of name to ndarray of int
        Columns of each group; all of them in "all" where none were given.

    support_ : ndarray of bool of shape (n_features,)
        Features with a coefficient that is not zero, for any target.

    exponents_ : ndarray of shape (n_exponents,) or (n_targets, n_exponents)
        The exponent of ``penalty="adaptive"``; empty with others.

    group_share_ : float or ndarray of shape (n_targets,)
        With "adaptive" and groups, how far a group's mean takes the place of the feature's own
        magnitude: 0 is as without groups, 1 one strength for each group.

    shrinkage_ : float or ndarray of shape (n_targets,)
        The `shrinkage` that was used; infinite where no differences were learned.

    hyper_ : ndarray of shape (n_hyper,) or (n_targets, n_hyper)
        The numbers of the best fit, mean over the repeats: with "adaptive" the pilot's log
        strength, log strength, exponent and (with groups) share; else the groups' log
        strengths; then slopes of descriptions and deviations of groups.

    hyper_names_ : list of str
        What each entry of `hyper_` is.

    criterion_ : float or ndarray of shape (n_targets,)
        Held-out error (mean `loss`, in units of the variance of y, of its standard deviation with
        "absolute_error"; mean over the targets that share a penalty) of the mean of the fits that
        `coef_` is, on the folds of all repeats.
        With `exact_zeros` that before columns are left out.

    initial_criterion_ : float or ndarray of shape (n_targets,)
        The same without learning: what ``max_iter=0`` reaches (and no warm start). Never below
        `criterion_`.

    hypergradient_norm_ : float or ndarray of shape (n_targets,)
        Certificate of the chosen run: norm of the gradient of the criterion in the learned
        numbers at its answer, before any mean is taken.

    residual_ : float or ndarray of shape (n_targets,)
        `hypergradient_norm_` with the error of that gradient added: not above `tol` where
        `status_` says converged.

    n_iter_ : int
        Number of evaluations: the initialization's, and one for each iteration.

    history_ : History or list of History
        Records of the chosen run; residuals in the unit of `tol`. The last row is its answer's.

    dataframe_ : str
        Kind of dataframe that X was in `fit` ("pandas", "polars", ...), "" for none. Tables that
        tell of the fit are of that kind.

    named_columns_ : list of str
        Columns of X in `fit` that `y` and `sample_weight` were, where given by name.

    status_ : str
        Why the run ended, in a sentence, and where less than 1 % of the held-out error is gained
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

    n_samples_seen_ : int
        Number of rows of all blocks, after `partial_fit` and `merge` only.

    fold_statistics_ : object
        What is remembered of them: sums of products by fold, after `partial_fit` and `merge` only.

    Notes
    -----
    Rows beyond memory: `fit` reads memory-mapped arrays and parquet files block by block, and
    `partial_fit` learns from blocks as they come; `merge` from those that other processes added up.

    Cost: one pass over X to form Gram matrices (``n_samples * n_features ** 2``), then a
    Cholesky factor for each fold, initial point and step of the learned numbers, independent of
    `n_samples`. With more penalized features than rows, kernels of rows take their place
    and no ``n_features ** 2`` matrix is formed.

    Passing `X_val` through a Pipeline needs metadata routing and
    ``Pipeline(transform_input=["X_val"])``; otherwise it arrives untransformed.

    References
    ----------
    .. [1] R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang, "Averaged Method of Multipliers
           for Bi-Level Optimization without Lower-Level Strong Convexity", ICML 2023,
           arXiv:2302.03407.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BilevelRegularizedRegressor().fit(X, y)
    >>> bool(model.criterion_ <= model.initial_criterion_)
    True
    """

    _parameter_constraints: dict = {
        **PenaltyEstimator._parameter_constraints,
        "positive": ["boolean"],
        "loss": [StrOptions({"squared_error", "huber", "absolute_error"})],
        "alpha_per_target": ["boolean"],
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
        loss="squared_error",
        cv=5,
        n_repeats="auto",
        solver="sl-bamm",
        alpha_bounds=(1e-9, 1e6),
        standard_errors=1,
        standardize=True,
        fit_intercept=True,
        positive=False,
        exact_zeros=False,
        alpha_per_target=False,
        max_iter=200,
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
        self.loss = loss
        self.cv = cv
        self.n_repeats = n_repeats
        self.solver = solver
        self.alpha_bounds = alpha_bounds
        self.standard_errors = standard_errors
        self.standardize = standardize
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.exact_zeros = exact_zeros
        self.alpha_per_target = alpha_per_target
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
        X : {array-like, sparse matrix, dataframe, path} of shape (n_samples, n_features)
            A `numpy.memmap`, the path of a parquet file (or of a folder of them), a pyarrow table
            or dataset are read block by block, each no larger than scikit-learn's
            ``working_memory`` allows; never all at once, where they have more than 1000 rows
            and more rows than columns.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Or the name, or a list of names, of columns of X, a dataframe, file or Arrow table. In a
            Pipeline pass the values: a column goes through the steps before.
            These are no features then, and left out of tables that are predicted.

        sample_weight : array-like of shape (n_samples,), default=None
            A weight of 2 equals the row twice, in training and held-out errors. Or the name of
            a column of X.

        X_val : like X, of shape (n_val, n_features), default=None
            Rows whose error the penalty minimises, in place of `cv`. The coefficients are
            fitted on X alone.

        y_val : array-like of shape (n_val,) or (n_val, n_targets), default=None
            Required with `X_val`; or columns of it by name.

        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the rows of `X_val`; or a column of it by name.

        time : array-like of shape (n_samples,), default=None
            When each row is from: numbers, later ones larger, or dates. With it, or with one of the
            following, weights of rows are learned first, and rows count alike where none are
            better (see the user guide). Each may be the name of a column of X.

        row_source : array-like of shape (n_samples,), default=None
            Where each row is from: a site, batch or sensor. Needs `target_source` or `is_clean`.

        annotator : array-like of shape (n_samples,), default=None
            Who has given each row its target: who does so at random, rates higher than others
            or says more of what they rate is learned. Rows of equal X are held out together.

        is_clean : array-like of bool of shape (n_samples,), default=None
            Which rows are like those to predict: of the target site, or with verified targets. The
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
            For NaN or infinite entries, wrong lengths, groups that do not partition the
            features, and weights that are all zero. For a file or Arrow table that is read block
            by block, where an option needs all rows at once: `X_val`, another `loss`, and a
            splitter whose test rows do not make up all rows. For files that are no parquet files,
            or differ in their columns.
        FileNotFoundError
            For a path where there is nothing.
        """
        columns = time, row_source, annotator, is_clean
        self.named_columns_, X, y, sample_weight, *told = split_named(X, y, sample_weight, *columns)
        given = (X, y, sample_weight)
        held_out = (X_val, y_val, sample_weight_val)
        held_out = split_columns(*held_out, several=True, name="X_val")[1:]
        told = RowColumns.of(told, target_source)
        repeats, _ = self._folded(*given, held_out, self._split_params(params), told)
        self.dataframe_ = dataframe_kind(X)
        self._fit(repeats, given)
        self._describe_row_weights()
        return self

    def _folded(self, X, y, sample_weight, held_out, split_params, columns=None):
        """What each repeat learns from, and what makes a search of it."""
        from ._fit import regression_search

        repeats = regression_data(self, X, y, sample_weight, held_out, split_params, columns)
        return repeats, regression_search

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe, path} of shape (n_samples, n_features)
            Rows of numbers, without gaps. From a file or Arrow table, the columns are taken by
            name.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            One row for each row of X.
        """
        check_is_fitted(self)
        if is_row_source(X):
            from ..data._chunked_source import predicted

            return predicted(self, X, self._linear)[0]
        return self._linear(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False))

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination of the predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe, path} of shape (n_samples, n_features)
            As in `predict`.

        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets. Or the name, or a list of names, of columns of X.

        sample_weight : array-like of shape (n_samples,), default=None
            Or the name of a column of X.

        Returns
        -------
        score : float
            Of several targets the mean.
        """
        check_is_fitted(self)
        names, X, y, sample_weight = split_named(X, y, sample_weight)
        if not (names and is_row_source(X)):
            return super().score(X, y, sample_weight)
        from ..data._chunked_source import predicted

        predictions, columns = predicted(self, X, self._linear, names)
        y, weight = looked_up(y, columns), looked_up(sample_weight, columns)
        return r2_score(y, predictions, sample_weight=weight)

    def to_sklearn(self):
        """The fitted coefficients as a plain linear model of scikit-learn.

        It predicts the same without skbamm, and sklearn-onnx converts it;
        `skbamm.export.to_sklearn` does so inside of pipelines, searches and ensembles.

        Returns
        -------
        model : LinearRegression
            With ``penalty="l1"`` a `Lasso`, for what asks by name for models with zeros
            (`SelectFromModel`). To predict with: fitted again it would learn no penalty.
        """
        from sklearn.linear_model import Lasso, LinearRegression

        kind = Lasso if self.penalty == "l1" else LinearRegression
        check_is_fitted(self)
        # As scikit-learn has it: converters ask a single intercept for its shape.
        intercept = np.asarray(self.intercept_)[()]
        return self._twin(kind, coef_=self.coef_, intercept_=intercept)

    def _linear(self, X):
        return safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_

    def _fit_statistics(self, repeats, given):
        """`fit`, of arrays whose cross-products are known: `FoldStatistics` of each repeat."""
        self.named_columns_, self.dataframe_ = [], ""
        self.n_features_in_ = repeats[0].shape[1]
        self._fit(repeats, given)
        return self

    def _fit(self, repeats, given):
        """Learn on folded rows, or on their statistics; callbacks see what the user has `given`."""
        from ._fit import explained, learn_penalty, regression_search
        from ._options import RunOptions, penalty_options
        from ._report import warn_of_bounds

        for name in ("fold_statistics_", "n_samples_seen_"):  # of rows before
            self.__dict__.pop(name, None)
        first = repeats[0]
        options = penalty_options(self, first.shape[1])
        run = RunOptions(
            self.solver, self.max_iter, self.tol, self.standard_errors, self.exact_zeros
        )
        targets = range(first.n_targets) if self.alpha_per_target else [slice(None)]
        # At most the choice of a shrinkage, a run for each repeat, and the last fit.
        n_stages = len(targets) * (len(repeats) + 2)

        def store(estimator, learned):
            estimator._store(learned, options.groups, progress, single_target=first.single_target)

        def attributes(learned):
            return attributes_after(self, lambda fitted: store(fitted, [learned]))

        X, y, sample_weight = given
        # Rows themselves are worked on where they are fewer than columns, or a loss needs them.
        few = first.shape[0] if self.loss != "squared_error" else min(first.shape)
        work = PANEL_COLUMNS * few * first.shape[1]
        with (
            torch_session(),
            threads_for(work),
            Progress(self, X, y, sample_weight, n_stages) as progress,
        ):
            learned = [
                learn_penalty(
                    [folded.target(t) for folded in repeats],
                    options,
                    run,
                    regression_search,
                    known=self._previous_hyper(number),
                    progress=progress,
                    # There is no model before every target has its penalty.
                    attributes=attributes if len(targets) == 1 else None,
                )
                for number, t in enumerate(targets)
            ]
            store(self, learned)
            if not hasattr(self, "_fitted_for"):  # which has no such bounds
                warn_of_bounds(learned)
            progress.explained = explained(learned, self.standard_errors)

    def _store(self, learned, groups, progress, *, single_target):
        coef = np.concatenate([one.coef for one in learned])
        intercept = np.concatenate([one.intercept for one in learned])
        self.coef_ = coef[0] if single_target else coef
        self.intercept_ = float(intercept[0]) if single_target else intercept
        self.support_ = (coef != 0).any(axis=0)
        self.n_iter_ = max(one.first.solution.n_iter for one in learned) + 1
        several = self.alpha_per_target and not single_target
        self._store_penalty(learned, groups, progress, several=several)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
