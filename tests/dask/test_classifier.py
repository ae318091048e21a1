"""The classifier on a cluster of two processes against the local one."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _rows

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
pandas = pytest.importorskip("pandas")

from skbamm.dask import DaskHyperCleaningClassifier  # noqa: E402

N_ROWS, N_FEATURES, ENOUGH = 1500, 5, 300
# A mean is of a dozen fits, each of which asks the cluster some dozen times.
ONE_FIT = {"standard_errors": 0, "cv": 3}


def labelled(n_classes, n_clean):
    random = np.random.default_rng(0)
    X = random.standard_normal((N_ROWS, N_FEATURES)) * np.geomspace(0.5, 2, N_FEATURES) + 1
    scores = 3 * X @ random.standard_normal((N_FEATURES, n_classes)) / np.sqrt(N_FEATURES)
    y = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
    clean = random.random(N_ROWS) < n_clean / N_ROWS
    wrong = ~clean & (random.random(N_ROWS) < 0.3)
    y = np.where(wrong, (y + random.integers(1, n_classes, N_ROWS)) % n_classes, y)
    return X, np.array(["ant", "bee", "cat"])[y], random.uniform(0.5, 2, N_ROWS), clean


DATA = labelled(3, 200)
CHUNKS = {"even": (500,) * 3, "uneven": (5, 1100, 395), "empty": (0, 700, 0, 800)}


@pytest.fixture(scope="module", autouse=True)
def few_are_enough():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ENOUGH": ENOUGH, "PER_COLUMN": 1, "PER_CLASS": 1}.items():
            patch.setattr(_rows, name, value)
        yield


def arrays(chunks=CHUNKS["even"], data=DATA):
    return [da.from_array(array, chunks=(chunks, *array.shape[1:])) for array in data]


def fit(model, X, y, weight, clean):
    return model.fit(X, y, weight, is_clean=clean)


def local(**options):
    return HyperCleaningClassifier(**{**ONE_FIT, **options})


def on_cluster(**options):
    return DaskHyperCleaningClassifier(**{**ONE_FIT, **options})


def local_fit(data=DATA, **options):
    return fit(local(**options), *data)


@pytest.fixture(scope="module")
def expected(few_are_enough):
    """The local fit, which no test changes."""
    return local_fit()


@pytest.fixture(scope="module")
def found(few_are_enough, client):
    """That of the cluster, which no test changes."""
    return fit(on_cluster(client=client), *arrays())


def assert_same_fit(found, expected):
    # Sums in another order; the last fit ends at a tolerance.
    for name in (
        "coef_",
        "intercept_",
        "hyper_",
        "alpha_",
        "noise_rate_",
        "class_noise_rate_",
        "noise_transition_matrix_",
        "noise_transition_matrix_std_",
    ):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-8, atol=1e-8
        )
    # In [0, 1]: small ones have no relative meaning.
    np.testing.assert_allclose(
        np.asarray(found.sample_weight_), expected.sample_weight_, rtol=0, atol=1e-8
    )
    for name in ("criterion_", "initial_criterion_"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-8)


def test_a_mean_of_fits_is_that_of_the_local_one(client):
    options = {"standard_errors": 1, "alpha": 0.01, "max_iter": 0}
    found = fit(on_cluster(client=client, **options), *arrays())
    expected = local_fit(final_estimator="linear", **options)
    assert len(found.average_weights_) > 1
    assert found.average_weights_ == pytest.approx(expected.average_weights_)
    assert_same_fit(found, expected)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_partitions_of_any_size_give_the_local_fit(chunks, client, expected):
    found = fit(on_cluster(client=client), *arrays(CHUNKS[chunks]))
    assert isinstance(found.sample_weight_, da.Array)
    assert_same_fit(found, expected)


def test_a_final_estimator_has_a_column_for_a_class_of_weight_zero(client):
    X, y, weight, clean = (column[:300] for column in DATA)
    weight = np.where(y == "bee", 0.0, weight)
    data = X, y, weight, clean
    options = {"final_estimator": LogisticRegression(), "max_iter": 0}
    found = fit(on_cluster(client=client, **options), *arrays((100, 200), data))
    expected = local_fit(data, **options)
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        lazy = getattr(found, method)(da.from_array(X, chunks=(100, N_FEATURES)))
        assert isinstance(lazy, da.Array) and lazy.shape == (300, 3)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(lazy.compute(), getattr(expected, method)(X), rtol=1e-7)


@pytest.mark.parametrize("class_weight", ["balanced", {"ant": 0.0}, {"bee": -1.0}])
def test_class_weights_are_those_of_the_local_fit(class_weight, client):
    X, y, weight, clean = DATA
    data = X, y, np.where(y == "cat", 0.0, weight) if class_weight == "balanced" else weight, clean
    model = on_cluster(client=client, max_iter=0, class_weight=class_weight)
    if class_weight == {"bee": -1.0}:
        with pytest.raises(ValueError, match="class_weight must have finite numbers"):
            fit(model, *arrays(data=data))
        return
    assert_same_fit(
        fit(model, *arrays(data=data)), local_fit(data, max_iter=0, class_weight=class_weight)
    )


def test_the_fit_is_from_a_sample():
    # Otherwise these tests would compare local fits.
    sizes, _ = _rows.sample_sizes(np.array([[400, 400, 500], [66, 67, 67]]), N_FEATURES)
    assert sizes[0].sum() < 400


@pytest.mark.parametrize(
    ("n_classes", "n_clean", "options"),
    [
        (3, 0, {}),
        (2, 200, {"relabel": False, "class_weight": "balanced"}),
        (2, 600, {"alpha": 0.01, "standardize": False, "cv": 2}),
    ],
)
def test_options_mean_what_they_mean_locally(n_classes, n_clean, options, client):
    data = labelled(n_classes, n_clean)
    found = fit(on_cluster(client=client, **options), *arrays(data=data))
    assert_same_fit(found, local_fit(data, **options))


def test_unknown_sizes_and_dataframes(client):
    X, y, weight, clean = DATA
    frame = pandas.DataFrame(X).add_prefix("x")
    bounds = [slice(0, 700), slice(700, 700), slice(700, N_ROWS)]

    def collection(whole):
        partitions = [dask.delayed(whole.iloc[rows]) for rows in bounds]
        return dd.from_delayed(partitions, meta=whole.iloc[:0])

    given = [collection(frame), *(collection(pandas.Series(c)) for c in (y, weight, clean))]
    found = fit(on_cluster(client=client), *given)
    expected = fit(local(), frame, y, weight, clean)
    assert_same_fit(found, expected)
    assert list(found.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(found.predict(given[0]).compute(), expected.predict(frame))


def test_predictions_are_lazy(found):
    X = arrays(CHUNKS["empty"])[0]
    local = found.to_local()
    for name in ("predict", "predict_proba", "decision_function"):
        lazy = getattr(found, name)(X)
        assert isinstance(lazy, da.Array) and lazy.chunks[0] == CHUNKS["empty"]
        np.testing.assert_array_equal(lazy.compute(), getattr(local, name)(DATA[0]))
        np.testing.assert_array_equal(getattr(found, name)(DATA[0]), lazy.compute())


def test_labels_of_other_rows_are_weighed_lazily(found):
    expected = found.to_local().weigh(DATA[0], DATA[1])
    X, y, *_ = arrays(CHUNKS["empty"])
    lazy = found.weigh(X, y)
    assert isinstance(lazy, da.Array) and lazy.chunks == (CHUNKS["empty"],)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-10)
    np.testing.assert_allclose(found.weigh(X, y.rechunk(700)).compute(), expected, rtol=1e-10)
    np.testing.assert_allclose(found.weigh(DATA[0], DATA[1]), expected, rtol=1e-10)


def test_labels_of_dataframes_are_weighed(client):
    columns = [f"x{j}" for j in range(N_FEATURES)]
    frame = dd.from_pandas(pandas.DataFrame(DATA[0], columns=columns), npartitions=3)
    y = dd.from_pandas(pandas.Series(DATA[1], name="label"), npartitions=3)
    found = on_cluster(client=client, max_iter=0).fit(frame, y)
    expected = found.to_local().weigh(frame.compute(), DATA[1])
    np.testing.assert_allclose(found.weigh(frame, y).compute(), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["predict", "predict_proba", "decision_function", "weigh"])
def test_only_the_partition_that_is_asked_for_is_loaded(name, found):
    partitions = [dask.delayed(_loaded)(DATA[0][:500], number) for number in range(3)]
    X = da.concatenate(
        [da.from_delayed(partition, (500, N_FEATURES), float) for partition in partitions]
    )
    y = da.from_array(DATA[1], chunks=500)
    lazy = getattr(found, name)(X, *([y] if name == "weigh" else []))
    expected = getattr(found.to_local(), name)
    given = [DATA[0][:500], DATA[1][:500]][: 1 + (name == "weigh")]
    np.testing.assert_array_equal(lazy.blocks[0].compute(), expected(*given))
    with pytest.raises(RuntimeError, match="partition 2 was loaded"):
        lazy.blocks[2].compute()


def _loaded(rows, number):
    if number:
        raise RuntimeError(f"partition {number} was loaded")
    return rows


def test_weigh_is_for_weights_that_are_a_function(client):
    assert not hasattr(DaskHyperCleaningClassifier("sample", client=client), "weigh")


def test_what_is_known_of_rows_comes_with_the_local_model(client, expected):
    found = fit(on_cluster(client=client), *arrays(CHUNKS["uneven"]))
    for model in (found, found.to_local(), pickle.loads(pickle.dumps(found))):
        report, other = model.label_report(), expected.label_report()
        np.testing.assert_array_equal(report["suggested_label"], other["suggested_label"])
        np.testing.assert_array_equal(report["is_issue"], other["is_issue"])
        np.testing.assert_array_equal(model.fix_labels(force=True), expected.fix_labels(force=True))
    assert type(found.to_local()) is HyperCleaningClassifier
    np.testing.assert_allclose(
        found.to_local().weigh(DATA[0], DATA[1]), expected.weigh(DATA[0], DATA[1]), atol=1e-8
    )


@pytest.mark.parametrize("n_rows", [200, N_ROWS], ids=["on the client", "sampled"])
def test_tables_keep_index_name_and_categories(n_rows, client):
    index = pandas.Index(np.random.default_rng(0).permutation(n_rows), name="id")
    frame = pandas.DataFrame(DATA[0][:n_rows], index=index).add_prefix("x")
    kind = pandas.CategoricalDtype(["cat", "emu", "ant", "bee"], ordered=True)
    y = pandas.Series(DATA[1][:n_rows], index=index, name="animal", dtype=kind)
    bounds = [slice(0, 120), slice(120, 120), slice(120, n_rows)]

    def collection(whole):
        partitions = [dask.delayed(whole.iloc[rows]) for rows in bounds]
        return dd.from_delayed(partitions, meta=whole.iloc[:0])

    model = on_cluster(max_iter=0, client=client)
    model.fit(collection(frame), collection(y))
    expected = local(max_iter=0).fit(frame, y)
    pandas.testing.assert_frame_equal(model.label_report(), expected.label_report())
    found = model.fix_labels(force=True)
    pandas.testing.assert_series_equal(found, expected.fix_labels(force=True))
    assert found.dtype == kind and found.index.equals(index)
    copied = pickle.loads(pickle.dumps(model))
    pandas.testing.assert_series_equal(copied.fix_labels(force=True), found)


def test_few_rows_are_fitted_on_the_client(client):
    data = [column[:200] for column in DATA]
    found = fit(on_cluster(client=client), *arrays((120, 0, 80), data))
    assert_same_fit(found, local_fit(data))
    assert found.sample_weight_.chunks == ((120, 0, 80),)


def test_a_second_fit_starts_warm(client):
    model = on_cluster(client=client, warm_start=True)
    n_iter = fit(model, *arrays()).n_iter_
    assert fit(model, *arrays()).n_iter_ <= n_iter
    assert clone(model).client is client


BAD = [
    (lambda X, y, w, c: (DATA[0], y, w, c), TypeError, "X must be a Dask array"),
    (lambda X, y, w, c: (X, y[:9], w, c), ValueError, "inconsistent numbers"),
    (lambda X, y, w, c: (X, y, -w, c), ValueError, r"Partition \d: Negative values"),
    (lambda X, y, w, c: (X, y, 0 * w, c), ValueError, "all zero"),
    (lambda X, y, w, c: (X, w, w, c), ValueError, r"Partition \d: Unknown label type"),
    (lambda X, y, w, c: (X, y, w, w), ValueError, r"Partition \d: is_clean must be"),
    (lambda X, y, w, c: (da.where(X > 3, np.inf, X), y, w, c), ValueError, r"Partition \d: .*inf"),
    (lambda X, y, w, c: (X, da.full_like(y, "ant"), w, c), ValueError, "greater than one"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD, ids=[bad[2] for bad in BAD])
def test_bad_input_is_named_and_changes_nothing(change, kind, message, client):
    model = on_cluster(client=client)
    with pytest.raises(kind, match=message):
        fit(model, *change(*arrays()))
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize(
    "options",
    [
        {"weighting": "sample"},
        {"cv": [(range(9), range(9))]},
        {"final_estimator": LogisticRegression()},
        {"unlabeled": -1},
    ],
    ids=["free weights", "splits", "final estimator", "unlabeled"],
)
def test_options_that_need_all_rows_are_refused(options, client):
    with pytest.raises(ValueError, match="needs all rows at once"):
        fit(on_cluster(client=client, **options), *arrays())


def test_a_fit_leaves_nothing_of_the_one_before(client):
    few = [array[:200] for array in DATA]
    final = LogisticRegression()
    model = on_cluster(final_estimator=final, max_iter=0, client=client)
    fit(model, *arrays((200,), few))
    assert hasattr(model, "final_estimator_")
    fit(model.set_params(final_estimator=None), *arrays())
    assert not hasattr(model, "final_estimator_")


def labels_by_partition(*partitions):
    parts = [da.from_delayed(dask.delayed(part), part.shape, object) for part in partitions]
    return da.concatenate(parts)


@pytest.mark.parametrize("n_rows", [300, N_ROWS])
@pytest.mark.parametrize("kind", [str, object], ids=["text", "objects"])
def test_labels_must_be_of_one_kind_in_all_partitions(kind, n_rows, client):
    X, third = DATA[0][:n_rows], n_rows // 3
    numbers = (X[:third, 0] > 1).astype(int)
    text = np.where(numbers, "1", "0").astype(kind)
    X = da.from_array(X, chunks=(third, N_FEATURES))
    with pytest.raises(ValueError, match="got numbers in partition 0, text in partition 1"):
        on_cluster(client=client).fit(X, labels_by_partition(numbers, text, numbers))


@pytest.mark.parametrize("n_rows", [300, N_ROWS])
class TestColumnsOfTwoDimensions:
    def given(self, n_rows):
        return [array[:n_rows] for array in arrays()]

    # As scikit-learn warns where they are raveled, which may be on a worker.
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
    def test_labels_and_masks_are_raveled_as_locally(self, n_rows, client):
        X, y, weight, clean = self.given(n_rows)
        model = on_cluster(client=client, max_iter=0)
        found = fit(model, X, y[:, None], weight, clean[:, None])
        data = [array[:n_rows] for array in DATA]
        assert_same_fit(found, local_fit(data, max_iter=0))

    def test_weights_are_refused_as_locally(self, n_rows, client):
        X, y, weight, clean = self.given(n_rows)
        with pytest.raises(ValueError, match="must be 1D array or scalar"):
            fit(on_cluster(client=client), X, y, weight[:, None], clean)

    def test_a_mask_as_weights_is_refused_as_locally(self, n_rows, client):
        X, y, _, clean = self.given(n_rows)
        with pytest.raises(ValueError, match="sample_weight is boolean"):
            on_cluster(client=client).fit(X, y, clean)


@pytest.mark.parametrize("n_rows", [300, N_ROWS])
def test_labels_may_be_columns_by_name(n_rows, client):
    X, y, weight, clean = (array[:n_rows] for array in DATA)
    features = pandas.DataFrame(X).add_prefix("x")
    table = features.assign(label=y, weight=weight, known=clean)
    lazy = dd.from_pandas(table, npartitions=3)
    model = on_cluster(client=client, max_iter=0)
    found = model.fit(lazy, "label", "weight", is_clean="known")
    expected = local_fit((features, y, weight, clean), max_iter=0)
    assert_same_fit(found, expected)
    assert (found.predict(lazy).compute() == expected.predict(features)).all()
    np.testing.assert_allclose(found.weigh(lazy, "label").compute(), found.weigh(features, y))
    score = expected.score(features, y, weight)
    np.testing.assert_allclose(found.score(lazy, "label", "weight"), score)
    np.testing.assert_allclose(found.score(table, "label", "weight"), score)


def test_what_a_restart_has_taken_is_told(client):
    X, y, *_ = arrays()
    model = on_cluster(client=client, max_iter=0).fit(X, y)
    client.cancel(distributed.futures_of(model.sample_weight_), force=True)
    for ask in ("to_local", "label_report", "fix_labels", "__getstate__"):
        with pytest.raises(
            RuntimeError, match=r"are gone: it was restarted or closed\. Call fit again"
        ):
            getattr(model, ask)()
    assert (model.to_sklearn().predict(DATA[0]) == model.predict(DATA[0])).all()
