"""scikit-learn's own checks, without an expected failure."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from skbamm import BilevelRegularizedRegressor
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


@parametrize_with_checks(REGRESSORS)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    check(estimator)
