"""scikit-learn's own checks, without an expected failure."""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

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
    # The checks' targets can be fitted exactly: without a bound, rounding decides how exactly.
    BilevelRegularizedRegressor(solver="meha", alpha_bounds=(1e-3, 1e3), tol=1e-2),
    BilevelRegularizedRegressor("l2", solver="iaptt-gm", alpha_bounds=(1e-3, 1e3), tol=1e-2),
]


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


# The checks' labels are drawn at random: there is little to converge to.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(CLASSIFIERS)
def test_scikit_learn_accepts_the_classifier(estimator, check):
    check(estimator)
