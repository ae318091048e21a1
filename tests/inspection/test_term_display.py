"""The functions of an additive model, as pictures and as a table."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbamm import AdditiveRegressor
from skbamm.inspection import TermDisplay

rng = np.random.default_rng(0)
X = pd.DataFrame({name: rng.uniform(size=250) for name in "abc"})
X["kind"] = pd.Categorical(rng.choice(list("uvw"), size=250))
X.loc[:9, "kind"] = None
y = np.sin(6 * X.a) + 0.3 * (X.kind == "u") + rng.normal(scale=0.2, size=250)
MODEL = AdditiveRegressor(interactions=[("a", "kind"), ("a", "b")]).fit(X, y)


@pytest.fixture(scope="module")
def display():
    return TermDisplay.from_estimator(MODEL, X, y)


def curve(display, name):
    return next(one for one in display.curves if one.name == name)


def test_curves_are_what_terms_add_to_predictions(display):
    found = curve(display, "a")
    rows = X.iloc[: len(found.points)].assign(a=found.points)
    column = MODEL.term_names_.index("a")
    assert_allclose(found.values, MODEL.predict_terms(rows)[:, column])
    levels = curve(display, "kind")
    assert list(levels.points) == ["u", "v", "w", "missing"]
    rows = X.iloc[:4].assign(kind=["u", "v", "w", None])
    assert_allclose(levels.values, MODEL.predict_terms(rows)[:, MODEL.term_names_.index("kind")])


def test_maps_are_interactions_alone(display):
    found = curve(display, "a:kind")
    first, second = found.points
    assert found.values.shape == (len(first), len(second)) == (31, 4)
    rows = X.iloc[:31].assign(a=first, kind="v")
    column = MODEL.term_names_.index("a:kind")
    assert_allclose(found.values[:, 1], MODEL.predict_terms(rows)[:, column])


def test_degrees_of_freedom_are_the_trace_of_the_ridge_fit(display):
    columns = MODEL.terms_.transform(X)
    centred = (columns - columns.mean(axis=0)) / np.sqrt(len(X))
    gram = centred.T @ centred
    hat = np.linalg.solve(gram + np.diag(MODEL.alpha_), gram)
    assert display.frame()["effective_df"].sum() == pytest.approx(np.trace(hat), rel=1e-6)
    mine = MODEL.terms_.term_names_ == "a"
    assert curve(display, "a").effective_df == pytest.approx(np.diag(hat)[mine].sum(), rel=1e-6)


def test_bands_hold_the_function_they_are_of(display):
    found = curve(display, "a")
    truth = np.sin(6 * found.points) - np.sin(6 * X.a).mean()
    inside = np.abs(found.values - truth) < 2 * found.deviation
    assert inside.mean() > 0.8
    assert found.deviation.mean() < 0.15


def test_the_strongest_term_comes_first_and_shares_add_up(display):
    frame = display.frame()
    assert frame["term"][0] == "a"
    assert frame["variance_share"].sum() == pytest.approx(1.0)
    assert frame["variance_share"].is_monotonic_decreasing
    assert [ax.get_title() for ax in display.axes_[:1]] == ["a"]


def test_it_looks_into_pipelines():
    steps = make_pipeline(FunctionTransformer(), AdditiveRegressor(interactions=None)).fit(X, y)
    display = TermDisplay.from_estimator(steps, X, y, max_terms=2)
    assert len(display.axes_) == 2
    assert set(display.frame()["kind"]) == {"numeric", "categorical"}


def test_other_estimators_are_refused():
    with pytest.raises(TypeError, match="has no terms_"):
        TermDisplay.from_estimator(LinearRegression().fit(X[["a"]], y), X[["a"]], y)
