"""How much likelier a label is of a careful annotator than of one who does not look at the item."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize

from ..linalg._tensors import as_tensor, to_numpy, to_tensor
from ._raters import ACCURACY

# Shares of items that careful annotators may look at.
CARE = (0.25, 0.5, 0.75, 1.0)
# A class has at least this probability by X.
LEAST = 1e-3
# Weak normal priors, their deviations: of logits of classes and shares, and of what X and a label
# of another annotator say.
SPREAD = 3.0


def labels_of_others(labels, n_classes, weight, annotator, item):
    """How many labels of each class the other annotators gave a row's item: (n_rows, n_classes)."""

    def counts(group):
        size = (group.max() + 1) * n_classes
        return np.bincount(group * n_classes + labels, weight, size).reshape(-1, n_classes)[group]

    pair = np.unique(annotator * (item.max() + 1) + item, return_inverse=True)[1]
    return (counts(item) - counts(pair)).clip(0)


def careful_labels(labels, predicted, others, weight):
    """Probabilities of each class to be given to a row by a careful annotator.

    A step of Dawid and Skene (1979) with one matrix for all: of the true class they are
    proportional to `predicted` ones and to `exp` of `others`, labels of the other annotators, each
    times a learned number; with a learned probability a label is drawn from all labels instead.
    """
    n_classes = predicted.shape[1]
    mean = np.bincount(labels, weight, n_classes) / weight.sum()
    share, given = to_tensor(mean), as_tensor(labels)[:, None]
    logits = to_tensor(np.log(predicted.clip(LEAST)))
    counts, mass = to_tensor(others), to_tensor(weight)

    def chances(numbers):
        by_class = numbers[3:] + numbers[0] * logits + numbers[1] * counts
        slip = numbers[2].sigmoid()
        return (1 - slip) * by_class.softmax(1) + slip * share

    def loss(values):
        numbers = to_tensor(values).requires_grad_()
        with torch.enable_grad():
            likely = chances(numbers).gather(1, given)[:, 0]
            total = -(mass @ likely.log()) + (numbers**2).sum() / (2 * SPREAD**2)
            (gradient,) = torch.autograd.grad(total, numbers)
        return float(total.detach()), to_numpy(gradient)

    start = np.append([1.0, 1.0, -1.0], np.zeros(n_classes))
    bounds = [(0.0, None)] * 2 + [(-8.0, 4.0)] + [(None, None)] * n_classes
    options = {"ftol": ACCURACY / weight.sum()}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return to_numpy(chances(to_tensor(found.x)))


def log_ratios(labels, careful, weight, annotator):
    """Of each annotator's labels, careful over not looking at the items: (n_care, n_annotators).

    Either way an annotator has their own frequencies of classes, so that liking one is no sign, and
    one label for all items neither.
    """
    lift = careful / (weight @ careful / weight.sum())
    counts = np.zeros((annotator.max() + 1, careful.shape[1]))
    np.add.at(counts, (annotator, labels), weight)
    liked = counts / counts.sum(axis=1, keepdims=True)
    own = np.take_along_axis(lift, labels[:, None], 1)[:, 0]
    every = (lift * liked[annotator]).sum(axis=1)
    return np.stack(
        [
            np.bincount(annotator, weight * np.log((1 - c + c * own) / (1 - c + c * every)))
            for c in CARE
        ]
    )
