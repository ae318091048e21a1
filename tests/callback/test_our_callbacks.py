"""EarlyStopping and TimeLimit."""

import pickle
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.callback import EarlyStopping, TimeLimit
from skbamm.solvers import History
from tests.cleaning.label_data import make_labels
from tests.regularization.regression_data import make_regression

DATA = make_regression(60)


def decision(criterion, task_name="iteration", **options):
    """Of an EarlyStopping after these values, that of the initialization first."""
    history = History({"criterion": np.array(criterion[1:])}, {"criterion": np.array(criterion[0])})
    estimator = SimpleNamespace(history_=history)
    context = SimpleNamespace(task_name=task_name)
    return EarlyStopping(**options).on_fit_task_end(estimator, context)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ([5, 4, 3, 2], False),
        ([5, 5, 5], True),
        ([5, 4, 4, 4], True),
        ([5, 4, 4, 3.9], False),
        ([5, 4, 9, 9], True),  # rejected trials do not count
        ([5, 4, 9, 3], False),
        ([5, 4, np.nan, np.nan], True),
        ([5, 5], False),  # too early to tell
    ],
)
def test_early_stopping_waits_for_an_improvement(criterion, expected):
    assert decision(criterion, patience=2) is expected


@pytest.mark.parametrize(("value", "expected"), [(0.989, False), (0.991, True)])
def test_an_improvement_is_relative(value, expected):
    assert decision([100, 100 * value], patience=1, min_improvement=0.01) is expected


def test_early_stopping_decides_after_iterations_only():
    assert decision([5, 5, 5, 5], task_name="learn penalty", patience=1) is False


def test_early_stopping_ends_a_run_of_the_regressor():
    options = {"penalty": "l2", "groups": "feature", "shrinkage": 0.0, "tol": 0.0, "cv": 3}
    model = BilevelRegularizedRegressor(**options, n_repeats=1, max_iter=50)
    model.set_callbacks(EarlyStopping(patience=3, min_improvement=0.01)).fit(DATA.X, DATA.y)
    assert model.status_.startswith("stopped on request")
    assert 3 < model.n_iter_ < 50
    assert model.criterion_ <= model.initial_criterion_
    assert np.isfinite(model.coef_).all()


def test_early_stopping_ends_a_run_of_the_classifier():
    data = make_labels()
    model = HyperCleaningClassifier(cv=3, tol=0.0, max_iter=50)
    model.set_callbacks(EarlyStopping(patience=4)).fit(data.X, data.y, is_clean=data.is_clean)
    assert model.status_.startswith("stopped on request")
    assert 4 < model.n_iter_ < 50


def test_early_stopping_works_in_searches_of_pipelines_on_workers():
    model = BilevelRegularizedRegressor("l2", groups="feature", shrinkage=0.0, tol=0.0, cv=3)
    model.set_callbacks(EarlyStopping(patience=2, min_improvement=0.5))
    pipeline = make_pipeline(StandardScaler(), model)
    grid = {"bilevelregularizedregressor__n_repeats": [1, 2]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(DATA.X, DATA.y)
    assert search.best_estimator_[-1].status_.startswith("stopped on request")


def fit_task(seconds, **of_parent):
    """The context of an iteration of a fit that began so many seconds ago."""
    began = datetime.now(UTC) - timedelta(seconds=seconds)
    search = SimpleNamespace(
        parent=None, source_estimator_name=None, init_time=began - timedelta(hours=1)
    )
    fit = SimpleNamespace(parent=search, source_estimator_name="GridSearchCV", init_time=began)
    return SimpleNamespace(parent=fit, source_estimator_name=None, init_time=datetime.now(UTC))


@pytest.mark.parametrize(("seconds", "expected"), [(59, False), (61, True)])
def test_a_time_limit_counts_from_the_beginning_of_the_estimators_own_fit(seconds, expected):
    assert TimeLimit(60).on_fit_task_end(None, fit_task(seconds)) is expected


def test_when_time_is_over_the_fit_ends_with_what_is_known():
    model = BilevelRegularizedRegressor("l2", groups="feature", cv=3, n_repeats=2)
    model.set_callbacks(TimeLimit(0)).fit(DATA.X, DATA.y)
    assert "on request without" in model.status_
    assert np.isfinite(model.coef_).all() and model.score(DATA.X, DATA.y) > 0


@pytest.mark.parametrize("callback", [EarlyStopping(), TimeLimit(60)], ids=repr)
def test_on_another_estimator_they_are_an_error(callback):
    pipeline = make_pipeline(BilevelRegularizedRegressor()).set_callbacks(callback)
    with pytest.raises(TypeError, match="not for a Pipeline: set it on the estimator within"):
        pipeline.fit(DATA.X, DATA.y)


@pytest.mark.parametrize("callback", [EarlyStopping(patience=3), TimeLimit(7.5)], ids=repr)
def test_they_are_pickled_and_shown_with_their_options(callback):
    copied = pickle.loads(pickle.dumps(callback))
    assert vars(copied) == vars(callback)
    assert eval(repr(callback)).__dict__ == vars(callback)


@pytest.mark.parametrize("options", [{"patience": 0}, {"patience": 1.5}, {"min_improvement": 1}])
def test_unusable_options_of_early_stopping_are_an_error(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        EarlyStopping(**options)


@pytest.mark.parametrize("seconds", [-1, "1"])
def test_an_unusable_time_limit_is_an_error(seconds):
    with pytest.raises(ValueError, match="seconds must be a number"):
        TimeLimit(seconds)
