"""The tables that come with skbamm are what their descriptions say."""

import sys
from importlib.resources import files

import numpy as np
import pytest

from skbamm import datasets
from skbamm.datasets import load_ames_housing, load_mammography, load_meat_spectra


def test_tables_stay_below_two_megabytes_altogether():
    folder = files(datasets) / "data"
    assert sum(len(path.read_bytes()) for path in folder.iterdir()) < 2e6


def test_every_table_has_its_terms_in_the_licences():
    folder = files(datasets) / "data"
    terms = (folder / "LICENSES.md").read_text(encoding="utf-8")
    tables = [path.name for path in folder.iterdir() if path.name.endswith(".gz")]
    assert len(tables) == 3
    assert all(f"## {name}" in terms for name in tables)
    assert terms == load_meat_spectra().DESCR


def test_water_fat_and_protein_are_nearly_all_of_the_meat():
    total = load_meat_spectra(target="all").target.sum(axis=1)
    assert 90 < total.min() < total.max() < 105


def test_one_content_is_the_same_alone_and_among_all():
    among_all = load_meat_spectra(target="all").target
    for column, name in enumerate(["fat", "water", "protein"]):
        alone = load_meat_spectra(target=name).target
        np.testing.assert_array_equal(alone, among_all[:, column])


def test_contents_are_no_features():
    assert load_meat_spectra().feature_names == [f"nm_{850 + 2 * i}" for i in range(100)]


def test_an_unknown_content_is_refused():
    with pytest.raises(ValueError, match=r"target must be one of .*got 'salt'"):
        load_meat_spectra(target="salt")


def test_given_labels_of_masses_follow_from_the_assessment():
    masses = load_mammography()
    np.testing.assert_array_equal(masses.given_label, masses.bi_rads == 5)
    assert masses.feature_names == ["age", "shape", "margin", "density"]
    assert 0.1 < (masses.given_label != masses.target).mean() < 0.2


def test_codes_of_masses_are_in_their_ranges():
    masses = load_mammography()
    assert masses.data.min(axis=0).tolist()[1:] == [1, 1, 1]
    assert masses.data.max(axis=0).tolist()[1:] == [4, 5, 4]
    assert set(masses.target) == {0, 1}


@pytest.mark.parametrize("load", [load_ames_housing, load_mammography, load_meat_spectra])
def test_frames_hold_the_same_as_arrays(load):
    pytest.importorskip("pandas")
    table, array = load(as_frame=True), load(as_frame=False)
    assert list(table.data.columns) == array.feature_names
    assert (table.data.to_numpy(dtype=object) == array.data.astype(object)).all()
    np.testing.assert_array_equal(table.target, array.target)
    pair = load(as_frame=False, return_X_y=True)
    assert (pair[0] == array.data).all() and (pair[1] == array.target).all()


def test_houses_have_numbers_and_categories():
    pytest.importorskip("pandas")
    houses = load_ames_housing()
    assert houses.data.select_dtypes("number").shape[1] == 33
    assert not houses.data.isna().any().any()
    assert 4 < houses.target.min() < houses.target.max() < 6


def test_a_frame_without_pandas_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="install pandas, or pass as_frame=False"):
        load_ames_housing()
