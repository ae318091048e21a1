"""Every solver of the table works in both estimators: by name, as an instance, in searches."""

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_regression
from sklearn.model_selection import GridSearchCV

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.solvers import SOLVERS, Bda, IapttGm, Meha, SlBamm

every_solver = pytest.mark.parametrize("name", SOLVERS)
# Runs that end early warn; that is not what is tested here.
short = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SEARCHES = {
    "sl-BAMM": (SlBamm(), {"solver__averaging": [0.0, 0.1]}),
    "BDA": (Bda(n_steps=10), {"solver__averaging": [0.0, 0.1]}),
    "MEHA": (Meha(), {"solver__upper_weight": ["auto", 0.01]}),
    "IAPTT-GM": (IapttGm(), {"solver__n_steps": [5, 10]}),
}


@pytest.fixture(scope="module")
def regression():
    # What the columns of the second group add is nothing.
    return make_regression(60, 8, n_informative=3, noise=20.0, shuffle=False, random_state=0)


@pytest.fixture(scope="module")
def classification():
    X, y = make_classification(90, 5, n_informative=4, n_redundant=0, random_state=0)
    generator = np.random.default_rng(0)
    is_clean = np.arange(len(y)) % 3 == 0
    wrong = ~is_clean & (generator.random(len(y)) < 0.3)
    return X, np.where(wrong, 1 - y, y), is_clean


STRENGTHS = {
    "penalty": "l2",
    "groups": np.arange(8) // 4,
    "shrinkage": 0,
    "cv": 3,
    "tol": 1e-3,
    "n_repeats": 1,
}


@pytest.fixture(scope="module")
def criterion_of_the_default(regression):
    return BilevelRegularizedRegressor(**STRENGTHS).fit(*regression).criterion_


@every_solver
def test_every_solver_learns_the_same_strengths(name, regression, criterion_of_the_default):
    found = BilevelRegularizedRegressor(solver=name, **STRENGTHS).fit(*regression)
    assert found.criterion_ == pytest.approx(criterion_of_the_default, rel=1e-3)


@every_solver
@short
def test_every_solver_learns_weights_no_worse_than_the_initialization(name, classification):
    X, y, is_clean = classification
    model = HyperCleaningClassifier(solver=name, cv=2, max_iter=15).fit(X, y, is_clean=is_clean)
    assert np.min(model.history_["criterion"]) <= model.initial_criterion_
    assert model.sample_weight_[is_clean].min() == 1


@every_solver
@short
def test_every_solver_learns_free_weights(name, classification):
    X, y, is_clean = classification
    model = HyperCleaningClassifier("sample", solver=name, cv=2, max_iter=40, tol=1e-4)
    weight = model.fit(X, y, is_clean=is_clean).sample_weight_[~is_clean]
    assert np.ptp(weight) > 0.1
    assert ((weight >= 0) & (weight <= 1)).all()


@every_solver
@short
def test_a_name_means_the_solver_with_its_defaults_in_the_regressor(name, regression):
    one, other = (
        BilevelRegularizedRegressor(solver=solver, cv=3, max_iter=5).fit(*regression)
        for solver in (name, SOLVERS[name]())
    )
    np.testing.assert_array_equal(one.coef_, other.coef_)
    assert one.n_iter_ == other.n_iter_


@every_solver
@short
def test_a_name_means_the_solver_with_its_defaults_in_the_classifier(name, classification):
    X, y, is_clean = classification
    one, other = (
        HyperCleaningClassifier("sample", solver=solver, cv=2, max_iter=2).fit(
            X, y, is_clean=is_clean
        )
        for solver in (name, SOLVERS[name]())
    )
    np.testing.assert_array_equal(one.sample_weight_, other.sample_weight_)
    np.testing.assert_array_equal(one.coef_, other.coef_)


@pytest.mark.parametrize("search", SEARCHES)
@short
def test_options_of_a_solver_can_be_searched_in_the_regressor(search, regression):
    solver, grid = SEARCHES[search]
    model = BilevelRegularizedRegressor("l2", solver=solver, cv=3, max_iter=20)
    found = GridSearchCV(model, grid, cv=2, error_score="raise").fit(*regression)
    [(name, values)] = grid.items()
    assert found.best_estimator_.get_params()[name] in values
    assert len(found.cv_results_["params"]) == len(values)


@pytest.mark.parametrize("search", SEARCHES)
@short
def test_options_of_a_solver_can_be_searched_in_the_classifier(search, classification):
    X, y, is_clean = classification
    solver, grid = SEARCHES[search]
    model = HyperCleaningClassifier("sample", solver=solver, cv=2, max_iter=2)
    found = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y, is_clean=is_clean)
    [(name, values)] = grid.items()
    assert found.best_estimator_.get_params()[name] in values


@every_solver
@pytest.mark.parametrize("kind", [BilevelRegularizedRegressor, HyperCleaningClassifier])
def test_options_of_a_name_are_an_error_that_names_the_class(name, kind):
    message = rf"solver='{name}' is a name .*skbamm.solvers.{SOLVERS[name].__name__}\(\)"
    with pytest.raises(ValueError, match=message):
        kind(solver=name).set_params(solver__memory=4)
