"""Pictures of runs and of weights: what their tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.cleaning import _search
from skbamm.inspection import ConvergenceDisplay, SampleWeightDisplay
from skbamm.solvers import History, solve
from tests.cleaning.label_data import make_labels
from tests.conftest import EXAMPLE_PROBLEMS

X, Y = load_diabetes(return_X_y=True, as_frame=True)
LABELS = make_labels()
KINDS = np.array(["cat", "dog", "owl"])


@pytest.fixture(scope="module")
def regressor():
    options = {"groups": {"person": slice(0, 4), "blood": slice(4, 10)}, "tol": 1e-6}
    return BilevelRegularizedRegressor(**options, n_repeats=2).fit(X, Y)


@pytest.fixture(scope="module")
def classifier():
    table = pl.DataFrame(LABELS.X, schema=[f"c{j}" for j in range(4)])
    model = HyperCleaningClassifier(cv=3)
    return model.fit(table, KINDS[LABELS.y], is_clean=LABELS.is_clean)


@pytest.fixture(scope="module")
def free():
    model = HyperCleaningClassifier("sample", cv=2, max_iter=5, tol=10.0)
    return model.fit(LABELS.X, LABELS.y, is_clean=LABELS.is_clean)


@pytest.fixture(params=["regressor", "classifier"])
def model(request):
    return request.getfixturevalue(request.param)


def column(frame, name):
    return np.asarray(frame[name])


def labels_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# Losses and norms


def test_its_table_is_the_history_with_the_initialization_first(model):
    frame, history = ConvergenceDisplay.from_estimator(model).frame(), model.history_
    assert_array_equal(column(frame, "iteration"), np.arange(len(history) + 1))
    for name in ("criterion", "lower"):
        assert_array_equal(column(frame, name), np.append(history.initial[name], history[name]))
    for name in ("hypergradient_norm", "multiplier_norm"):
        assert_array_equal(column(frame, name)[1:], history[name])


def test_the_best_criterion_never_rises(model):
    frame = ConvergenceDisplay.from_estimator(model).frame()
    best = column(frame, "best_criterion")
    assert (np.diff(best) <= 0).all() and best[-1] == column(frame, "criterion").min()


def test_a_residual_that_is_not_known_yet_is_no_number(model):
    residual = column(ConvergenceDisplay.from_estimator(model).frame(), "residual")
    recorded = model.history_["residual"]
    assert_array_equal(np.isnan(residual[1:]), ~np.isfinite(recorded))
    assert not np.isfinite(recorded).all()


def test_residuals_are_in_the_unit_of_tol(model):
    residual = column(ConvergenceDisplay.from_estimator(model).frame(), "residual")
    assert residual[np.isfinite(residual)][-1] == pytest.approx(model.residual_, rel=1e-12)


def test_a_trial_far_off_is_marked_at_the_edge_and_stays_in_the_table():
    records = {"criterion": np.array([0.9, 50.0, 0.8, 0.79]), "lower": np.ones(4)}
    display = ConvergenceDisplay(History(records, {"criterion": 1.0, "lower": 1.0})).plot()
    bottom, top = display.ax_.get_ylim()
    assert bottom < 0.79 and 1.0 < top < 2.0
    [marks] = [line for line in display.ax_.lines if "beyond" in str(line.get_label())]
    assert_array_equal(marks.get_xdata(), [2])
    assert display.frame()["criterion"].max() == 50


def test_its_baseline_is_the_best_fit_with_one_strength():
    model = BilevelRegularizedRegressor(n_repeats=1).fit(X, Y)
    ridge = BilevelRegularizedRegressor("l2", n_repeats=1, max_iter=0).fit(X, Y)
    ax = ConvergenceDisplay.from_estimator(model).ax_
    [baseline] = [line for line in ax.lines if line.get_label() == "one strength for all"]
    assert baseline.get_ydata()[0] == pytest.approx(ridge.criterion_, rel=1e-12)
    assert ax.get_title(loc="left").split("\n") == model.status_.split("; ")


def test_the_history_of_a_problem_of_ones_own_is_drawn_too():
    history = solve(EXAMPLE_PROBLEMS["merely convex"](), max_iter=9, tol=0).history
    display = ConvergenceDisplay(history).plot()
    assert_array_equal(column(display.frame(), "lower")[1:], history["lower"])
    assert "one strength for all" not in labels_of(display.ax_)


def test_solvers_without_a_multiplier_have_no_such_line():
    history = solve(EXAMPLE_PROBLEMS["merely convex"](), "meha", max_iter=5, tol=0).history
    display = ConvergenceDisplay(history).plot()
    assert np.isnan(column(display.frame(), "multiplier_norm")).all()
    labels = labels_of(display.axes_[2])
    assert "multiplier norm" not in labels and "hypergradient norm" in labels


# Learned numbers


def path_display(names, path):
    """A display of numbers after each iteration, the last of which were used."""
    history = History({"hyper": path[1:]}, {"hyper": path[0]})
    return ConvergenceDisplay(history, names=names, final=path[-1], kind="hyper").plot()


def test_the_path_is_the_history_of_each_number(model):
    frame = ConvergenceDisplay.from_estimator(model, kind="hyper").frame()
    values = column(frame, "value").reshape(-1, len(model.hyper_))
    assert_array_equal(values[0], model.history_.initial["hyper"])
    assert_array_equal(values[1:], model.history_["hyper"])
    assert_array_equal(column(frame, "final").reshape(values.shape)[0], model.hyper_)
    assert list(frame["name"][: len(model.hyper_)]) == model.hyper_names_
    assert len(set(model.hyper_names_)) == len(model.hyper_)


NAMES = {
    ("adaptive", None): ["log pilot alpha", "log alpha", "exponent"],
    ("adaptive", "groups"): ["log pilot alpha", "log alpha", "exponent", "group share"],
    ("l2", None): ["log alpha"],
    ("l2", "groups"): ["log alpha[a]", "log alpha[b]"],
    ("l1", "groups"): ["log alpha[a]", "log alpha[b]"],
}


# So few iterations are no convergence.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("penalty", "groups"), NAMES)
def test_names_say_what_the_regressor_learned(penalty, groups):
    options = {"groups": list("aaaaabbbbb") if groups else None, "cv": 2, "n_repeats": 1}
    model = BilevelRegularizedRegressor(penalty, **options, max_iter=1, tol=1e9).fit(X, Y)
    assert model.hyper_names_ == NAMES[penalty, groups]
    assert model.history_["hyper"].shape == (1, len(model.hyper_))


def test_slopes_and_deviations_have_names():
    options = {"groups": list("aaaaabbbbb"), "shrinkage": 0.1, "n_repeats": 1, "cv": 2}
    known = np.arange(20).reshape(10, 2) ** 2 % 7
    model = BilevelRegularizedRegressor(alpha_features=known, **options, tol=1e9).fit(X, Y)
    assert model.hyper_names_ == [
        "log pilot alpha",
        "log alpha",
        "exponent",
        "group share",
        "slope[0]",
        "slope[1]",
        "log deviation[a]",
        "log deviation[b]",
    ]


def test_of_many_numbers_quantiles_are_drawn():
    path = np.random.default_rng(0).normal(size=(5, 30))
    display = path_display([f"logit[{j}]" for j in range(30)], path)
    labels = labels_of(display.ax_)
    assert labels[0] == "smallest of 30" and len(labels) == 6
    assert_allclose(display.ax_.lines[0].get_ydata(), path.min(axis=1))


def test_free_weights_are_named_by_their_rows(free):
    assert free.hyper_names_ == [f"logit[{row}]" for row in LABELS.noisy]
    assert free.history_["hyper"].shape[1] == len(LABELS.noisy)


def test_numbers_alike_share_a_line():
    path = np.array([[0.0, 0.0, 1.0], [0.5, 0.5, 2.0]])
    display = path_display(["log alpha[a]", "log alpha[b]", "exponent"], path)
    assert labels_of(display.ax_) == ["alpha[a] and 1 alike", "final fit: mean of repeats"]
    assert_allclose(display.ax_.lines[0].get_ydata(), np.exp(path[:, 0]))


@pytest.mark.parametrize("kind", ["loss", "hyper"])
def test_without_learning_there_is_nothing_to_draw(kind):
    model = BilevelRegularizedRegressor(max_iter=0, n_repeats=1).fit(X, Y)
    with pytest.raises(ValueError, match="Nothing was learned"):
        ConvergenceDisplay.from_estimator(model, kind=kind)


@pytest.mark.parametrize("kind", ["loss", "hyper"])
def test_targets_with_runs_of_their_own_are_chosen(kind):
    model = BilevelRegularizedRegressor(alpha_per_target=True, n_repeats=1)
    model.fit(X, np.column_stack([Y, X["bmi"] + X["age"] ** 2]))
    with pytest.raises(ValueError, match="pass target=0 to 1"):
        ConvergenceDisplay.from_estimator(model, kind=kind)
    found = ConvergenceDisplay.from_estimator(model, target=1, kind=kind)
    assert max(column(found.frame(), "iteration")) == len(model.history_[1])


def test_an_unknown_kind_is_an_error(regressor):
    with pytest.raises(ValueError, match="kind must be 'loss' or 'hyper': got 'path'"):
        ConvergenceDisplay.from_estimator(regressor, kind="path")


# SampleWeightDisplay


def test_its_table_has_the_weights_of_noisy_rows(classifier):
    frame = SampleWeightDisplay.from_estimator(classifier).frame()
    assert isinstance(frame, pl.DataFrame)
    noisy = LABELS.noisy
    assert_array_equal(column(frame, "index"), noisy)
    assert_array_equal(column(frame, "weight"), classifier.sample_weight_[noisy])
    assert_array_equal(column(frame, "given_label"), KINDS[LABELS.y[noisy]])
    report = classifier.label_report()
    assert_array_equal(column(frame, "is_issue"), column(report, "is_issue")[noisy])


def test_the_learned_function_takes_label_quality_to_weights(classifier):
    display = SampleWeightDisplay.from_estimator(classifier)
    intercept, slope = classifier.hyper_[:2]
    weight = 1 / (1 + np.exp(-(intercept + slope * display.label_quality)))
    assert_allclose(weight, display.weight, atol=1e-11)
    [curve, *_] = display.axes_[1].lines
    points, values = curve.get_data()
    assert_allclose(values, 1 / (1 + np.exp(-(intercept + slope * points))))


def test_its_label_quality_is_what_the_fit_learned_from(monkeypatch):
    found = []

    def listening(*arguments):
        found.append(label_quality(*arguments))
        return found[-1]

    label_quality = _search.label_quality
    monkeypatch.setattr(_search, "label_quality", listening)
    model = HyperCleaningClassifier(cv=3)
    model.fit(LABELS.X, LABELS.y, is_clean=LABELS.is_clean)
    display = SampleWeightDisplay.from_estimator(model)
    assert_allclose(display.label_quality, found[0].log_odds, rtol=1e-6)


def test_every_noisy_row_is_counted_once(classifier):
    ax = SampleWeightDisplay.from_estimator(classifier).ax_
    [mesh] = ax.collections[:1]
    counts = np.ma.filled(mesh.get_array(), 0)
    assert_array_equal(counts.sum(axis=1), np.bincount(LABELS.y[LABELS.noisy]))


def test_each_class_shows_its_noise_rate(classifier):
    display = SampleWeightDisplay.from_estimator(classifier)
    shown = [text.get_text() for text in display.ax_.texts]
    rates, counts = classifier.class_noise_rate_, np.bincount(LABELS.y[LABELS.noisy])
    expected = [f"{100 * r:.0f} % of {n}" for r, n in zip(rates, counts, strict=True)]
    assert shown[:3] == expected


def test_free_weights_have_no_function(free):
    display = SampleWeightDisplay.from_estimator(free)
    assert len(display.axes_) == 1 and "label_quality" not in display.frame()
    assert np.isnan(display.label_quality).all()


def test_rows_of_a_pandas_table_keep_their_index():
    index = [f"row {j}" for j in range(len(LABELS.y))]
    table = pd.DataFrame(LABELS.X, index=index)
    model = HyperCleaningClassifier(cv=2, max_iter=0).fit(table, LABELS.y, is_clean=LABELS.is_clean)
    frame = SampleWeightDisplay.from_estimator(model).frame()
    assert list(frame["index"]) == [index[j] for j in LABELS.noisy]


def test_where_all_labels_are_verified_there_is_nothing_to_show():
    model = HyperCleaningClassifier(cv=2, max_iter=0)
    model.fit(LABELS.X, LABELS.truth, is_clean=np.ones(len(LABELS.y), dtype=bool))
    with pytest.raises(ValueError, match="labels of all rows are verified"):
        SampleWeightDisplay.from_estimator(model)


def test_a_pipeline_is_looked_into():
    pipeline = make_pipeline(StandardScaler(), HyperCleaningClassifier(cv=2, max_iter=0))
    pipeline.fit(LABELS.X, LABELS.y, hypercleaningclassifier__is_clean=LABELS.is_clean)
    frame = SampleWeightDisplay.from_estimator(pipeline).frame()
    assert len(frame) == len(LABELS.noisy)


def test_the_wrong_kind_of_estimator_is_an_error(regressor):
    with pytest.raises(TypeError, match="has no sample_weight_"):
        SampleWeightDisplay.from_estimator(regressor)
    with pytest.raises(TypeError, match="LogisticRegression has no history_"):
        ConvergenceDisplay.from_estimator(LogisticRegression().fit(LABELS.X, LABELS.y))


# Axes


@pytest.mark.parametrize("how", ["new", "subplot", "free", "several"])
@pytest.mark.parametrize(
    ("display", "options", "n_panels"),
    [
        (ConvergenceDisplay, {}, 3),
        (ConvergenceDisplay, {"kind": "hyper"}, 2),
        (SampleWeightDisplay, {}, 2),
    ],
    ids=["losses", "hyper", "weights"],
)
def test_panels_find_their_place(display, options, n_panels, how, classifier):
    ax = None
    if how == "subplot":
        ax = plt.figure().add_subplot(2, 1, 2)
    elif how == "free":
        ax = plt.figure().add_axes((0.5, 0.1, 0.4, 0.8))
    elif how == "several":
        ax = plt.subplots(n_panels)[1]
    found = display.from_estimator(classifier, ax=ax, **options)
    assert len(found.axes_) == n_panels and found.ax_ is found.axes_[0]
    assert all(panel.figure is found.figure_ for panel in found.axes_)
    if how in ("subplot", "free"):
        assert not ax.axison
        box = ax.get_position()
        for panel in found.axes_:
            inner = panel.get_position()
            assert box.x0 - 1e-9 <= inner.x0 < inner.x1 <= box.x1 + 1e-9
            assert box.y0 - 1e-9 <= inner.y0 < inner.y1 <= box.y1 + 1e-9
    if how == "several":
        assert list(found.axes_) == list(ax)


def test_a_wrong_number_of_axes_is_an_error(classifier):
    with pytest.raises(ValueError, match="draws 3 panels: pass one Axes to split, or 3"):
        ConvergenceDisplay.from_estimator(classifier, ax=list(plt.subplots(2)[1]))
