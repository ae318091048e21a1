"""BilevelRegularizedRegressor among the tools of scikit-learn, and as a guest in a process."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.solvers import SlBamm
from tests.regularization.regression_data import make_regression
from tests.tools import COPIES, leaves


@pytest.fixture(scope="module")
def data():
    return make_regression()


@pytest.fixture(scope="module")
def fitted(data):
    groups = [0, 0, 0, 1, 1, 1]
    return BilevelRegularizedRegressor(groups=groups, solver=SlBamm()).fit(data.X, data.y)


# Copies


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_predicts_the_same(how, fitted, data):
    expected = fitted.predict(data.X)
    np.testing.assert_array_equal(COPIES[how](fitted).predict(data.X), expected)


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_has_the_history(how, fitted):
    copied = COPIES[how](fitted)
    np.testing.assert_array_equal(copied.history_["criterion"], fitted.history_["criterion"])


def test_a_clone_is_unfitted_and_fits_the_same(fitted, data):
    copied = clone(fitted)
    assert not hasattr(copied, "coef_")
    np.testing.assert_array_equal(copied.fit(data.X, data.y).coef_, fitted.coef_)


@pytest.mark.parametrize("per_target", [True, False])
def test_fitted_attributes_are_numpy_or_plain(per_target):
    data = make_regression(n_targets=2)
    model = BilevelRegularizedRegressor(alpha_per_target=per_target).fit(data.X, data.y)
    plain = (np.ndarray, np.generic, str, int, float, bool, type(None))
    for name, value in vars(model).items():
        if name.endswith("_"):
            assert all(isinstance(leaf, plain) for leaf in leaves(value)), name


def test_fitted_arrays_are_no_views_of_larger_ones(fitted):
    for name, value in vars(fitted).items():
        if isinstance(value, np.ndarray):
            assert value.base is None or value.base.nbytes <= 2 * value.nbytes, name


# Tools of scikit-learn


def test_grid_search_in_processes_equals_one_in_this(data):
    search = GridSearchCV(
        BilevelRegularizedRegressor(solver=SlBamm()),
        {"penalty": ["l2"], "solver__memory": [5, 10]},
        cv=2,
    )
    serial = clone(search).fit(data.X, data.y).cv_results_["mean_test_score"]
    parallel = search.set_params(n_jobs=2).fit(data.X, data.y).cv_results_["mean_test_score"]
    np.testing.assert_allclose(parallel, serial)


def test_cross_validate_passes_sample_weights(data):
    with config_context(enable_metadata_routing=True):
        model = BilevelRegularizedRegressor("l2").set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        result = cross_validate(model, data.X, data.y, cv=3, params={"sample_weight": data.weight})
    assert np.isfinite(result["test_score"]).all()


def test_a_pipeline_equals_its_steps(data):
    pipeline = make_pipeline(StandardScaler(), BilevelRegularizedRegressor()).fit(data.X, data.y)
    model = BilevelRegularizedRegressor().fit(data.X, data.y)
    np.testing.assert_allclose(pipeline.predict(data.X), model.predict(data.X), rtol=1e-5)


def test_prefix_groups_the_blocks_of_a_column_transformer():
    pandas = pytest.importorskip("pandas")
    data = make_regression()
    X = pandas.DataFrame(data.X, columns=list("abcdef"))
    X["city"] = pandas.Categorical(np.resize(["Rome", "Oslo", "Bonn"], len(X)))
    blocks = ColumnTransformer(
        [
            ("number", StandardScaler(), list("abcdef")),
            ("place", OneHotEncoder(sparse_output=False), ["city"]),
        ]
    ).set_output(transform="pandas")
    model = make_pipeline(blocks, BilevelRegularizedRegressor("l2", groups="prefix"))
    assert list(model.fit(X, data.y)[-1].group_alpha_) == ["number", "place"]


def test_pandas_output_of_the_step_before_gives_feature_names(data):
    pytest.importorskip("pandas")
    with config_context(transform_output="pandas"):
        pipeline = make_pipeline(StandardScaler(), BilevelRegularizedRegressor("l2"))
        pipeline.fit(data.X, data.y)
    names = [f"x{j}" for j in range(6)]
    assert pipeline[:-1].get_feature_names_out().tolist() == names
    assert pipeline[-1].feature_names_in_.tolist() == names


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_dataframe_equals_an_array(data, library):
    frames = pytest.importorskip(library)
    make = frames.table if library == "pyarrow" else frames.DataFrame
    X = make(dict(zip("abcdef", data.X.T, strict=True)))
    model = BilevelRegularizedRegressor().fit(X, data.y)
    expected = BilevelRegularizedRegressor().fit(data.X, data.y)
    # Column order of the memory changes the last bits of sums.
    np.testing.assert_allclose(model.predict(X), expected.predict(data.X), rtol=1e-6)
    assert model.feature_names_in_.tolist() == list("abcdef")


def test_a_series_is_a_target(data):
    pandas = pytest.importorskip("pandas")
    y = pandas.Series(data.y, index=np.arange(len(data.y))[::-1])
    model = BilevelRegularizedRegressor(alpha=0.1).fit(data.X, y)
    expected = BilevelRegularizedRegressor(alpha=0.1).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_multi_output_regressor_equals_alpha_per_target():
    data = make_regression(n_targets=2)
    model = MultiOutputRegressor(BilevelRegularizedRegressor("l2")).fit(data.X, data.y)
    other = BilevelRegularizedRegressor("l2", alpha_per_target=True).fit(data.X, data.y)
    np.testing.assert_allclose(model.predict(data.X), other.predict(data.X), rtol=1e-5)


def test_permutation_importance_finds_the_column_that_matters():
    data = make_regression(60)
    y = 5 * data.X[:, 1] + data.y
    model = BilevelRegularizedRegressor("l2").fit(data.X, y)
    result = permutation_importance(model, data.X, y, random_state=0)
    assert result.importances_mean.argmax() == 1


# Guests change nothing in the house


@pytest.fixture
def torch_defaults():
    yield
    torch.set_default_dtype(torch.float32)


def test_global_state_is_the_same_after_fit(data):
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
    BilevelRegularizedRegressor(random_state=None).set_params(random_state=1).fit(data.X, data.y)
    assert state() == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_the_default_dtype_of_torch_does_not_matter(torch_defaults, dtype, shape):
    data = make_regression(*shape)
    expected = BilevelRegularizedRegressor().fit(data.X, data.y).coef_
    torch.set_default_dtype(dtype)
    model = BilevelRegularizedRegressor().fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_gradient_mode_of_the_caller_does_not_matter(data, fitted, mode):
    with mode():
        model = clone(fitted).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, fitted.coef_)


def test_the_seed_of_the_caller_does_not_matter(data, fitted):
    state = np.random.get_state()
    np.random.seed(7)
    model = clone(fitted).fit(data.X, data.y)
    np.random.set_state(state)
    np.testing.assert_array_equal(model.coef_, fitted.coef_)


def test_four_threads_at_once_equal_one():
    jobs = [make_regression(seed=seed) for seed in range(4)]

    def coefficients(data):
        return BilevelRegularizedRegressor("l2", groups="feature").fit(data.X, data.y).coef_

    serial = [coefficients(data) for data in jobs]
    with ThreadPoolExecutor(4) as threads:
        parallel = list(threads.map(coefficients, jobs))
    # The number of threads of a matrix product may change its last bits.
    np.testing.assert_allclose(parallel, serial, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_fit_leaves_its_arguments_alone(shape):
    data = make_regression(*shape, n_targets=2)
    arrays = [np.array(data.X, order="F"), data.y.copy(), data.weight.copy()]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    BilevelRegularizedRegressor("l2").fit(*arrays)
    for array, before in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("step", [slice(None, None, -1), slice(None, None, 2)])
def test_strided_arrays_are_accepted(data, step):
    model = BilevelRegularizedRegressor(alpha=0.1).fit(data.X[step], data.y[step])
    other = BilevelRegularizedRegressor(alpha=0.1).fit(data.X[step].copy(), data.y[step].copy())
    np.testing.assert_allclose(model.coef_, other.coef_)
