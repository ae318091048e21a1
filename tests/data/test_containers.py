"""Rows and labels go back in the containers that they came in."""

import pickle

import numpy as np
import pytest

from skbamm.data import _containers
from skbamm.data._containers import LabelContainer, RowContainer

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
polars_testing = pytest.importorskip("polars.testing")
pyarrow = pytest.importorskip("pyarrow")

NAMES, NUMBERS = np.array(["a", "b", "c"] * 4), np.array([0, 1, 2] * 4)
INDEXES = {
    "range": pandas.RangeIndex(5, 17, name="id"),
    "numbers": pandas.Index(range(12), dtype="Int64"),
    "texts": pandas.Index(list("abcdefghijkl"), dtype="string"),
    "several": pandas.MultiIndex.from_product([range(4), list("xyz")], names=["u", "v"]),
    "days": pandas.date_range("2020", periods=12, name="day", tz="Europe/Berlin"),
    "months": pandas.period_range("2020-01", periods=12, freq="M"),
    "hours": pandas.timedelta_range("1h", periods=12),
    "intervals": pandas.interval_range(0, 12),
    "categories": pandas.CategoricalIndex(list("abcabcabcabc"), ["c", "b", "a"], ordered=True),
    "doubled": pandas.Index([7] * 12, name=("u", 1)),
}
PANDAS_DTYPES = [
    *("object", "str", "string", "string[python]", "string[pyarrow]", "category"),
    pandas.CategoricalDtype(["c", "b", "a", "never"], ordered=True),
    pandas.CategoricalDtype(pandas.Index(["c", "b", "a"], dtype="string")),
    pandas.ArrowDtype(pyarrow.string()),
]
NUMBER_DTYPES = [
    *("int8", "Int64", "UInt8", "float32", "Float64", "category"),
    pandas.CategoricalDtype([2, 1, 0, 7], ordered=True),
    pandas.CategoricalDtype(pandas.Index([2, 1, 0], dtype="Int64")),
    pandas.ArrowDtype(pyarrow.int64()),
]


def arrived(container):
    return pickle.loads(pickle.dumps(container))


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_comes_back(kind):
    given = pandas.Series(NAMES, index=INDEXES[kind], name=("label", 1))
    container = RowContainer.of(np.zeros((12, 1)), given)
    pandas.testing.assert_series_equal(container.labels(NAMES), given)
    pandas.testing.assert_index_equal(container.table({"a": NAMES}).index, INDEXES[kind])
    # Arrays do not know the frequency of dates.
    travelled = arrived(container).labels(NAMES)
    pandas.testing.assert_series_equal(travelled, given, check_freq=False)


@pytest.mark.parametrize("dtype", PANDAS_DTYPES, ids=str)
@pytest.mark.parametrize("kind", [object, str])
def test_types_of_texts_come_back(dtype, kind):
    given = pandas.Series(NAMES, dtype=dtype)
    container = RowContainer.of(None, given)
    pandas.testing.assert_series_equal(container.labels(NAMES.astype(kind)), given)
    # How pandas stores texts does not travel.
    same = not isinstance(given.dtype, (pandas.StringDtype, pandas.ArrowDtype))
    travelled = arrived(container).labels(NAMES)
    pandas.testing.assert_series_equal(travelled, given, check_dtype=same)


@pytest.mark.parametrize("dtype", NUMBER_DTYPES, ids=str)
@pytest.mark.parametrize("kind", [int, float])
def test_types_of_numbers_come_back(dtype, kind):
    given = pandas.Series(NUMBERS, dtype=dtype)
    container = RowContainer.of(None, given)
    for found in (container, arrived(container)):
        pandas.testing.assert_series_equal(found.labels(NUMBERS.astype(kind)), given)


@pytest.mark.parametrize("dtype", ["bool", "boolean", "category"])
def test_truth_values_come_back(dtype):
    given = pandas.Series(NUMBERS > 1, dtype=dtype)
    found = RowContainer.of(None, given).labels((NUMBERS > 1).astype(object))
    pandas.testing.assert_series_equal(found, given)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (NAMES, polars.String()),
        (NAMES, polars.Categorical()),
        (NAMES, polars.Enum(["c", "b", "a", "never"])),
        (NUMBERS, polars.Int8()),
        (NUMBERS, polars.UInt32()),
        (NUMBERS, polars.Float32()),
        (NUMBERS > 1, polars.Boolean()),
    ],
    ids=str,
)
def test_types_of_polars_come_back(values, dtype):
    given = polars.Series("label", values.tolist(), dtype=dtype)
    container = RowContainer.of(None, given)
    for found in (container, arrived(container)):
        polars_testing.assert_series_equal(found.labels(values), given)


def test_arrays_of_pyarrow_come_back():
    given = pyarrow.chunked_array([NAMES.tolist()])
    assert RowContainer.of(None, given).labels(NAMES).equals(given)
    encoded = RowContainer.of(None, given.dictionary_encode()).labels(NAMES)
    assert pyarrow.types.is_dictionary(encoded.type)
    whole = given.combine_chunks()
    for array in (whole, whole.dictionary_encode(), pyarrow.array(NUMBERS, pyarrow.int8())):
        values = np.asarray(array.to_pylist())
        container = RowContainer.of(None, array)
        for found in (container, arrived(container)):
            labels = found.labels(values)
            assert isinstance(labels, pyarrow.Array) and labels.to_pylist() == values.tolist()
            assert type(labels) is type(array)


@pytest.mark.parametrize("make", [pandas.DataFrame, polars.DataFrame, pyarrow.table])
def test_a_dataframe_of_one_column_comes_back(make):
    given = make({"label": NAMES})
    found = RowContainer.of(None, given).labels(NAMES)
    assert type(found) is type(given) and found.equals(given)


BOOLEAN_DTYPES = [
    *("bool", "boolean", "category"),
    pandas.CategoricalDtype([True, False], ordered=True),
    pandas.CategoricalDtype(pandas.Index([True, False], dtype="boolean")),
    pandas.ArrowDtype(pyarrow.bool_()),
]


@pytest.mark.parametrize("dtype", BOOLEAN_DTYPES, ids=str)
@pytest.mark.parametrize("kind", [bool, float])
def test_types_of_booleans_come_back(dtype, kind):
    values = NUMBERS > 0
    given = pandas.Series(values, dtype=dtype)
    container = RowContainer.of(None, given)
    for found in (container, arrived(container)):
        pandas.testing.assert_series_equal(found.labels(values.astype(kind)), given)


@pytest.mark.parametrize("y", [NAMES, NAMES.tolist(), pandas.DataFrame({"a": [1], "b": [2]})])
def test_nothing_else_has_a_container(y):
    assert LabelContainer.of(y) is None


def test_labels_of_validation_rows_are_new_categories():
    given = pandas.Series(["b", "a"], dtype=pandas.CategoricalDtype(["b", "a"], ordered=True))
    found = RowContainer.of(None, given).labels(np.array(["a", "c"]))
    assert found.tolist() == ["a", "c"] and found.cat.ordered
    assert found.cat.categories.tolist() == ["b", "a", "c"]
    given = polars.Series(["b", "a"], dtype=polars.Enum(["b", "a"]))
    found = RowContainer.of(None, given).labels(np.array(["a", "c"]))
    assert found.dtype == polars.Enum(["b", "a", "c"])


def test_names_that_are_changed_later_are_those_of_the_fit():
    given = pandas.Series(NAMES, index=pandas.RangeIndex(12, name="before"))
    container = RowContainer.of(None, given)
    given.index.name = "after"
    assert container.labels(NAMES).index.name == "before"


def test_rows_are_named_by_x_and_else_by_y():
    frame = pandas.DataFrame({"a": NUMBERS}, index=INDEXES["texts"])
    y = pandas.Series(NAMES, index=INDEXES["days"])
    both, alone = RowContainer.of(frame, y), RowContainer.of(frame.to_numpy(), y)
    assert both.table({"a": NAMES}).index.equals(frame.index)
    assert alone.table({"a": NAMES}).index.equals(y.index)
    assert both.labels(NAMES).index.equals(y.index)
    assert RowContainer.of(polars.from_pandas(frame), y).names(12).tolist() == list(range(12))


def test_without_the_library_there_are_arrays(monkeypatch):
    saved = pickle.dumps(RowContainer.of(None, pandas.Series(NAMES, index=INDEXES["several"])))
    monkeypatch.setattr(_containers, "find_spec", lambda name: None)
    container = pickle.loads(saved)
    assert container.labels(NAMES) is NAMES
    assert container.names(12).tolist() == INDEXES["several"].tolist()
    again = pickle.loads(pickle.dumps(container))
    monkeypatch.undo()
    assert pickle.loads(pickle.dumps(again)).labels(NAMES).index.equals(INDEXES["several"])
