"""How probable it is that a given label is right, from predictions that did not see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._constants import (
    INITIAL_NOISE_RATE,
    LEAST_ODDS,
    LEAST_PLAIN_ODDS,
    MARGIN,
    MAX_FACTOR,
    MAX_HALVINGS,
    MAX_LOG_ODDS,
    MAX_MIXING_WEIGHT,
    MAX_NEWTON,
    N_EM,
    NEWTON_CHANGE,
    NOISE_RATES,
    PAIR_COUNT,
    TILT,
    TINY,
    TOTAL_MARGIN,
    VOTE_TOL,
)


def log_softmax(scores):
    """Log probabilities along the last axis."""
    # SciPy's function takes several times as long on few rows.
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def in_standard_errors(sums):
    """The sum over folds in standard errors; of a single fold there is no such error."""
    deviation = sums.std(ddof=1) * np.sqrt(len(sums)) if len(sums) > 1 else 0.0
    return sums.sum() / max(deviation, TINY)


def weights_by_folds(losses, standard_errors, prior=1.0):
    """Weights of candidates by their losses, of shape (n_candidates, n_folds); sum to 1.

    In proportion to a prior and ``exp(-z^2 / (2 c^2))``, z the loss more than the best one's in
    standard errors over the folds, c so many of them.
    """
    more = losses - losses[losses.sum(axis=1).argmin()]
    z = np.array([in_standard_errors(each) if each.any() else 0.0 for each in more])
    with np.errstate(over="ignore"):
        weights = prior * np.exp(-((z / standard_errors) ** 2) / 2)
    return weights / weights.sum()


def mixing_weights(scores, labels, weight, *, initial, precision):
    """Factors of base models' scores that predict held-out labels best, and their mean loss.

    The weighted sum of `scores`, (n_models, n_rows, n_classes), is one softmax model. Factors are
    not negative; their prior has its mode at `initial`, and `precision` are nats for a factor that
    is off by all of itself. Of a single model the factor is its inverse temperature.
    """
    initial = np.asarray(initial, dtype=float)
    used = weight > 0
    stacked = _Stacked(scores[:, used], labels[used], weight[used], initial, precision)
    factors = np.clip(initial, 0.0, MAX_MIXING_WEIGHT)
    value = stacked.value(factors)
    for _ in range(MAX_NEWTON):
        gradient, hessian = stacked.derivatives(factors)
        stays = (factors <= 0) & (gradient > 0) | (factors >= MAX_MIXING_WEIGHT) & (gradient < 0)
        free = ~stays
        step = np.zeros(len(initial))
        step[free] = np.linalg.lstsq(hessian[np.ix_(free, free)], gradient[free], rcond=None)[0]
        for halvings in range(MAX_HALVINGS):
            tried = np.clip(factors - step / 2**halvings, 0.0, MAX_MIXING_WEIGHT)
            reached = stacked.value(tried)
            if reached <= value:
                break
        change = np.abs(tried - factors).max()
        factors, value = tried, reached
        if change <= NEWTON_CHANGE * np.abs(factors).max():
            break
    return factors, float(stacked.loss(factors) / weight.sum())


@dataclass(frozen=True)
class _Stacked:
    """Cross-entropy of a sum of scores, less a log prior, as a function of their factors."""

    scores: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    initial: np.ndarray
    precision: float

    def _log_probabilities(self, factors):
        return log_softmax(np.tensordot(factors, self.scores, 1))

    def loss(self, factors):
        found = self._log_probabilities(factors)
        return -self.weight @ found[np.arange(len(self.labels)), self.labels]

    def value(self, factors):
        off = factors / self.initial - 1
        return self.loss(factors) + self.precision * (off @ off)

    def derivatives(self, factors):
        """Gradient and Hessian of `value`."""
        probabilities = np.exp(self._log_probabilities(factors))
        expected = np.stack([probabilities * scores for scores in self.scores])
        mean = expected.sum(2)
        given = self.scores[:, np.arange(len(self.labels)), self.labels]
        gradient = (mean - given) @ self.weight
        hessian = np.tensordot(expected * self.weight[:, None], self.scores, ([1, 2], [1, 2]))
        hessian = hessian - (mean * self.weight) @ mean.T
        off = factors / self.initial - 1
        return (
            gradient + 2 * self.precision * off / self.initial,
            hessian + np.diag(2 * self.precision / self.initial**2),
        )


def noise_transition_matrix(
    probabilities, given, weight, n_classes, *, pseudo_count, tilt=None, n_iter=N_EM
):
    """P(given label | true class), the true class being known with these probabilities.

    Expectation-maximisation with the probabilities held fixed. `pseudo_count` rows of each
    class are added that follow one overall noise rate, uniform over wrong classes; with many
    the matrix has that form. With a `tilt` (see `label_likelihood`) the matrix is what the
    rows' own factors act on. Rows of the matrix sum to 1. What is `given` are labels, or votes,
    (n_rows, n_classes), which are independent of each other (Dawid, Skene, "Maximum Likelihood
    Estimation of Observer Error-Rates", 1979, with one matrix for all who vote).
    """
    votes = as_votes(given, n_classes)
    share = as_counts(weight)
    transition = _symmetric(INITIAL_NOISE_RATE, n_classes)
    for _ in range(n_iter):
        joint = share[:, None] * NoiseModel(transition, tilt).posterior(probabilities, given)
        # How often each true class was given each label, and would be by this matrix.
        counts = _expected_votes(joint, transition, votes)
        if tilt is None:
            expected = transition * counts.sum(axis=1, keepdims=True)
        else:
            expected = transition * ((joint / (tilt @ transition.T)).T @ tilt)
        rate = np.clip(1 - np.trace(counts) / max(counts.sum(), TINY), *NOISE_RATES)
        prior = pseudo_count * _symmetric(rate, n_classes)
        raised = (counts + prior) / (expected + pseudo_count * transition + TINY)
        transition = transition * raised
        transition /= transition.sum(axis=1, keepdims=True)
    return transition


def _expected_votes(joint, transition, votes):
    """For each true class and label, summed over rows; shares are those of one vote."""
    is_one = is_one_vote(votes)
    one = joint * is_one / (votes @ transition.T + TINY)
    return transition * (one.T @ votes) + (joint * ~is_one).T @ votes


def as_counts(weight):
    """Weights as counts, on a scale that does not change when all do.

    Rows of weight 0 are as good as left out.
    """
    return weight * (np.count_nonzero(weight) / max(weight.sum(), TINY))


def _symmetric(rate, n_classes):
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def has_shares(given, weight):
    """Whether some row has shares of a vote for several labels."""
    if given.ndim == 1:
        return False
    is_split = is_one_vote(given)[:, 0] & (given.max(axis=1) < 1 - VOTE_TOL)
    return bool((is_split & (weight > 0)).any())


def as_votes(given, n_classes):
    """Votes, (n_rows, n_classes); a label is one vote."""
    return np.eye(n_classes)[given] if given.ndim == 1 else given


def is_one_vote(votes):
    """Whether rows have a single vote, or shares: a vote for each label with that probability."""
    n_votes = votes.sum(axis=1, keepdims=True)
    return (n_votes > 0) & (n_votes < 1 + VOTE_TOL)


def label_likelihood(transition, given, tilt=None):
    """P(given label | true class) of every row, (n_rows, n_classes); of votes, up to a factor.

    With noise that depends on the row, its `tilt` (of shape (n_rows, n_classes)) multiplies
    the probabilities of given labels, whatever the true class is. There is none with votes.
    """
    return likelihood_and_scale(transition, given, tilt)[0]


def likelihood_and_scale(transition, given, tilt=None):
    """The same, and the logarithm of the factor of each row: many votes are most unlikely."""
    if given.ndim == 1:
        likelihood = transition.T[given]
        if tilt is not None:
            likelihood *= np.take_along_axis(tilt, given[:, None], 1) / (tilt @ transition.T)
        return likelihood, 0.0
    one, each = np.log(given @ transition.T + TINY), given @ np.log(transition + TINY).T
    logs = np.where(is_one_vote(given), one, each)
    scale = logs.max(axis=1)
    return np.exp(logs - scale[:, None]), scale


@dataclass(frozen=True)
class NoiseModel:
    """How given labels come from true ones."""

    transition: np.ndarray  # (n_classes, n_classes)
    tilt: np.ndarray | None = None  # (n_rows, n_classes)

    def posterior(self, probabilities, given):
        """Probabilities of true classes, labels or votes being known, (n_rows, n_classes)."""
        joint = probabilities * label_likelihood(self.transition, given, self.tilt)
        return joint / (joint.sum(axis=1, keepdims=True) + TINY)

    def log_likelihood(self, probabilities, given):
        """Of the labels or votes of each row."""
        likelihood, scale = likelihood_and_scale(self.transition, given, self.tilt)
        return np.log((probabilities * likelihood).sum(axis=1) + TINY) + scale


def fit_noise_model(probabilities, given, weight, *, pseudo_count, log_given=None):
    """The noise that makes given labels likeliest, among few kinds.

    `log_given` are log probabilities of given labels by a model of these. Where noise depends on
    the row, its tilt are these probabilities to the power of `TILT`, if that makes the labels
    likelier.
    """
    n_classes = probabilities.shape[1]
    share = weight / max(weight.sum(), TINY)

    def fitted(tilt, pseudo_count):
        transition = noise_transition_matrix(
            probabilities, given, weight, n_classes, pseudo_count=pseudo_count, tilt=tilt
        )
        return NoiseModel(transition, tilt)

    def likelihood(noise):
        return share @ noise.log_likelihood(probabilities, given)

    if log_given is None:
        return fitted(None, pseudo_count)
    # Both kinds are free to confuse pairs of classes, lest one stand in for the other.
    alike, tilted = fitted(None, PAIR_COUNT), fitted(np.exp(TILT * log_given), PAIR_COUNT)
    margin = MARGIN + TOTAL_MARGIN / max(1, int(np.count_nonzero(weight)))
    best = tilted if likelihood(tilted) > likelihood(alike) + margin else alike
    return best if pseudo_count == PAIR_COUNT else fitted(best.tilt, pseudo_count)


def log_odds(posterior, labels):
    """Log posterior odds of the given label."""
    rows = np.arange(len(labels))
    right = posterior[rows, labels]
    wrong = posterior.sum(axis=1) - right
    odds = np.log(right + LEAST_ODDS) - np.log(np.maximum(wrong, 0) + LEAST_ODDS)
    return np.clip(odds, -MAX_LOG_ODDS, MAX_LOG_ODDS)


def other_labels(posterior, labels):
    """Probabilities of the other classes, given that the label is wrong."""
    others = posterior + LEAST_ODDS
    others[np.arange(len(labels)), labels] = 0.0
    return others / others.sum(axis=1, keepdims=True)


def plain_log_odds(probabilities, labels):
    """Log odds of the given label by the predictions alone."""
    given = np.clip(
        probabilities[np.arange(len(labels)), labels], LEAST_PLAIN_ODDS, 1 - LEAST_PLAIN_ODDS
    )
    return np.log(given) - np.log1p(-given)


def log_likelihood(scores, likelihood):
    """Of each row's given label, the likelihood of it under each true class being known."""
    return np.log((np.exp(log_softmax(scores)) * likelihood).sum(axis=1) + TINY)


def likeliest_factor(scores, likelihood, weight):
    """The factor of scores at which given labels are likeliest: Newton's method for its log.

    Fits on wrong labels are not sure enough; what counts here is how they tell classes.
    """
    bound, log_factor = np.log(MAX_FACTOR), 0.0
    for _ in range(MAX_NEWTON):
        scaled = np.exp(log_factor) * scores
        before = np.exp(log_softmax(scaled))
        after = before * likelihood
        after /= after.sum(axis=1, keepdims=True) + TINY
        means, squares = (
            np.stack([(each * scaled**power).sum(axis=1) for each in (before, after)])
            for power in (1, 2)
        )
        variances = squares - means**2
        gradient = weight @ (means[0] - means[1])
        curvature = weight @ (variances[0] - variances[1]) + gradient
        step = gradient / max(abs(curvature), TINY)
        found = np.clip(log_factor - np.clip(step, -1.0, 1.0), -bound, bound)
        change, log_factor = abs(found - log_factor), found
        if change <= NEWTON_CHANGE:
            break
    return float(np.exp(log_factor))
