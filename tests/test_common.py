"""scikit-learn's own checks, without an expected failure."""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import (
    check_fit_idempotent,
    check_methods_sample_order_invariance,
    check_sample_weight_equivalence_on_dense_data,
    check_sample_weight_equivalence_on_sparse_data,
    parametrize_with_checks,
)

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.solvers import IapttGm, SlBamm

REGRESSORS = [
    BilevelRegularizedRegressor(),
    BilevelRegularizedRegressor("l2"),
    BilevelRegularizedRegressor("l2", groups="feature", standardize=False, tol=1e-2),
    BilevelRegularizedRegressor(alpha=0.1, fit_intercept=False),
    BilevelRegularizedRegressor(alpha=0),
    BilevelRegularizedRegressor(alpha_per_target=True, solver=SlBamm(memory=3), tol=1e-2),
    BilevelRegularizedRegressor(cv=2, max_iter=0),
    BilevelRegularizedRegressor("l1", cv=2, max_iter=0),
    BilevelRegularizedRegressor("bridge", cv=2, max_iter=0),
    BilevelRegularizedRegressor("l2", positive=True, n_repeats=1, cv=2),
    BilevelRegularizedRegressor("l2", exact_zeros=True, n_repeats=1, cv=2),
    BilevelRegularizedRegressor(loss="huber", n_repeats=1, cv=2),
    BilevelRegularizedRegressor(solver="iaptt-gm"),
]
# A single option at otherwise default parameters. It can touch what is learned, so the checks that
# compare two fits.
SINGLE_OPTIONS = [
    BilevelRegularizedRegressor(**option)
    for option in (
        {"exact_zeros": True},
        {"positive": True},
        {"loss": "huber"},
        {"solver": "meha"},
        {"penalty": "l1"},
        {"penalty": "bridge"},
        {"groups": "feature"},
        {"standardize": False},
        {"fit_intercept": False},
        {"n_repeats": 1},
    )
]
COMPARED = (
    check_fit_idempotent,
    check_methods_sample_order_invariance,
    check_sample_weight_equivalence_on_dense_data,
    check_sample_weight_equivalence_on_sparse_data,
)


CLASSIFIERS = [
    HyperCleaningClassifier(),
    HyperCleaningClassifier("sample", cv=2, max_iter=3),
    HyperCleaningClassifier(max_iter=0),
    HyperCleaningClassifier(alpha=0.1, cv=2, max_iter=3, solver=SlBamm(memory=3)),
    HyperCleaningClassifier(standardize=False, class_weight="balanced", cv=2, max_iter=3),
    HyperCleaningClassifier(cv=2, max_iter=3, solver="meha"),
    HyperCleaningClassifier(cv=2, max_iter=3, solver=IapttGm(n_steps=5)),
    HyperCleaningClassifier(final_estimator=LogisticRegression(), cv=2, max_iter=0),
]


@parametrize_with_checks(REGRESSORS)
def test_scikit_learn_accepts_the_regressor(estimator, check):
    check(estimator)


# The bridge takes more iterations than it has by default: both fits stop there.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("check", COMPARED, ids=lambda check: check.__name__)
@pytest.mark.parametrize("estimator", SINGLE_OPTIONS, ids=repr)
def test_a_single_option_leaves_two_ways_to_the_same_fit_the_same(estimator, check):
    check(type(estimator).__name__, estimator)


# The checks' labels are drawn at random: there is little to converge to.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(CLASSIFIERS)
def test_scikit_learn_accepts_the_classifier(estimator, check):
    check(estimator)
