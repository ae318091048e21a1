"""From what users pass to validated rows of numbered classes, and their folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.utils.validation import FLOAT_DTYPES

from ...data._folds import Folds, make_folds, warn_of_few_rows
from ...data._labels import class_factors, require_two_classes, validated_labels
from ...data._validation import (
    has_validation_rows,
    validate_data,
    validate_weight,
    warn_if_unlike,
)
from .._extremes import moderated, moderated_alike
from .._input import FoldedRows, Rows, n_repeats


def class_data(estimator, X, y, sample_weight, held_out, split_params, columns=None):
    """The classes, and for each repeat the validated rows with their folds.

    `held_out` is ``(X_val, y_val, sample_weight_val)``; `split_params` are for the splitter;
    `columns` are `RowColumns`.
    """
    rows, y = _rows(estimator, X, y, sample_weight, "sample_weight", ensure_min_samples=2)
    classes, labels = np.unique(y, return_inverse=True)
    mass = np.bincount(labels, rows.weights())
    require_two_classes(mass)
    factors = np.ones(len(classes))
    if estimator.class_weight is not None:
        factors = class_factors(estimator.class_weight, classes, mass)
    found = estimator._learn_row_weights(rows.X, labels, rows.weight, columns, classes=True)
    items = None
    if found is not None:
        items = found.items
        if found.found:
            rows = replace(rows, weight=rows.weights() * found.weight)
    rows = moderated(_numbered(rows, labels, factors), estimator)
    if not has_validation_rows(*held_out):
        warn_of_few_rows(estimator.cv, len(rows))
        seed = estimator._seed()
        options = {"stratify": True, "split_params": split_params, "items": items}
        folds = [
            make_folds(estimator.cv, rows.X, labels, seed=seed + repeat, **options)
            for repeat in range(n_repeats(estimator, len(labels)))
        ]
        return classes, [FoldedRows(rows, one) for one in folds]
    X_val, y_val, weight = held_out
    found, y_val = _rows(
        estimator, X_val, y_val, weight, "sample_weight_val", reset=False, name="X_val"
    )
    labels = _known_labels(y_val, classes)
    if sparse.issparse(rows.X) != sparse.issparse(found.X):
        convert = sparse.csr_matrix if sparse.issparse(rows.X) else sparse.csr_matrix.toarray
        found = replace(found, X=convert(found.X))
    found = moderated_alike(rows, _numbered(found, labels, factors))
    warn_if_unlike(rows.X, found.X)
    split = np.arange(len(rows)), np.arange(len(found))
    return classes, [FoldedRows(rows, Folds([split]), found)]


def _rows(estimator, X, y, weight, weight_name, **options):
    """Rows without targets, and their labels."""
    X, y = validate_data(
        estimator, X, y, accept_sparse=["csr", "csc"], dtype=FLOAT_DTYPES, **options
    )
    y = validated_labels(y)
    if weight is not None:
        weight = validate_weight(weight, X, weight_name)
    return Rows(X.tocsr() if sparse.issparse(X) else X, np.zeros((len(y), 1)), weight), y


def _numbered(rows, labels, factors):
    """With numbers of classes as targets, and weights times the factors of these."""
    weight = rows.weight
    if (factors != 1).any():
        weight = rows.weights() * factors[labels]
    return replace(rows, y=labels[:, None].astype(np.float64), weight=weight)


def _known_labels(y, classes):
    """Numbers of the classes of validation rows."""
    known = np.isin(y, classes)
    if not known.all():
        raise ValueError(
            f"y_val has labels that y does not have: got {np.unique(y[~known])[:5].tolist()}, and "
            f"the classes in y are {classes.tolist()}."
        )
    return np.searchsorted(classes, y)
