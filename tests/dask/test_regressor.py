"""The regressor on a cluster of two processes against the local one."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skbamm import BilevelRegularizedRegressor
from tests.regularization.regression_data import make_regression

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
pandas = pytest.importorskip("pandas")

from skbamm.dask import DaskBilevelRegularizedRegressor  # noqa: E402

N_ROWS, N_FEATURES = 1500, 6
DATA = make_regression(N_ROWS, N_FEATURES, 2)
NAMES = [f"{'ab'[j % 2]}__{j}" for j in range(N_FEATURES)]

CHUNKS = {
    "even": (500, 500, 500),
    "uneven": (3, 1200, 297),
    "empty": (0, 700, 0, 800, 0),
    "one": (N_ROWS,),
    "many": (100,) * 15,
}


def arrays(chunks=CHUNKS["even"], X=DATA.X, y=DATA.y[:, 0], weight=DATA.weight):
    return [da.from_array(array, chunks=(chunks, *array.shape[1:])) for array in (X, y, weight)]


def unknown(array):
    """The same array, the sizes of its chunks being unknown."""
    partitions = [
        da.from_delayed(partition, (np.nan, *array.shape[1:]), array.dtype)
        for partition in array.to_delayed().ravel()
    ]
    return da.concatenate(partitions, allow_unknown_chunksizes=True)


def frames(divisions=(0, 400, 1100, N_ROWS)):
    """A dataframe, a series and weights, of unknown lengths."""
    frame = pandas.DataFrame(DATA.X, columns=NAMES)
    y, weight = pandas.Series(DATA.y[:, 0], name="y"), pandas.Series(DATA.weight)

    def collection(whole):
        partitions = [whole.iloc[a:b] for a, b in pairwise(divisions)]
        return dd.from_delayed(
            [dask.delayed(partition) for partition in partitions], meta=whole.iloc[:0]
        )

    return collection(frame), collection(y), collection(weight)


@pytest.fixture(scope="module")
def found(client):
    """The fit of the cluster, which no test changes."""
    return DaskBilevelRegularizedRegressor(client=client).fit(*arrays())


@pytest.fixture(scope="module")
def expected():
    """The local fit."""
    return expected_fit()


def assert_same_fit(found, expected, rtol=1e-10):
    for name in ("coef_", "intercept_", "alpha_", "criterion_"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol)


def expected_fit(**options):
    return BilevelRegularizedRegressor(**options).fit(DATA.X, DATA.y[:, 0], DATA.weight)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_partitions_of_any_size_give_the_local_fit(chunks, known, client, expected):
    given = arrays(CHUNKS[chunks])
    given = given if known else [unknown(array) for array in given]
    found = DaskBilevelRegularizedRegressor(client=client).fit(*given)
    assert_same_fit(found, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": "l2", "groups": np.arange(N_FEATURES) % 2, "n_repeats": 2},
        {
            "exact_zeros": True,
            "fit_intercept": False,
            "cv": 3,
            "penalty_factors": [0, 1, 2, 3, 1, 1],
        },
    ],
    ids=str,
)
def test_options_mean_what_they_mean_locally(options, client):
    found = DaskBilevelRegularizedRegressor(client=client, **options).fit(*arrays())
    assert_same_fit(found, expected_fit(**options))


def test_dataframes_come_with_their_names(client):
    X, y, weight = frames()
    found = DaskBilevelRegularizedRegressor(groups="prefix", client=client).fit(X, y, weight)
    expected = BilevelRegularizedRegressor(groups="prefix").fit(
        pandas.DataFrame(DATA.X, columns=NAMES), DATA.y[:, 0], DATA.weight
    )
    assert_same_fit(found, expected)
    assert list(found.feature_names_in_) == NAMES
    prediction = found.predict(X)
    assert isinstance(prediction, da.Array)
    np.testing.assert_allclose(prediction.compute(), DATA.X @ expected.coef_ + expected.intercept_)


@pytest.mark.parametrize("options", [{}, {"alpha_per_target": True}], ids=str)
def test_several_targets(options, client):
    X, y, weight = arrays(y=DATA.y)
    found = DaskBilevelRegularizedRegressor(client=client, **options).fit(X, y, weight)
    expected = BilevelRegularizedRegressor(**options).fit(DATA.X, DATA.y, DATA.weight)
    assert_same_fit(found, expected)
    prediction = found.predict(X)
    assert prediction.shape == (N_ROWS, 2)
    np.testing.assert_allclose(prediction.compute(), expected.predict(DATA.X))


def test_arrays_may_be_cut_in_other_ways(client):
    X = da.from_array(DATA.X, chunks=(400, 2))
    y = da.from_array(DATA.y[:, 0], chunks=700)
    found = DaskBilevelRegularizedRegressor(client=client).fit(X, y)
    expected = BilevelRegularizedRegressor().fit(DATA.X, DATA.y[:, 0])
    assert_same_fit(found, expected)
    np.testing.assert_allclose(found.predict(X).compute(), expected.predict(DATA.X))


def test_sparse_partitions(client):
    X = DATA.X * (np.abs(DATA.X) > 1)
    partitions = [
        da.from_delayed(dask.delayed(sparse.csr_matrix(X[rows])), (750, N_FEATURES), float)
        for rows in (slice(750), slice(750, None))
    ]
    y = da.from_array(DATA.y[:, 0], chunks=750)
    found = DaskBilevelRegularizedRegressor(client=client).fit(da.concatenate(partitions), y)
    assert_same_fit(found, BilevelRegularizedRegressor().fit(sparse.csr_matrix(X), DATA.y[:, 0]))


def test_few_rows_are_fitted_on_the_client(client):
    X, y, weight = arrays((0, 20, 10), DATA.X[:30], DATA.y[:30, 0], DATA.weight[:30])
    found = DaskBilevelRegularizedRegressor(client=client).fit(X, y, weight)
    expected = BilevelRegularizedRegressor().fit(DATA.X[:30], DATA.y[:30, 0], DATA.weight[:30])
    assert_same_fit(found, expected, rtol=0)


def test_few_rows_of_dataframes_keep_their_names(client):
    X, y, _ = frames((0, 0, 30))
    found = DaskBilevelRegularizedRegressor(client=client).fit(X, y)
    assert list(found.feature_names_in_) == NAMES


def test_predictions_are_lazy_and_aligned(found):
    X = arrays(CHUNKS["empty"])[0]
    prediction = found.predict(X)
    assert prediction.chunks == (CHUNKS["empty"],)
    np.testing.assert_allclose(prediction.compute(), found.to_local().predict(DATA.X))
    np.testing.assert_allclose(found.predict(DATA.X), prediction.compute())


def test_to_local_needs_no_dask(client):
    model = DaskBilevelRegularizedRegressor("l2", client=client).fit(*arrays())
    local = model.to_local()
    assert type(local) is BilevelRegularizedRegressor and local.penalty == "l2"
    assert_same_fit(local, model, rtol=0)
    unfitted = DaskBilevelRegularizedRegressor("l2").to_local()
    with pytest.raises(NotFittedError):
        unfitted.predict(DATA.X)


def test_the_client_does_not_travel(found, client):
    copy = pickle.loads(pickle.dumps(found))
    assert copy.client is None and found.client is client
    assert_same_fit(copy, found, rtol=0)
    twin = clone(found)
    assert twin.client is client and not hasattr(twin, "coef_")


def test_the_default_client_is_used(client):
    assert DaskBilevelRegularizedRegressor().client_ is client


BAD = [
    (lambda X, y, w: (DATA.X, y), TypeError, "X must be a Dask array or dataframe"),
    (lambda X, y, w: (X, DATA.y[:, 0]), TypeError, "y must be a Dask array"),
    (lambda X, y, w: (X, y[:-1]), ValueError, "inconsistent numbers of samples"),
    (lambda X, y, w: (X[:, 0], y), ValueError, "two dimensions"),
    (lambda X, y, w: (unknown(X), unknown(y[:1400])), ValueError, "Partition 2: y has 400 rows"),
    (lambda X, y, w: (unknown(X), unknown(y[:900])), ValueError, "as many partitions"),
    (lambda X, y, w: (X, y, -w), ValueError, r"Partition \d: Negative values"),
    (lambda X, y, w: (X, y, 0 * w), ValueError, "must not be all zero"),
    (lambda X, y, w: (da.where(X > 2, np.nan, X), y), ValueError, r"Partition \d: .*NaN"),
    (lambda X, y, w: (X[:0], y[:0]), ValueError, "minimum of 2"),
]


@pytest.mark.parametrize(("change", "kind", "message"), BAD, ids=[bad[2] for bad in BAD])
def test_bad_input_is_named_and_changes_nothing(change, kind, message, found):
    before = dict(vars(found))
    with pytest.raises(kind, match=message):
        found.fit(*change(*arrays()))
    assert vars(found) == before


@pytest.mark.parametrize(
    "options", [{"loss": "huber"}, {"cv": [(range(9), range(9, 20))]}], ids=str
)
def test_options_that_need_rows_are_refused(options, client):
    with pytest.raises(ValueError, match="needs all rows at once"):
        DaskBilevelRegularizedRegressor(client=client, **options).fit(*arrays())


def test_a_fit_leaves_nothing_of_the_one_before(client):
    model = DaskBilevelRegularizedRegressor(max_iter=0, client=client)
    model.partial_fit(DATA.X, DATA.y[:, 0]).fit(*arrays())
    assert not hasattr(model, "fold_statistics_") and not hasattr(model, "n_samples_seen_")


@pytest.mark.parametrize("n_rows", [300, N_ROWS])
class TestPartitionsThatDiffer:
    """The second of three partitions is not what its collection says."""

    def frame(self, n_rows, change):
        whole = pandas.DataFrame(DATA.X[:n_rows], columns=NAMES)
        parts = np.split(np.arange(n_rows), 3)

        def part(number):
            rows = whole.iloc[parts[number]]
            return change(rows) if number == 1 else rows

        y = da.from_array(DATA.y[:n_rows, 0], chunks=n_rows // 3)
        return dd.from_map(part, range(3), meta=whole.iloc[:0]), y

    def test_order_of_columns_is_that_of_the_collection(self, n_rows, client):
        found = DaskBilevelRegularizedRegressor(client=client).fit(
            *self.frame(n_rows, lambda rows: rows[NAMES[::-1]])
        )
        assert_same_fit(
            found, BilevelRegularizedRegressor().fit(DATA.X[:n_rows], DATA.y[:n_rows, 0])
        )

    @pytest.mark.parametrize(
        "change",
        [
            lambda rows: rows[NAMES[:-1]],
            lambda rows: rows.assign(more=1.0),
            lambda rows: rows.rename(columns={NAMES[0]: "other"}),
        ],
        ids=["missing", "extra", "renamed"],
    )
    def test_other_columns_are_refused(self, change, n_rows, client):
        with pytest.raises(ValueError, match="Partition 1: X has other columns than its collect"):
            DaskBilevelRegularizedRegressor(client=client).fit(*self.frame(n_rows, change))

    def test_arrays_of_another_width_are_refused(self, n_rows, client):
        third = n_rows // 3
        parts = [DATA.X[:third], DATA.X[:third, :2], DATA.X[:third]]
        shape = (third, N_FEATURES)
        parts = [da.from_delayed(dask.delayed(part), shape, float) for part in parts]
        y = da.from_array(DATA.y[:n_rows, 0], chunks=third)
        with pytest.raises(ValueError, match=r"Partition 1: X has other columns .*: 2 in place of"):
            DaskBilevelRegularizedRegressor(client=client).fit(da.concatenate(parts), y)


@pytest.mark.parametrize("n_rows", [300, N_ROWS])
@pytest.mark.parametrize("target", ["y", ["y", "z"]], ids=str)
def test_targets_may_be_columns_by_name(target, n_rows, client):
    whole = pandas.DataFrame(DATA.X[:n_rows], columns=NAMES)
    X = whole.assign(y=DATA.y[:n_rows, 0], z=DATA.y[:n_rows, 1], weight=DATA.weight[:n_rows])
    X = X[[*NAMES, *np.ravel(target), "weight"]]
    table = dd.from_pandas(X, npartitions=3)
    found = DaskBilevelRegularizedRegressor(client=client).fit(table, target, "weight")
    expected = BilevelRegularizedRegressor().fit(whole, X[target], X["weight"])
    assert_same_fit(found, expected)
    np.testing.assert_allclose(found.predict(table).compute(), expected.predict(whole))
    score = expected.score(whole, X[target], X["weight"])
    np.testing.assert_allclose(found.score(table, target, "weight"), score)
    np.testing.assert_allclose(found.score(X, target, "weight"), score)
    with pytest.raises(ValueError, match="no column named 'other'"):
        found.fit(table, "other")


@pytest.mark.parametrize("n_rows", [300, N_ROWS])
def test_weights_of_two_dimensions_are_refused_as_locally(n_rows, client):
    X, y, weight = (array[:n_rows] for array in arrays())
    with pytest.raises(ValueError, match="must be 1D array or scalar"):
        DaskBilevelRegularizedRegressor(client=client).fit(X, y, weight[:, None])


def test_rows_that_a_restart_has_taken_are_to_be_persisted_anew(client):
    X, y, _ = arrays()
    X = X.persist()
    client.cancel(distributed.futures_of(X), force=True)
    with pytest.raises(RuntimeError, match="persist them anew, and call fit again"):
        DaskBilevelRegularizedRegressor(client=client).fit(X, y)
