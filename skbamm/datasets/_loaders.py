"""Loaders of the tables in ``data``, in the manner of `sklearn.datasets`."""

from __future__ import annotations

import csv
import gzip
from importlib.resources import files

import numpy as np
from sklearn.utils import Bunch


def load_ames_housing(*, return_X_y=False, as_frame=True):
    """Load prices of houses sold in Ames, Iowa: numbers and many categories (regression).

    ==================   =====================================================
    Rows                 2930 sales, 2006 to 2010
    Columns              73: 33 numbers, 40 categories
    Target               decimal logarithm of the price in US dollars
    Missing entries      none ("No_Alley_Access" and the like are categories)
    ==================   =====================================================

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        Return a pandas DataFrame and Series, which a table of categories needs to be of much
        use. If False, `data` is an array of objects.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like, with the following attributes.

        data : DataFrame or ndarray of shape (2930, 73)
            Lengths are in feet, areas in square feet.
        target : Series or ndarray of shape (2930,)
            Decimal logarithm of the price.
        feature_names, frame, DESCR : list of str, DataFrame or None, str
            Names of the columns, all of them where `as_frame` is true, origin and licence.

    Notes
    -----
    MIT licence; the table `ames` of the R package modeldata, after De Cock (2011). In it,
    `BsmtFin_SF_1` is a code from 1 to 8 and no area.

    Examples
    --------
    >>> from skbamm.datasets import load_ames_housing
    >>> X, y = load_ames_housing(return_X_y=True)
    >>> X.shape, round(float(y.mean()), 2)
    ((2930, 73), 5.22)
    """
    return _bunch("ames_housing", ["Sale_Price"], return_X_y, as_frame, np.log10)


def load_meat_spectra(*, target="fat", return_X_y=False, as_frame=False):
    """Load near-infrared spectra of meat and what it consists of (regression).

    ==================   =====================================================
    Rows                 215 samples of chopped meat
    Columns              100: absorbance at 850, 852, ..., 1048 nm
    Target               fat, water or protein in per cent
    ==================   =====================================================

    Parameters
    ----------
    target : {"fat", "water", "protein", "all"}, default="fat"
        What to predict; "all" gives the three of them, in this order.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Return a pandas DataFrame, and a Series (or a DataFrame of three targets).

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like, with the following attributes.

        data : ndarray or DataFrame of shape (215, 100)
            Absorbance, the logarithm of one over the transmittance.
        target : ndarray or Series of shape (215,), or of shape (215, 3)
            In per cent.
        feature_names, frame, DESCR : list of str, DataFrame or None, str
            "nm_850" and so on, all columns where `as_frame` is true, origin and licence.

    Raises
    ------
    ValueError
        If `target` is not one of the four.

    Notes
    -----
    Public domain, with the permission note that is part of `DESCR`. Recorded on a Tecator
    Infratec Food and Feed Analyzer; publications should say so.

    Examples
    --------
    >>> from skbamm.datasets import load_meat_spectra
    >>> load_meat_spectra().data.shape
    (215, 100)
    """
    contents = ["fat", "water", "protein"]
    if target not in (*contents, "all"):
        raise ValueError(f"target must be one of {contents} or 'all': got {target!r}.")
    chosen = contents if target == "all" else [target]
    return _bunch("meat_spectra", chosen, return_X_y, as_frame, unused=contents)


def load_mammography(*, return_X_y=False, as_frame=False):
    """Load masses in mammograms, with a radiologist's label and the biopsy's.

    ==================   =====================================================
    Rows                 815 masses
    Columns              4: age, shape, margin, density
    Target               1 if malignant by biopsy, 0 if benign
    Given labels         BI-RADS assessment of radiologists, 1 to 5
    ==================   =====================================================

    `given_label` is what a radiologist says: 1 ("highly suggestive of malignancy") for an
    assessment of 5, else 0. It is wrong for 17 % of the masses: real label noise, and more of it
    where a mass is hard to assess.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Return a pandas DataFrame and Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like, with the following attributes.

        data : ndarray or DataFrame of shape (815, 4)
            Age in years; shape (1 round, 2 oval, 3 lobular, 4 irregular), margin (1 circumscribed,
            2 microlobulated, 3 obscured, 4 ill-defined, 5 spiculated) and density (1 high, 2 iso,
            3 low, 4 fat-containing) as codes.
        target : ndarray or Series of shape (815,)
            Result of the biopsy.
        given_label : ndarray of int of shape (815,)
            The radiologist's label.
        bi_rads : ndarray of int of shape (815,)
            The assessment behind it.
        feature_names, target_names : list of str
            Names of the columns of `data`; "benign" and "malignant".
        frame, DESCR : DataFrame of shape (815, 6) or None, str
            All columns where `as_frame` is true, origin and licence.

    Notes
    -----
    CC BY 4.0; Elter, Schulz-Wendtland and Wittenberg (2007), from the UCI repository.

    Examples
    --------
    >>> from skbamm.datasets import load_mammography
    >>> masses = load_mammography()
    >>> masses.data.shape, round(float((masses.given_label != masses.target).mean()), 2)
    ((815, 4), 0.17)
    """
    bunch = _bunch("mammography", ["malignant"], return_X_y, as_frame, unused=["bi_rads"])
    if return_X_y:
        return bunch
    names, rows = _table("mammography")
    bunch.bi_rads = np.array([int(row[names.index("bi_rads")]) for row in rows])
    bunch.given_label = (bunch.bi_rads >= 5).astype(int)
    bunch.target_names = ["benign", "malignant"]
    return bunch


def _table(name):
    """Names of the columns, and rows of strings."""
    path = files(__package__) / "data" / f"{name}.csv.gz"
    with path.open("rb") as file, gzip.open(file, "rt", encoding="utf-8", newline="") as text:
        names, *rows = csv.reader(text)
    return names, rows


def _bunch(name, targets, return_X_y, as_frame, transform=None, unused=()):
    names, rows = _table(name)
    values = [_parsed(column) for column in zip(*rows, strict=True)]
    columns = dict(zip(names, values, strict=True))
    for target in targets:
        if transform is not None:
            columns[target] = transform(columns[target])
    features = [name for name in names if name not in {*targets, *unused}]
    frame = _data_frame(columns) if as_frame else None
    if frame is not None:
        data, target = frame[features], frame[targets[0] if len(targets) == 1 else targets]
    else:
        data = np.column_stack([_objects_if_text(columns[name]) for name in features])
        target = np.column_stack([columns[name] for name in targets])
        target = target[:, 0] if len(targets) == 1 else target
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        feature_names=features,
        frame=frame,
        DESCR=(files(__package__) / "data" / "LICENSES.md").read_text(encoding="utf-8"),
    )


def _parsed(column):
    """Integers, else floats, else strings."""
    for kind in (int, float):
        try:
            return np.array([kind(entry) for entry in column])
        except ValueError:
            continue
    return np.array(column)


def _objects_if_text(column):
    return column.astype(object) if column.dtype.kind == "U" else column


def _data_frame(columns):
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "as_frame=True needs pandas, which is not installed: install pandas, or pass "
            "as_frame=False."
        ) from error
    return pd.DataFrame(columns)
