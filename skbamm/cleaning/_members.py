"""Fits that may be averaged: on all labels, on verified ones, and by label weights.

Each is a softmax regression, told by the weights and targets of its rows. Made twice: out of each
fold, where label weights come from models without it, and on all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from ..linalg._tensors import to_numpy, to_tensor
from ._constants import PLAIN_RIDGES, RIDGES, LabelNumbers
from .label_quality._nested import nested_predictions
from .label_quality._scores import label_likelihood, log_odds, other_labels


@dataclass(frozen=True)
class SoftLabels:
    """What is known of the labels of rows; all but the first may have an axis of folds before."""

    is_clean: np.ndarray  # (n_rows,)
    right: np.ndarray  # (..., n_rows), probability or learned weight of the given label
    classes: np.ndarray | None  # (..., n_rows, n_classes), probabilities of true classes
    learned: np.ndarray  # (..., n_rows), what the learned fit weighs a label by
    clean_weight: float

    def without(self, rows, probabilities):
        """Of the true classes of rows without a label only these are known."""
        gaps = rows.unlabelled
        if len(gaps):
            for known in (self.right, self.learned):
                known[..., gaps] = 0.0
            if self.classes is not None:
                self.classes[..., gaps, :] = probabilities[..., gaps, :]
        return self

    def of_kind(self, kind):
        """Weights of rows, times the user's, and targets; None for given labels."""
        if kind == "all labels":
            return np.ones(len(self.is_clean)), None
        if kind == "verified labels":
            return self.is_clean.astype(float), None
        if kind == "relabelled":
            return np.where(self.is_clean, self.clean_weight, 1.0), self.classes
        kept = {"filtered": self.right > 0.5, "weighted": self.right, "learned": self.learned}
        return np.where(self.is_clean, self.clean_weight, kept[kind]), None


@dataclass(frozen=True)
class Member:
    """A kind of fit at a ridge strength."""

    kind: str
    training: str  # what of `SoftLabels` it trains on
    ridge: float


def members(rows, learned, alpha):
    """All that are tried where wrong labels show, the fit on all labels first; else that alone."""
    plain, others = (PLAIN_RIDGES, RIDGES) if alpha == "learn" else ((learned.ridge,),) * 2
    found = [Member("all labels", "all labels", ridge) for ridge in plain]
    if not learned.is_noise_shown:
        return found
    is_relabelled = learned.targets is not None
    kinds = ["filtered", "weighted"]
    kinds += ["verified labels"] if rows.has_verified else []
    kinds += ["relabelled"] if is_relabelled or not rows.has_verified else []
    found += [Member(kind, kind, ridge) for kind in kinds for ridge in others]
    return [*found, Member("learned", "relabelled" if is_relabelled else "learned", learned.ridge)]


def labels_of_folds(design, quality, learned) -> SoftLabels:
    """For fits without each fold, by models without it."""
    rows, predictions = design.rows, nested_predictions(design, quality.stages, quality.predictions)
    numbers = LabelNumbers.unpack(learned.hyper)
    if not rows.has_verified:
        noise = quality.stages.noise  # of these linear models
        posterior = np.stack([noise.posterior(each, rows.given) for each in predictions])
        odds = np.stack([log_odds(each, rows.labels) for each in posterior])
        right = posterior[:, design.every, rows.labels]
        found = SoftLabels(rows.is_clean, right, posterior, expit(numbers.logit(odds)), 1.0)
        return found.without(rows, np.stack([noise.probabilities(each) for each in predictions]))
    joint = predictions * label_likelihood(quality.stages.transition, rows.given)
    posterior = joint / joint.sum(axis=2, keepdims=True)
    odds = np.stack([log_odds(each, rows.labels) for each in posterior])
    others = np.stack([other_labels(each, rows.labels) for each in posterior])
    found = _by_verified(rows, expit(numbers.logit(odds)), others, learned)
    return found.without(rows, predictions)


def labels_of_rows(rows, learned) -> SoftLabels:
    """For fits on all rows, or a part of them, by what was learned."""
    weight = np.ones(len(rows.labels))
    weight[rows.noisy] = learned.label_weight
    if learned.noise is not None:  # without verified labels
        posterior = learned.noise.posterior(learned.predictions, rows.given)
        posterior[rows.verified] = np.eye(rows.n_classes)[rows.labels[rows.verified]]  # too few
        right = posterior[np.arange(len(weight)), rows.labels]
        found = SoftLabels(rows.is_clean, right, posterior, weight, 1.0)
        return found.without(rows, learned.noise.probabilities(learned.predictions))
    if learned.targets is None:
        return SoftLabels(rows.is_clean, weight, None, weight, learned.clean_weight)
    classes = to_numpy(learned.targets).T
    if rows.n_classes == 2:
        classes = np.hstack([1 - classes, classes])
    return SoftLabels(rows.is_clean, weight, classes, weight, learned.clean_weight)


def _by_verified(rows, right, others, learned):
    """Labels keep a part of a row, and other classes get the rest."""
    given = np.eye(rows.n_classes)[rows.labels]
    classes = right[..., None] * given + (1 - right[..., None]) * others
    classes = np.where(rows.is_clean[:, None], given, classes)
    return SoftLabels(rows.is_clean, right, classes, right, learned.clean_weight)


def target_tensor(classes, like: Any):
    """Targets (..., n_scores, n_rows) of probabilities (..., n_rows, n_classes)."""
    scored = classes[..., 1:] if classes.shape[-1] == 2 else classes
    return to_tensor(np.ascontiguousarray(np.swapaxes(scored, -1, -2)), like.device)
