"""HyperCleaningClassifier among the tools of scikit-learn, and as a guest in a process."""

from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningClassifier
from skbamm.solvers import SlBamm
from tests.cleaning.label_data import make_labels
from tests.tools import COPIES, leaves

pytestmark = pytest.mark.filterwarnings(
    # Runs are cut short.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)
# Of what is tested here nothing hangs on trees, which take most of the time.
SHORT = {"max_iter": 3, "final_estimator": "linear"}
# What hangs on rows and scores alone: free weights take a fifth of the time.
FREE = {"weighting": "sample", **SHORT}


@pytest.fixture(scope="module")
def data():
    return make_labels(90)


@pytest.fixture(scope="module")
def fitted(data):
    model = HyperCleaningClassifier(solver=SlBamm(), **SHORT)
    return model.fit(data.X, data.y, is_clean=data.is_clean)


@pytest.fixture(scope="module")
def free(data):
    return HyperCleaningClassifier(**FREE).fit(data.X, data.y, is_clean=data.is_clean)


# Copies


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_predicts_the_same(how, fitted, data):
    expected = fitted.predict_proba(data.X)
    np.testing.assert_array_equal(COPIES[how](fitted).predict_proba(data.X), expected)


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_has_the_history_and_the_report(how, fitted):
    copied = COPIES[how](fitted)
    np.testing.assert_array_equal(copied.history_["criterion"], fitted.history_["criterion"])
    found, expected = copied.label_report(), fitted.label_report()
    for name in expected:
        assert list(found[name]) == list(expected[name])


def test_a_clone_is_unfitted_and_fits_the_same(fitted, data):
    copied = clone(fitted)
    assert not hasattr(copied, "coef_")
    copied.fit(data.X, data.y, is_clean=data.is_clean)
    np.testing.assert_array_equal(copied.coef_, fitted.coef_)


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_fitted_attributes_are_numpy_or_plain(weighting, data):
    model = HyperCleaningClassifier(weighting, **SHORT).fit(data.X, data.y)
    plain = (np.ndarray, np.generic, str, int, float, bool, type(None))
    for name, value in vars(model).items():
        if name.endswith("_"):
            assert all(isinstance(leaf, plain) for leaf in leaves(value)), name


def test_fitted_arrays_are_no_views_of_larger_ones(fitted):
    for name, value in vars(fitted).items():
        if isinstance(value, np.ndarray):
            assert value.base is None or value.base.nbytes <= 2 * value.nbytes, name


# Scoring on rows with verified labels

SPLITTER = StratifiedKFold(3)


@pytest.fixture(scope="module")
def clean_accuracies(data):
    """Accuracy on the verified test rows of each split, by hand."""
    scores = []
    for train, test in SPLITTER.split(data.X, data.y):
        model = HyperCleaningClassifier(**FREE)
        model.fit(data.X[train], data.y[train], is_clean=data.is_clean[train])
        test = test[data.is_clean[test]]
        scores.append(np.mean(model.predict(data.X[test]) == data.y[test]))
    return scores


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def recipe():
    """How to score a cleaner: the model, and a scorer for `scoring`.

    With metadata routing enabled, `fit` asks for `is_clean`, and the scorer for the same
    mask under its own name: as sample weights, so that noisy rows count nothing. Then
    ``cross_validate(model, X, y, scoring=scorer, params={"is_clean": is_clean})`` and
    ``GridSearchCV(model, grid, scoring=scorer).fit(X, y, is_clean=is_clean)`` cut the mask
    along with X.
    """
    with config_context(enable_metadata_routing=True):
        model = HyperCleaningClassifier(**FREE).set_fit_request(is_clean=True)
        yield model, get_scorer("accuracy").set_score_request(sample_weight="is_clean")


def test_cross_validate_scores_verified_rows_only(recipe, data, clean_accuracies):
    model, scorer = recipe
    params = {"is_clean": data.is_clean}
    result = cross_validate(model, data.X, data.y, cv=SPLITTER, scoring=scorer, params=params)
    np.testing.assert_allclose(result["test_score"], clean_accuracies)


def test_other_scores_take_the_same_request(recipe, data):
    model, _ = recipe
    scorer = get_scorer("neg_log_loss").set_score_request(sample_weight="is_clean")
    params = {"is_clean": data.is_clean}
    result = cross_validate(
        model,
        data.X,
        data.y,
        cv=SPLITTER,
        scoring=scorer,
        params=params,
        return_estimator=True,
        return_indices=True,
    )
    for fold in range(3):
        test = result["indices"]["test"][fold]
        test = test[data.is_clean[test]]
        probabilities = result["estimator"][fold].predict_proba(data.X[test])
        expected = np.log(probabilities[np.arange(len(test)), data.y[test]]).mean()
        np.testing.assert_allclose(result["test_score"][fold], expected)


def test_without_a_scorer_the_model_itself_takes_the_request(routing, data, clean_accuracies):
    """Shorter, but not inside a Pipeline, whose `score` knows no other names."""
    model = HyperCleaningClassifier(**FREE).set_fit_request(is_clean=True)
    model.set_score_request(sample_weight="is_clean")
    params = {"is_clean": data.is_clean}
    result = cross_validate(model, data.X, data.y, cv=SPLITTER, params=params)
    np.testing.assert_allclose(result["test_score"], clean_accuracies)


def test_splits_of_clean_test_rows_need_no_routing(data, clean_accuracies):
    """The same without a global setting: leave the noisy rows out of the test sets."""
    splits = [(train, test[data.is_clean[test]]) for train, test in SPLITTER.split(data.X, data.y)]
    params = {"is_clean": data.is_clean}
    model = HyperCleaningClassifier(**FREE)
    result = cross_validate(model, data.X, data.y, cv=splits, params=params)
    np.testing.assert_allclose(result["test_score"], clean_accuracies)


def test_a_grid_search_scores_verified_rows_only(recipe, data, clean_accuracies):
    model, scorer = recipe
    search = GridSearchCV(model, {"alpha": ["learn", 10.0]}, cv=SPLITTER, scoring=scorer)
    search.fit(data.X, data.y, is_clean=data.is_clean)
    found = [search.cv_results_[f"split{k}_test_score"][0] for k in range(3)]
    np.testing.assert_allclose(found, clean_accuracies)
    assert search.best_estimator_.sample_weight_[data.is_clean].tolist() == [1.0] * 36


def test_a_pipeline_scores_verified_rows_only(recipe, data, clean_accuracies):
    model, scorer = recipe
    pipeline = make_pipeline(StandardScaler(), model)
    params = {"is_clean": data.is_clean}
    result = cross_validate(pipeline, data.X, data.y, cv=SPLITTER, scoring=scorer, params=params)
    np.testing.assert_allclose(result["test_score"], clean_accuracies)


def test_noisy_rows_that_count_change_the_score(data, clean_accuracies):
    params = {"is_clean": data.is_clean}
    model = HyperCleaningClassifier(**FREE)
    result = cross_validate(model, data.X, data.y, cv=SPLITTER, params=params)
    assert np.mean(result["test_score"]) < np.mean(clean_accuracies) - 0.05


# Other tools of scikit-learn


def test_grid_search_in_threads_equals_one_in_this(data):
    search = GridSearchCV(
        HyperCleaningClassifier(solver=SlBamm(), max_iter=2, cv=2, standard_errors=0),
        {"alpha": ["learn", 0.1], "solver__memory": [5]},
        cv=2,
    )
    params = {"is_clean": data.is_clean}
    serial = clone(search).fit(data.X, data.y, **params).cv_results_["mean_test_score"]
    with joblib.parallel_config("threading"):
        parallel = search.set_params(n_jobs=2).fit(data.X, data.y, **params)
    np.testing.assert_allclose(parallel.cv_results_["mean_test_score"], serial)


def test_a_pipeline_equals_its_steps(data):
    pipeline = make_pipeline(StandardScaler(), HyperCleaningClassifier(**FREE))
    pipeline.fit(data.X, data.y, hypercleaningclassifier__is_clean=data.is_clean)
    model = HyperCleaningClassifier(**FREE).fit(data.X, data.y, is_clean=data.is_clean)
    # The scaler changes the last bits of columns.
    np.testing.assert_allclose(
        pipeline.predict_proba(data.X), model.predict_proba(data.X), rtol=1e-6
    )


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_dataframe_equals_an_array(data, free, library):
    frames = pytest.importorskip(library)
    make = frames.table if library == "pyarrow" else frames.DataFrame
    X = make(dict(zip("abcd", data.X.T, strict=True)))
    model = clone(free).fit(X, data.y, is_clean=data.is_clean)
    # Column order of the memory changes the last bits of sums.
    np.testing.assert_allclose(model.predict_proba(X), free.predict_proba(data.X), rtol=1e-6)
    assert model.feature_names_in_.tolist() == list("abcd")
    report = model.label_report()
    assert isinstance(report, type(X))
    np.testing.assert_array_equal(np.asarray(report["weight"]), model.sample_weight_)


def test_series_are_labels_and_masks(data, free):
    pandas = pytest.importorskip("pandas")
    index = np.arange(90)[::-1]
    y, is_clean = pandas.Series(data.y, index), pandas.Series(data.is_clean, index)
    model = clone(free).fit(data.X, y, is_clean=is_clean)
    np.testing.assert_array_equal(model.coef_, free.coef_)


def test_categories_are_labels(data, free):
    pandas = pytest.importorskip("pandas")
    y = pandas.Series(np.array(["ant", "bee", "cow"])[data.y], dtype="category")
    model = clone(free).fit(data.X, y, is_clean=data.is_clean)
    np.testing.assert_array_equal(model.coef_, free.coef_)


def test_the_report_of_a_pandas_frame_has_its_index(data, free):
    pandas = pytest.importorskip("pandas")
    names = [f"row {i}" for i in range(90)]
    X = pandas.DataFrame(data.X, columns=list("abcd"), index=names)
    report = clone(free).fit(X, data.y, is_clean=data.is_clean).label_report()
    assert report["index"].tolist() == names
    assert report["given_label"].tolist() == data.y.tolist()


@pytest.fixture(scope="module")
def larger():
    """Enough rows to tell wrong labels from overlapping classes, and a fit of them."""
    data = make_labels(300)
    return data, HyperCleaningClassifier(max_iter=0).fit(data.X, data.y, is_clean=data.is_clean)


def test_the_report_finds_wrong_labels(larger):
    data, model = larger
    report = model.label_report()
    issue = np.asarray(report["is_issue"])
    assert not issue[data.is_clean].any()
    assert data.is_wrong[issue].mean() > 1.5 * data.is_wrong[data.noisy].mean()
    suggested = np.asarray(report["suggested_label"])[issue]
    assert np.mean(suggested == data.truth[issue]) > 0.6


def test_fixed_labels_are_more_often_right(larger):
    data, model = larger
    fixed = model.fix_labels()
    assert np.mean(fixed == data.truth) > np.mean(data.y == data.truth)
    np.testing.assert_array_equal(fixed[data.is_clean], data.y[data.is_clean])


def test_the_report_is_on_the_rows_of_x_only(data):
    noisy, clean = data.noisy, np.flatnonzero(data.is_clean)
    model = HyperCleaningClassifier(max_iter=0)
    model.fit(data.X[noisy], data.y[noisy], X_val=data.X[clean], y_val=data.y[clean])
    assert len(model.label_report()["weight"]) == len(noisy) == len(model.sample_weight_)


# Guests change nothing in the house


@pytest.fixture
def torch_defaults():
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_global_state_is_the_same_after_fit(weighting, data):
    def state():
        _, keys, position, *_ = np.random.get_state()
        return [
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.random.get_rng_state().tolist(),
            keys.tolist(),
            position,
            np.geterr(),
        ]

    before = state()
    HyperCleaningClassifier(weighting, **SHORT).fit(data.X, data.y, is_clean=data.is_clean)
    assert state() == before


def test_the_default_dtype_of_torch_does_not_matter(torch_defaults, data, fitted):
    torch.set_default_dtype(torch.float64)
    model = clone(fitted).fit(data.X, data.y, is_clean=data.is_clean)
    np.testing.assert_array_equal(model.coef_, fitted.coef_)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_the_gradient_mode_of_the_caller_does_not_matter(data, mode, weighting, fitted, free):
    expected = fitted if weighting == "adaptive" else free
    with mode():
        found = clone(expected).fit(data.X, data.y, is_clean=data.is_clean)
    np.testing.assert_array_equal(found.coef_, expected.coef_)


def test_the_seed_of_the_caller_does_not_matter(data, fitted):
    state = np.random.get_state()
    np.random.seed(7)
    model = clone(fitted).fit(data.X, data.y, is_clean=data.is_clean)
    np.random.set_state(state)
    np.testing.assert_array_equal(model.coef_, fitted.coef_)


def test_four_threads_at_once_equal_one():
    jobs = [make_labels(40, 2, 2, seed=seed) for seed in range(4)]

    def coefficients(data):
        model = HyperCleaningClassifier(cv=2, standard_errors=0, **SHORT)
        return model.fit(data.X, data.y, is_clean=data.is_clean).coef_

    serial = [coefficients(data) for data in jobs]
    with ThreadPoolExecutor(4) as threads:
        parallel = list(threads.map(coefficients, jobs))
    # The number of threads of a matrix product may change its last bits.
    np.testing.assert_allclose(parallel, serial, rtol=1e-6, atol=1e-8)


def test_fit_leaves_its_arguments_alone():
    data = make_labels(60)
    final = LogisticRegression()
    arrays = [np.array(data.X, order="F"), data.y.copy(), data.weight.copy()]
    mask = data.is_clean.copy()
    copies = [array.copy() for array in (*arrays, mask)]
    for array in (*arrays, mask):
        array.setflags(write=False)
    model = HyperCleaningClassifier(final_estimator=final, class_weight="balanced", max_iter=3)
    model.fit(*arrays, is_clean=mask)
    for array, before in zip((*arrays, mask), copies, strict=True):
        np.testing.assert_array_equal(array, before)


def test_strided_arrays_are_accepted(data):
    X, y, is_clean = data.X[::-1], data.y[::-1], data.is_clean[::-1]
    model, other = (HyperCleaningClassifier("sample", max_iter=0) for _ in range(2))
    model.fit(X, y, is_clean=is_clean)
    other.fit(X.copy(), y.copy(), is_clean=is_clean.copy())
    np.testing.assert_allclose(model.coef_, other.coef_)
