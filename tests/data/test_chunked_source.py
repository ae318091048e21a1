"""Rows that are read block by block: the same fits, in little memory."""

import gc
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from sklearn import config_context
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from skbamm import BilevelRegularizedRegressor
from skbamm.data._chunked_source import row_source
from skbamm.data._tables import is_row_source
from tests.regularization.regression_data import make_regression
from tests.tools import run_python

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

N_ROWS, N_FEATURES = 1500, 6
DATA = make_regression(N_ROWS, N_FEATURES)
NAMES = [f"{'ab'[j % 2]}__{j}" for j in range(N_FEATURES)]


def frame(X=DATA.X, y=DATA.y):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=NAMES).assign(target=y, weight=DATA.weight[: len(y)])


def mapped(folder, X=DATA.X, name="X"):
    np.save(folder / f"{name}.npy", X)
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def parquet(folder, **columns):
    table = pyarrow.Table.from_pandas(frame(**columns), preserve_index=False)
    pyarrow.parquet.write_table(table, folder / "rows.parquet", row_group_size=400)
    return folder / "rows.parquet"


def table(folder, **columns):
    return pyarrow.parquet.read_table(parquet(folder, **columns))


def dataset(folder, **columns):
    import pyarrow.dataset

    return pyarrow.dataset.dataset(parquet(folder, **columns))


def folder_of_files(folder, **columns):
    rows = table(folder, **columns)
    parts = folder / "parts"
    parts.mkdir()
    for number, start in enumerate(range(0, len(rows), 600)):
        pyarrow.parquet.write_table(rows.slice(start, 600), parts / f"{number}.parquet")
    return str(parts)


ARROW = [parquet, table, dataset, folder_of_files]


def assert_same_fit(found, expected):
    # Sums in another order.
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(found.intercept_, expected.intercept_, rtol=1e-10)
    np.testing.assert_allclose(found.criterion_, expected.criterion_, rtol=1e-10)


OPTIONS = [
    {},
    {"n_repeats": 2},
    {"penalty": "l2", "groups": np.arange(N_FEATURES) % 2},
    {"penalty": "l1"},
    {"exact_zeros": True, "fit_intercept": False},
    {"alpha": {"free": 0.0, "rest": "learn"}, "groups": {"free": [2], "rest": [0, 1, 3, 4, 5]}},
    {"cv": KFold(3), "standardize": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fit_on_a_memory_mapped_array_is_the_fit_on_the_array(options, tmp_path):
    model = BilevelRegularizedRegressor(**options)
    with config_context(working_memory=0.02):  # a few blocks
        found = model.fit(mapped(tmp_path), DATA.y, DATA.weight)
    expected = BilevelRegularizedRegressor(**options).fit(DATA.X, DATA.y, DATA.weight)
    assert_same_fit(found, expected)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fit_on_a_file_is_the_fit_on_the_array(options, tmp_path):
    found = BilevelRegularizedRegressor(**options).fit(parquet(tmp_path), "target", "weight")
    expected = BilevelRegularizedRegressor(**options).fit(DATA.X, DATA.y, DATA.weight)
    assert_same_fit(found, expected)


@pytest.mark.parametrize("kind", ARROW)
def test_every_kind_of_arrow_data_gives_the_fit_of_the_frame(kind, tmp_path):
    found = BilevelRegularizedRegressor(groups="prefix").fit(kind(tmp_path), "target", "weight")
    expected = BilevelRegularizedRegressor(groups="prefix").fit(frame()[NAMES], DATA.y, DATA.weight)
    assert_same_fit(found, expected)
    assert list(found.feature_names_in_) == NAMES


@pytest.mark.parametrize("kind", ARROW)
def test_few_rows_of_arrow_data_are_rows_in_memory(kind, tmp_path):
    few = {"X": DATA.X[:40], "y": DATA.y[:40]}
    found = BilevelRegularizedRegressor().fit(kind(tmp_path, **few), "target")
    expected = BilevelRegularizedRegressor().fit(frame(**few)[[*NAMES, "weight"]], few["y"])
    assert_same_fit(found, expected)
    assert list(found.feature_names_in_) == [*NAMES, "weight"]


def test_several_named_targets_are_a_2d_target(tmp_path):
    found = BilevelRegularizedRegressor().fit(parquet(tmp_path), ["target", "weight"])
    expected = BilevelRegularizedRegressor().fit(DATA.X, np.stack([DATA.y, DATA.weight], axis=1))
    assert found.coef_.shape == (2, N_FEATURES)
    assert_same_fit(found, expected)


def test_target_of_a_file_may_be_an_array(tmp_path):
    rows = table(tmp_path).select(NAMES)
    found = BilevelRegularizedRegressor().fit(rows, DATA.y[:, None], DATA.weight)
    expected = BilevelRegularizedRegressor().fit(DATA.X, DATA.y[:, None], DATA.weight)
    assert found.coef_.shape == (1, N_FEATURES)
    assert_same_fit(found, expected)


@pytest.mark.parametrize("kind", [*ARROW, mapped])
def test_predictions_of_blocks_are_those_of_the_array(kind, tmp_path):
    model = BilevelRegularizedRegressor().fit(frame()[NAMES], DATA.y)
    if kind is mapped:
        model = BilevelRegularizedRegressor().fit(DATA.X, DATA.y)
    with config_context(working_memory=0.02):
        found = model.predict(kind(tmp_path))
    np.testing.assert_allclose(found, DATA.X @ model.coef_ + model.intercept_, rtol=1e-12)


def test_row_groups_reach_a_splitter_over_a_file(tmp_path):
    groups = np.arange(N_ROWS) // 7
    found = BilevelRegularizedRegressor(cv=GroupKFold(3)).fit(
        parquet(tmp_path), "target", "weight", groups=groups
    )
    expected = BilevelRegularizedRegressor(cv=GroupKFold(3)).fit(
        DATA.X, DATA.y, DATA.weight, groups=groups
    )
    assert_same_fit(found, expected)


@pytest.mark.parametrize(
    "options", [{"loss": "huber"}, {"cv": ShuffleSplit(2, random_state=0)}], ids=str
)
class TestOptionsThatNeedTheRows:
    def test_memory_mapped_rows_are_there(self, options, tmp_path):
        found = BilevelRegularizedRegressor(**options).fit(mapped(tmp_path), DATA.y)
        assert_same_fit(found, BilevelRegularizedRegressor(**options).fit(DATA.X, DATA.y))

    def test_a_file_is_refused(self, options, tmp_path):
        with pytest.raises(ValueError, match="needs all rows at once"):
            BilevelRegularizedRegressor(**options).fit(parquet(tmp_path), "target")


def test_validation_rows_need_rows_in_memory(tmp_path):
    with pytest.raises(ValueError, match="X_val needs all rows at once"):
        BilevelRegularizedRegressor().fit(parquet(tmp_path), "target", X_val=DATA.X, y_val=DATA.y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_entry_that_is_not_finite_is_found_in_its_block(bad, tmp_path):
    X = DATA.X.copy()
    X[-1, 4] = bad
    with config_context(working_memory=0.02), pytest.raises(ValueError, match=r"NaN|infinity"):
        BilevelRegularizedRegressor().fit(mapped(tmp_path, X), DATA.y)
    with pytest.raises(ValueError, match=r"(NaN|infinity), in column 'a__4'"):
        BilevelRegularizedRegressor().fit(parquet(tmp_path, X=X), "target")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing",), "no column named 'missing'"),
        ((DATA.y[:-1],), "inconsistent numbers of samples"),
        (("target", -DATA.weight), "Negative values"),
        (("target", np.zeros(N_ROWS)), "all zero"),
        ((None,), "y to be passed"),
    ],
)
def test_bad_arguments_that_come_with_a_file_are_named(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        BilevelRegularizedRegressor().fit(parquet(tmp_path), *arguments)


def test_columns_of_weights_are_checked(tmp_path):
    rows = table(tmp_path)
    place = rows.column_names.index("weight")
    for weight, message in ((-DATA.weight, "Negative"), (0 * DATA.weight, "all zero")):
        changed = rows.set_column(place, "weight", pyarrow.array(weight))
        with pytest.raises(ValueError, match=message):
            BilevelRegularizedRegressor().fit(changed, "target", "weight")


def test_a_column_of_text_is_named(tmp_path):
    rows = table(tmp_path).append_column("text", pyarrow.array(["1"] * N_ROWS))
    with pytest.raises(ValueError, match="Column 'text' of X is not numeric"):
        BilevelRegularizedRegressor().fit(rows, "target")


def test_whole_numbers_and_truth_values_are_numbers(tmp_path):
    whole = np.arange(N_ROWS) % 7
    rows = table(tmp_path).select(["target"]).append_column("whole", pyarrow.array(whole))
    rows = rows.append_column("true", pyarrow.array(whole > 3))
    found = BilevelRegularizedRegressor().fit(rows, "target")
    expected = BilevelRegularizedRegressor().fit(
        np.stack([whole, whole > 3], axis=1).astype(float), DATA.y
    )
    assert_same_fit(found, expected)


def test_a_failed_fit_on_a_file_changes_nothing(tmp_path):
    model = BilevelRegularizedRegressor().fit(DATA.X, DATA.y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="no column"):
        model.fit(parquet(tmp_path), "missing")
    assert vars(model) == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_keep_the_precision_of_columns(dtype, tmp_path):
    rows = pyarrow.table({name: DATA.X[:, j].astype(dtype) for j, name in enumerate(NAMES)})
    block, _ = next(row_source(rows).blocks())
    assert block.dtype == dtype


def test_what_is_read_by_blocks():
    assert not is_row_source(DATA.X) and not is_row_source(frame())
    assert is_row_source("rows.parquet") and is_row_source(pyarrow.table({"a": [1.0]}))


def readers():
    return [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


@pytest.mark.parametrize("bad", ["weight", "target"])
def test_a_fit_that_fails_half_way_leaves_no_reading_thread(bad, tmp_path):
    before = readers()
    path = parquet(tmp_path)
    rows = pyarrow.parquet.read_table(path).to_pandas()
    # Of a later block: what is wrong is found where it is used, or where it is read.
    rows.loc[1200, bad] = -1.0 if bad == "weight" else np.nan
    pyarrow.parquet.write_table(pyarrow.Table.from_pandas(rows), path, row_group_size=400)
    message = "Negative" if bad == "weight" else "NaN"
    with pytest.raises(ValueError, match=f"{message}.*{bad}"):
        BilevelRegularizedRegressor().fit(path, "target", "weight")
    gc.collect()
    assert readers() == before


def test_a_block_is_good_until_the_next_one(tmp_path):
    with config_context(working_memory=0.02):
        blocks = row_source(parquet(tmp_path), others=["target", "weight"]).blocks()
    start = 0
    for X, columns in blocks:
        time.sleep(0.02)  # the next one is being read
        rows = slice(start, start := start + len(X))
        np.testing.assert_array_equal(X, DATA.X[rows])
        np.testing.assert_array_equal(columns["target"], DATA.y[rows])
    assert start == N_ROWS and len(X) < 400


class TestMemory:
    """Peaks of what NumPy allocates; X takes 16 MB as float32."""

    N_ROWS, N_FEATURES = 200_000, 20

    def peak(self, X, y):
        model = BilevelRegularizedRegressor(n_repeats=1, max_iter=0)
        model.fit(DATA.X, DATA.y)  # torch is imported
        tracemalloc.start()
        try:
            with config_context(working_memory=8):
                model.fit(X, y)
            return tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()

    def rows(self):
        X = np.random.default_rng(0).standard_normal((self.N_ROWS, self.N_FEATURES))
        return X.astype(np.float32), X[:, 0].copy()

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_single_precision_is_never_copied_whole(self, order):
        X, y = self.rows()
        # The folds of the rows take most of it.
        assert self.peak(np.asarray(X, order=order), y) < 15

    def test_a_memory_mapped_array_is_read_in_blocks(self, tmp_path):
        X, y = self.rows()
        assert self.peak(mapped(tmp_path, X), y) < 10

    def test_a_file_is_read_in_blocks(self, tmp_path):
        X, y = self.rows()
        rows = pyarrow.table({f"x{j}": X[:, j] for j in range(self.N_FEATURES)} | {"y": y})
        pyarrow.parquet.write_table(rows, tmp_path / "rows.parquet")
        assert self.peak(tmp_path / "rows.parquet", "y") < 10


LIMITED = """
import sys
from pathlib import Path
from resource import RLIMIT_DATA, setrlimit
import numpy as np
import pyarrow.dataset
from sklearn import config_context
from skbamm import BilevelRegularizedRegressor

folder = Path(sys.argv[1])
generator = np.random.default_rng(0)
BilevelRegularizedRegressor().fit(generator.normal(size=(1500, 3)), generator.normal(size=1500))
status = Path("/proc/self/status").read_text().split("VmData:")[1]
limit = int(status.split()[0]) * 1024 + 32 * 2**20
setrlimit(RLIMIT_DATA, (limit, limit))
with config_context(working_memory=4):
    try:
        np.load(folder / "X.npy")
    except MemoryError:
        print("too large")
    print(BilevelRegularizedRegressor(n_repeats=1).fit(folder / "rows.parquet", "y").coef_[0])
    X = np.load(folder / "X.npy", mmap_mode="r")
    model = BilevelRegularizedRegressor(n_repeats=1).fit(X, np.load(folder / "y.npy"))
    print(model.coef_[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits on private memory are Linux's")
def test_a_table_four_times_as_large_as_memory_is_fitted(tmp_path):
    n_rows = 4 * 32 * 2**20 // (8 * 40)
    block = np.random.default_rng(0).standard_normal((1 + n_rows // 8, 40))
    X = np.tile(block, (8, 1))[:n_rows]
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", 2 * X[:, 0] + X[:, 1])
    rows = pyarrow.table({f"x{j}": X[:, j] for j in range(40)} | {"y": 2 * X[:, 0] + X[:, 1]})
    pyarrow.parquet.write_table(rows, tmp_path / "rows.parquet", row_group_size=50_000)
    array, *found = run_python(LIMITED, tmp_path).splitlines()
    assert array == "too large"
    np.testing.assert_allclose(np.array(found, dtype=float), [2.0, 2.0], rtol=1e-6)
