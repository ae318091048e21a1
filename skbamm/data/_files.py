"""Parquet files, folders of them and pyarrow datasets, whose files must agree in their columns."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager

from ._columns import check_there, index_columns
from ._validation import level_of_caller


def open_dataset(data, names=None):
    """Arrow data as a dataset, of which each file has the columns `names`; all alike for None."""
    is_path = isinstance(data, (str, os.PathLike))
    if is_path:
        check_there(data)
    try:
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError(
            "Reading X from a file needs pyarrow: pip install pyarrow, or pass an array."
        ) from error
    if isinstance(data, pyarrow.dataset.Dataset):
        return _agreeing(data, names, reference="the schema of the dataset")
    if not is_path:
        return pyarrow.dataset.dataset(data)
    path = os.fspath(data)
    with _only_parquet(path):
        dataset = pyarrow.dataset.dataset(path)
        if not dataset.files:
            raise ValueError(f"The folder {path!r} holds no parquet files.")
        return _agreeing(dataset, names)


def is_number(kind):
    """Whether an Arrow type is one of numbers."""
    from pyarrow import types

    kinds = types.is_floating, types.is_integer, types.is_boolean, types.is_decimal
    return any(is_kind(kind) for is_kind in kinds)


@contextmanager
def _only_parquet(path):
    import pyarrow

    try:
        yield
    except pyarrow.ArrowInvalid as error:
        raise ValueError(
            f"A path must be that of a parquet file or of a folder of such: got {path!r}. Read "
            f"other formats first, for example with pandas or polars. pyarrow says: {error}"
        ) from error


def _agreeing(dataset, names, reference=""):
    """The dataset, read in double precision where files have numbers of different types.

    All files must agree with the schema, whose source is `reference`: if that is not given it is
    the first file, and others may not have columns that this one does not have.
    """
    import pyarrow.dataset

    known, given = _types(dataset.schema, names), bool(reference)
    doubles: dict[str, str] = {}
    unread: dict[str, str] = {}
    for path, found in _files(dataset, names):
        reference = reference or path
        for name in sorted({*known, *found}):
            pair = known.get(name), found.get(name)
            if pair[0] == pair[1]:
                continue
            here, there = (kind or "missing" for kind in pair)
            said = f"Column {name!r} of X is {here} in {reference} and {there} in {path}"
            if pair[0] is None and given:
                unread.setdefault(name, f"{said}: it is not read.")
            elif None in pair or not all(map(is_number, pair)):
                raise ValueError(f"{said}: all files must have the same columns.")
            else:
                doubles.setdefault(name, f"{said}: it is read as double.")
    for said in list({**unread, **doubles}.values())[:1]:
        warnings.warn(said, UserWarning, stacklevel=level_of_caller())
    if not doubles:
        return dataset
    schema = dataset.schema
    for name in doubles:
        place = schema.get_field_index(name)
        schema = schema.set(place, schema.field(name).with_type(pyarrow.float64()))
    fragments = list(dataset.get_fragments())
    of_file = fragments[0].format, fragments[0].filesystem
    return pyarrow.dataset.FileSystemDataset(fragments, schema, *of_file)


def _files(dataset, names):
    """Paths of the files, and the types of their columns, those that folders tell included."""
    from pyarrow.dataset import get_partition_keys

    for fragment in dataset.get_fragments():
        if path := getattr(fragment, "path", ""):
            of_folder = get_partition_keys(fragment.partition_expression)
            told = {name: dataset.schema.field(name).type for name in of_folder}
            yield path, {**_types(fragment.physical_schema, names), **told}


def _types(schema, names):
    """Types of the columns by name: of `names`, or all but pandas' index for None."""
    if names is None:
        names = set(schema.names).difference(index_columns(schema))
    return {name: schema.field(name).type for name in names if name in schema.names}
