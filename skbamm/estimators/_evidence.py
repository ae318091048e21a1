"""Evidence that a given label is right, from predictions that did not see it."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

# Log odds beyond this say no more.
MAX_LOG_ODDS = 12.0


def log_softmax(scores):
    """Log probabilities along the last axis."""
    return scores - logsumexp(scores, axis=-1, keepdims=True)


def calibrate(scores, labels, weight, *, start, pull):
    """Factors of several models' scores that predict held-out labels best.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n_rows, n_classes)
        Held-out scores; their weighted sum is one softmax model.
    labels : ndarray of int of shape (n_rows,)
    weight : ndarray of shape (n_rows,)
    start : ndarray of shape (n_models,)
        Factors expected beforehand.
    pull : float
        Strength of the pull to them: nats for a factor that is off by all of itself.

    Returns
    -------
    factors : ndarray of shape (n_models,), not negative
    loss : float
        Mean cross-entropy with them.
    """
    rows = np.arange(len(labels))
    total = weight.sum()

    def objective(factors):
        log_probabilities = log_softmax(np.tensordot(factors, scores, 1))
        residual = np.exp(log_probabilities)
        residual[rows, labels] -= 1
        loss = -weight @ log_probabilities[rows, labels]
        slope = np.einsum("mnc,nc,n->m", scores, residual, weight)
        off = factors / start - 1
        return loss + pull * (off @ off), slope + 2 * pull * off / start

    found = minimize(objective, start, jac=True, bounds=[(0, 20)] * len(start), method="L-BFGS-B")
    loss = -weight @ log_softmax(np.tensordot(found.x, scores, 1))[rows, labels] / total
    return found.x, float(loss)


def transition_matrix(probabilities, labels, weight, n_classes, *, pseudo_count, n_iter=30):
    """P(given label | true class), the true class being known with these probabilities.

    Expectation-maximisation with the probabilities held fixed. `pseudo_count` rows of each
    class are added that follow one overall noise rate, uniform over wrong classes; with many
    the matrix has that form.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes)
        Rows sum to 1.
    """
    share = weight / max(weight.sum(), 1e-300)
    # Counts, but on a scale that does not change when all weights do; and rows of weight 0
    # are as good as left out.
    given = np.eye(n_classes)[labels] * (share * np.count_nonzero(weight))[:, None]
    transition = _symmetric(0.3, n_classes)
    for _ in range(n_iter):
        joint = probabilities * transition[:, labels].T
        joint /= joint.sum(axis=1, keepdims=True) + 1e-300
        counts = joint.T @ given
        rate = max(1 - np.trace(counts) / max(counts.sum(), 1e-300), 0.01)
        counts += pseudo_count * _symmetric(rate, n_classes)
        transition = counts / counts.sum(axis=1, keepdims=True)
    return transition


def _symmetric(rate, n_classes):
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def posterior_log_odds(probabilities, labels, transition):
    """Log odds that the given label is the true class, by Bayes' rule."""
    joint = probabilities * transition[:, labels].T
    rows = np.arange(len(labels))
    right = joint[rows, labels]
    wrong = joint.sum(axis=1) - right
    odds = np.log(right + 1e-12) - np.log(np.maximum(wrong, 0) + 1e-12)
    return np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)


def plain_log_odds(probabilities, labels):
    """Log odds of the given label under the predictions alone."""
    given = np.clip(probabilities[np.arange(len(labels)), labels], 1e-6, 1 - 1e-6)
    return np.log(given) - np.log1p(-given)
