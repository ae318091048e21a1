"""HyperCleaningClassifier: learns how far to rely on each label; linear models and trees."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np

from .._base import BilevelEstimator, fit_atomically
from .._progress import Progress, attributes_after
from ..data._columns import split_columns
from ..data._containers import RowContainer
from ..data._validation import (
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    level_of_caller,
)
from ..linalg._session import threads_for, torch_session
from ..row_weights._estimator import RowColumns, RowWeightMixin
from ._constants import HYPER_NAMES, TRIED_ROWS
from ._final_estimator import (
    check_final_estimator,
    class_probabilities,
    fit_final_estimator,
    given_estimator,
    restrict_tags,
    weight_names,
    weighted_labels,
)
from ._input import label_rows
from ._mixture import sum_of_scores
from ._prediction import PredictionMixin
from ._report import (
    ClassSums,
    LabelRecord,
    LabelReportMixin,
    true_classes,
    vote_transition_matrix,
)
from ._rows import product_work


class HyperCleaningClassifier(PredictionMixin, LabelReportMixin, RowWeightMixin, BilevelEstimator):
    r"""Logistic regression and boosted trees that learn how far to rely on each label.

    The label of every row that is not verified gets a weight :math:`s_i` in [0, 1]; a linear model
    minimises, with weights learned by bilevel optimization (sl-BAMM [1]_),

    .. math:: \frac{\sum_i s_i \, \ell_i(W) + c \sum_{j\,\text{verified}} \ell_j(W)}
              {\sum_i s_i + c \, n_{\text{verified}}} + \tfrac{\lambda}{2} \|W\|^2,

    where the numbers behind the weights minimise the loss of held-out rows with verified labels.
    What predicts is a mean of that fit, of plainer ones and of boosted trees (`standard_errors`),
    by how likely they make labels out of their folds; where no wrong labels show, of fits on all
    labels as given. With `relabel`, what a label loses in weight goes to the labels that the row
    probably has. Without verified labels, the numbers minimise a loss of held-out noisy rows that
    tolerates wrong labels.

    Parameters
    ----------
    weighting : {"adaptive", "sample"}, default="adaptive"
        How weights come about.

        - "adaptive": :math:`s_i = \sigma(a + b \, e_i)`, where the label quality :math:`e_i` is
          the log posterior odds that the label of row i is right, by out-of-fold predictions.
          With verified labels, models are fitted to their rows first, then, linear and kernel
          models and trees, to all rows, and Bayes' rule adds the estimated noise transition
          matrix. Learned are a, b, the ridge strength, the weight c of a row with a verified label
          and the temperature of predictions.
        - "sample": one free weight for each row, which is the papers' setting. Thousands of
          free numbers overfit the verified rows; on tables prefer "adaptive".

    alpha : "learn" or float, default="learn"
        Ridge strength :math:`\lambda` on standardized columns, for a mean loss:
        `LogisticRegression`'s `C` is ``1 / (alpha * n_samples)``.

    cv : int, splitter or list of splits, default=5
        Splits the rows with verified labels; without any, all rows. An int (of more folds than
        rows there are as many as rows, with a warning) splits by class, a
        row's fold being a pseudo-random function of its position among the rows of its class. A
        splitter runs over the rows of X (of which only verified ones are scored), or over X_val
        where that is given; it may need ``groups`` in `fit`.

    solver : str or Solver, default="sl-bamm"
        A name in `skbamm.solvers.SOLVERS`, or an instance with options of its own.

    standardize : bool, default=True
        Whether the ridge acts on coefficients times their column's standard deviation.
        `coef_` is in original units either way. Sparse columns have one scale together, as of
        text, where a fit on these predicts held-out labels better by more than a standard error
        (with ``alpha="learn"``).

    relabel : bool, default=True
        Whether a noisy row trains with the labels that it probably has by as much as its given
        one has lost in weight, instead of training less. Needs verified labels and
        ``weighting="adaptive"``. A `final_estimator` gets such a row once for each label with a
        probability of 30 % or more, with that as its weight.

    final_estimator : classifier, "linear" or None, default=None
        None is the mean of several models (`standard_errors`), among them, from 300 rows on of
        dense X, boosted trees (`HistGradientBoostingClassifier`); where these have a weight, the
        model is not linear in the columns and has no `coef_`. "linear" leaves them out. Else any
        classifier, or a Pipeline or a search (`GridSearchCV`) of one, such as
        ``MLPClassifier(solver="lbfgs")``. It is fitted to the rows of the last fit with their
        weights (see `relabel`) and answers `predict`. Where its `fit` takes no `sample_weight`, it
        gets each row as often as its weight says, 0 times or more, and `status_` says so. Where it
        has `predict_proba`, clones of it are fitted out of each fold and stacked with linear and
        kernel models to score labels, if that predicts held-out rows better: up to ``2 * cv`` fits
        more. Where one fails, labels are scored without it. A class that it has not seen has a
        probability of 0.

    class_weight : dict, "balanced" or None, default=None
        Factors of the sample weights by class, 1 where a dict has none.

    standard_errors : float, default=1
        With ``weighting="adaptive"`` scores are a weighted mean of those of several fits: on
        all labels as given, on verified ones, on the rows whose labels are probably right, on
        weighted and on relabelled rows, of several ridge strengths, and of what was learned; and
        of boosted trees on all labels and on those that are probably right. The weight of each is
        :math:`\pi \exp(-z^2 / (2 c^2))`, where z is its held-out loss less the best one's in
        standard errors over the folds, c this number, and :math:`\pi` a half for fits on all
        labels, and the same for all other kinds. The loss is minus the log likelihood of all given
        labels, by the noise that was estimated. Where no wrong labels show, fits on all labels are
        the only ones. 0 takes what was learned alone, as ``weighting="sample"`` and a `cv` of a
        single split do. A `final_estimator` is not averaged: it gets labels as given where no wrong
        ones show.

    unlabeled : int, float, str or None, default=None
        What stands in y for rows without a label, such as -1; NaN for any missing value. Their
        `sample_weight_` is 0, they count for no rate, and `label_report` suggests a label. With
        `relabel` fits on relabelled rows train on them by their predictions.

    max_iter : int, default=100
        Largest number of sl-BAMM iterations. 0 fits without learning, with the initial numbers:
        label weights are posterior probabilities.

    tol : float, default=1e-2
        The run has converged when its stationarity residual is below: the norm of the
        gradient of the held-out loss in the learned numbers (times the square root of n for
        n free weights, times 3 for the flatter loss without verified labels).

    warm_start : bool, default=False
        Whether a further `fit` starts from the numbers learned before.

    random_state : int, RandomState instance or None, default=0
        Seed of the folds where `cv` is an int.

    device : str or None, default=None
        Where torch computes: None for the CPU, "cuda", or "auto" (a GPU if there is one). In double
        precision, which "mps" does not have.

    verbose : int, default=0
        1 prints a line every ten iterations and one at the end, 2 one for each iteration:
        residuals in the unit of `tol`, criteria of the points that the run has left.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n_samples,)
        Weight of the label of each row of X: learned in [0, 1] for noisy rows, 1 for verified
        ones.

    noise_rate_ : float
        Estimated share of wrong labels among the noisy rows. Without verified labels, and with
        free weights, it comes from out-of-fold predictions. 0 where wrong labels do not show:
        where given labels are not clearly likelier with than without any, as `status_` says. That
        may be because there are none, or because classes overlap so much that it cannot be told.

    class_noise_rate_ : ndarray of shape (n_classes,)
        The same among the noisy rows of each given label.

    noise_transition_matrix_ : ndarray of shape (n_classes, n_classes)
        Probability of a given label (column) for each true class (row), among the noisy rows. Rows
        sum to 1. The identity where no wrong labels show. With `votes`, of single votes.

    noise_transition_matrix_std_ : ndarray of shape (n_classes, n_classes)
        Standard errors of these, by the likelihood's curvature and the number of rows; where no
        wrong labels show, with how far off the noise is that fits best: so much may hide. They
        do not know what models of the classes do not see: the truth is within two of them in about
        nine of ten cases. NaN where all labels are verified.

    clean_weight_ : float
        Learned weight c of a row with a verified label, relative to a noisy row of label weight 1.

    classes_ : ndarray of shape (n_classes,)
        Class labels in `y` and `y_val`.

    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Coefficients in original units; not there where trees have a weight.

    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts; likewise.

    alpha_ : float
        Ridge strength of the last fit; of averaged linear fits the geometric mean, with their
        weights.

    average_weights_ : dict of str to float
        Weight of each kind of fit in the mean that is returned, the largest first: "all labels",
        "verified labels", "filtered", "weighted", "relabelled" and "learned", which are linear,
        and "trees, all labels" and "trees, filtered".

    final_estimator_ : classifier
        The fitted `final_estimator`, where one was given. Where trees have a weight, a
        `StackingClassifier` that adds up the scores of these and of the "linear" rest.

    hyper_ : ndarray of shape (n_hyper,)
        The learned numbers: intercept a, slope b and the logarithms of ridge strength, weight of
        verified rows and inverse temperature; the free logits with ``weighting="sample"``.

    hyper_names_ : list of str
        What each entry of `hyper_` is.

    criterion_ : float
        Held-out loss that the numbers were learned by, at the end. A little optimistic: models
        behind the label quality share verified rows with the folds.

    initial_criterion_ : float
        The same without learning: what ``max_iter=0`` reaches.

    hypergradient_norm_ : float
        Certificate: norm of the gradient of the criterion in the learned numbers at `hyper_`
        (with ``weighting="sample"`` that of the averaged problem).

    residual_ : float
        `hypergradient_norm_` with the error of that gradient added: not above `tol` where
        `status_` says converged. Infinite where ``weighting="sample"`` ended before it was known.

    label_record_ : LabelRecord
        What `label_report` is made from.

    label_scorer_ : LabelScorer or None
        Scores labels of other rows for `weigh`; None unless ``weighting="adaptive"``. Its `skipped`
        says why clones of `final_estimator` were left out, if any failed.

    n_iter_ : int
        Number of evaluations: the initial one, and one for each iteration.

    history_ : History
        Records of the run; residuals in the unit of `tol`.

    named_columns_ : list of str
        Columns of X in `fit` that `y` and what goes with it were, where given by name.

    status_ : str
        Why the run ended, in a sentence, and whether wrong labels show.

    row_weights_ : RowWeights
        Weights of rows by time, source and annotator, where `fit` was told of these:
        ``row_weights_.weight``, of mean 1, by which `sample_weight_` was multiplied.
        `row_weight_report` tells of them by name.

    n_features_in_ : int
        Number of features seen during `fit`.

    feature_names_in_ : ndarray of shape (n_features,)
        Names of features seen during `fit`, if all of them are strings.

    Notes
    -----
    `X` of every method is an array, a sparse matrix or a dataframe of numbers without gaps, of
    shape (n_samples, n_features).

    Cost: from 300 rows on of dense X up to 16 fits of boosted trees (5 where no wrong labels show,
    none with "linear"), which take one to six times as long as the rest. For linear models some
    hundred products with X for each fold. Both on at most about 10,000 noisy and as many verified
    rows (more with over 200 columns or 33 classes), then a pass and a last fit of each model that
    has a weight over all rows. Where there are more rows, folds and learned numbers are
    those of a sample; the label of a row that is not in it is scored by the mean of the folds'
    models.

    Measuring accuracy on noisy labels misleads. Give `cross_validate` a scorer that gets
    ``sample_weight=is_clean``, so that only verified labels count.

    Passing `X_val` through `cross_validate` is a pitfall: where it has as many rows as X it is
    cut along with X. A mask `is_clean` is cut correctly.

    References
    ----------
    .. [1] R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang, "Averaged Method of Multipliers
           for Bi-Level Optimization without Lower-Level Strong Convexity", ICML 2023,
           arXiv:2302.03407.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skbamm import HyperCleaningClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> generator = np.random.default_rng(0)
    >>> is_clean = generator.random(150) < 0.2
    >>> is_wrong = ~is_clean & (generator.random(150) < 0.4)
    >>> given = np.where(is_wrong, (y + 1) % 3, y)
    >>> model = HyperCleaningClassifier().fit(X, given, is_clean=is_clean)
    >>> weights = model.sample_weight_
    >>> bool(weights[is_wrong].mean() < weights[~is_wrong].mean())
    True
    """

    _weighs_labels = True
    _parameter_constraints: dict = {
        **BilevelEstimator._parameter_constraints,
        "weighting": [StrOptions({"adaptive", "sample"})],
        "alpha": [StrOptions({"learn"}), Interval(Real, 0, None, closed="left")],
        "relabel": ["boolean"],
        "final_estimator": [HasMethods("fit"), StrOptions({"linear"}), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "standard_errors": [Interval(Real, 0, None, closed="left")],
        "unlabeled": [Real, str, None],
    }

    def __init__(
        self,
        weighting="adaptive",
        *,
        alpha="learn",
        cv=5,
        solver="sl-bamm",
        standardize=True,
        relabel=True,
        final_estimator=None,
        class_weight=None,
        standard_errors=1,
        unlabeled=None,
        max_iter=100,
        tol=1e-2,
        warm_start=False,
        random_state=0,
        device=None,
        verbose=0,
    ):
        self.weighting = weighting
        self.alpha = alpha
        self.cv = cv
        self.solver = solver
        self.standardize = standardize
        self.relabel = relabel
        self.final_estimator = final_estimator
        self.class_weight = class_weight
        self.standard_errors = standard_errors
        self.unlabeled = unlabeled
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
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
        pred_probs=None,
        votes=None,
        time=None,
        row_source=None,
        annotator=None,
        target_source=None,
        **params,
    ):
        """Learn label weights, then fit on all rows with these.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Rows of numbers, without gaps.

        y : array-like of shape (n_samples,)
            Given labels. Like `sample_weight` and `is_clean`, it may be the name of a column of
            X, a dataframe or Arrow table. Such columns are no features, and left out of tables
            that are predicted. In a Pipeline pass the values: a column goes through the steps
            before.

        sample_weight : array-like of shape (n_samples,), default=None
            On top of what is learned.

        is_clean : array-like of bool of shape (n_samples,), default=None
            Which rows of X have verified labels. With fewer than 45, and an int `cv`, weights are
            also learned as if none were, and kept if labels are likelier so.

        X_val : like X, of shape (n_val, n_features), default=None
            Rows with verified labels that are not in X; they are trained on as well.

        y_val : array-like of shape (n_val,), default=None
            Required with `X_val`; or a column of it by name.

        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the rows of `X_val`; or a column of it by name.

        pred_probs : array-like of shape (n_samples, n_classes), default=None
            Your own model's probabilities for the rows of X, out-of-fold, with columns in the
            order of the sorted labels: as of ``cross_val_predict(..., method="predict_proba")``.
            One more model that scores labels, if that predicts held-out rows better. Not with
            `X_val`.

        votes : array-like of shape (n_samples, n_classes), default=None
            How many people gave each label to a row of X, with columns in the order of the sorted
            labels. y is the label with most votes, of several with as many any of these. Votes are
            taken for independent, given the true class, so that a label is relied on the more the
            more agree. A row that sums to 1 is one vote: a share is the probability that it is for
            that label. A row without votes has no label (see `unlabeled`), whatever its y is. Of
            verified rows y alone counts. Needs ``weighting="adaptive"``.

        time : array-like of shape (n_samples,), default=None
            When each row is from: numbers, later ones larger, or dates. With it, or with one of the
            following, weights of rows are learned that multiply those of labels: `row_weights_`.
            Each may be the name of a column of X.

        row_source : array-like of shape (n_samples,), default=None
            Where each row is from: a site, batch or sensor. Needs `target_source`, or `is_clean`
            for the rows that are like those to predict.

        annotator : array-like of shape (n_samples,), default=None
            Who has given each row its label.

        target_source : label, default=None
            The source that is to be predicted.

        **params : dict
            For the splitter `cv`: ``groups``, one label for each row that it splits, for
            `GroupKFold` and its like. With metadata routing enabled, what the splitter requests.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For NaN or infinite entries, wrong lengths, fewer than two classes, weights that
            are all zero, both `is_clean` and `X_val`, and a y that has not the most votes.
        """
        if given_estimator(self) is not None:
            check_final_estimator(self.final_estimator)
        split_params = self._split_params(params)
        found = split_columns(X, y, sample_weight, is_clean, time, row_source, annotator)
        self.named_columns_, X, y, sample_weight, is_clean, *told = found
        # Verified labels say what is predicted where no source does.
        of_target = is_clean if row_source is not None and target_source is None else None
        columns = RowColumns.of((*told, of_target), target_source)
        held_out = split_columns(X_val, y_val, sample_weight_val, name="X_val")[1:]
        container = RowContainer.of(X, y)
        more = {"pred_probs": pred_probs, "votes": votes, "columns": columns}
        rows = label_rows(self, X, y, sample_weight, is_clean, *held_out, **more)

        def attributes(*found):
            return attributes_after(self, lambda fitted: fitted._store(rows, container, *found))

        work = product_work(rows)
        with (
            torch_session(),
            threads_for(work),
            Progress(self, X, y, sample_weight, n_stages=2) as progress,
        ):
            from ._fit import learn_and_fit

            found = learn_and_fit(self, rows, split_params, progress, attributes)
            self._store(rows, container, *found)
        self._describe_row_weights()
        skipped = getattr(self.label_scorer_, "skipped", ())
        if skipped:
            warnings.warn(
                f"A clone of final_estimator failed {skipped[0]} Its predictions are left out of "
                "label quality, which may be poorer for it.",
                UserWarning,
                stacklevel=level_of_caller(),
            )
        return self

    def _store(self, rows, container, learned, coef, intercept):
        label_weight = np.ones(len(rows.labels))
        label_weight[rows.noisy] = learned.label_weight
        label_weight[rows.unlabelled] = 0.0
        self._store_learned(rows.classes, learned, coef, intercept)
        if self.weighting == "sample" and len(rows.noisy) > 0:
            self.hyper_names_ = [f"logit[{row}]" for row in rows.noisy]
        self.sample_weight_ = label_weight[: rows.n_given]
        predictions = learned.predictions
        known = label_weight if learned.is_noise_shown else np.ones(len(label_weight))
        transition = getattr(learned.scorer, "transition", None)
        classes = true_classes(rows, known, predictions, learned.noise, transition)
        gaps = {}
        if rows.is_unlabelled is not None:
            is_gap = rows.is_unlabelled[: rows.n_given].copy()
            gaps = {"is_gap": is_gap, "unlabeled": self.unlabeled}
        sums = ClassSums.of(rows, classes, predictions)
        self._store_rates(sums, LabelRecord.columns(rows, classes), container, **gaps)
        if rows.votes is not None:
            self.noise_transition_matrix_ = vote_transition_matrix(rows, classes)
        self._fit_final(rows, learned)
        self.status_ = self._describe_fit(learned)

    def _store_rates(self, sums, columns, container, **gaps):
        """How often labels are wrong, and the record of a report, from its columns."""
        self.class_noise_rate_, self.noise_rate_ = sums.noise_rates, sums.noise_rate
        self.noise_transition_matrix_ = sums.noise_transition_matrix
        known = {"noise_rates": sums.noise_rates, "is_told": sums.is_told, **gaps}
        self.label_record_ = LabelRecord(*columns, rows=container, **known)

    def _store_learned(self, classes, learned, coef, intercept):
        """What there is not one of for each row."""
        self.__dict__.pop("final_estimator_", None)  # of a fit before
        self.classes_ = classes
        self.coef_, self.intercept_ = coef, intercept
        average = learned.average
        self.alpha_ = (average and average.ridge) or learned.ridge
        self.average_weights_ = {"learned": 1.0} if average is None else average.by_kind
        self.clean_weight_ = learned.clean_weight
        self.hyper_ = learned.hyper
        self.hyper_names_ = list(HYPER_NAMES)
        solution = learned.solution
        self.criterion_ = float(solution.criterion)
        self.initial_criterion_ = float(solution.initial_criterion)
        self.residual_ = learned.unit * (solution.residual or 0.0)
        self.hypergradient_norm_ = learned.unit * (solution.hypergradient_norm or 0.0)
        self.n_iter_ = solution.n_iter + 1
        self.history_ = learned.history
        self.noise_transition_matrix_std_ = learned.transition_std
        self.label_scorer_ = learned.scorer

    def _describe_fit(self, learned):
        """`status_` of the run, and what became of it."""
        sentence = self._describe(learned.solution, self.residual_)
        given = given_estimator(self)
        if given is not None and not weight_names(given):
            sentence += "; final_estimator takes no weights, and got rows as often as they say"
        if learned.is_noise_shown:
            return sentence
        sentence = f"{sentence}; no wrong labels show"
        if learned.noise is None:  # verified rows took part
            return sentence
        return f"{sentence} (which verified rows can prove: begin with those of lowest weight)"

    def _fit_final(self, rows, learned):
        """The final estimator on all rows with the learned weights, or trees in its place."""
        if learned.average is not None and not learned.average.is_linear:
            # What predicts is no longer linear in the columns.
            linear = self.__dict__.pop("coef_"), self.__dict__.pop("intercept_")
            self.final_estimator_ = sum_of_scores(rows, learned, *linear)
        if given_estimator(self) is None:
            return
        index, labels, weight, first = weighted_labels(rows, learned)
        found = rows.X, rows.classes[labels], weight, index, first, rows.unit_weight
        try:
            final = fit_final_estimator(self.final_estimator, *found)
            if hasattr(final, "predict_proba"):
                class_probabilities(final, rows.X[:TRIED_ROWS], rows.classes)
        except Exception as error:
            error.add_note("It came from final_estimator, in its fit to rows with learned weights.")
            raise
        self.final_estimator_ = final

    def _grows_trees(self):
        """Whether boosted trees may join the average."""
        return self.final_estimator is None and self.standard_errors > 0

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        if given_estimator(self) is not None:
            restrict_tags(tags, self.final_estimator)
        return tags
