"""HyperCleaningRegressor: learns how far to rely on each target."""

from __future__ import annotations

from sklearn.base import is_regressor
from sklearn.utils import get_tags

from ..._base import BilevelEstimator, fit_atomically
from ..._progress import Progress, attributes_after
from ...data._columns import split_columns
from ...data._containers import RowContainer
from ...data._validation import HasMethods, _fit_context
from ...linalg._session import threads_for, torch_session
from ...row_weights._estimator import RowColumns, RowWeightMixin
from .._final_estimator import check_final_estimator, fit_final_estimator, weight_names
from ._constants import MOST_COLUMNS
from ._input import given_rows
from ._prediction import PredictionMixin
from ._report import TargetRecord, TargetReportMixin


class HyperCleaningRegressor(PredictionMixin, TargetReportMixin, RowWeightMixin, BilevelEstimator):
    r"""Regression that learns how far to rely on each target.

    The target of every row that is not verified gets a weight :math:`s_i` in [0, 1], from its
    residual out of its fold. Several noise models are learned: errors of all targets are normal, or
    have heavy tails (Student's t), or a share of the targets is wrong, off by a normal error with a
    mean of its own ("shifted") or without a relation to the row ("unrelated"); of logarithms where
    targets are skewed and these are likelier. The weight is the mean of what these models say, by
    how likely they make held-out targets; the numbers of the likeliest are learned by bilevel
    optimization (sl-BAMM [1]_), with ridge regression on weighted rows below and the log density of
    held-out targets above. Any regressor is then fitted to weighted rows. Where no wrong targets
    show, or columns tell which ones are far off, that is a plain fit, or one for heavy tails if
    that predicts held-out targets better.

    Parameters
    ----------
    final_estimator : regressor or None, default=None
        What is fitted to weighted rows and predicts: None for ridge regression with a learned
        strength, or any regressor that takes `sample_weight`, a Pipeline or a search
        (`GridSearchCV`) of one.

    cv : int, splitter or list of splits, default=5
        Splits the rows of X for predictions out of their fold; each must be held out once. An int
        makes a row's fold a pseudo-random function of its position. A splitter may need ``groups``
        in `fit`. More than ten folds are joined to ten. With an int the strength of the last ridge
        regression is that of rows left out one by one.

    solver : str or Solver, default="sl-bamm"
        A name in `skbamm.solvers.SOLVERS`, or an instance with options of its own.

    max_iter : int, default=100
        Largest number of sl-BAMM iterations. 0 fits without learning, with the numbers that
        expectation maximization has found.

    tol : float, default=1e-2
        The run has converged when the norm of the gradient of the held-out loss in the learned
        numbers is below.

    random_state : int, RandomState instance or None, default=0
        Seed of the folds where `cv` is an int, and of the sample of more than 10,000 rows.

    device : str or None, default=None
        Where torch computes: None for the CPU, "cuda", or "auto" (a GPU if there is one).

    verbose : int, default=0
        1 prints a line every ten iterations and one at the end, 2 one for each iteration.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n_samples,)
        Weight of the target of each row of X, in [0, 1]; 1 for verified ones.

    noise_rate_ : float
        Estimated share of wrong targets among the rows that are not verified, by weight.

    average_weights_ : dict of str to float
        Weight of each noise model in the mean, the largest first: "plain", "heavy tails",
        "shifted", "unrelated", these with ", of logarithms", and "learned", which is one of these
        at the learned numbers.

    noise_models_ : dict of str to dict of str to float
        The numbers of each of these, in the units of y or its logarithm: "scale" of right targets'
        errors, "degrees" of freedom of heavy tails, or the "rate" of wrong targets, their "shift"
        (mean error; of "unrelated" ones the mean target) and "wrong_scale".

    coef_ : ndarray of shape (n_features,)
        Coefficients in original units; not there with a `final_estimator`.

    intercept_ : float
        Intercept; likewise.

    alpha_ : float
        Ridge strength on standardized columns, for a mean of squares; likewise.

    final_estimator_ : regressor
        The fitted `final_estimator`, where one was given.

    hyper_ : ndarray of shape (n_hyper,)
        The learned numbers, on standardized targets and columns.

    hyper_names_ : list of str
        What each entry of `hyper_` is.

    criterion_ : float
        Minus the mean log density of held-out targets that the numbers were learned by, at the end.

    initial_criterion_ : float
        The same without learning: what ``max_iter=0`` reaches.

    hypergradient_norm_, residual_ : float
        Certificates: norm of the gradient of the criterion in the learned numbers, and with its
        error added: not above `tol` where `status_` says converged.

    target_record_ : TargetRecord
        What `target_report` is made from.

    n_iter_ : int
        Number of evaluations: the initial one, and one for each iteration.

    history_ : History
        Records of the run.

    named_columns_ : list of str
        Columns of X in `fit` that `y` and what goes with it were, where given by name.

    status_ : str
        Why the run ended, in a sentence, and whether wrong targets show.

    row_weights_ : RowWeights
        Weights of rows by time, source and annotator, where `fit` was told of these:
        ``row_weights_.weight``, of mean 1, which multiplies `sample_weight_` in the last fit.
        `row_weight_report` tells of them by name.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, if all of them are strings.

    See Also
    --------
    HyperCleaningClassifier : The same for labels of classes.

    Notes
    -----
    Noise models stand on linear fits (and on `predictions`). Where these predict badly, wrong
    targets are told badly. With fewer than 25 effective rows, fewer than three folds, or a value
    that more than a quarter of the targets have, no target is taken for wrong.

    Cost: some 70 weighted ridge fits in each of five folds, on at most 10,000 rows and 300
    directions of the columns, and a last fit on all rows.

    References
    ----------
    .. [1] R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang, "Averaged Method of Multipliers
           for Bi-Level Optimization without Lower-Level Strong Convexity", ICML 2023,
           arXiv:2302.03407.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import HyperCleaningRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> generator = np.random.default_rng(0)
    >>> is_wrong = generator.random(len(y)) < 0.2
    >>> given = np.where(is_wrong, y + 400, y)
    >>> model = HyperCleaningRegressor().fit(X, given)
    >>> weights = model.sample_weight_
    >>> bool(weights[is_wrong].max() < 0.5 * weights[~is_wrong].mean())
    True
    """

    _parameter_constraints: dict = {
        **{
            name: BilevelEstimator._parameter_constraints[name]
            for name in ("cv", "solver", "max_iter", "tol", "random_state", "device", "verbose")
        },
        "final_estimator": [HasMethods(["fit", "predict"]), None],
    }

    _weighs_labels = True

    def __init__(
        self,
        final_estimator=None,
        *,
        cv=5,
        solver="sl-bamm",
        max_iter=100,
        tol=1e-2,
        random_state=0,
        device=None,
        verbose=0,
    ):
        self.final_estimator = final_estimator
        self.cv = cv
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @fit_atomically
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        is_clean=None,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        predictions=None,
        time=None,
        row_source=None,
        annotator=None,
        target_source=None,
        **params,
    ):
        """Learn the weights of targets, then fit on all rows with these.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows of numbers, without gaps.

        y : array-like of shape (n_samples,)
            Given targets. Like `sample_weight` and `is_clean`, it may be the name of a column of
            X, a dataframe or Arrow table.

        sample_weight : array-like of shape (n_samples,), default=None
            On top of what is learned; a row of weight 2 counts as two.

        is_clean : array-like of bool of shape (n_samples,), default=None
            Which rows of X have verified targets.

        X_val : like X, of shape (n_val, n_features), default=None
            Rows with verified targets that are not in X; they are trained on as well.

        y_val : array-like of shape (n_val,), default=None
            Required with `X_val`; or a column of it by name.

        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the rows of `X_val`; or a column of it by name.

        predictions : array-like of shape (n_samples,), default=None
            Your own model's predictions for the rows of X, out-of-fold, as of
            ``cross_val_predict``: one more column for the fits that noise models stand on. Not
            with `X_val`.

        time : array-like of shape (n_samples,), default=None
            When each row is from: numbers, later ones larger, or dates. With it, or with one of the
            following, weights of rows are learned that multiply those of targets: `row_weights_`.
            Each may be the name of a column of X.

        row_source : array-like of shape (n_samples,), default=None
            Where each row is from: a site, batch or sensor. Needs `target_source`, or `is_clean`
            for the rows that are like those to predict.

        annotator : array-like of shape (n_samples,), default=None
            Who has given each row its target. Rows of equal X are held out together.

        target_source : label, default=None
            The source that is to be predicted.

        **params : dict
            For the splitter `cv`: ``groups``, one label for each row. With metadata routing
            enabled, what the splitter requests.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For NaN or infinite entries, wrong lengths, weights that are all zero, both `is_clean`
            and `X_val`, a `cv` that does not hold out each row once, and a `final_estimator` that
            takes no weights.
        """
        self._check_final_estimator()
        split_params = self._split_params(params)
        found = split_columns(X, y, sample_weight, is_clean, time, row_source, annotator)
        self.named_columns_, X, y, sample_weight, is_clean, *told = found
        # Verified targets say what is predicted where no source does.
        of_target = is_clean if row_source is not None and target_source is None else None
        columns = RowColumns.of((*told, of_target), target_source)
        held_out = split_columns(X_val, y_val, sample_weight_val, name="X_val")[1:]
        container = RowContainer.of(X, y)
        given = X, y, sample_weight, is_clean, held_out, predictions, columns
        rows = given_rows(self, *given)
        work = rows.X.size * min(rows.X.shape[1], MOST_COLUMNS)
        with (
            torch_session(),
            threads_for(work),
            Progress(self, X, y, sample_weight, n_stages=2) as progress,
        ):
            self._learn(rows, split_params, progress, container)
        self._describe_row_weights()
        return self

    def _learn(self, rows, split_params, progress, container):
        from ._fit import TargetSearch, run_options

        search = TargetSearch(rows, self, self._seed(), split_params)

        def store(estimator, conclude, names, solution):
            learned = search.conclude(solution, conclude(solution), names)
            estimator._store(rows, container, learned)

        with progress.stage("learn weights", self.max_iter) as stage:

            def callback(conclude, names):
                def attributes(solution):
                    return attributes_after(
                        self, lambda fitted: store(fitted, conclude, names, solution)
                    )

                return stage.callback(attributes)

            solution, conclude, names = search.learn(run_options(self), callback)
        with progress.stage("last fit"):
            store(self, conclude, names, solution)

    def _store(self, rows, container, learned):
        for name in ("coef_", "intercept_", "alpha_", "final_estimator_"):  # of a fit before
            self.__dict__.pop(name, None)
        given = slice(0, rows.n_given)
        self.sample_weight_ = learned.label_weight[given]
        self.noise_rate_ = learned.noise_rate
        self.average_weights_ = learned.share
        self.noise_models_ = learned.models
        solution = learned.solution
        self.hyper_ = learned.hyper
        self.hyper_names_ = list(learned.names)
        self.criterion_ = float(solution.criterion)
        self.initial_criterion_ = float(solution.initial_criterion)
        self.residual_ = float(solution.residual or 0.0)
        self.hypergradient_norm_ = float(solution.hypergradient_norm or 0.0)
        self.n_iter_ = solution.n_iter + 1
        self.history_ = solution.history
        columns = rows.y + rows.level, learned.right, learned.predicted, ~rows.is_clean
        self.target_record_ = TargetRecord(*(c[given].copy() for c in columns), rows=container)
        self._fit_final(rows, learned)
        self.status_ = self._describe_fit(rows, learned)

    def _fit_final(self, rows, learned):
        if self.final_estimator is None:
            from ._columns import fit_linear

            self.alpha_ = learned.ridge
            self.coef_, self.intercept_ = fit_linear(rows, learned.label_weight, learned.ridge)
            return
        weight = rows.weight * learned.label_weight
        try:
            final = fit_final_estimator(self.final_estimator, rows.X, rows.y, weight)
        except Exception as error:
            error.add_note("It came from final_estimator, in its fit to rows with learned weights.")
            raise
        self.final_estimator_ = final

    def _describe_fit(self, rows, learned):
        sentence = self._describe(learned.solution, self.residual_)
        if rows.is_clean.all():
            return f"{sentence}; all targets are verified"
        if learned.is_noise_shown:
            return sentence
        if learned.is_told:
            return f"{sentence}; targets far off are those of certain rows, and count as right"
        kinds = [name for name in learned.share if name != "learned"]
        kind = "plain fit" if kinds == ["plain"] else "no target is more probably wrong than right"
        return f"{sentence}; no wrong targets show ({kind})"

    def _check_final_estimator(self):
        if self.final_estimator is None:
            return
        check_final_estimator(self.final_estimator, is_regressor, "regressor")
        if not weight_names(self.final_estimator):
            raise ValueError(
                "final_estimator must take sample_weight in its fit: "
                f"{type(self.final_estimator).__name__} does not."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        if self.final_estimator is not None and hasattr(self.final_estimator, "__sklearn_tags__"):
            own = get_tags(self.final_estimator)
            tags.input_tags.sparse = own.input_tags.sparse
            tags.input_tags.positive_only |= own.input_tags.positive_only
            tags.non_deterministic |= own.non_deterministic
            if own.regressor_tags is not None:
                tags.regressor_tags.poor_score |= own.regressor_tags.poor_score
        return tags
