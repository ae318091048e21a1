"""What the terms of an additive model add, with bands and effective degrees of freedom."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbamm import AdditiveRegressor, BilevelRegularizedRegressor
from skbamm.inspection import TermDisplay

DRAW = TermDisplay.from_estimator


def make_table(seed=0, n_rows=300):
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "time": random.uniform(0, 3, n_rows),
            "size": random.normal(size=n_rows),
            "city": random.choice(["Rome", "Oslo", "Lima"], n_rows),
        }
    )
    table.loc[::17, "size"] = np.nan
    level = table["city"].map({"Rome": 0.5, "Oslo": 0.0, "Lima": -1.0}).to_numpy()
    truth = np.sin(2 * table["time"]) + level + 0.3 * table["size"].fillna(0)
    return table, (truth + 0.3 * random.normal(size=n_rows)).to_numpy()


X, Y = make_table()
PAIR = [("time", "size")]


@pytest.fixture(scope="module")
def model():
    return AdditiveRegressor(interactions=PAIR, max_iter=5).fit(X, Y)


def posterior(model, weight):
    """Mean and covariance of the coefficients by the inverse of the whole matrix."""
    columns = model.terms_.transform(X)
    centred = columns - np.average(columns, axis=0, weights=weight)
    gram = (centred * weight[:, None]).T @ centred / weight.sum()
    inverse = np.linalg.inv(gram + np.diag(model.alpha_))
    influence = np.diag(inverse @ gram)
    error = weight @ np.square(Y - model.predict(X)) / (weight.sum() - 1 - influence.sum())
    return influence, error * inverse / weight.sum()


@pytest.mark.parametrize("is_weighted", [False, True])
def test_bands_and_degrees_of_freedom_are_those_of_the_ridge_fit(model, is_weighted):
    weight = np.arange(len(Y)) % 3.0 if is_weighted else np.ones(len(Y))
    display = DRAW(model, X, Y, sample_weight=weight if is_weighted else None, level=0.9)
    influence, covariance = posterior(model, weight)
    members = model.terms_.term_names_
    expected = [influence[members == name].sum() for name in display.names]
    assert_allclose(display.degrees_of_freedom, expected, rtol=1e-6)
    curve = display.curves[list(display.names).index("time")]
    rows = X.iloc[[0] * len(curve.effect)].assign(time=curve.values[0])
    columns = (model.terms_.transform(rows) - model.column_means_)[:, members == "time"]
    assert_allclose(curve.effect, columns @ model.coef_[members == "time"], atol=1e-10)
    inner = covariance[np.ix_(members == "time", members == "time")]
    deviation = np.sqrt(np.einsum("ij,jk,ik->i", columns, inner, columns))
    assert_allclose(curve.upper - curve.effect, 1.6448536 * deviation, rtol=1e-6)
    assert_allclose(curve.effect - curve.lower, curve.upper - curve.effect)


def test_degrees_of_freedom_are_the_trace_of_the_smoother(model):
    columns = model.terms_.transform(X)
    scaled = columns / np.sqrt(model.alpha_)
    fits = [Ridge(len(Y)).fit(scaled, one).predict(scaled)[j] for j, one in enumerate(np.eye(300))]
    total = DRAW(model, X, Y).degrees_of_freedom.sum()
    assert_allclose(total, sum(fits) - 1, rtol=1e-6)


def test_shares_sum_to_one_and_the_strongest_comes_first(model):
    display = DRAW(model, X, Y)
    added = model.predict_terms(X)
    deviation = dict(zip(model.term_names_, added.std(axis=0), strict=True))
    assert_allclose(display.deviation, sorted(deviation.values(), reverse=True))
    assert_allclose(display.share.sum(), 1.0)
    assert list(display.frame()["term"]) == sorted(deviation, key=deviation.get, reverse=True)


def test_bands_cover_the_truth():
    covered = []
    for seed in range(4):
        table, y = make_table(seed)
        model = AdditiveRegressor(interactions=None, max_iter=20).fit(table, y)
        curve = DRAW(model, table, y, terms=["time"]).curves[0]
        truth = np.sin(2 * curve.values[0]) - np.sin(2 * table["time"]).mean()
        covered.append(np.mean((curve.lower <= truth) & (truth <= curve.upper)))
    assert 0.8 <= np.mean(covered) <= 1.0


def test_levels_are_drawn_as_dots(model):
    display = DRAW(model, X, Y, terms=["city"])
    [curve] = display.curves
    assert (curve.kind, list(curve.values[0])) == ("category", ["Lima", "Oslo", "Rome"])
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["Lima", "Oslo", "Rome"]
    by_row = model.predict_terms(X)[:, model.term_names_.index("city")]
    expected = [by_row[X["city"] == name][0] for name in curve.values[0]]
    assert_allclose(curve.effect, expected)


def test_of_many_levels_the_ends_are_named():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"zip": [f"z{j}" for j in random.integers(30, size=400)]})
    y = table["zip"].str[1:].astype(float) + random.normal(size=400)
    display = DRAW(AdditiveRegressor(max_iter=0).fit(table, y), table, y)
    assert len(display.ax_.get_yticks()) == 16
    assert "30" in display.ax_.get_xlabel()


def test_a_map_is_drawn_where_there_are_rows(model):
    display = DRAW(model, X, Y, terms=["time:size"])
    [curve] = display.curves
    assert curve.kind == "interaction"
    assert curve.effect.shape == (40, 40)
    assert 0 < np.isnan(curve.effect).mean() < 0.9
    row = X.dropna().iloc[0]
    i, j = (
        np.abs(values - row[name]).argmin() for values, name in zip(curve.values, X, strict=False)
    )
    near = X.dropna().iloc[[0]].assign(time=curve.values[0][i], size=curve.values[1][j])
    expected = model.predict_terms(near)[0, model.term_names_.index("time:size")]
    assert_allclose(curve.effect[i, j], expected, atol=1e-10)


@pytest.mark.parametrize("other", ["time", "country"])
def test_maps_of_categories(other):
    table = X.assign(country=np.where(np.arange(len(X)) % 2, "a", "b"))
    y = Y + np.where(table["country"] == "a", 1, -1) * (table["city"] == "Oslo")
    model = AdditiveRegressor(interactions=[("city", other)], max_iter=0).fit(table, y)
    name = model.term_names_[-1]
    [curve] = DRAW(model, table, y, terms=[name]).curves
    assert list(curve.values[name.split(":").index("city")]) == ["Lima", "Oslo", "Rome"]
    assert not np.isnan(curve.effect).all()


def test_missing_levels_have_a_dot():
    table = X.assign(city=X["city"].where(np.arange(len(X)) % 5 > 0))
    model = AdditiveRegressor(interactions=None, max_iter=0).fit(table, Y)
    [curve] = DRAW(model, table, Y, terms=["city"]).curves
    assert curve.values[0][-1] == "missing"
    by_row = model.predict_terms(table)[:, model.term_names_.index("city")]
    assert_allclose(curve.effect[-1], by_row[table["city"].isna()][0])


def test_in_a_pipeline_and_on_given_axes(model):
    import matplotlib.pyplot as plt

    double = FunctionTransformer(lambda X: X.assign(size=2 * X["size"]))
    pipeline = make_pipeline(FunctionTransformer(), AdditiveRegressor(max_iter=0))
    pipeline = make_pipeline(double, pipeline).fit(X, Y)
    [curve] = DRAW(pipeline, X, Y, terms=["size"]).curves
    assert_allclose(curve.values[0].max(), 2 * X["size"].max())
    _, axes = plt.subplots(1, 2)
    display = DRAW(pipeline, X, Y, max_terms=2, ax=axes)
    assert display.axes_[1] is axes[1]
    assert len(DRAW(model, X, Y, max_terms=3).axes_) == 3


def test_errors_say_what_is_wrong(model):
    with pytest.raises(ValueError, match="no term 'age': terms are time, size, city"):
        DRAW(model, X, Y, terms=["age"])
    with pytest.raises(ValueError, match="level must be between 0 and 1: got 95"):
        DRAW(model, X, Y, level=95)
    with pytest.raises(ValueError, match="max_terms must be 1 or more: got 0"):
        DRAW(model, X, Y, max_terms=0)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DRAW(model, X, Y[:-1])
    target = TransformedTargetRegressor(
        AdditiveRegressor(max_iter=0), func=np.exp, inverse_func=np.log
    )
    with pytest.raises(TypeError, match="transformed targets: pass its regressor_"):
        DRAW(target.fit(X, Y), X, Y)
    numbers = X[["time"]].to_numpy()
    with pytest.raises(TypeError, match="has no predict_terms"):
        DRAW(BilevelRegularizedRegressor(max_iter=0).fit(numbers, Y), numbers, Y)
