"""scikit-learn's callback protocol on both estimators."""

import io
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from tests.cleaning.label_data import make_labels
from tests.regularization.regression_data import make_regression

REGRESSION = make_regression(60)
LABELS = make_labels()
GROUPS = np.arange(REGRESSION.X.shape[1]) % 2


def regressor(**options):
    return BilevelRegularizedRegressor(**{"groups": GROUPS, "cv": 3, "n_repeats": 2, **options})


def classifier(**options):
    return HyperCleaningClassifier(**{"cv": 3, "max_iter": 6, "tol": 0.5, **options})


def fitted(model, **options):
    if isinstance(model, BilevelRegularizedRegressor):
        return model.fit(REGRESSION.X, REGRESSION.y, **options)
    return model.fit(LABELS.X, LABELS.y, is_clean=LABELS.is_clean, **options)


class Recorder:
    """Keeps the tasks that begin and end, and stops at the end of some."""

    def __init__(self, stop_at=(), asks=False):
        self.tasks, self.models = [], []
        self.stop_at = stop_at
        if asks:
            self.on_fit_task_end = self._ask

    def setup(self, estimator, context):
        self.tasks.append(("setup", context.task_name))

    def teardown(self, estimator, context):
        self.tasks.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context):
        self.tasks.append(("end", context.task_name))
        return context.task_name in self.stop_at

    def _ask(self, estimator, context, *, fitted_estimator=None):
        self.models.append((context.task_name, fitted_estimator))
        return context.task_name in self.stop_at

    def count(self, event, name):
        return self.tasks.count((event, name))


BOTH = pytest.mark.parametrize("make", [regressor, classifier])
# Not None: scikit-learn 1.9.1 fails on that.
SCORE = {regressor: "r2", classifier: "accuracy"}


# Tasks


@BOTH
def test_every_task_that_begins_ends_in_order(make):
    recorder = Recorder()
    fitted(make().set_callbacks(recorder))
    assert recorder.tasks[0] == ("setup", "fit") and recorder.tasks[-1] == ("teardown", "fit")
    assert recorder.tasks[1] == ("begin", "fit") and recorder.tasks[-2] == ("end", "fit")
    stack = []
    for event, name in recorder.tasks[1:-1]:
        if event == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []


def test_a_regressor_chooses_shrinkage_runs_for_each_repeat_and_fits():
    recorder = Recorder()
    fitted(regressor(penalty="l2").set_callbacks(recorder))
    stages = [name for event, name in recorder.tasks if event == "begin"]
    stages = [name for name in stages if name not in ("iteration", "fold")]
    assert stages == ["fit", "choose shrinkage", "learn penalty", "learn penalty", "last fit"]
    assert recorder.count("end", "fold") == 3


def test_a_classifier_learns_weights_and_fits():
    recorder = Recorder()
    model = fitted(classifier().set_callbacks(recorder))
    stages = [name for event, name in recorder.tasks if (event, name) != ("begin", "iteration")]
    assert [name for name in dict.fromkeys(stages) if name != "iteration"] == [
        "fit",
        "learn weights",
        "last fit",
    ]
    assert recorder.count("end", "iteration") == model.n_iter_ - 1 > 0


@BOTH
def test_an_iteration_that_diverges_ends_too(make, recwarn):
    from skbamm.solvers import SlBamm

    recorder = Recorder()
    model = make(solver=SlBamm(params_step=1e300)).set_callbacks(recorder)
    fitted(model)
    assert "diverged" in model.status_
    assert recorder.count("begin", "iteration") == recorder.count("end", "iteration") > 0


@BOTH
@pytest.mark.parametrize("asks", [False, True])
def test_a_fit_with_callbacks_is_the_same_fit(make, asks):
    observed, alone = fitted(make().set_callbacks(Recorder(asks=asks))), fitted(make())
    np.testing.assert_array_equal(observed.coef_, alone.coef_)
    np.testing.assert_array_equal(observed.hyper_, alone.hyper_)
    assert observed.status_ == alone.status_
    for name, values in alone.history_.records.items():
        np.testing.assert_array_equal(observed.history_[name], values)


@BOTH
def test_nothing_of_a_callback_is_left_on_the_fitted_estimator(make):
    model = fitted(make().set_callbacks(Recorder()))
    private = {name for name in vars(model) if name.startswith("_")}
    assert private == {"_skl_callbacks"}
    assert set(vars(model)) - {"_skl_callbacks"} == set(vars(fitted(make())))


def test_no_tasks_are_made_where_nobody_listens(monkeypatch):
    from sklearn.callback import CallbackContext

    def refuse(*args, **kwargs):
        raise AssertionError("a subtask was made")

    monkeypatch.setattr(CallbackContext, "subcontext", refuse)
    fitted(regressor())
    fitted(classifier())


# Fitted estimators of the middle of a fit


@BOTH
def test_the_model_of_an_iteration_is_that_of_a_fit_that_stops_there(make):
    asking, stopping = Recorder(asks=True), Recorder(stop_at=("iteration", "learn penalty"))
    fitted(make().set_callbacks(asking))
    [first, *_] = [model for name, model in asking.models if name == "iteration"]
    stopped = fitted(make().set_callbacks(stopping))
    np.testing.assert_allclose(first.coef_, stopped.coef_, rtol=1e-12)
    np.testing.assert_allclose(first.alpha_, stopped.alpha_, rtol=1e-12)
    assert first.status_ == stopped.status_.split(";")[0]
    assert len(first.history_) == len(stopped.history_) == 1


def test_in_a_later_repeat_the_model_uses_the_ones_before():
    asking = Recorder(asks=True)
    model = fitted(regressor().set_callbacks(asking))
    last = [model for name, model in asking.models if name == "iteration"][-1]
    np.testing.assert_allclose(last.alpha_, model.alpha_, rtol=1e-12)
    np.testing.assert_allclose(last.coef_, model.coef_, rtol=1e-12)


@BOTH
def test_the_model_at_the_end_is_the_fitted_one(make):
    asking = Recorder(asks=True)
    model = fitted(make().set_callbacks(asking))
    name, last = asking.models[-1]
    assert name == "fit"
    np.testing.assert_array_equal(last.coef_, model.coef_)


def test_before_every_target_has_its_penalty_there_is_no_model():
    asking = Recorder(asks=True)
    model = regressor(alpha_per_target=True).set_callbacks(asking)
    model.fit(REGRESSION.X, np.column_stack([REGRESSION.y, -REGRESSION.y]))
    found = dict(asking.models)
    assert found["iteration"] is None and found["fit"] is not None


def test_a_final_estimator_is_fitted_for_the_model_of_an_iteration():
    asking = Recorder(asks=True)
    model = classifier(final_estimator=LogisticRegression()).set_callbacks(asking)
    fitted(model)
    [first, *_] = [found for name, found in asking.models if name == "iteration"]
    assert first.predict(LABELS.X).shape == LABELS.y.shape
    assert first.final_estimator_ is not model.final_estimator_


# scikit-learn's own callbacks


@BOTH
def test_a_scoring_monitor_has_a_score_of_every_iteration(make):
    monitor = ScoringMonitor(scoring=SCORE[make])
    recorder = Recorder()
    model = fitted(make().set_callbacks(monitor, recorder))
    log = monitor.get_logs().data
    scores = [row[SCORE[make]] for row in log if row["task_name"] == "iteration"]
    assert len(scores) == recorder.count("end", "iteration")
    data = REGRESSION if make is regressor else LABELS
    [last] = [row[SCORE[make]] for row in log if row["task_name"] == "fit"]
    assert last == pytest.approx(model.score(data.X, data.y), rel=1e-12)


def test_a_scoring_monitor_scores_with_the_sample_weight_of_the_fit():
    monitor = ScoringMonitor(scoring="r2")
    weight = np.linspace(0.1, 2, len(REGRESSION.y))
    model = fitted(regressor().set_callbacks(monitor), sample_weight=weight)
    [last] = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "fit"]
    predicted = model.predict(REGRESSION.X)
    assert last == pytest.approx(r2_score(REGRESSION.y, predicted, sample_weight=weight))


def test_a_scoring_monitor_may_score_rows_of_its_own():
    def clean_accuracy(model, X, y):
        return model.score(LABELS.X[LABELS.is_clean], LABELS.y[LABELS.is_clean])

    monitor = ScoringMonitor(scoring={"clean": clean_accuracy})
    model = fitted(classifier().set_callbacks(monitor))
    expected = clean_accuracy(model, None, None)
    assert monitor.get_logs().data[0]["clean"] == expected


@BOTH
def test_a_dataframe_is_scored_without_a_warning_about_names(make):
    pandas = pytest.importorskip("pandas")
    monitor = ScoringMonitor(scoring=SCORE[make])
    model = make(**({"groups": None} if make is regressor else {})).set_callbacks(monitor)
    data = REGRESSION if make is regressor else LABELS
    table = pandas.DataFrame(data.X, columns=[f"c{j}" for j in range(data.X.shape[1])])
    model.fit(table, data.y)
    assert len(monitor.get_logs().data) > 1


def search_over(model, **options):
    name = model.steps[-1][0] + "__max_iter"
    return GridSearchCV(model, {name: [2, 3]}, cv=2, **options)


# So few iterations are no convergence.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@BOTH
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_progress_and_scores_reach_through_searches_and_pipelines(make, n_jobs, capsys):
    pytest.importorskip("rich")
    monitor = ScoringMonitor(scoring=SCORE[make])
    model = make_pipeline(StandardScaler(), make().set_callbacks(monitor))
    data = REGRESSION if make is regressor else LABELS
    search = search_over(model, n_jobs=n_jobs)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(data.X, data.y)
    shown = capsys.readouterr().out
    assert "GridSearchCV" in shown and type(make()).__name__ in shown
    fits = [row for row in monitor.get_logs().data if row["task_name"] == "iteration"]
    assert len({row["task_id_path"][:3] for row in fits}) == 5  # 2 candidates, 2 splits, a refit
    assert all(np.isfinite(row[SCORE[make]]) for row in fits)


@BOTH
def test_a_progress_bar_names_the_stages(make, capsys):
    pytest.importorskip("rich")
    fitted(make().set_callbacks(ProgressBar()))
    shown = capsys.readouterr().out
    assert ("learn penalty" if make is regressor else "learn weights") in shown
    assert "100%" in shown


# Stopping


@BOTH
def test_a_stop_after_an_iteration_ends_that_run_truthfully(make):
    model = fitted(make(tol=0.0).set_callbacks(Recorder(stop_at=("iteration",))))
    assert model.status_.startswith("stopped on request after 1 iterations")
    assert "on request without" not in model.status_
    assert model.n_iter_ == 2 and len(model.history_) == 1
    for name in ("coef_", "intercept_", "alpha_", "hyper_", "criterion_", "hypergradient_norm_"):
        assert np.isfinite(getattr(model, name)).all(), name


def test_a_stop_after_a_run_leaves_out_the_other_repeats():
    recorder = Recorder(stop_at=("learn penalty",))
    model = fitted(regressor(n_repeats=3).set_callbacks(recorder))
    assert model.status_.endswith("; on request without 2 of 3 repeats")
    assert model.status_.startswith("converged")
    once = fitted(regressor(n_repeats=1))
    np.testing.assert_array_equal(model.coef_, once.coef_)


def test_a_stop_in_the_choice_of_shrinkage_ends_it_with_the_folds_so_far():
    recorder = Recorder(stop_at=("fold",))
    model = fitted(regressor(penalty="l2").set_callbacks(recorder))
    assert "without 2 of 3 folds (choose shrinkage)" in model.status_
    assert model.shrinkage_ == np.inf  # one fold is nothing to choose by
    assert recorder.count("end", "fold") == 1 and recorder.count("end", "iteration") > 0


def test_whoever_always_stops_gets_the_fit_without_learning():
    everything = ("fold", "choose shrinkage", "iteration", "learn penalty")
    model = fitted(regressor(penalty="l2").set_callbacks(Recorder(stop_at=everything)))
    assert model.status_.startswith("evaluated at the initialization only")
    assert "a run of iterations" in model.status_ and "1 of 2 repeats" in model.status_
    unlearned = fitted(regressor(penalty="l2", max_iter=0, n_repeats=1, shrinkage=np.inf))
    np.testing.assert_allclose(model.coef_, unlearned.coef_, rtol=1e-10)


def test_targets_after_a_stop_are_fitted_without_learning():
    y = np.column_stack([REGRESSION.y, REGRESSION.X[:, 0]])
    recorder = Recorder(stop_at=("learn penalty",))
    model = regressor(alpha_per_target=True, groups=None).set_callbacks(recorder)
    model.fit(REGRESSION.X, y)
    assert "a run of iterations" in model.status_
    unlearned = regressor(groups=None, max_iter=0, n_repeats=1).fit(REGRESSION.X, y[:, 1])
    np.testing.assert_allclose(model.coef_[1], unlearned.coef_, rtol=1e-10)


class Failing(Recorder):
    """Raises at the end of an iteration."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "iteration":
            raise self.error


@BOTH
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("mine")], ids=repr)
def test_an_interrupted_fit_leaves_the_estimator_as_it_was(make, error):
    model = fitted(make())
    before, history = dict(vars(model)), model.history_
    failing = Failing(error)
    model.set_callbacks(failing)
    with pytest.raises(type(error)):
        fitted(model)
    assert model.history_ is history
    after = {name: value for name, value in vars(model).items() if name != "_skl_callbacks"}
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert failing.tasks[-1] == ("teardown", "fit")


def test_an_interrupted_first_fit_leaves_it_unfitted():
    model = regressor().set_callbacks(Failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fitted(model)
    assert [name for name in vars(model) if name.endswith("_")] == []


# Lines for people


def test_lines_tell_of_the_choice_of_shrinkage(capsys):
    fitted(regressor(penalty="l2", verbose=1))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[BilevelRegularizedRegressor] choose shrinkage: fold 1 of 3"


@BOTH
def test_lines_are_the_same_with_callbacks(make, capsys):
    fitted(make(verbose=2))
    alone = capsys.readouterr().out
    fitted(make(verbose=2).set_callbacks(Recorder()))
    assert capsys.readouterr().out == alone != ""


def test_callbacks_survive_clone_and_pickle():
    model = regressor().set_callbacks(ScoringMonitor(scoring="r2"))
    assert clone(model)._skl_callbacks == model._skl_callbacks
    buffer = io.BytesIO(pickle.dumps(fitted(model)))
    np.testing.assert_array_equal(pickle.load(buffer).coef_, model.coef_)
