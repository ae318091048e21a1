"""scikit-learn's own checks, without an expected failure."""

from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.solvers import SlBamm

REGRESSORS = [
    BilevelRegularizedRegressor(),
    BilevelRegularizedRegressor("l2"),
    BilevelRegularizedRegressor("l2", groups="feature", standardize=False, tol=1e-2),
    BilevelRegularizedRegressor(alpha=0.1, fit_intercept=False),
    BilevelRegularizedRegressor(alpha=0),
    BilevelRegularizedRegressor(alpha_per_target=True, solver=SlBamm(memory=3), tol=1e-2),
    BilevelRegularizedRegressor(cv=2, max_iter=0),
]


CLASSIFIERS = [
    HyperCleaningClassifier(),
    HyperCleaningClassifier("sample"),
    HyperCleaningClassifier(max_iter=0),
    HyperCleaningClassifier(alpha=0.1, cv=3, solver=SlBamm(memory=3)),
    HyperCleaningClassifier(standardize=False, class_weight="balanced", tol=1e-2),
    HyperCleaningClassifier(final_estimator=LogisticRegression(), max_iter=0),
]


@parametrize_with_checks(REGRESSORS + CLASSIFIERS)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)
