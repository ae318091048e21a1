"""Targets and weights by the names of their columns: the fit of the others to them."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import cross_val_score

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier

pandas = pytest.importorskip("pandas")

FEATURES = ["a", "b", "c"]


def rows():
    random = np.random.default_rng(0)
    frame = pandas.DataFrame(random.normal(size=(80, 3)), columns=FEATURES)
    frame["y"] = frame["a"] - frame["c"] + random.normal(size=80)
    frame["z"] = frame["b"] + random.normal(size=80)
    frame["weight"] = random.uniform(0.5, 2.0, size=80)
    frame["label"] = np.where(frame["y"] > 0, "yes", "no")
    frame["known"] = random.uniform(size=80) < 0.5
    return frame.sample(frac=1, random_state=0)


ROWS = rows()
X = ROWS[FEATURES]
KINDS = {
    "pandas": lambda frame: frame,
    "polars": lambda frame: pytest.importorskip("polars").from_dict(frame.to_dict("list")),
    "pyarrow": lambda frame: pytest.importorskip("pyarrow").Table.from_pandas(frame),
}
OF_A_KIND = pytest.mark.parametrize("kind", KINDS)


def regressor():
    return BilevelRegularizedRegressor(max_iter=0)


def cleaner(**options):
    return HyperCleaningClassifier(max_iter=0, **options)


def assert_same(found, expected):
    assert list(found.feature_names_in_) == FEATURES
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(found.intercept_, expected.intercept_, rtol=1e-10)


@OF_A_KIND
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("target", "weight"), [("y", None), ("y", "weight"), (["y"], None), (["y", "z"], "weight")]
)
def test_a_regression_on_named_columns(kind, method, weight, target):
    used = [*FEATURES, *np.ravel(target), *([weight] if weight else [])]
    table = KINDS[kind](ROWS[used])
    found = getattr(regressor(), method)(table, target, weight)
    expected = regressor().fit(X, ROWS[target], weight and ROWS[weight])
    assert_same(found, expected)
    assert found.named_columns_ == used[3:]
    # The same table may be predicted, and scored.
    np.testing.assert_allclose(found.predict(table), expected.predict(X))
    score = expected.score(X, ROWS[target], weight and ROWS[weight])
    np.testing.assert_allclose(found.score(table, target, weight), score)


@OF_A_KIND
@pytest.mark.parametrize("named", [{}, {"sample_weight": "weight", "is_clean": "known"}], ids=str)
def test_a_cleaning_on_named_columns(kind, named):
    table = KINDS[kind](ROWS[[*FEATURES, "label", *named.values()]])
    found = cleaner().fit(table, "label", **named)
    values = {name: ROWS[column] for name, column in named.items()}
    expected = cleaner().fit(X, ROWS["label"], **values)
    assert_same(found, expected)
    np.testing.assert_allclose(found.sample_weight_, expected.sample_weight_)
    np.testing.assert_array_equal(found.fix_labels(), expected.fix_labels())
    np.testing.assert_array_equal(found.predict(table), expected.predict(X))
    np.testing.assert_allclose(found.predict_proba(table), expected.predict_proba(X))
    np.testing.assert_allclose(found.decision_function(table), expected.decision_function(X))
    np.testing.assert_allclose(found.weigh(table, "label"), expected.weigh(X, ROWS["label"]))
    weight = named.get("sample_weight")
    score = expected.score(X, ROWS["label"], weight and ROWS[weight])
    np.testing.assert_allclose(found.score(table, "label", weight), score)


@OF_A_KIND
def test_validation_rows_by_name(kind):
    used = [*FEATURES, "y", "weight"]
    table = KINDS[kind](ROWS[used])
    val = {"X_val": table, "y_val": "y", "sample_weight_val": "weight"}
    found = regressor().fit(table, "y", "weight", **val)
    val = {"X_val": X, "y_val": ROWS["y"], "sample_weight_val": ROWS["weight"]}
    assert_same(found, regressor().fit(X, ROWS["y"], ROWS["weight"], **val))
    table = KINDS[kind](ROWS[[*FEATURES, "label"]])
    found = cleaner().fit(table, "label", X_val=table, y_val="label")
    assert_same(found, cleaner().fit(X, ROWS["label"], X_val=X, y_val=ROWS["label"]))


def test_a_list_of_labels_is_no_list_of_names():
    assert_same(cleaner().fit(X, ROWS["label"].tolist()), cleaner().fit(X, ROWS["label"]))


def test_a_table_of_pyarrow_leaves_its_index_out():
    table = KINDS["pyarrow"](X)
    assert "__index_level_0__" in table.column_names
    expected = cleaner().fit(X, ROWS["label"])
    found = cleaner().fit(table, ROWS["label"])
    assert_same(found, expected)
    np.testing.assert_array_equal(found.predict(table), expected.predict(X))
    assert_same(regressor().partial_fit(table, ROWS["y"]), regressor().fit(X, ROWS["y"]))
    days = X.set_index(pandas.date_range("2020-01-01", periods=len(X), name="day"))
    assert_same(cleaner().fit(KINDS["pyarrow"](days), ROWS["label"].to_numpy()), expected)


def test_a_further_fit_forgets_the_names():
    model = regressor().fit(ROWS[[*FEATURES, "y"]], "y")
    model.fit(ROWS[[*FEATURES, "y"]], ROWS["z"], X_val=ROWS[[*FEATURES, "y"]], y_val=ROWS["z"])
    assert model.named_columns_ == [] and list(model.feature_names_in_) == [*FEATURES, "y"]


@OF_A_KIND
@pytest.mark.parametrize("model", [regressor(), cleaner()])
def test_an_unknown_name_is_answered_by_those_that_there_are(kind, model):
    table = KINDS[kind](ROWS[[*FEATURES, "y"]])
    for given in (("other",), ("y", "other")):
        with pytest.raises(ValueError, match=r"no column named 'other'; its columns are \['a'"):
            model.fit(table, *given)


@OF_A_KIND
def test_something_must_be_left_to_fit_by(kind):
    for call in (regressor().fit, regressor().partial_fit, cleaner().fit):
        with pytest.raises(
            ValueError, match=r"X has no columns but \['z'.*, which are no features"
        ):
            call(KINDS[kind](ROWS[["z"]]), "z")


NAMELESS = {
    "array": np.asarray,
    "list": lambda X: np.asarray(X).tolist(),
    "sparse": sparse.csr_matrix,
}


@pytest.mark.parametrize("kind", NAMELESS)
@pytest.mark.parametrize("model", [regressor(), cleaner()])
@pytest.mark.parametrize("method", ["fit", "score"])
def test_a_name_needs_named_columns(kind, model, method):
    model.fit(X, ROWS["known"])
    with pytest.raises(TypeError, match=r"'y' names a column, but X has no names of columns"):
        getattr(model, method)(NAMELESS[kind](X), "y")


@pytest.mark.parametrize("model", [regressor(), cleaner()])
def test_a_lazy_frame_is_to_be_collected(model):
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"call collect\(\)"):
        model.fit(polars.LazyFrame({"a": [1.0], "y": [1.0]}), "y")


def test_values_go_through_cross_validation():
    assert np.isfinite(cross_val_score(regressor(), X, ROWS["y"], cv=2)).all()
