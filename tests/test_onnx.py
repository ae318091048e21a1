"""Converted estimators predict in onnxruntime what they predict in Python."""

import builtins

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.onnx import register
from tests.cleaning.label_data import make_labels
from tests.regularization.regression_data import make_regression
from tests.tools import run_python

skl2onnx = pytest.importorskip("skl2onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# Where numbers are taken in float32 somewhere: a few units of the last place of the largest.
CLOSE = {np.float32: 1e-6, np.float64: 1e-12}
FLOATS = pytest.mark.parametrize("dtype", CLOSE, ids=lambda dtype: dtype.__name__)
PROBABILITIES = {"zipmap": False}
NAMES = np.array(["ant", "bee", "cow"])


@pytest.fixture(autouse=True)
def registered():
    register()


def outputs(model, X, options=None):
    """What onnxruntime makes of an array, or of a dataframe as one input for each column."""
    converted = skl2onnx.to_onnx(model, X[:1], options=options)
    session = onnxruntime.InferenceSession(
        converted.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    if isinstance(X, np.ndarray):
        return session.run(None, {session.get_inputs()[0].name: X})
    return session.run(None, {name: X[[name]].to_numpy() for name in X})


def assert_same_targets(model, X, dtype):
    [found] = outputs(model, X)
    expected = model.predict(X).reshape(len(X), -1)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE[dtype] * np.abs(expected).max())


def assert_same_classes(model, X, dtype, close=None):
    labels, probabilities = outputs(model, X, PROBABILITIES)
    assert labels.tolist() == model.predict(X).tolist()
    assert probabilities.dtype == dtype
    close = close or CLOSE[dtype]
    np.testing.assert_allclose(probabilities, model.predict_proba(X), rtol=0, atol=close)


def cleaner(final_estimator=None, **options):
    return HyperCleaningClassifier(max_iter=0, final_estimator=final_estimator, **options)


# The regressor


@FLOATS
@pytest.mark.parametrize("n_targets", [None, 1, 3])
@pytest.mark.parametrize("scaled", [False, True], ids=["alone", "scaled"])
def test_a_regressor_predicts_the_same(scaled, n_targets, dtype):
    data = make_regression(n_targets=n_targets)
    model = BilevelRegularizedRegressor()
    model = make_pipeline(StandardScaler(), model) if scaled else model
    assert_same_targets(model.fit(data.X, data.y), data.X.astype(dtype), dtype)


@pytest.mark.parametrize(
    "options",
    [{"penalty": "l1"}, {"exact_zeros": True}, {"fit_intercept": False}, {"positive": True}],
    ids=str,
)
def test_options_of_the_fit_do_not_matter(options):
    data = make_regression()
    model = BilevelRegularizedRegressor(max_iter=0, **options).fit(data.X, data.y)
    assert_same_targets(model, data.X.astype(np.float32), np.float32)


def test_float32_columns_with_large_means_lose_nothing():
    data = make_regression()
    X = (data.X + 10_000).astype(np.float32)
    model = BilevelRegularizedRegressor(max_iter=0).fit(X, data.y)
    assert_same_targets(model, X, np.float32)


def test_integer_columns_are_taken():
    data = make_regression()
    X = np.round(10 * data.X).astype(np.int64)
    model = BilevelRegularizedRegressor(max_iter=0).fit(X, data.y)
    assert_same_targets(model, X, np.float32)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: GridSearchCV(model, {"penalty": ["l2"]}, cv=2),
        lambda model: BaggingRegressor(model, n_estimators=2, random_state=0),
    ],
    ids=["GridSearchCV", "BaggingRegressor"],
)
def test_a_regressor_inside_another_estimator_predicts_the_same(wrap):
    data = make_regression()
    model = wrap(BilevelRegularizedRegressor(max_iter=0)).fit(data.X, data.y)
    assert_same_targets(model, data.X.astype(np.float32), np.float32)


def test_one_regressor_for_each_target_predicts_the_same():
    data = make_regression(n_targets=2)
    model = MultiOutputRegressor(BilevelRegularizedRegressor(max_iter=0)).fit(data.X, data.y)
    assert_same_targets(model, data.X.astype(np.float32), np.float32)


# The classifier

LABELS = {
    "int": lambda y: y,
    "large int": lambda y: y + 2**40,
    "float": lambda y: y.astype(float),
    "str": lambda y: NAMES[y],
    "object": lambda y: NAMES.astype(object)[y],
}


@FLOATS
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("scaled", [False, True], ids=["alone", "scaled"])
def test_a_classifier_predicts_the_same(scaled, n_classes, dtype):
    data = make_labels(90, n_classes=n_classes)
    model = make_pipeline(StandardScaler(), cleaner()) if scaled else cleaner()
    assert_same_classes(model.fit(data.X, data.y), data.X.astype(dtype), dtype)


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_labels_stay_what_they_are(kind, n_classes):
    data = make_labels(90, n_classes=n_classes)
    model = cleaner().fit(data.X, LABELS[kind](data.y))
    assert_same_classes(model, data.X, np.float64)


def test_labels_that_are_booleans_become_integers():
    data = make_labels(90, n_classes=2)
    model = cleaner().fit(data.X, data.y == 1)
    labels, _ = outputs(model, data.X, PROBABILITIES)
    np.testing.assert_array_equal(labels, model.predict(data.X).astype(np.int64))


def test_probabilities_come_by_class_unless_asked_otherwise():
    data = make_labels(90)
    model = cleaner().fit(data.X, NAMES[data.y])
    X = data.X.astype(np.float32)
    _, probabilities = outputs(model, X)
    found = [[row[name] for name in NAMES] for row in probabilities]
    np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("final", [None, LogisticRegression()], ids=["own", "final_estimator"])
def test_labels_are_positions_where_names_are_to_be_left_out(final):
    data = make_labels(90)
    model = cleaner(final).fit(data.X, NAMES[data.y])
    labels, _ = outputs(model, data.X, {"zipmap": False, "nocl": True})
    assert NAMES[labels].tolist() == model.predict(data.X).tolist()


def test_a_search_predicts_the_same():
    data = make_labels(90)
    model = GridSearchCV(cleaner(), {"alpha": ["learn", 0.1]}, cv=2).fit(data.X, data.y)
    assert_same_classes(model, data.X.astype(np.float32), np.float32)


# The final estimator


@FLOATS
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "final",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(5, random_state=0),
    ],
    ids=["linear", "pipeline", "trees"],
)
def test_a_final_estimator_answers(final, n_classes, dtype):
    data = make_labels(90, n_classes=n_classes)
    model = cleaner(final).fit(data.X, NAMES[data.y])
    # Trees compute in float32 whatever the input is.
    assert_same_classes(model, data.X.astype(np.float32).astype(dtype), dtype, close=1e-6)


# Some versions of protobuf complain about what skl2onnx writes for these trees.
@pytest.mark.filterwarnings("ignore:Field onnx.AttributeProto.ints:DeprecationWarning")
def test_histogram_boosting_answers_inside_a_pipeline():
    data = make_labels(90)
    X = data.X.astype(np.float32)
    final = HistGradientBoostingClassifier(max_iter=5)
    try:
        skl2onnx.to_onnx(final.fit(X, data.y), X[:1])
    except (TypeError, ValueError) as error:
        pytest.skip(f"skl2onnx cannot convert it alone with this protobuf: {error.__cause__}")
    model = make_pipeline(StandardScaler(), cleaner(final)).fit(X, data.y)
    assert_same_classes(model, X, np.float32)


# Tables


@pytest.fixture
def table():
    pandas = pytest.importorskip("pandas")
    data = make_labels(90)
    table = pandas.DataFrame(data.X.astype(np.float32), columns=list("abcd"))
    return table.assign(city=np.resize(["Rome", "Oslo", "Bonn"], 90)), data.y


def blocks():
    return ColumnTransformer(
        [
            ("number", StandardScaler(), list("abcd")),
            ("place", OneHotEncoder(sparse_output=False), ["city"]),
        ]
    )


def test_a_regressor_behind_a_column_transformer_predicts_the_same(table):
    X, y = table
    model = make_pipeline(blocks(), BilevelRegularizedRegressor(max_iter=0)).fit(X, y)
    assert_same_targets(model, X, np.float32)


def test_a_classifier_behind_a_column_transformer_predicts_the_same(table):
    X, y = table
    model = make_pipeline(blocks(), cleaner()).fit(X, y)
    assert_same_classes(model, X, np.float32)


def test_columns_of_a_table_are_put_together(table):
    X, y = table
    X = X[list("abcd")].astype({"a": np.float64})
    assert_same_classes(cleaner().fit(X, y), X, np.float64)


# What cannot be converted


@pytest.mark.parametrize("model", [BilevelRegularizedRegressor(), cleaner()])
def test_an_estimator_that_is_not_fitted_is_refused(model):
    # skl2onnx itself misses the classes.
    with pytest.raises((NotFittedError, RuntimeError), match=type(model).__name__):
        outputs(model, np.zeros((3, 2)))


def test_a_final_estimator_without_probabilities_is_refused():
    data = make_labels(90)
    model = cleaner(RidgeClassifier()).fit(data.X, data.y)
    with pytest.raises(TypeError, match="RidgeClassifier has no predict_proba"):
        outputs(model, data.X, PROBABILITIES)


class Unknown(LogisticRegression):
    """A classifier that skl2onnx has never heard of."""


def test_a_final_estimator_without_converter_is_named():
    data = make_labels(90)
    model = cleaner(Unknown()).fit(data.X, data.y)
    with pytest.raises(RuntimeError, match="no converter for final_estimator Unknown"):
        outputs(model, data.X, PROBABILITIES)


def test_a_final_estimator_that_misses_a_class_is_refused():
    data = make_labels(90)
    weight = (data.y < 2).astype(float)
    model = cleaner(LogisticRegression()).fit(data.X, data.y, sample_weight=weight)
    with pytest.raises(ValueError, match="weight 0"):
        outputs(model, data.X, PROBABILITIES)


def test_labels_that_onnx_does_not_know_are_refused():
    data = make_labels(90)
    model = cleaner().fit(data.X, data.y)
    model.classes_ = NAMES.astype(bytes)
    with pytest.raises(TypeError, match="Encode them before fitting"):
        outputs(model, data.X, PROBABILITIES)


def test_without_skl2onnx_it_says_what_to_install(monkeypatch):
    load = builtins.__import__

    def without(name, *arguments, **options):
        if name == "skl2onnx":
            raise ImportError(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"skbamm\[onnx\]"):
        register()


def test_importing_the_module_imports_nothing_large():
    code = """
import sys, skbamm.onnx
print([name for name in ("torch", "skl2onnx", "onnx", "onnxruntime") if name in sys.modules])
"""
    assert run_python(code).strip() == "[]"
