"""From tables as users pass them to one array a column: floats, or categories."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import narwhals as nw
import numpy as np
from sklearn.utils import check_array

from ..data._tables import _frame, check_columns
from ..data._validation import validate_data
from ._pairs import position_of

# Texts that were not declared categories, of which more than this share is distinct where there are
# at least so many rows, are no levels. Nearly all: of some of the rows, as in cross-validation, a
# larger share is distinct, and what passes on all rows must pass there.
DISTINCT, ENOUGH_ROWS = 0.9, 20
# Whole numbers from here on are not told apart as floats.
LARGEST_WHOLE = 2.0**53


def read_columns(estimator, X, *, reset):
    """A list of arrays, one for each column: floats with NaN, or masked arrays of categories."""
    check_columns(X)
    frame = _frame(X, eager_only=True)
    if frame is None:
        X = validate_data(estimator, X, dtype=None, ensure_all_finite=False, reset=reset)
        columns = [X[:, j] for j in range(X.shape[1])]
        is_text = [False] * len(columns)
    else:
        validate_data(estimator, X, skip_check_array=True, reset=reset)
        _require_some(frame.shape)
        columns = list(frame.iter_columns())
        is_text = [_is_text(column) for column in columns]
    names = column_names(estimator)
    if reset:
        estimator.is_categorical_ = _categorical(estimator.categorical_features, names, is_text)
        declared = not _is_from_dtype(estimator.categorical_features)
    found = []
    for column, name, is_category in zip(columns, names, estimator.is_categorical_, strict=True):
        if is_category:
            values = _categories(column)
            if reset and frame is not None and not declared:
                _refuse_distinct(values, column, name)
        else:
            values = _numbers(column, name)
        found.append(values)
    return found


def column_names(estimator):
    """Names of the columns of a table, as scikit-learn makes them where there are none."""
    names = getattr(estimator, "feature_names_in_", None)
    return [f"x{j}" for j in range(estimator.n_features_in_)] if names is None else list(names)


def _require_some(shape):
    if min(shape) < 1:
        what = "sample" if shape[0] < 1 else "feature"
        raise ValueError(
            f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required."
        )


def _is_from_dtype(given):
    return isinstance(given, str) and given == "from_dtype"


def _is_text(column):
    """Whether a column of a dataframe is one of categories, by its type."""
    if column.dtype in (nw.Categorical, nw.Enum, nw.String):
        return True
    return column.dtype == nw.Object and any(isinstance(v, str) for v in column.to_list()[:1000])


def _categorical(given, names, is_text):
    """The `categorical_features` parameter as a list of bool."""
    if given is None:
        return [False] * len(names)
    if _is_from_dtype(given):
        return list(is_text)
    given = np.asarray(given)
    if given.dtype == bool:
        if given.shape != (len(names),):
            raise ValueError(
                f"categorical_features is a mask of {given.size} entries, for {len(names)} columns."
            )
        return given.tolist()
    chosen = [False] * len(names)
    for one in given.ravel().tolist():
        chosen[position_of(one, names, "categorical_features")] = True
    return chosen


def _numbers(column, name):
    """Floats, NaN where missing; in float32 where they were."""
    try:
        if isinstance(column, nw.Series):
            number = column.dtype.is_numeric() or column.dtype == nw.Boolean
            column = (
                column.cast(nw.Float64).to_numpy()
                if number
                else np.array([np.nan if _is_missing(one) else one for one in column.to_list()])
            )
        values = np.asarray(column).astype(np.float64)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"Column {name!r} holds no numbers: {error}. Name it in categorical_features, give it "
            "the type of categories in a dataframe, or leave it out."
        ) from None
    if np.isinf(values).any():
        check_array(values[:, None], ensure_all_finite="allow-nan", input_name=f"X[{name!r}]")
    return values


def _categories(column):
    """A masked array of texts; a number is the same level whatever its type."""
    if isinstance(column, nw.Series):
        native = column.to_native()
        if column.dtype.is_numeric() or column.dtype == nw.Boolean:
            # Long identifiers are no floats.
            is_whole = column.dtype.is_integer() and not column.is_null().any()
            column = (column if is_whole else column.cast(nw.Float64)).to_numpy()
        elif hasattr(native, "cat") and hasattr(native.cat, "codes"):
            # Of pandas, which writes whole numbers as 1.0 where one of them is missing.
            names = np.array([*map(_text, native.cat.categories), ""], dtype=object)
            codes = np.asarray(native.cat.codes)
            return np.ma.array(names[codes].astype(str), mask=codes < 0)
        else:
            column = np.array(column.to_list(), dtype=object)
    if column.dtype.kind in "fiub":
        column = column if column.dtype.kind in "iu" else column.astype(np.float64)
        distinct, index = np.unique(column, return_inverse=True)
        names = np.array(list(map(_text, distinct)), dtype=str)
        return np.ma.array(names[index], mask=np.isnan(distinct)[index])
    column = column.astype(object)
    missing = np.array([_is_missing(value) for value in column])
    texts = ["" if gap else _text(value) for gap, value in zip(missing, column, strict=True)]
    return np.ma.array(np.array(texts, dtype=str), mask=missing)


def _is_missing(value):
    """None, NaN, and pandas.NA and NaT, which no comparison tells."""
    is_nan = isinstance(value, (float, np.floating)) and bool(value != value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _text(value):
    """How a level is called; a number in single precision as in double precision."""
    if not isinstance(value, (bool, np.bool_, float, np.floating)):
        return str(value)
    number = float(value)
    if number == number // 1 and abs(number) < LARGEST_WHOLE:
        return str(int(number))
    with np.errstate(over="ignore"):
        single = np.float32(number)
    return str(single) if np.isfinite(single) and float(single) == number else str(number)


def _refuse_distinct(values, column, name):
    if column.dtype in (nw.Categorical, nw.Enum):
        return
    known = values.compressed()
    n_levels = len(np.unique(known))
    if len(known) >= ENOUGH_ROWS and n_levels > DISTINCT * len(known):
        raise ValueError(
            f"Column {name!r} holds texts, {n_levels} different ones in {len(known)} rows, which "
            "are no levels of a category. Leave it out, or name it in categorical_features."
        )


def refuse_same(what, names):
    """Raise where one name is in several of the lists, or in one of them twice."""
    found = Counter(chain(*names))
    same = [name for name, count in found.items() if count > 1]
    if same:
        raise ValueError(f"Two {what} would be named {same[0]!r}: rename a column or a level of X.")
