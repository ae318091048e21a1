"""Fits that several processes share, each having some of the rows."""

from __future__ import annotations

import numpy as np

from .._base import torch_session
from .._collective import agreed, from_first, gather
from ..cleaning._report import LabelRecord, RowIndex
from ..data._validation import validate_data
from ..linalg._cross_products import SHIFT_ROWS, column_shift
from ..linalg._fold_cross_products import FoldSums
from ..regularization._rows import is_few, n_repeats, needs_rows, position_labels, summed_rows
from ._part_input import checked_labels, checked_rows


def fit_regressor(estimator, collective, X, y, sample_weight):
    """Sums of all processes, from which process 0 learns."""
    single_target = np.ndim(y) == 1

    def checked():
        why = needs_rows(estimator)
        if why:
            raise ValueError(f"{why} needs all rows at once: use fit on rows in memory.")
        _describe(estimator, X)
        return checked_rows(X, y, sample_weight)

    X, y, weight = agreed(collective, checked)
    lengths = gather(collective, X.shape[0])
    n_samples, start = sum(lengths), sum(lengths[: collective.rank()])
    if is_few(estimator, n_samples, X.shape[1]):
        X, y, weight = _together(collective, X, y, weight)
        y = y[:, 0] if single_target else y
        return _adopt(collective, estimator, lambda: estimator.fit(X, y, weight))
    heads = gather(collective, (X[:SHIFT_ROWS], y[:SHIFT_ROWS]))
    first_X, first_y = (np.concatenate(parts) for parts in zip(*map(_dense, heads), strict=True))
    shift = column_shift(first_X, first_y, estimator.fit_intercept)
    seed = collective.broadcast(estimator._seed())
    repeats = []
    for fold_of in position_labels(int(estimator.cv), seed, n_repeats(estimator, n_samples)):
        sums = FoldSums(shift, y.shape[1], int(estimator.cv))
        sums.add(X, y, weight, fold_of(start, start + len(y)))
        for name in ("squares", "edges"):
            setattr(sums, name, collective.all_reduce_sum(getattr(sums, name)))
        repeats.append(sums)

    def learn():
        data = summed_rows(repeats, n_samples, single_target, overwrite=True)
        estimator._fit(data, data.folds(), None, (X, y, weight))

    return _adopt(collective, estimator, learn)


def fit_classifier(estimator, collective, X, y, sample_weight, is_clean):
    """A sample of all rows, from which process 0 learns, and a last fit that all share."""
    from ._label_parts import fit_parts
    from ._shared_rows import RowsPart, TooFewRows

    def checked():
        _describe(estimator, X)
        return RowsPart(collective.rank(), *checked_labels(X, y, sample_weight, is_clean))

    part = agreed(collective, checked)
    seed = collective.broadcast(estimator._seed())
    try:
        with torch_session():
            fit = fit_parts(estimator, [part], collective, seed=seed)
    except TooFewRows:
        return _fit_few(estimator, collective, part)
    estimator._store_learned(fit.classes, fit.learned, *fit.layers[0])
    estimator.noise_rate_, estimator.class_noise_rate_ = fit.noise_rate, fit.class_noise_rate
    estimator.status_ = estimator._describe(fit.learned.solution, estimator.residual_)
    own = fit.rows[part.number]
    estimator.sample_weight_ = own.trust
    estimator.label_record_ = LabelRecord(
        RowIndex(), own.labels, own.suggested, own.is_noisy, own.is_rather_wrong
    )
    return estimator


def _fit_few(estimator, collective, part):
    """All rows in process 0; each process keeps what is known of its own."""
    lengths = gather(collective, len(part))
    X, y, weight, clean = _together(collective, part.X, part.y, part.weight, part.is_clean)
    _adopt(collective, estimator, lambda: estimator.fit(X, y, weight, is_clean=clean))
    start = sum(lengths[: collective.rank()])
    own = slice(start, start + len(part))
    estimator.sample_weight_ = estimator.sample_weight_[own]
    record = estimator.label_record_
    columns = (record.labels, record.suggested, record.is_noisy, record.is_rather_wrong)
    estimator.label_record_ = LabelRecord(RowIndex(), *(column[own] for column in columns))
    return estimator


def _describe(estimator, X):
    """Tell the estimator what its features are; these rows may be none."""
    validate_data(estimator, X, reset=True, skip_check_array=True)


def _together(collective, *columns):
    """Columns of the rows of all processes; None where all are."""
    everyone = zip(*gather(collective, columns), strict=True)
    return [None if parts[0] is None else _stacked(parts) for parts in everyone]


def _stacked(parts):
    if hasattr(parts[0], "tocsr"):
        from scipy import sparse

        return sparse.vstack(parts, format="csr")
    return np.concatenate(parts)


def _dense(rows):
    X, y = rows
    return X.toarray() if hasattr(X, "toarray") else X, y


def _adopt(collective, estimator, fit):
    """What the fit of process 0 leaves in its estimator, in all of them."""
    names = {name: getattr(estimator, name, None) for name in ("feature_names_in_",)}

    def fitted():
        fit()
        return {name: value for name, value in vars(estimator).items() if name.endswith("_")}

    vars(estimator).update(from_first(collective, fitted))
    # A fit on gathered arrays has forgotten these.
    vars(estimator).update({name: value for name, value in names.items() if value is not None})
    return estimator
