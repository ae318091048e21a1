"""Plain scikit-learn estimators predict what ours predict."""

import pickle
import pickletools

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.export import to_sklearn
from tests.exported import CLASSIFIERS, NOT_IN_ONNX, REGRESSORS, cleaner, labels, regressor
from tests.regularization.regression_data import make_regression

EPS = np.finfo(float).eps


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
