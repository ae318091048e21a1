"""Linear models that label quality begins from: of verified rows alone, and of labels as given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...linalg._tensors import as_tensor
from .._constants import CLOSE, PLAIN_RIDGES, PREFERENCE, ROUGH, SINGLE_PRIOR, SMOOTHING
from ._scores import log_softmax, mixing_weights, weights_by_folds


@dataclass(frozen=True)
class FirstStage:
    """Models of the folds whose ridge predicts validation rows best."""

    params: torch.Tensor
    inverse_temperature: float
    ridge: float


def fit_first_stage(design, weights, ridges) -> FirstStage:
    """Softmax fits by `weights` of rows, (n_folds, n_rows), with one of several ridges."""

    def fitted(ridge, initial):
        params = design.fit(weights, ridge, initial, tol=ROUGH, smoothing=SMOOTHING)
        temperature, loss = inverse_temperature(design, design.scores(params))
        return loss, FirstStage(params, temperature, ridge)

    lowest, best = fitted(ridges[0], None)
    found = best
    for ridge in ridges[1:]:
        loss, found = fitted(ridge, found.params)
        if loss < lowest * (1 - PREFERENCE):
            lowest, best = loss, found
    params = design.fit(weights, best.ridge, best.params, smoothing=SMOOTHING)
    return FirstStage(params, inverse_temperature(design, design.scores(params))[0], best.ridge)


def inverse_temperature(design, scores):
    """That predicts validation rows best by their held-out scores, and the mean loss there."""
    weight = design.validation_weight * len(design.validation_weight)
    factors, loss = mixing_weights(
        design.held_out(scores)[None],
        design.validation_labels,
        weight,
        initial=np.ones(1),
        precision=SINGLE_PRIOR,
    )
    return float(factors[0]), loss


def first_stage_weights(rows, training):
    """Of verified rows; and, for a class without any, of its noisy rows, as an average class.

    The verified rows cannot tell that such a class exists, let alone who belongs to it. `training`,
    of shape (n_folds, n_rows), is 1 where a row may train.
    """
    mass, noisy_mass = (
        np.bincount(rows.labels, rows.weight * kind, minlength=rows.n_classes)
        for kind in (rows.is_clean, ~rows.is_clean)
    )
    average = mass[mass > 0].mean()
    share = np.where(mass == 0, average / np.maximum(noisy_mass, average), 0.0)
    return rows.weight * training * np.where(rows.is_clean, 1.0, share[rows.labels])


def plain_average(design, weights):
    """Fits with `PLAIN_RIDGES`, the geometric mean of these, and mean params, as labels say."""
    fits, losses = ridge_fits(design, weights, PLAIN_RIDGES)
    shares = weights_by_folds(losses, 1.0)
    params = torch.tensordot(as_tensor(shares, fits[0]), torch.stack(fits), 1)
    return tuple(fits), float(np.exp(shares @ np.log(PLAIN_RIDGES))), params


def ridge_fits(design, weights, ridges):
    """Params of softmax fits with several ridges, and losses of labels out of each fold."""
    rows = design.rows
    fits: list[torch.Tensor] = []
    losses = []
    for ridge in ridges:
        # Label weights hang on these fits, and must be the same for repeated rows.
        fits.append(design.fit(weights, ridge, fits[-1] if fits else None, tol=CLOSE))
        scores = log_softmax(design.out_of_fold(design.scores(fits[-1])))
        loss = -rows.weight * scores[design.every, rows.labels]
        losses.append(np.bincount(design.folds.own, loss, design.folds.n_folds))
    return fits, np.array(losses)
