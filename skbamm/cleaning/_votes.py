"""Votes of several people on the label of each row."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_array

from ..data._tables import columns_by_name
from ._constants import VOTE_TOL
from .label_quality._scores import as_votes


def validated_votes(votes, weighting, classes, labels, is_clean, n_given, is_gap):
    """Votes for all rows of a fit, and which of those that came as X have no label.

    Votes are None where each label is a single vote, and of a verified row its label is the only
    one. `is_gap` are rows among these whose y says so.
    """
    if weighting != "adaptive":
        raise ValueError(
            "votes are for label quality, which weighting='adaptive' learns from: got "
            f"weighting={weighting!r}."
        )
    counts = check_array(votes, dtype=np.float64, input_name="votes")
    if counts.shape != (n_given, len(classes)):
        raise ValueError(
            "votes must have a row for each row of X and a column for each class in y, in the "
            f"order of the sorted labels: got shape {counts.shape} for {n_given} rows and "
            f"{len(classes)} classes."
        )
    if counts.min() < 0:
        raise ValueError(f"votes must be counts or shares, 0 or more: got {counts.min():.3g}.")
    counts = counts[:, columns_by_name(votes, classes.tolist(), "votes")]
    single = as_votes(labels, len(classes))
    noisy, has_votes = ~is_clean[:n_given], counts.any(axis=1)
    own = (counts * single[:n_given]).sum(axis=1)
    is_odd = noisy & (own < counts.max(axis=1) * (1 - VOTE_TOL))
    if is_gap is not None:
        is_odd |= is_gap & has_votes
    if is_odd.any():
        row = np.flatnonzero(is_odd)[0]
        raise ValueError(
            "y must be the label with most votes (of several with as many, any of these), unless "
            f"is_clean marks it as verified: {np.count_nonzero(is_odd)} rows have another or none, "
            f"the first of which is row {row}, with the votes {counts[row].tolist()} for "
            f"{classes.tolist()}."
        )
    found = np.where(is_clean[:, None], single, 0.0)
    found[:n_given][noisy] = counts[noisy]
    is_single = (found == single).all(axis=1) | ~found.any(axis=1)
    return None if is_single.all() else found, noisy & ~has_votes
