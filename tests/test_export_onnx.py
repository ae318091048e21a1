"""ONNX models predict what ours predict: `to_onnx` itself compares them, and is compared once."""

import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingRegressor,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm.export import to_onnx
from tests.cleaning.label_data import make_labels
from tests.exported import CLASSIFIERS, NAMES, NOT_IN_ONNX, REGRESSORS, cleaner, labels, regressor
from tests.regularization.regression_data import make_regression

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def onnxruntime():
    pytest.importorskip("skl2onnx")
    return pytest.importorskip("onnxruntime")


@FLOATS
def test_onnx_predictions_are_those_of_python(onnxruntime, dtype):
    X, y = labels()
    model = make_pipeline(StandardScaler(), cleaner()).fit(X, y)
    session = onnxruntime.InferenceSession(to_onnx(model, X.astype(dtype)).SerializeToString())
    found = session.run(None, {"X": X.astype(dtype)})
    assert found[0].tolist() == model.predict(X).tolist()
    close = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found[1], model.predict_proba(X), rtol=0, atol=close)


@FLOATS
@pytest.mark.parametrize("around", ["pipeline", "search", "bagging", "voting"])
def test_regressors_become_onnx(onnxruntime, around, dtype):
    data = make_regression()
    to_onnx(REGRESSORS[around](regressor()).fit(data.X, data.y), data.X.astype(dtype))


@pytest.mark.parametrize("model", [regressor(), MultiOutputRegressor(regressor())])
def test_several_targets_become_onnx(onnxruntime, model):
    data = make_regression(n_targets=3)
    to_onnx(model.fit(data.X, data.y), data.X)


def test_another_shape_is_an_error(onnxruntime):
    data = make_regression(n_targets=3)
    model = BaggingRegressor(regressor(), n_estimators=2).fit(data.X, data.y)
    with pytest.raises(ValueError, match=r"shape \(120, 1\) in place of \(40, 3\)"):
        to_onnx(model, data.X)


@pytest.mark.parametrize(("n_classes", "dtype"), [(2, np.float64), (3, np.float32)])
@pytest.mark.parametrize("around", CLASSIFIERS)
def test_classifiers_become_onnx(onnxruntime, around, n_classes, dtype):
    X, y = labels(n_classes)
    to_onnx(CLASSIFIERS[around](cleaner()).fit(X, y), X.astype(dtype))


@pytest.mark.parametrize("around", NOT_IN_ONNX)
def test_what_cannot_be_converted_is_an_error(onnxruntime, around):
    X, y = labels()
    model = NOT_IN_ONNX[around](cleaner()).fit(X, y)
    with pytest.raises(Exception) as caught:
        to_onnx(model, X)
    plain = NOT_IN_ONNX[around](LogisticRegression()).fit(X, y)
    with pytest.raises(caught.type):
        to_onnx(plain, X)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("final", [None, LogisticRegression()], ids=["own", "final"])
def test_onnx_of_calibrated_classifiers_is_right_or_refused(onnxruntime, method, n_classes, final):
    X, y = labels(n_classes)
    model = CalibratedClassifierCV(cleaner(final), cv=2, method=method).fit(X, y)
    try:
        converted = to_onnx(model, X)
    except ValueError as error:
        assert method == "isotonic" and "does not predict what this Calibrated" in str(error)
        return
    session = onnxruntime.InferenceSession(converted.SerializeToString())
    found = session.run(None, {"X": X})
    assert found[0].tolist() == model.predict(X).tolist()
    np.testing.assert_allclose(found[1], model.predict_proba(X), rtol=0, atol=1e-12)


TABLES = {
    "list": lambda X: X.tolist(),
    "csr_array": sparse.csr_array,
    "polars DataFrame": lambda X: pytest.importorskip("polars").DataFrame(X),
    "str": lambda X: "rows.parquet",
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("model", [regressor(), cleaner()])
def test_rows_for_onnx_are_of_kinds_that_it_knows(kind, model):
    X, y = labels(2)
    with pytest.raises(TypeError, match=f"ndarray or a pandas dataframe, .* got a .*{kind}"):
        to_onnx(model.fit(X, y == "ant"), TABLES[kind](X))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda X: X[0], "must have rows and columns: got shape"),
        (lambda X: X[:0], "must have rows and columns: got shape"),
        (lambda X: X[:, :2], "X has 2 features, but"),
        (lambda X: X * np.nan, "Input X contains NaN"),
    ],
)
def test_rows_for_onnx_are_checked(rows, message):
    X, y = labels(2)
    with pytest.raises(ValueError, match=message):
        to_onnx(cleaner().fit(X, y), rows(X))


@pytest.mark.parametrize("around", [lambda one: one, make_pipeline, SelectFromModel])
def test_what_does_not_predict_has_no_checked_onnx(around):
    X, y = labels(2)
    transformer = StandardScaler() if around is not SelectFromModel else cleaner()
    with pytest.raises(TypeError, match=r"does not predict, .* convert what to_sklearn\(\)"):
        to_onnx(around(transformer).fit(X, y), X)


@pytest.mark.parametrize("missing", ["skl2onnx", "onnxruntime"])
def test_onnx_without_its_packages_says_what_to_install(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    X, y = labels(2)
    with pytest.raises(ImportError, match=r"pip install 'skbamm\[onnx\]'"):
        to_onnx(cleaner().fit(X, y), X)


def test_wrong_labels_are_an_error(onnxruntime):
    X, y = labels(2)
    model = TunedThresholdClassifierCV(cleaner(), cv=2).fit(X, y)
    model.best_threshold_ = 0.9  # skl2onnx asks for the most probable class
    with pytest.raises(ValueError, match=r"does not predict what this .*% of the labels"):
        to_onnx(model, X)


def test_wrong_numbers_are_an_error(onnxruntime):
    data = make_regression()
    X = data.X + 1e6
    model = regressor().fit(X, data.y)
    to_onnx(model, X)
    with pytest.raises(ValueError, match=r"numbers near .* differ by .* try float64"):
        to_onnx(model, X.astype(np.float32))


@pytest.mark.parametrize("kind", [float, bool, object, np.int32])
def test_labels_stay_what_they_are(onnxruntime, kind):
    data = make_labels(90)
    y = NAMES.astype(object)[data.y] if kind is object else data.y.astype(kind)
    to_onnx(cleaner().fit(data.X, y), data.X)


@pytest.mark.parametrize("final", [RidgeClassifier(), RandomForestClassifier(5, random_state=0)])
def test_a_final_estimator_becomes_onnx(onnxruntime, final):
    X, y = labels()
    X = X.astype(np.float32)  # trees compute in it
    to_onnx(cleaner(final).fit(X, y), X)


@pytest.mark.parametrize("kind", [regressor, cleaner])
def test_columns_of_a_table_become_inputs(onnxruntime, kind):
    pandas = pytest.importorskip("pandas")
    data = make_labels(90)
    table = pandas.DataFrame(data.X.astype(np.float32), columns=list("abcd"))
    table["city"] = np.resize(["Rome", "Oslo", "Bonn"], 90)
    blocks = ColumnTransformer(
        [
            ("number", StandardScaler(), list("abcd")),
            ("place", OneHotEncoder(sparse_output=False), ["city"]),
        ]
    )
    converted = to_onnx(make_pipeline(blocks, kind()).fit(table, data.y), table)
    assert [column.name for column in converted.graph.input] == list(table)


def test_integer_columns_are_taken(onnxruntime):
    data = make_regression()
    X = np.round(10 * data.X).astype(np.int64)
    to_onnx(regressor().fit(X, data.y), X)
