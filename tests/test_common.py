"""scikit-learn's own checks, without an expected failure."""

import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skbamm import (
    AdditiveClassifier,
    AdditiveRegressor,
    BilevelRegularizedClassifier,
    BilevelRegularizedRegressor,
    HyperCleaningClassifier,
    HyperCleaningRegressor,
    SmoothTerms,
)

# Each at otherwise default parameters.
REGRESSOR_OPTIONS = [
    {"penalty": "l2"},
    {"penalty": "l1"},
    {"groups": "feature"},
    {"alpha": 0.1},
    {"alpha": 0},
    {"loss": "huber"},
    {"cv": 2},
    {"n_repeats": 1},
    {"solver": "meha"},
    {"solver": "iaptt-gm"},
    {"solver": "implicit"},
    {"solver": "unrolling"},
    {"solver": "bda"},
    {"alpha_bounds": (1e-8, 1e2)},
    {"standard_errors": 0},
    {"standardize": False},
    {"fit_intercept": False},
    {"positive": True},
    {"penalty_factors": {0: 3.0}},
    {"exact_zeros": True},
    {"alpha_per_target": True},
    {"max_iter": 0},
    {"tol": 1e-4},
    {"warm_start": True},
    {"random_state": 1},
]
CLASSIFIER_OPTIONS = [
    {"weighting": "sample"},
    {"alpha": 0.1},
    {"cv": 2},
    {"solver": "meha"},
    {"solver": "iaptt-gm"},
    {"solver": "implicit"},
    {"solver": "unrolling"},
    {"solver": "bda"},
    {"standardize": False},
    {"relabel": False},
    {"final_estimator": LogisticRegression()},
    {"final_estimator": GaussianNB()},
    # Takes no weights.
    {"final_estimator": LinearDiscriminantAnalysis()},
    # With less, its leaves are pure whatever classes weigh.
    {"final_estimator": DecisionTreeClassifier(min_weight_fraction_leaf=0.01, random_state=0)},
    {"final_estimator": make_pipeline(StandardScaler(), LogisticRegression())},
    {"final_estimator": HistGradientBoostingClassifier(max_iter=2, max_bins=32)},
    {"class_weight": "balanced"},
    {"standard_errors": 0},
    {"unlabeled": -99},
    {"max_iter": 0},
    {"tol": 1.0},
    {"warm_start": True},
    {"random_state": 1},
]
PENALIZED_OPTIONS = [
    {"penalty": "l2"},
    {"penalty": "l1"},
    {"groups": "feature"},
    {"alpha": 0.1},
    {"alpha": 0},
    {"class_weight": "balanced"},
    {"cv": 2},
    {"n_repeats": 2},
    {"solver": "meha"},
    {"solver": "iaptt-gm"},
    {"solver": "implicit"},
    {"solver": "unrolling"},
    {"solver": "bda"},
    {"alpha_bounds": (1e-8, 1e2)},
    {"standard_errors": 0},
    {"standardize": False},
    {"fit_intercept": False},
    {"penalty_factors": {0: 3.0}},
    {"exact_zeros": True},
    {"max_iter": 0},
    {"tol": 1e-4},
    {"warm_start": True},
    {"random_state": 1},
]
TARGET_OPTIONS = [
    {"final_estimator": Ridge()},
    {"final_estimator": make_pipeline(StandardScaler(), Ridge())},
    {"cv": 2},
    {"solver": "meha"},
    {"solver": "iaptt-gm"},
    {"solver": "implicit"},
    {"solver": "unrolling"},
    {"solver": "bda"},
    {"max_iter": 0},
    {"tol": 1.0},
    {"random_state": 1},
]
# Options that can touch none of the checks, or cannot be given for tables of any width.
LEFT_OUT = {
    "alpha_features": "has a row for each column, and the checks have tables of several widths",
    "shrinkage": "makes no difference without groups and descriptions",
    "device": "is the same CPU on a machine without a GPU",
    "verbose": "prints",
}
# What an option can touch. All that are learned by: the same fit twice, weights as repeated rows,
# and the least data. Options of the model, not of the search, also: rows that are sparse, and what
# classes are. The other checks are of validation, parameters and attributes, which no option goes
# another way through, and of methods: without a final estimator these are a product of rows and
# `coef_`, whatever was learned, and with one they are calls of it, whichever it is.
LEARNED = {
    "check_fit_idempotent",
    "check_sample_weight_equivalence_on_dense_data",
    "check_fit2d_1sample",
    "check_fit2d_1feature",
    "check_classifiers_one_label",
    "check_classifiers_one_label_sample_weights",
}
OF_THE_MODEL = {
    "check_sample_weight_equivalence_on_sparse_data",
    "check_classifiers_classes",
    "check_class_weight_classifiers",
}
OF_THE_SEARCH = {
    "alpha_bounds",
    "cv",
    "max_iter",
    "n_repeats",
    "random_state",
    "solver",
    "standard_errors",
    "tol",
}
OF_METHODS = {
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_estimators_dtypes",
    # All sparse formats become one before the search.
    "check_estimator_sparse_tag",
    "check_classifiers_train",
}
TOUCHED_BY = {"alpha_per_target": {"check_regressor_multioutput"}}
# A first fit has nothing to start from.
ONLY = {"warm_start": {"check_fit_idempotent"}}


def touches(option, check):
    """Whether a check can tell a fit with this option from one without."""
    [(name, value)] = option.items()
    names = LEARNED if name in OF_THE_SEARCH else LEARNED | OF_THE_MODEL
    if isinstance(value, Pipeline):
        names = names | OF_METHODS
    return is_of(check, ONLY.get(name, names | TOUCHED_BY.get(name, set())))


def is_of(check, names):
    """Of three kinds of training rows the one harder than plain arrays; dtypes have a check."""
    is_easy = check.keywords != {"readonly_memmap": True}
    name = check.func.__name__
    return name in names and not (name == "check_classifiers_train" and is_easy)


def fails_by_itself(option, name):
    """Boosting counts rows, not weights, for its bins and leaves: as scikit-learn lists it.

    Without an intercept no linear model, LogisticRegression among them, predicts the class that
    has all the weight wherever the rows are.
    """
    if option == {"fit_intercept": False} and name == "check_class_weight_classifiers":
        return True
    final = option.get("final_estimator")
    return isinstance(final, HistGradientBoostingClassifier) and "sample_weight" in name


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (BilevelRegularizedRegressor, REGRESSOR_OPTIONS),
        (HyperCleaningClassifier, CLASSIFIER_OPTIONS),
        (BilevelRegularizedClassifier, PENALIZED_OPTIONS),
        (HyperCleaningRegressor, TARGET_OPTIONS),
    ],
)
def test_every_option_is_checked_or_left_out_for_a_reason(kind, options):
    checked = {name for option in options for name in option}
    names = set(kind().get_params(deep=False))
    assert names == checked | (names & LEFT_OUT.keys())


# Three times is once, three times over.
QUICK = {BilevelRegularizedClassifier: {"n_repeats": 1}}


def checks_of_options(kind, options):
    """Every option alone, with each of the checks that it can touch."""
    return [
        pytest.param(estimator, check, id=f"{option}-{check.func.__name__}")
        for option in options
        for estimator, check in estimator_checks_generator(kind(**QUICK.get(kind, {}) | option))
        if touches(option, check) and not fails_by_itself(option, check.func.__name__)
    ]


# The checks draw labels at random: there is little to converge to.
short = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([BilevelRegularizedRegressor()])
def test_scikit_learn_accepts_the_regressor(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("estimator", "check"), checks_of_options(BilevelRegularizedRegressor, REGRESSOR_OPTIONS)
)
def test_scikit_learn_accepts_every_option_of_the_regressor(estimator, check):
    check(estimator)


@parametrize_with_checks(
    [
        SmoothTerms(),
        SmoothTerms(interactions=2),
        SmoothTerms(sparse_output=True),
        SmoothTerms(order=1),
        AdditiveRegressor(),
        AdditiveClassifier(),
    ]
)
def test_scikit_learn_accepts_smooth_terms(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{estimator}-{check.func.__name__}")
        for model in (
            AdditiveRegressor(interactions=None, n_knots=6),
            AdditiveClassifier(interactions=1, class_weight="balanced", max_iter=0, n_repeats=1),
        )
        for estimator, check in estimator_checks_generator(model)
        if is_of(check, LEARNED | OF_THE_MODEL | OF_METHODS)
    ],
)
def test_scikit_learn_accepts_options_of_additive_models(estimator, check):
    check(estimator)


@short
@parametrize_with_checks([HyperCleaningClassifier()])
def test_scikit_learn_accepts_the_classifier(estimator, check):
    check(estimator)


@short
@pytest.mark.parametrize(
    ("estimator", "check"), checks_of_options(HyperCleaningClassifier, CLASSIFIER_OPTIONS)
)
def test_scikit_learn_accepts_every_option_of_the_classifier(estimator, check):
    check(estimator)


@parametrize_with_checks([BilevelRegularizedClassifier()])
def test_scikit_learn_accepts_the_penalized_classifier(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("estimator", "check"), checks_of_options(BilevelRegularizedClassifier, PENALIZED_OPTIONS)
)
def test_scikit_learn_accepts_every_option_of_the_penalized_classifier(estimator, check):
    check(estimator)


@short
@parametrize_with_checks([HyperCleaningRegressor()])
def test_scikit_learn_accepts_the_regressor_of_weighted_targets(estimator, check):
    check(estimator)


@short
@pytest.mark.parametrize(
    ("estimator", "check"), checks_of_options(HyperCleaningRegressor, TARGET_OPTIONS)
)
def test_scikit_learn_accepts_every_option_of_weighted_targets(estimator, check):
    check(estimator)
