"""Evidence that a given label is right, from predictions that did not see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Log odds beyond this say no more.
MAX_LOG_ODDS = 12.0
# Factors of scores are between 0 and this; Newton's method finds them in so many steps.
MAX_FACTOR = 20.0
MAX_NEWTON = 50
# How strongly given labels follow their own model where noise depends on the row: half of the
# log chances, since these contain the true class as well.
TILT = 0.5
# Log likelihood by which a richer kind of noise must win, for each row and in total: poor
# predictions make any model of the given labels look a little better.
MARGIN, TOTAL_MARGIN = 0.005, 6.0
# Rows of each class that follow one overall noise rate where pairs of classes may be confused.
FREE_COUNT = 10.0


def log_softmax(scores):
    """Log probabilities along the last axis."""
    # SciPy's function takes several times as long on few rows.
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def calibrate(scores, labels, weight, *, start, pull):
    """Factors of several models' scores that predict held-out labels best, and their mean loss.

    The weighted sum of `scores`, (n_models, n_rows, n_classes), is one softmax model. Factors are
    not negative, and pulled to those expected beforehand, `start`: `pull` are nats for a factor
    that is off by all of itself.
    """
    start = np.asarray(start, dtype=float)
    used = weight > 0
    pooled = _Pooled(scores[:, used], labels[used], weight[used], start, pull)
    factors = np.clip(start, 0.0, MAX_FACTOR)
    value = pooled.value(factors)
    for _ in range(MAX_NEWTON):
        slope, bend = pooled.derivatives(factors)
        free = ~((factors <= 0) & (slope > 0) | (factors >= MAX_FACTOR) & (slope < 0))
        step = np.zeros(len(start))
        step[free] = np.linalg.lstsq(bend[np.ix_(free, free)], slope[free], rcond=None)[0]
        for halvings in range(30):
            tried = np.clip(factors - step / 2**halvings, 0.0, MAX_FACTOR)
            reached = pooled.value(tried)
            if reached <= value:
                break
        moved = np.abs(tried - factors).max()
        factors, value = tried, reached
        if moved <= 1e-9 * np.abs(factors).max():
            break
    return factors, float(pooled.loss(factors) / weight.sum())


@dataclass(frozen=True)
class _Pooled:
    """Cross-entropy of pooled scores plus a pull, as a function of their factors."""

    scores: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    start: np.ndarray
    pull: float

    def _log_probabilities(self, factors):
        return log_softmax(np.tensordot(factors, self.scores, 1))

    def loss(self, factors):
        found = self._log_probabilities(factors)
        return -self.weight @ found[np.arange(len(self.labels)), self.labels]

    def value(self, factors):
        off = factors / self.start - 1
        return self.loss(factors) + self.pull * (off @ off)

    def derivatives(self, factors):
        """First and second derivatives of `value`."""
        probabilities = np.exp(self._log_probabilities(factors))
        expected = np.stack([probabilities * scores for scores in self.scores])
        mean = expected.sum(2)
        given = self.scores[:, np.arange(len(self.labels)), self.labels]
        slope = (mean - given) @ self.weight
        bend = np.tensordot(expected * self.weight[:, None], self.scores, ([1, 2], [1, 2]))
        bend = bend - (mean * self.weight) @ mean.T
        off = factors / self.start - 1
        return (
            slope + 2 * self.pull * off / self.start,
            bend + np.diag(2 * self.pull / self.start**2),
        )


def transition_matrix(
    probabilities, labels, weight, n_classes, *, pseudo_count, tilt=None, n_iter=30
):
    """P(given label | true class), the true class being known with these probabilities.

    Expectation-maximisation with the probabilities held fixed. `pseudo_count` rows of each
    class are added that follow one overall noise rate, uniform over wrong classes; with many
    the matrix has that form. With a `tilt` (see `label_likelihood`) the matrix is what the
    rows' own factors act on. Rows of the matrix sum to 1.
    """
    given = np.eye(n_classes)[labels]
    share = _counts(weight)
    transition = _symmetric(0.3, n_classes)
    for _ in range(n_iter):
        reach = None if tilt is None else tilt @ transition.T
        odds = probabilities if reach is None else probabilities / reach
        likely = np.take_along_axis(odds @ transition, labels[:, None], 1)
        trained = share[:, None] / (likely + 1e-300)
        # How many rows of each true class were given each label, and would be by this matrix.
        counts = transition * (odds.T @ (given * trained))
        if reach is None:
            expected = transition * counts.sum(axis=1, keepdims=True)
        else:
            joint = odds * transition.T[labels] * trained
            expected = transition * ((joint / reach).T @ tilt)
        rate = np.clip(1 - np.trace(counts) / max(counts.sum(), 1e-300), 0.01, 0.99)
        prior = pseudo_count * _symmetric(rate, n_classes)
        raised = (counts + prior) / (expected + pseudo_count * transition + 1e-300)
        transition = transition * raised
        transition /= transition.sum(axis=1, keepdims=True)
    return transition


def _counts(weight):
    """Weights as counts, on a scale that does not change when all do.

    Rows of weight 0 are as good as left out.
    """
    return weight * (np.count_nonzero(weight) / max(weight.sum(), 1e-300))


def _symmetric(rate, n_classes):
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def label_likelihood(transition, labels, tilt=None):
    """P(given label | true class) of every row, (n_rows, n_classes).

    With noise that depends on the row, its `tilt` (of shape (n_rows, n_classes)) multiplies
    the chances of given labels, whatever the true class is.
    """
    likelihood = transition.T[labels]
    if tilt is None:
        return likelihood
    return likelihood * np.take_along_axis(tilt, labels[:, None], 1) / (tilt @ transition.T)


@dataclass(frozen=True)
class NoiseModel:
    """How given labels come from true ones."""

    transition: np.ndarray  # (n_classes, n_classes)
    tilt: np.ndarray | None = None  # (n_rows, n_classes)

    def posterior(self, probabilities, labels):
        """Chances of true classes, the given label being known, (n_rows, n_classes)."""
        joint = probabilities * label_likelihood(self.transition, labels, self.tilt)
        return joint / (joint.sum(axis=1, keepdims=True) + 1e-300)


def fit_noise_model(probabilities, labels, weight, *, pseudo_count, log_given=None):
    """The noise that makes given labels likeliest, among few kinds.

    `log_given` are log chances of given labels by a model of these. Where noise depends on the
    row, its tilt are these chances to the power of `TILT`, if that makes the labels likelier.
    """
    n_classes = probabilities.shape[1]
    share = weight / max(weight.sum(), 1e-300)

    def fitted(tilt, pseudo_count):
        transition = transition_matrix(
            probabilities, labels, weight, n_classes, pseudo_count=pseudo_count, tilt=tilt
        )
        return NoiseModel(transition, tilt)

    def likelihood(noise):
        joint = probabilities * label_likelihood(noise.transition, labels, noise.tilt)
        return share @ np.log(joint.sum(axis=1) + 1e-300)

    if log_given is None:
        return fitted(None, pseudo_count)
    # Both kinds are free to confuse pairs of classes, lest one stand in for the other.
    alike, tilted = fitted(None, FREE_COUNT), fitted(np.exp(TILT * log_given), FREE_COUNT)
    margin = MARGIN + TOTAL_MARGIN / max(1, int(np.count_nonzero(weight)))
    best = tilted if likelihood(tilted) > likelihood(alike) + margin else alike
    return best if pseudo_count == FREE_COUNT else fitted(best.tilt, pseudo_count)


def log_odds(posterior, labels):
    """Log odds of the given label."""
    rows = np.arange(len(labels))
    right = posterior[rows, labels]
    wrong = posterior.sum(axis=1) - right
    odds = np.log(right + 1e-12) - np.log(np.maximum(wrong, 0) + 1e-12)
    return np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)


def other_labels(posterior, labels):
    """Chances of the other classes, given that the label is wrong."""
    others = posterior + 1e-12
    others[np.arange(len(labels)), labels] = 0.0
    return others / others.sum(axis=1, keepdims=True)


def plain_log_odds(probabilities, labels):
    """Log odds of the given label under the predictions alone."""
    given = np.clip(probabilities[np.arange(len(labels)), labels], 1e-6, 1 - 1e-6)
    return np.log(given) - np.log1p(-given)


def confident_noise_rates(predictions, labels, weight):
    """Share of wrong labels among the rows of each given label, without any clean row.

    Only rows count that some class predicts at least as surely as it predicts its own rows on
    average, so that poor predictions are not taken for noise (the confident joint of Northcutt,
    Jiang, Chuang, "Confident Learning", JAIR 2021, section 3.1).

    Parameters
    ----------
    predictions : ndarray of shape (n_rows, n_classes)
        By models that have not seen the rows.
    labels : ndarray of int of shape (n_rows,)
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    rates : ndarray of shape (n_classes,)
        0 for a class without such rows.
    """
    chances, mass = sums_by_label(predictions, labels, weight)
    usual = chances / np.maximum(mass, 1e-300)
    return off_diagonal_shares(confident_joint(predictions, labels, weight, usual))


def sums_by_label(predictions, labels, weight):
    """Of the chances of given labels, and of weights, by given label."""
    given = np.eye(predictions.shape[1])[labels] * weight[:, None]
    return (given * predictions).sum(axis=0), given.sum(axis=0)


def confident_joint(predictions, labels, weight, usual):
    """Weight of rows by given label and surely predicted class; `usual` are classes' own chances.

    Those of parts of the rows add up.
    """
    given = np.eye(predictions.shape[1])[labels] * weight[:, None]
    sure = np.where(predictions >= usual, predictions, -1.0)
    used = sure.max(axis=1) >= 0
    found = np.eye(predictions.shape[1])[sure.argmax(axis=1)]
    return given[used].T @ found[used]


def off_diagonal_shares(joint):
    """In each row of a joint; 0 where it is empty."""
    mass = joint.sum(axis=1)
    return np.where(mass > 0, 1 - np.diag(joint) / np.maximum(mass, 1e-300), 0.0)


def is_rather_wrong(predictions, labels, trust, noise_rate):
    """Whether another class is more probable than not, given how often labels are wrong.

    For trust that was learned without clean rows: it compares the label with predictions, as if
    the label itself said nothing.
    """
    n_classes = predictions.shape[1]
    rows = np.arange(len(labels))
    ratio = (1 - noise_rate) * (n_classes - 1) / max(noise_rate, 1e-3)
    wrong = (1 - trust) / (1 - trust + trust * ratio + 1e-300)
    among_others = predictions.max(axis=1) / np.maximum(1 - predictions[rows, labels], 1e-12)
    return (predictions.argmax(axis=1) != labels) & (wrong * among_others > 0.5)
