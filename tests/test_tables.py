"""Tables in, tables out: what users of pandas, polars, pyarrow and scipy.sparse see."""

from functools import cache

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.data import _containers, _tables
from tests.cleaning.label_data import make_labels
from tests.regularization.regression_data import make_regression

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")
pyarrow = pytest.importorskip("pyarrow")

DATA = make_regression(60)
LABELS = make_labels(60)
NAMES = np.array(["ant", "bee", "cow"])[LABELS.y]
TABLE = pandas.DataFrame(DATA.X, columns=list("abcdef"))
LABEL_TABLE = pandas.DataFrame(LABELS.X, columns=list("abcd"))
ROW_GROUPS = np.arange(60) // 6

TABLES = {
    "pandas": lambda table: table,
    "polars": polars.from_pandas,
    "pyarrow": pyarrow.Table.from_pandas,
}
SERIES = {
    "pandas": pandas.Series,
    "nullable pandas": lambda values: pandas.Series(values).convert_dtypes(),
    "polars": polars.Series,
    "pyarrow": pyarrow.array,
    "chunked pyarrow": lambda values: pyarrow.chunked_array([values]),
    "list": list,
}
SPARSE = ["csr_matrix", "csc_matrix", "csr_array", "csc_array", "coo_array", "bsr_array"]


def regressor(**options):
    return BilevelRegularizedRegressor(max_iter=0, **options)


def cleaner(weighting="sample", **options):
    """Free weights take a fifth of the time, and columns, labels and masks the same way to fit."""
    return HyperCleaningClassifier(weighting, max_iter=0, **options)


@cache
def fitted_to_arrays(kind, *, apart=False):
    """A fit that no test changes: of plain arrays, with validation rows or a mask."""
    if kind == "regressor":
        return regressor().fit(DATA.X, DATA.y, X_val=DATA.X, y_val=DATA.y)
    rows = {"X_val": LABELS.X, "y_val": NAMES} if apart else {"is_clean": LABELS.is_clean}
    return cleaner(kind).fit(LABELS.X, NAMES, **rows)


# What `fit` takes, in every kind


@pytest.mark.parametrize("kind", SERIES)
def test_every_argument_of_the_regressor_may_be_a_series(kind):
    series = SERIES[kind]
    model = regressor(cv=GroupKFold(3))
    found = model.fit(DATA.X, series(DATA.y), series(DATA.weight), groups=series(ROW_GROUPS)).coef_
    expected = model.fit(DATA.X, DATA.y, DATA.weight, groups=ROW_GROUPS).coef_
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", SERIES)
def test_every_argument_of_the_classifier_may_be_a_series(kind):
    series = SERIES[kind]
    model = cleaner(cv=GroupKFold(3))
    mask = LABELS.is_clean
    model.fit(
        LABELS.X,
        series(NAMES),
        series(LABELS.weight),
        is_clean=series(mask),
        groups=series(ROW_GROUPS),
    )
    found = model.coef_
    model.fit(LABELS.X, NAMES, LABELS.weight, is_clean=mask, groups=ROW_GROUPS)
    np.testing.assert_array_equal(found, model.coef_)
    assert model.classes_.tolist() == ["ant", "bee", "cow"]


@pytest.mark.parametrize("kind", TABLES)
def test_validation_rows_may_be_a_table(kind):
    X = TABLES[kind](TABLE)
    found = regressor().fit(X, DATA.y, X_val=X, y_val=DATA.y)
    expected = fitted_to_arrays("regressor")
    # Column order of the memory changes the last bits of sums.
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-6)
    labels = TABLES[kind](LABEL_TABLE)
    found = cleaner().fit(labels, NAMES, X_val=labels, y_val=NAMES)
    expected = fitted_to_arrays("sample", apart=True)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-6)


@pytest.mark.parametrize("dtype_backend", ["numpy_nullable", "pyarrow"])
def test_nullable_columns_without_gaps_are_numbers(dtype_backend):
    X = TABLE.convert_dtypes(dtype_backend=dtype_backend)
    found = regressor().fit(X, DATA.y)
    np.testing.assert_allclose(found.coef_, regressor().fit(TABLE, DATA.y).coef_, rtol=1e-6)


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_arrays_of_every_format_are_taken(kind):
    make = getattr(sparse, kind)
    model = regressor().fit(make(DATA.X), DATA.y, X_val=make(DATA.X), y_val=DATA.y)
    dense = fitted_to_arrays("regressor")
    np.testing.assert_allclose(model.predict(make(DATA.X)), dense.predict(DATA.X), rtol=1e-6)
    # Weights as a function of label quality once: all formats become one.
    weighting = "adaptive" if kind == "csc_array" else "sample"
    model = cleaner(weighting).fit(make(LABELS.X), NAMES, is_clean=LABELS.is_clean)
    dense = fitted_to_arrays(weighting)
    # Sparse columns are not centred, which ends the same search at other last digits.
    np.testing.assert_allclose(
        model.predict_proba(make(LABELS.X)), dense.predict_proba(LABELS.X), atol=1e-3
    )


# What is said of each feature by name

BY_NAME = pandas.Series(list("uuvvvv"), index=list("abcdef"))


def test_labels_of_features_are_matched_by_name():
    found = regressor(groups=BY_NAME[::-1]).fit(TABLE, DATA.y).group_alpha_
    expected = regressor(groups=list("uuvvvv")).fit(TABLE, DATA.y).group_alpha_
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("as_table", [False, True], ids=["series", "table"])
def test_descriptions_of_features_are_matched_by_name(as_table):
    score = pandas.Series([3.0, 1.0, 4.0, 1.0, 5.0, 9.0], index=list("abcdef"))
    options = {"penalty": "l2", "shrinkage": 0.0}
    expected = regressor(alpha_features=score.to_numpy(), **options).fit(TABLE, DATA.y)
    score = score.sort_values()
    score = score.to_frame() if as_table else score
    found = regressor(alpha_features=score, **options).fit(TABLE, DATA.y)
    np.testing.assert_array_equal(found.alpha_, expected.alpha_)


def test_a_series_that_is_numbered_has_the_order_of_the_features():
    numbered = BY_NAME.reset_index(drop=True)
    found = regressor(groups=numbered).fit(TABLE, DATA.y).group_alpha_
    assert found == regressor(groups=list("uuvvvv")).fit(TABLE, DATA.y).group_alpha_


def test_names_that_are_no_features_are_an_error():
    with pytest.raises(ValueError, match=r"index of groups must be the names .*\['a', 'z'\]"):
        regressor(groups=BY_NAME.rename({"a": "z"})).fit(TABLE, DATA.y)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    "groups",
    [
        {"u": ["a", "b"], "v": ["c", "d", "e", "f"]},
        {"u": TABLE.columns[:2], "v": TABLE.columns[2:]},
        {"u": polars.Series(["a", "b"]), "v": slice(2, 6)},
        lambda name: "u" if name < "c" else "v",
    ],
    ids=["lists", "index", "polars", "callable"],
)
def test_groups_name_columns_of_every_kind_of_table(kind, groups):
    model = regressor(groups=groups).fit(TABLES[kind](TABLE), DATA.y)
    assert list(model.group_alpha_) == ["u", "v"]


# Errors name the table and the column


def with_gap(table):
    table = table.convert_dtypes()
    table.iloc[3, 2] = pandas.NA
    return table


@pytest.mark.parametrize("kind", TABLES)
def test_the_column_with_a_gap_is_named(kind):
    with pytest.raises(ValueError, match=r"(column is 2, named|in column) 'c'"):
        regressor().fit(TABLES[kind](with_gap(TABLE)), DATA.y)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["array", "sparse"])
def test_the_column_of_an_array_is_numbered(make):
    X = DATA.X.copy()
    X[4, 3] = np.inf
    with pytest.raises(ValueError, match=r"Input X contains infinity.*first such column is 3\."):
        regressor().fit(make(X), DATA.y)


@pytest.mark.parametrize(
    ("model", "table", "y"),
    [(regressor(), TABLE, DATA.y), (cleaner(), LABEL_TABLE, NAMES)],
    ids=["regressor", "classifier"],
)
def test_gaps_of_validation_rows_are_not_blamed_on_x(model, table, y):
    with pytest.raises(ValueError, match=r"Input X_val contains NaN.*named 'c'"):
        model.fit(table, y, X_val=with_gap(table), y_val=y)


TEXTS = {
    "str": lambda n: ["Rome"] * n,
    "category": lambda n: pandas.Categorical(["Rome"] * n),
    "mixed": lambda n: [1.0, "Rome"] * (n // 2),
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_column_that_holds_texts_is_named(text):
    X = TABLE.assign(city=TEXTS[text](60), last=1.0)
    with pytest.raises(ValueError, match="6, named 'city': encode it as numbers first"):
        regressor().fit(X, DATA.y)


def test_the_column_of_another_library_that_holds_texts_is_named():
    X = polars.from_pandas(TABLE.assign(city="Rome"))
    with pytest.raises(ValueError, match="6, named 'city': encode it as numbers first"):
        cleaner().fit(X, NAMES)


DAYS = pandas.date_range("2020-01-01", periods=60)
DATES = {"date": DAYS, "zoned": DAYS.tz_localize("UTC"), "duration": DAYS - DAYS[0]}


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("columns", [["day"], ["a", "day"]], ids=str)
def test_columns_of_dates_are_named(columns, date, kind):
    table = TABLES[kind](TABLE.assign(day=DATES[date])[columns])
    message = r"X has columns of dates or times: \['day'\]\. Make numbers of them"
    with pytest.raises(TypeError, match=message):
        regressor().fit(table, DATA.y)
    with pytest.raises(TypeError, match=message):
        cleaner().fit(table, NAMES)
    with pytest.raises(TypeError, match=message.replace("X", "X_val")):
        regressor().fit(TABLE, DATA.y, X_val=table, y_val=DATA.y)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_dates_are_no_numbers(kind):
    with pytest.raises(TypeError, match="X must be of numbers: got an array of datetime64"):
        cleaner().fit(DAYS.to_numpy()[:, None], NAMES)
    days = SERIES[kind](DAYS.to_numpy())
    with pytest.raises(TypeError, match="y must be of numbers: got an array of datetime64"):
        regressor().fit(TABLE, days)
    with pytest.raises(TypeError, match="y_val must be of numbers"):
        regressor().fit(TABLE, DATA.y, X_val=TABLE, y_val=days)


@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_names_that_a_table_has_twice_are_named(kind):
    table = TABLE.set_axis(list("abcbef"), axis=1)
    if kind == "pyarrow":
        columns = [pyarrow.array(column) for column in TABLE.to_numpy().T]
        table = pyarrow.Table.from_arrays(columns, names=list("abcbef"))
    for call in (cleaner().fit, cleaner().fit(TABLE, NAMES).score):
        for y in (NAMES, "c"):
            with pytest.raises(
                ValueError, match=r"X has several columns of one name: \['b'\]\. Gi"
            ):
                call(table, y)
    if kind == "pandas":
        for call in (regressor().fit, regressor().fit(TABLE, DATA.y).score):
            with pytest.raises(ValueError, match=r"X has several columns of one name: \['b'\]"):
                call(table, DATA.y)


def test_a_lazy_frame_is_told_to_be_collected():
    with pytest.raises(ValueError, match=r"call collect\(\) on it first"):
        regressor().fit(polars.from_pandas(TABLE).lazy(), DATA.y)


def test_columns_in_another_order_are_refused():
    model = regressor().fit(TABLE, DATA.y)
    with pytest.raises(ValueError, match="same order"):
        model.predict(TABLE[list("fedcba")])


# Tables out


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_selected_columns_keep_their_names(library):
    selector = SelectFromModel(regressor(exact_zeros=True)).set_output(transform=library)
    selected = selector.fit(TABLE, 9 * DATA.X[:, 3] + DATA.y).transform(TABLE)
    assert "d" in selected.columns
    assert len(selected.columns) < 6


def test_recursive_elimination_knows_the_names():
    selector = RFE(regressor(), n_features_to_select=1).fit(TABLE, 9 * DATA.X[:, 3])
    assert selector.get_feature_names_out().tolist() == ["d"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_names_come_from_the_step_before(library):
    pipeline = make_pipeline(StandardScaler(), regressor(groups="feature"))
    pipeline.set_output(transform=library).fit(TABLE, DATA.y)
    assert list(pipeline[-1].group_alpha_) == list("abcdef")


def fixed(y, X=LABELS.X):
    return cleaner().fit(X, y, is_clean=LABELS.is_clean).fix_labels()


EXPECTED = fitted_to_arrays("sample").fix_labels()


def test_some_labels_are_fixed():
    assert (EXPECTED != NAMES).any()


@pytest.mark.parametrize("dtype", ["str", "string", "object", "category"])
def test_fixed_labels_are_a_pandas_series_if_labels_were(dtype):
    index = [f"row {i}" for i in range(60)]
    y = pandas.Series(NAMES, index=index, name="animal", dtype=dtype)
    expected = pandas.Series(EXPECTED, index=index, name="animal", dtype=dtype)
    pandas.testing.assert_series_equal(fixed(y), expected)


@pytest.mark.parametrize("dtype", ["int64", "Int64", "float64"])
def test_fixed_labels_keep_the_kind_of_numbers(dtype):
    y = pandas.Series(LABELS.y, dtype=dtype)
    assert fixed(y).dtype == dtype


def test_fixed_labels_are_a_polars_series_if_labels_were():
    found = fixed(polars.Series("animal", NAMES))
    assert isinstance(found, polars.Series)
    assert (found.name, found.to_list()) == ("animal", EXPECTED.tolist())


@pytest.mark.parametrize("y", [NAMES, NAMES.tolist()], ids=["array", "list"])
def test_fixed_labels_are_an_array_otherwise(y):
    assert isinstance(fixed(y, LABEL_TABLE), np.ndarray)


def test_fixed_labels_keep_order_and_unused_categories():
    kind = pandas.CategoricalDtype(["cow", "ant", "emu", "bee"], ordered=True)
    assert fixed(pandas.Series(NAMES, dtype=kind)).dtype == kind
    kind = polars.Enum(["cow", "ant", "emu", "bee"])
    assert fixed(polars.Series(NAMES, dtype=kind)).dtype == kind


def test_fixed_labels_of_a_frame_are_a_frame():
    y = pandas.DataFrame({"animal": NAMES}, index=pandas.Index(range(60), name="id"))
    with pytest.warns(DataConversionWarning):
        found = fixed(y)
    expected = pandas.DataFrame({"animal": EXPECTED}, index=y.index)
    pandas.testing.assert_frame_equal(found, expected, check_dtype=False)


INDEXES = {
    "shuffled": pandas.Index(np.random.default_rng(0).permutation(60), name="id"),
    "several levels": pandas.MultiIndex.from_product([range(6), range(10)], names=["u", "v"]),
    "days": pandas.date_range("2020", periods=60, name="day"),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_the_report_selects_rows_of_x(kind):
    table = LABEL_TABLE.set_axis(INDEXES[kind])
    y = pandas.Series(NAMES, index=table.index, name="animal")
    model = cleaner().fit(table, y, is_clean=LABELS.is_clean)
    report = model.label_report()
    pandas.testing.assert_index_equal(report.index, table.index)
    expected = fitted_to_arrays("sample").label_report()
    issues = table[report["is_issue"]]
    np.testing.assert_array_equal(issues, LABELS.X[expected["is_issue"]])
    pandas.testing.assert_series_equal(report["given_label"], y, check_names=False)
    pandas.testing.assert_index_equal(model.fix_labels().index, y.index)
    np.testing.assert_array_equal(report["fixed_label"], model.fix_labels())


def test_rows_without_names_are_named_by_the_labels():
    index = [f"row {i}" for i in range(60)]
    model = cleaner().fit(LABELS.X, pandas.Series(NAMES, index=index))
    report = model.label_report()
    assert report["index"].tolist() == report.index.tolist() == index


def test_the_report_is_in_the_library_of_the_labels_where_x_is_an_array():
    model = cleaner().fit(LABELS.X, polars.Series(NAMES))
    assert isinstance(model.label_report(), polars.DataFrame)


def test_where_the_library_is_gone_reports_are_arrays(monkeypatch):
    model = cleaner().fit(polars.from_pandas(LABEL_TABLE), polars.Series(NAMES))
    for module in (_containers, _tables):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert isinstance(model.label_report(), dict)
    assert isinstance(model.fix_labels(), np.ndarray)
