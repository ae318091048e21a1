"""Descriptions of features that steer their penalties."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array


def resolve_descriptions(descriptions, learned):
    """Descriptions standardized over the features whose strength is learned.

    Parameters
    ----------
    descriptions : array-like of shape (n_features, n_descriptions) or None
    learned : ndarray of bool of shape (n_features,)

    Returns
    -------
    standardized : ndarray of shape (n_descriptions, n_features)
        0 for other features, and for descriptions that are the same for all.

    Raises
    ------
    ValueError
        For NaN or infinite entries, and unless there is one row for each feature.
    """
    if descriptions is None:
        return np.zeros((0, len(learned)))
    values = np.asarray(descriptions)
    if values.ndim == 1:
        values = values[:, None]
    values = check_array(values, dtype=np.float64, input_name="alpha_features")
    if len(values) != len(learned):
        raise ValueError(
            "alpha_features must have one row per feature: got "
            f"{len(values)} rows for {len(learned)} features."
        )
    if not learned.any():
        return np.zeros((values.shape[1], len(learned)))
    centred = values - values[learned].mean(axis=0)
    scale = centred[learned].std(axis=0)
    constant = scale <= 1e-12 * np.abs(values[learned]).max(axis=0)
    return (centred / np.where(constant, 1.0, scale) * (learned[:, None] & ~constant)).T
