"""Plain scikit-learn estimators, and their ONNX models, predict what ours predict."""

import pickle
import pickletools
import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.export import to_onnx, to_sklearn
from tests.cleaning.label_data import make_labels
from tests.regularization.regression_data import make_regression
from tests.tools import run_python

NAMES = np.array(["ant", "bee", "cow"])
EPS = np.finfo(float).eps
FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda kind: kind.__name__)


def regressor(**options):
    return BilevelRegularizedRegressor(max_iter=0, **options)


def cleaner(final_estimator=None):
    return HyperCleaningClassifier(max_iter=0, final_estimator=final_estimator)


def labels(n_classes=3):
    data = make_labels(90, n_classes=n_classes)
    return data.X, NAMES[data.y]


def assert_same(plain, model, X):
    np.testing.assert_array_equal(plain.predict(X), model.predict(X))
    for method in ("predict_proba", "decision_function"):
        if hasattr(model, method):
            found, expected = getattr(plain, method)(X), getattr(model, method)(X)
            np.testing.assert_allclose(found, expected, rtol=8 * EPS, atol=8 * EPS)


def ours_inside(thing):
    """Names of our modules that a pickle of it needs."""
    return {
        argument
        for _, argument, _ in pickletools.genops(pickle.dumps(thing))
        if isinstance(argument, str) and argument.startswith("skbamm")
    }


# One estimator


@pytest.mark.parametrize("n_targets", [None, 1, 3])
@pytest.mark.parametrize("penalty", ["adaptive", "l1"])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_a_plain_regressor_predicts_the_same(kind, penalty, n_targets):
    data = make_regression(n_targets=n_targets)
    model = regressor(penalty=penalty).fit(data.X, data.y)
    plain, X = model.to_sklearn(), kind(data.X)
    expected = model.predict(X)
    np.testing.assert_allclose(plain.predict(X), expected, atol=8 * EPS * np.abs(expected).max())
    assert plain.coef_.shape == model.coef_.shape
    assert not ours_inside(plain)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "kind", [np.asarray, np.float32, sparse.csr_array], ids=lambda kind: kind.__name__
)
def test_a_plain_classifier_predicts_the_same(kind, n_classes):
    X, y = labels(n_classes)
    model = cleaner().fit(X, y)
    plain = model.to_sklearn()
    assert_same(plain, model, kind(X))
    assert isinstance(plain, LogisticRegression) and not ours_inside(plain)


@pytest.mark.parametrize("model", [regressor(), cleaner()])
def test_names_of_features_are_known_and_nothing_is_shared(model):
    pandas = pytest.importorskip("pandas")
    X, y = labels(2)
    X = pandas.DataFrame(X).add_prefix("x")
    model.fit(X, y == "ant")
    plain, before = model.to_sklearn(), model.coef_.copy()
    assert plain.feature_names_in_.tolist() == X.columns.tolist() and plain.n_features_in_ == 4
    np.testing.assert_allclose(plain.predict(X), model.predict(X))
    plain.coef_ *= 2
    np.testing.assert_array_equal(model.coef_, before)


def test_a_final_estimator_is_its_own_twin():
    X, y = labels()
    model = cleaner(make_pipeline(StandardScaler(), LogisticRegression())).fit(X, y)
    assert model.to_sklearn() is model.final_estimator_
    assert_same(model.to_sklearn(), model, X)
    nested = cleaner(cleaner()).fit(X, y)
    assert isinstance(to_sklearn(nested), LogisticRegression)
    assert_same(to_sklearn(nested), nested, X)


def test_estimators_for_dask_have_the_same_twins():
    dask = pytest.importorskip("skbamm.dask")
    data = make_regression()
    model = dask.DaskBilevelRegularizedRegressor().partial_fit(data.X, data.y)
    assert_same(model.to_sklearn(), model, data.X)
    X, y = labels()
    fitted = vars(cleaner().fit(X, y))
    model = dask.DaskHyperCleaningClassifier()
    vars(model).update({name: value for name, value in fitted.items() if name.endswith("_")})
    assert_same(model.to_sklearn(), model, X)


def test_there_is_no_twin_of_a_final_estimator_that_lacks_a_class():
    """Its columns would be taken for those of other classes by what is around it."""
    X, y = labels()
    model = cleaner(LogisticRegression()).fit(X, y, sample_weight=1.0 * (y != "cow"))
    for around in (model, make_pipeline(FrozenEstimator(model))):
        with pytest.raises(ValueError, match=r"no plain copy.*\['ant', 'bee'\].*without rows"):
            to_sklearn(around.fit(X, y) if around is not model else model)


@pytest.mark.parametrize("model", [regressor(), cleaner(), make_pipeline(regressor())])
def test_an_estimator_that_is_not_fitted_is_refused(model):
    with pytest.raises(NotFittedError):
        to_sklearn(model)
    if hasattr(model, "to_sklearn"):
        with pytest.raises(NotFittedError, match=type(model).__name__):
            model.to_sklearn()


# Others around them

REGRESSORS = {
    "pipeline": lambda one: make_pipeline(StandardScaler(), one),
    "search": lambda one: GridSearchCV(one, {"penalty": ["l2"]}, cv=2),
    "bagging": lambda one: BaggingRegressor(one, n_estimators=2, max_features=0.5, random_state=0),
    "voting": lambda one: VotingRegressor([("ours", one), ("theirs", LinearRegression())]),
    "target": lambda one: TransformedTargetRegressor(one, transformer=StandardScaler()),
    "selection": lambda one: make_pipeline(SelectFromModel(one), LinearRegression()),
}

CLASSIFIERS = {
    "alone": lambda one: one,
    "pipeline": lambda one: make_pipeline(StandardScaler(), one),
    "search": lambda one: GridSearchCV(one, {"alpha": ["learn", 0.1]}, cv=2),
    "calibrated": lambda one: CalibratedClassifierCV(one, cv=2),
    "calibrated once": lambda one: CalibratedClassifierCV(one, cv=2, ensemble=False),
    "stacking": lambda one: StackingClassifier([("ours", one)], cv=2),
    "stacked": lambda one: StackingClassifier([("theirs", LogisticRegression())], one, cv=2),
    "bagging": lambda one: BaggingClassifier(one, n_estimators=2, random_state=0),
    "one against the rest": lambda one: OneVsRestClassifier(one),
    "elimination": lambda one: make_pipeline(RFE(one), LogisticRegression()),
}

# Those that skl2onnx does not know, refuses, or converts wrongly, with plain estimators as well.
NOT_IN_ONNX = {
    "isotonic": lambda one: CalibratedClassifierCV(one, cv=2, method="isotonic"),
    "calibrated pipeline": lambda one: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), one), cv=2
    ),
    "frozen": lambda one: CalibratedClassifierCV(FrozenEstimator(one.fit(*labels()))),
    "voting": lambda one: VotingClassifier([("ours", one), ("theirs", LogisticRegression())]),
    "one against one": lambda one: OneVsOneClassifier(one),
}


@pytest.mark.parametrize("around", REGRESSORS)
def test_regressors_inside_others_become_plain(around):
    data = make_regression()
    model = REGRESSORS[around](regressor()).fit(data.X, data.y)
    np.testing.assert_allclose(to_sklearn(model).predict(data.X), model.predict(data.X))


@pytest.mark.parametrize("around", CLASSIFIERS | NOT_IN_ONNX)
@pytest.mark.parametrize("final", [None, LogisticRegression()], ids=["own", "final"])
def test_classifiers_inside_others_become_plain(around, final):
    X, y = labels()
    model = (CLASSIFIERS | NOT_IN_ONNX)[around](cleaner(final)).fit(X, y)
    plain = to_sklearn(model)
    np.testing.assert_array_equal(plain.predict(X), model.predict(X))
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(plain.predict_proba(X), model.predict_proba(X), atol=1e-12)
    assert any(map(is_ours, leaves(model))) and not any(map(is_ours, leaves(plain)))


def leaves(thing):
    """All objects inside, by way of pickle: what it saves it calls for one by one."""
    found = []

    class Pickler(pickle._Pickler):
        def persistent_id(self, thing):
            found.append(thing)

    Pickler(NoFile()).dump(thing)
    return found


class NoFile:
    def write(self, data):
        pass


def is_ours(thing):
    ours = (BilevelRegularizedRegressor, HyperCleaningClassifier)
    return isinstance(thing, ours) and hasattr(thing, "n_features_in_")


def test_what_chose_features_chooses_the_same():
    data = make_regression()
    model = SelectFromModel(regressor(penalty="l1").fit(data.X, data.y), prefit=True)
    model.fit(data.X, data.y)
    np.testing.assert_array_equal(to_sklearn(model).get_support(), model.get_support())


def test_the_original_stays_as_it_is():
    data = make_regression()
    model = make_pipeline(regressor()).fit(data.X, data.y)
    before = pickle.dumps(model)
    to_sklearn(model)[-1].coef_ *= 2
    assert pickle.dumps(model) == before


def test_nothing_large_is_imported():
    code = """
import sys, skbamm.export
print([name for name in ("torch", "skl2onnx", "onnx", "onnxruntime") if name in sys.modules])
"""
    assert run_python(code).strip() == "[]"


# ONNX: `to_onnx` itself compares predictions, and is compared once


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
