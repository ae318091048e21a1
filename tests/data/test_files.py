"""Files and folders as X: what is read of them, and what is refused by name."""

import sys

import numpy as np
import pytest

from skbamm import BilevelRegularizedRegressor

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
datasets = pytest.importorskip("pyarrow.dataset")
pandas = pytest.importorskip("pandas")

FEATURES, N_ROWS = ["a", "b", "c"], 1200
OF_A_FOLDER = pytest.mark.parametrize("opened", [str, datasets.dataset], ids=["path", "dataset"])


def rows(n_rows=N_ROWS, seed=0):
    random = np.random.default_rng(seed)
    frame = pandas.DataFrame(random.normal(size=(n_rows, 3)), columns=FEATURES)
    return frame.assign(y=frame["a"] - frame["c"] + random.normal(size=n_rows))


def regressor():
    return BilevelRegularizedRegressor(max_iter=2, tol=1e9)


def in_memory(frame, **options):
    return regressor().fit(frame[FEATURES], frame["y"], **options)


def assert_same_fit(found, expected):
    assert list(found.feature_names_in_) == FEATURES
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-9)


# What is not there, or no parquet file


@pytest.mark.parametrize("call", ["fit", "predict", "score"])
@pytest.mark.parametrize("as_given", [str, lambda path: path], ids=["str", "Path"])
@pytest.mark.parametrize("name", ["rows.parquet", "folder", "rows.csv"])
def test_a_path_that_is_not_there_is_not_found(call, as_given, name, tmp_path):
    model = in_memory(rows(40))
    given = ("y",)[call == "predict" :]
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")) as caught:
        getattr(model, call)(as_given(tmp_path / name), *given)
    assert caught.value.filename == str(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        regressor().partial_fit(as_given(tmp_path / name), "y")


def csv(folder):
    rows(40).to_csv(folder / "rows.csv")
    return folder / "rows.csv"


def folder_of_csv(folder):
    csv(folder)
    return folder


def cut_file(folder):
    rows(40).to_parquet(folder / "rows.parquet")
    path = folder / "cut.parquet"
    path.write_bytes((folder / "rows.parquet").read_bytes()[:-50])
    return path


@pytest.mark.parametrize("call", ["fit", "predict", "score"])
@pytest.mark.parametrize("kind", [csv, folder_of_csv, cut_file])
def test_what_is_no_parquet_file_is_refused(call, kind, tmp_path):
    given = () if call == "predict" else ("y",)
    with pytest.raises(ValueError, match=r"must be that of a parquet file .*(rows\.csv|cut)"):
        getattr(in_memory(rows(40)), call)(kind(tmp_path), *given)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no parquet files"):
        regressor().fit(tmp_path, "y")


def test_without_pyarrow_only_files_that_are_there_ask_for_it(tmp_path, monkeypatch):
    path = csv(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(ImportError, match="needs pyarrow"):
        regressor().fit(path, "y")
    with pytest.raises(FileNotFoundError):
        regressor().fit(tmp_path / "other", "y")


def test_names_that_a_file_has_twice_are_refused():
    table = pyarrow.Table.from_arrays([pyarrow.array(np.arange(3.0))] * 3, names=["a", "a", "y"])
    with pytest.raises(ValueError, match="X has 2 columns named 'a'"):
        regressor().fit(table, "y")


# pandas' index


def shuffled(frame):
    return frame.sample(frac=1, random_state=0)


INDICES = {
    "range": lambda frame: frame,
    "unnamed": shuffled,
    "named": lambda frame: shuffled(frame).rename_axis("key"),
    "named range": lambda frame: frame.rename_axis("key"),
    "text": lambda frame: frame.set_axis([f"row {i}" for i in range(len(frame))]),
    "several": lambda frame: shuffled(frame).set_index(
        [np.arange(len(frame)) // 7, pandas.Index(np.arange(len(frame)) % 7, name="place")]
    ),
}


def file_of(frame, folder):
    frame.to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def table_of(frame, folder):
    return pyarrow.Table.from_pandas(frame)


def dataset_of(frame, folder):
    return datasets.dataset(file_of(frame, folder))


def folder_of(frame, folder):
    """One file with its index, one without."""
    half = len(frame) // 2
    frame.iloc[:half].to_parquet(folder / "1.parquet")
    frame.iloc[half:].to_parquet(folder / "2.parquet", index=False)
    return folder


@pytest.mark.parametrize("kind", [file_of, table_of, dataset_of, folder_of])
@pytest.mark.parametrize("index", INDICES)
def test_an_index_of_pandas_is_no_feature(kind, index, tmp_path):
    frame = INDICES[index](rows())
    given = kind(frame, tmp_path)
    found = regressor().fit(given, "y")
    assert_same_fit(found, in_memory(frame))
    np.testing.assert_allclose(found.predict(given), found.predict(frame[FEATURES]))
    nameless = regressor().fit(frame[[*FEATURES, "y"]].to_numpy(), frame["y"])
    with pytest.warns(UserWarning, match="fitted without feature names"):
        assert nameless.predict(given).shape == (N_ROWS,)


def test_an_index_may_be_the_target(tmp_path):
    frame = rows().set_index("y")
    assert_same_fit(regressor().fit(file_of(frame, tmp_path), "y"), in_memory(rows()))


# Damage


@pytest.mark.parametrize("call", ["fit", "predict", "score"])
@pytest.mark.parametrize("place", [1000, 12_000, 35_000])
def test_a_damaged_page_is_found_by_its_checksum(call, place, tmp_path):
    path, frame = tmp_path / "rows.parquet", rows()
    table = pyarrow.Table.from_pandas(frame)
    parquet.write_table(
        table, path, compression="NONE", use_dictionary=False, write_page_checksum=True
    )
    damaged = bytearray(path.read_bytes())
    damaged[place : place + 100] = bytes(100)
    path.write_bytes(damaged)
    given = () if call == "predict" else ("y",)
    model = in_memory(frame)
    if call == "predict" and place == 35_000:  # of y
        assert len(model.predict(path)) == N_ROWS
    else:
        with pytest.raises(OSError, match=r"X cannot be read from .*rows\.parquet: .*CRC checksum"):
            getattr(model, call)(path, *given)


# Folders


def folder_with(folder, first, second):
    first.to_parquet(folder / "1.parquet", index=False)
    second.to_parquet(folder / "2.parquet", index=False)
    return folder


DIFFERENCES = {
    "extra": ("c", lambda frame: frame[["a", "b", "y"]], lambda frame: frame),
    "missing": ("c", lambda frame: frame, lambda frame: frame[["a", "b", "y"]]),
    "missing target": ("y", lambda frame: frame, lambda frame: frame[FEATURES]),
    "other name": ("C", lambda frame: frame, lambda frame: frame.rename(columns={"c": "C"})),
    "text": ("c", lambda frame: frame, lambda frame: frame.assign(c="1.5")),
    "text first": ("c", lambda frame: frame.assign(c="1.5"), lambda frame: frame),
    "index": ("c", lambda frame: frame, lambda frame: frame.set_index("c")),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_files_of_a_folder_must_have_the_same_columns(difference, tmp_path):
    name, first, second = DIFFERENCES[difference]
    frame = rows(40)
    first(frame).to_parquet(tmp_path / "1.parquet")
    second(frame).to_parquet(tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=rf"Column '{name}' of X is .*1\.parquet and .*2\.parquet"):
        regressor().fit(tmp_path, "y")


def test_columns_that_a_dataset_leaves_out_are_told(tmp_path):
    frame = rows()
    folder_with(tmp_path, frame[["a", "b", "y"]], frame)
    with pytest.warns(UserWarning, match=r"'c' of X is missing in the schema .*2\.parquet: it is"):
        found = regressor().fit(datasets.dataset(tmp_path), "y")
    assert list(found.feature_names_in_) == ["a", "b"]
    folder_with(tmp_path, frame, frame[["a", "b", "y"]])
    with pytest.raises(ValueError, match=r"'c' of X is double in the schema .*2\.parquet"):
        regressor().fit(datasets.dataset(tmp_path), "y")


@OF_A_FOLDER
def test_order_of_columns_may_differ_between_files(opened, tmp_path):
    frame = rows()
    given = opened(folder_with(tmp_path, frame[:700], frame[700:][["y", "c", "a", "b"]]))
    found = regressor().fit(given, "y")
    assert_same_fit(found, in_memory(frame))
    np.testing.assert_allclose(found.predict(given), found.predict(frame[FEATURES]))


@OF_A_FOLDER
@pytest.mark.parametrize("kinds", [("int64", "float64"), ("float32", "float64"), ("bool", "int8")])
@pytest.mark.parametrize("n_rows", [40, N_ROWS])
def test_numbers_of_different_types_are_told_and_read_exactly(opened, kinds, n_rows, tmp_path):
    frame, half = rows(n_rows), n_rows // 2
    frame["b"] = np.round(frame["b"] > 0) + 0.25 * (kinds[1] == "float64") * (frame.index >= half)
    given = (frame[:half].astype({"b": kinds[0]}), frame[half:].astype({"b": kinds[1]}))
    given = opened(folder_with(tmp_path, *given))
    with pytest.warns(UserWarning, match=r"Column 'b' of X .*2\.parquet: it is read as double"):
        found = regressor().fit(given, "y")
    assert_same_fit(found, in_memory(frame))


def test_only_columns_that_are_needed_must_agree(tmp_path):
    frame = rows()
    model = in_memory(frame)
    folder = folder_with(tmp_path, frame[:700].assign(more="text"), frame[700:][FEATURES])
    np.testing.assert_allclose(model.predict(folder), model.predict(frame[FEATURES]))
    folder_with(tmp_path, frame[:700], frame[700:][["a", "b", "y"]])
    with pytest.raises(ValueError, match=r"'c' of X is double in .*missing in .*2\.parquet"):
        model.predict(folder)


def test_hidden_files_are_no_rows(tmp_path):
    frame = rows()
    folder = folder_with(tmp_path, frame[:700], frame[700:])
    for name in ("_SUCCESS", "_metadata", ".rows.parquet.crc", ".hidden.parquet"):
        (folder / name).write_text("no rows")
    assert_same_fit(regressor().fit(folder, "y"), in_memory(frame))


def test_folders_may_tell_a_column_of_a_dataset(tmp_path):
    frame = rows()
    for key, part in ((0, frame[:700]), (1, frame[700:])):
        (tmp_path / f"key={key}").mkdir()
        part.to_parquet(tmp_path / f"key={key}" / "rows.parquet", index=False)
    found = regressor().fit(datasets.dataset(tmp_path, partitioning="hive"), "y")
    assert list(found.feature_names_in_) == [*FEATURES, "key"]
    expected = regressor().fit(frame[FEATURES].assign(key=frame.index >= 700), frame["y"])
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-9)


def test_whole_numbers_beyond_double_precision_are_rounded():
    keys = 2**60 + np.arange(N_ROWS) * 2**50 + 1
    table = pyarrow.table({"a": keys, "y": rows()["y"]})
    expected = regressor().fit(keys.astype(float)[:, None], rows()["y"])
    np.testing.assert_allclose(regressor().fit(table, "y").coef_, expected.coef_, rtol=1e-9)


# Scores


@pytest.mark.parametrize("kind", [file_of, table_of, dataset_of, folder_of])
@pytest.mark.parametrize("n_rows", [40, N_ROWS])
@pytest.mark.parametrize(
    ("target", "weight"), [("y", None), (["y"], "b"), (["y", "a"], "b")], ids=str
)
def test_score_of_named_columns_is_that_of_the_rows(kind, n_rows, weight, target, tmp_path):
    frame = rows(n_rows).assign(b=lambda frame: frame["b"] ** 2)
    model = regressor().fit(frame[["c"]], frame[target])
    expected = model.score(frame[["c"]], frame[target], weight and frame[weight])
    given = kind(frame, tmp_path)
    np.testing.assert_allclose(model.score(given, target, weight), expected)
    np.testing.assert_allclose(model.score(given, frame[target], weight), expected)
    again = regressor().fit(kind(frame, tmp_path), target, weight)
    assert np.isfinite(again.score(given, target, weight))


def test_score_of_a_column_that_is_not_there_names_those_that_are(tmp_path):
    path = file_of(rows(40), tmp_path)
    with pytest.raises(ValueError, match=r"no column named 'z'; its columns are \['a', 'b'"):
        in_memory(rows(40)).score(path, "z")
