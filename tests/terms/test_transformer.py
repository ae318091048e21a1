"""Raw tables in, named columns out."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor
from skbamm.terms import SmoothTerms


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 70, size=60)
    age[:5] = np.nan
    city = pd.Series(rng.choice(["Paris", "Rome", "Oslo"], size=60), dtype="category")
    city[7] = None
    return pd.DataFrame({"age": age, "city": city, "two": rng.integers(0, 2, 60), "same": 3.0})


def test_names_say_what_columns_are(table):
    terms = SmoothTerms().fit(table)
    names = list(terms.get_feature_names_out())
    assert names[:2] == ["age__linear", "age__smooth_1"]
    assert names[-6:] == [
        "age__missing",
        "city__Oslo",
        "city__Paris",
        "city__Rome",
        "city__missing",
        "two__linear",
    ]
    assert list(dict.fromkeys(terms.block_names_)) == [
        "age__linear",
        "age__smooth",
        "age__missing",
        "city",
        "two__linear",
    ]
    assert list(dict.fromkeys(terms.term_names_)) == ["age", "city", "two"]


def test_frames_of_all_kinds_and_arrays_give_the_same(table):
    polars = pytest.importorskip("polars")
    expected = SmoothTerms().fit_transform(table)
    np.testing.assert_allclose(SmoothTerms().fit_transform(polars.from_pandas(table)), expected)
    array = table.astype(object).to_numpy()
    found = SmoothTerms(categorical_features=[1]).fit_transform(array)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("given", [["city"], [1], [False, True, False, False], "from_dtype"])
def test_categories_are_named_in_many_ways(table, given):
    terms = SmoothTerms(categorical_features=given).fit(table)
    assert terms.is_categorical_ == [False, True, False, False]


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_set_output_gives_dataframes(table, container):
    pytest.importorskip(container)
    terms = SmoothTerms().set_output(transform=container)
    assert list(terms.fit_transform(table).columns) == list(terms.get_feature_names_out())


def test_sparse_output_and_float32_are_the_same(table):
    dense = SmoothTerms().fit_transform(table)
    found = SmoothTerms(sparse_output=True).fit_transform(table)
    assert sparse.issparse(found) and found.format == "csr"
    np.testing.assert_array_equal(found.toarray(), dense)
    single = SmoothTerms(dtype=np.float32).fit_transform(table)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, dense, atol=1e-6)


def test_units_of_columns_change_nothing(table):
    terms = SmoothTerms()
    expected = terms.fit_transform(table)
    found = SmoothTerms().fit_transform(table.assign(age=table.age * 1e9 - 4e10))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_missing_number_is_neutral(table):
    terms = SmoothTerms().fit(table)
    columns = terms.transform(table)[0]
    blocks = terms.block_names_
    assert (columns[np.isin(blocks, ["age__linear", "age__smooth"])] == 0).all()
    missing = terms.transform(table)[:, blocks == "age__missing"]
    assert missing.std() == pytest.approx(1.0)


def test_unknown_levels_are_zero_everywhere(table):
    terms = SmoothTerms().fit(table)
    new = table.assign(city=pd.Categorical(["Kiel"] * 60))
    assert (terms.transform(new)[:, terms.block_names_ == "city"] == 0).all()
    late = SmoothTerms().fit(table.iloc[8:])  # without a missing one
    assert (late.transform(table.iloc[7:8])[:, late.block_names_ == "city"] == 0).all()


@pytest.mark.parametrize("column", [[1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"]])
def test_a_level_is_the_same_whatever_its_type(column):
    fit_on = pd.DataFrame({"code": pd.Categorical([1, 2, 3] * 3)})
    terms = SmoothTerms(categorical_features=["code"]).fit(fit_on)
    assert list(terms.get_feature_names_out()) == ["code__1", "code__2", "code__3"]
    found = terms.transform(pd.DataFrame({"code": column}))
    np.testing.assert_array_equal(found, np.eye(3))
    with_gap = pd.DataFrame({"code": pd.Categorical([2, None, 3], categories=[1, 2, 3])})
    np.testing.assert_array_equal(terms.transform(with_gap), np.eye(3)[[1, 0, 2]] * [[1], [0], [1]])


def test_nullable_types_of_pandas_have_gaps():
    X = pd.DataFrame(
        {
            "number": pd.array([1, 2, None, 4], dtype="Int64"),
            "truth": pd.array([True, None, False, True], dtype="boolean"),
            "text": pd.array(["a", "b", "a", None], dtype="string"),
        }
    )
    names = list(SmoothTerms().fit(X).get_feature_names_out())
    assert [name for name in names if name.endswith("missing")] == [
        "number__missing",
        "truth__missing",
        "text__missing",
    ]


def test_beyond_the_data_only_the_line_goes_on_and_not_far(table):
    terms = SmoothTerms().fit(table)
    span = table.age.max() - table.age.min()
    ages = table.age.max() + span * np.array([0.0, 0.25, 0.5, 9.0])
    columns = terms.transform(table.iloc[10:14].assign(age=ages))
    linear = columns[:, terms.block_names_ == "age__linear"][:, 0]
    np.testing.assert_allclose(linear[2] - linear[0], 2 * (linear[1] - linear[0]))
    assert linear[3] == linear[2]
    smooth = columns[:, terms.block_names_ == "age__smooth"]
    np.testing.assert_allclose(smooth, smooth[:1].repeat(4, axis=0))


def test_a_cyclic_column_has_no_ends():
    hours = pd.DataFrame({"hour": np.random.default_rng(0).uniform(0, 24, size=100)})
    terms = SmoothTerms(cyclic={"hour": 24}).fit(hours)
    ends = terms.transform(pd.DataFrame({"hour": [0.0, 24.0, 5.0, 29.0]}))
    np.testing.assert_allclose(ends[[0, 2]], ends[[1, 3]], atol=1e-12)
    assert set(terms.block_names_) == {"hour__smooth"}


def test_columns_without_information_become_nothing():
    X = pd.DataFrame(
        {"one": [2.0] * 6, "gone": [np.nan] * 6, "level": ["a"] * 6, "x": [1.0, 2, 3, 4, 5, 6]}
    )
    assert set(SmoothTerms().fit(X).term_names_) == {"x"}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, np.inf, 2.0], "infinity"),
        (pd.to_datetime(["2020-01-01"] * 3), "dates"),
    ],
)
def test_bad_columns_are_refused_by_name(column, message):
    with pytest.raises((ValueError, TypeError), match=message) as error:
        SmoothTerms().fit(pd.DataFrame({"fine": [1.0, 2, 3], "bad": column}))
    assert "bad" in str(error.value)


def test_texts_in_an_array_ask_for_a_declaration():
    with pytest.raises(ValueError, match=r"'x1' holds no numbers.*categorical_features"):
        SmoothTerms().fit(np.array([[1, "a"], [2, "b"]], dtype=object))


def test_free_texts_are_no_levels():
    X = pd.DataFrame({"comment": [f"text {k}" for k in range(30)]})
    with pytest.raises(ValueError, match="'comment' holds texts, 30 different"):
        SmoothTerms().fit(X)
    assert SmoothTerms(categorical_features=["comment"]).fit_transform(X).shape == (30, 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categorical_features": ["nothing"]}, "names no column by 'nothing'"),
        ({"categorical_features": [True]}, "mask of 1 entries"),
        ({"cyclic": {"age": 0}}, "cyclic must give"),
        ({"cyclic": {"city": 7}}, "cyclic must give"),
        ({"dtype": np.int32}, "float64 or float32"),
    ],
)
def test_bad_options_are_refused(table, options, message):
    with pytest.raises(ValueError, match=message):
        SmoothTerms(**options).fit(table)


@pytest.mark.parametrize("in_fit", [np.float32, np.float64])
def test_numbers_are_the_same_levels_in_single_and_double_precision(in_fit):
    values = np.array([0.1, 0.25, 1e9, 2.0])[np.arange(40) % 4]
    tables = {
        kind: pd.DataFrame({"level": values.astype(kind)}) for kind in (np.float32, np.float64)
    }
    terms = SmoothTerms(categorical_features=["level"]).fit(tables[in_fit])
    for table in tables.values():
        np.testing.assert_array_equal(terms.transform(table).sum(axis=1), 1)
    assert "level__0.1" in terms.get_feature_names_out()


@pytest.mark.parametrize(
    "options", [{"cyclic": {10: 2.0}}, {"interactions": [(10, 20)]}, {"categorical_features": [10]}]
)
def test_numbers_are_positions_where_names_are_numbers(options):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=[10, 20])
    with pytest.raises(ValueError, match="Numbers are positions, also where"):
        SmoothTerms(**options).fit(table)


def test_a_sparse_output_is_told_to_be_grouped_by_its_block_names():
    table = pd.DataFrame({"a": np.linspace(0, 1, 30), "kind": list("xyz") * 10})
    terms = SmoothTerms(sparse_output=True)
    columns, y = terms.fit_transform(table), np.arange(30.0)
    with pytest.raises(ValueError, match=r"SmoothTerms\(sparse_output=True\).* block_names_"):
        BilevelRegularizedRegressor(groups="prefix").fit(columns, y)
    groups = list(terms.block_names_)
    assert "kind" in BilevelRegularizedRegressor(groups=groups).fit(columns, y).group_alpha_
