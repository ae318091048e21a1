"""From what a search learned to a fit of all rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.special import expit

from ..problems._softmax import minimize_cross_entropy
from ._label_evidence import EXACT
from ._tensors import to_numpy, to_tensor


def fit_all(rows, labelled, learned):
    """One fit on all rows with what was learned, started from the mean of the folds' fits.

    Parameters
    ----------
    rows : LabelRows
    labelled : LabelledRows
        The same rows as tensors. Where several processes share the fit, each has its own rows.

    Returns
    -------
    params : ndarray of shape (n_scores, n_columns)
    """
    start = labelled.merged(learned.params)
    weight = to_tensor(rows.weight * learned.training, start.device)
    ridge = start.new_full((1,), learned.ridge)
    if learned.targets is not None:
        labelled = labelled.with_targets(learned.targets)
    weights = (weight / labelled.total(weight.sum()))[None, None]
    return to_numpy(minimize_cross_entropy(labelled, weights, ridge, start, tol=EXACT)[0, 0])


def extend(learned, sample, rows, labelled, *, alpha):
    """What was learned on a sample of rows, for all rows.

    A ridge that was learned shrinks as rows grow in number.
    """
    left = np.ones(len(rows.labels), dtype=bool)
    left[sample.positions] = False
    odds, others, predictions = learned.model.judge(rows.X[left], rows.labels[left])
    share = np.ones(len(rows.labels))
    share[sample.positions[~rows.is_clean[sample.positions]]] = learned.trust
    share[left] = expit(learned.hyper[0] + learned.hyper[1] * odds)
    share[rows.clean] = 1.0
    every = np.empty((len(rows.labels), rows.n_classes))
    every[sample.positions], every[left] = learned.predictions, predictions
    training = np.where(rows.is_clean, learned.clean_weight, share)
    targets = None
    if learned.targets is not None:
        training[rows.noisy] = 1.0
        targets = labelled.indicator.clone()
        targets[:, torch.from_numpy(sample.positions)] = learned.targets
        first = 1 if labelled.has_reference else 0
        mixed = (1 - share[left, None]) * others
        mixed[np.arange(len(mixed)), rows.labels[left]] += share[left]
        noisy_left = torch.from_numpy(left & ~rows.is_clean)
        targets[:, noisy_left] = to_tensor(mixed[~rows.is_clean[left], first:].T, targets.device)
    return replace(
        learned,
        trust=share[rows.noisy],
        ridge=learned.ridge * (len(sample.positions) / len(left) if alpha == "learn" else 1.0),
        predictions=every,
        training=training,
        targets=targets,
    )


def raw_layers(standardizer, labelled, params):
    """Coefficients and intercepts of each layer, those of the first in raw units."""
    if labelled.is_linear:
        return [standardizer.raw(params)]
    first, *others = (
        to_numpy(layer[0, 0]) for layer in labelled.layers(torch.from_numpy(params)[None, None])
    )
    return [standardizer.raw(first), *((layer[:, :-1], layer[:, -1]) for layer in others)]
