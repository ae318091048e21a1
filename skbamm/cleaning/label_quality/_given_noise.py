"""How often given labels are wrong, and whether that shows: from out-of-fold predictions.

Overlapping classes look like wrong labels, as models are unsure of both. What differs is where the
probabilities of given labels end: those of overlapping classes reach 0 and 1 as scores grow, with
wrong labels they stop short of that. So true classes follow a softmax of scaled scores, given
labels a noise transition matrix, and the likelihood of the given labels decides (robust logistic
regression: Bootkrajang, Kaban, ECML 2012, doi:10.1007/978-3-642-33460-3_15). Verified labels are
never wrong: they tell how far classes overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from .._constants import (
    LEAST_GAIN,
    LEAST_PLAIN_ODDS,
    NOISE_PRIOR,
    NOISE_SHARES,
    NOISE_TOL,
    SCORE_PRIOR,
    SHOWN,
    TINY,
    TOTAL_MARGIN,
)
from ._scores import as_counts, in_standard_errors, log_softmax


@dataclass(frozen=True)
class GivenNoise:
    """True classes by predictions, and how labels are given to them."""

    factor: float  # of log predictions
    bias: np.ndarray  # (n_classes,)
    transition: np.ndarray  # (n_classes, n_classes), P(given label | true class)
    is_shown: bool = True  # whether labels are clearly likelier than without any noise
    # Standard errors of the matrix; where noise does not show, about there being none.
    transition_std: np.ndarray | None = None

    @classmethod
    def none(cls, factor, n_classes):
        """No wrong labels, and predictions of another temperature."""
        return cls(factor, np.zeros(n_classes), np.eye(n_classes))

    def probabilities(self, predictions):
        """Of true classes, (n_rows, n_classes)."""
        return np.exp(log_softmax(self.factor * _centred_logs(predictions) + self.bias))

    def log_likelihood(self, predictions, labels, is_clean=False):
        """Of each given label; of verified ones as they are."""
        likely = self.probabilities(predictions)
        joint = (likely * self.transition.T[labels]).sum(axis=1)
        own = likely[np.arange(len(labels)), labels]
        return np.log(np.where(is_clean, own, joint) + TINY)

    def posterior(self, predictions, labels):
        """The same as `probabilities`, the given label being known."""
        joint = self.probabilities(predictions) * self.transition.T[labels]
        return joint / (joint.sum(axis=1, keepdims=True) + TINY)


def fit_given_noise(predictions, labels, weight, own, is_clean, guide=None) -> GivenNoise:
    """The noise that makes given labels likeliest; none where it does not show.

    It shows if labels are likelier than without any by a margin, and by `SHOWN` standard errors
    over the folds of the rows, `own`: by the predictions of a `guide`, where there is one. (Scores
    of a kernel model end somewhere in any case, which looks like noise or hides it.)
    """
    known = labels, as_counts(weight), is_clean
    fits = _Fits(predictions if guide is None else guide, *known)
    best, none = fits.likeliest(), fits.none()
    gain = best.gain_over(none)
    is_shown = gain.sum() > LEAST_GAIN and in_standard_errors(np.bincount(own, gain)) > SHOWN
    if guide is not None:
        fits = _Fits(predictions, *known)
        best, none = (fits.likeliest(), none) if is_shown else (best, fits.none())
    if is_shown:
        return best.noise
    off = best.noise.transition - none.noise.transition
    hidden = np.hypot(best.noise.transition_std, off)
    return replace(none.noise, is_shown=False, transition_std=hidden)


class _Fits:
    """Kinds of noise fitted to the same rows.

    Where likelihood cannot tell, surely predicted rows say how many wrong labels there are.
    """

    def __init__(self, predictions, labels, counts, is_clean):
        self.rows = _centred_logs(predictions), labels, counts, is_clean
        noisy = ~is_clean
        self.joint = confident_joint(predictions[noisy], labels[noisy], counts[noisy])
        self.mass = np.bincount(labels, counts, minlength=predictions.shape[1])
        self.n_verified = np.count_nonzero(is_clean)
        self.rate = off_diagonal_shares(self.joint) @ self.frequency

    @property
    def frequency(self):
        return self.mass / max(self.mass.sum(), TINY)

    def likeliest(self):
        """Wrong labels are uniform, or else, if labels are likelier then by a margin.

        Namely as frequent as labels are (of a mistyped one there are few); or confused as surely
        predicted rows are, if by more than there are entries of the matrix (Akaike's criterion)
        and, without verified labels, a margin. Without these no label may be given more often for
        another class than for its own: classes that no model can tell would look so.
        """
        n_classes = len(self.mass)
        best = self._mixed(np.full(n_classes, 1 / n_classes))
        margin = n_classes * (n_classes - 1) + (0.0 if self.n_verified else TOTAL_MARGIN)
        pairs = self._fitted(_transition(self.joint, self.mass), self._pairs_prior)
        for least, other in ((LEAST_GAIN, self._mixed(self.frequency)), (margin, pairs)):
            transition = other.noise.transition
            is_told = self.n_verified or (transition.max(axis=0) <= np.diag(transition)).all()
            if is_told and other.gain_over(best).sum() > least:
                best = other
        return best

    def none(self):
        """Where no label is wrong."""
        return self._fitted(np.eye(len(self.mass)), self._pairs_prior)

    @property
    def _pairs_prior(self):
        most = NOISE_SHARES[1]
        return max(self.rate, NOISE_SHARES[0]) * np.array([1 - most, most])

    def _mixed(self, of_wrong):
        transition = np.tile(of_wrong, (len(of_wrong), 1))
        share = np.clip(self.rate / max(1 - self.frequency @ of_wrong, TINY), *NOISE_SHARES)
        return self._fitted(transition, np.array([1 - share, share]))

    def _fitted(self, transition, prior):
        return _Mixture(*self.rows, transition, NOISE_PRIOR * self.mass.sum() * prior).fitted()


def _centred_logs(predictions):
    logs = np.log(np.maximum(predictions, LEAST_PLAIN_ODDS))
    return logs - logs.mean(axis=1, keepdims=True)


def confident_joint(predictions, labels, weight):
    """Weight of rows by given label and surely predicted class.

    Only rows count that some class predicts at least as surely as it predicts its own rows on
    average, so that poor predictions are not taken for noise (Northcutt, Jiang, Chuang, "Confident
    Learning", JAIR 2021, section 3.1). `predictions`, (n_rows, n_classes), are out-of-fold.
    """
    given = np.eye(predictions.shape[1])[labels] * weight[:, None]
    usual = (given * predictions).sum(axis=0) / np.maximum(given.sum(axis=0), TINY)
    sure = np.where(predictions >= usual, predictions, -1.0)
    used = sure.max(axis=1) >= 0
    found = np.eye(predictions.shape[1])[sure.argmax(axis=1)]
    return given[used].T @ found[used]


def off_diagonal_shares(joint):
    """In each row of a joint; 0 where it is empty."""
    mass = joint.sum(axis=1)
    return np.where(mass > 0, 1 - np.diag(joint) / np.maximum(mass, TINY), 0.0)


def _transition(joint, mass):
    """P(given label | true class) of a joint of both, given labels having these counts."""
    joint = joint + TINY * np.eye(len(joint))
    joint = joint / joint.sum(axis=1, keepdims=True) * np.maximum(mass, TINY)[:, None]
    return (joint / joint.sum(axis=0)).T


@dataclass(frozen=True)
class _Mixture:
    """Labels that follow a transition matrix by some share, and the true classes by the rest.

    Minus its log likelihood, and a weak log prior, is a function of numbers: the logarithm of the
    scores' factor, the bias of each class, and the logit of that share.
    """

    scores: np.ndarray  # (n_rows, n_classes)
    labels: np.ndarray
    weight: np.ndarray
    is_clean: np.ndarray
    transition: np.ndarray
    pseudo_counts: np.ndarray  # of labels that follow the true class, and of those that do not

    @cached_property
    def _entries(self):
        """Of the identity and of the matrix, for the given labels; verified ones are right."""
        own = np.eye(len(self.transition))[self.labels]
        return own, np.where(self.is_clean[:, None], own, self.transition.T[self.labels])

    @property
    def _precision(self):
        return SCORE_PRIOR * self.weight.sum()

    def _at(self, numbers):
        """Probabilities of classes before and after the label is known, and what moves them.

        These are scaled scores and, for the share, the slope of the label's log likelihood.
        """
        share, (own, mixed) = expit(numbers[-1]), self._entries
        likelihood = (1 - share) * own + share * mixed + TINY
        scaled = np.exp(numbers[0]) * self.scores
        before = np.exp(log_softmax(scaled + numbers[1:-1]))
        joint = before * likelihood
        total = joint.sum(axis=1) + TINY
        moving = np.stack([scaled, share * (1 - share) * (mixed - own) / likelihood])
        return before, joint / total[:, None], moving, self.weight * np.log(total)

    def value_and_gradient(self, numbers):
        before, after, (scaled, slope), likelihood = self._at(numbers)
        change = self.weight[:, None] * (after - before)
        by_share = self.weight @ (after * slope).sum(axis=1)
        by_scores = np.array([(change * scaled).sum(), *change.sum(axis=0)])
        log_shares = log_expit([-numbers[-1], numbers[-1]])
        by_prior = self.pseudo_counts[1] - self.pseudo_counts.sum() * expit(numbers[-1])
        value = self._precision / 2 * np.square(numbers[:-1]).sum()
        value -= likelihood.sum() + self.pseudo_counts @ log_shares
        return value, np.append(self._precision * numbers[:-1] - by_scores, -by_share - by_prior)

    def hessian(self, numbers):
        before, after, moving, _ = self._at(numbers)
        still = np.stack([moving[0], np.zeros_like(before)])
        share = expit(numbers[-1])
        hessian = self._covariance(before, still) - self._covariance(after, moving)
        # Neither scores nor log likelihoods are linear in the first and the last number.
        hessian[0, 0] -= self.weight @ ((after - before) * moving[0]).sum(axis=1)
        hessian[-1, -1] -= self.weight @ (after * moving[1] * (1 - 2 * share - moving[1])).sum(1)
        hessian[-1, -1] += self.pseudo_counts.sum() * share * (1 - share)
        hessian[range(len(numbers) - 1), range(len(numbers) - 1)] += self._precision
        return hessian

    def _covariance(self, probabilities, moving):
        """Of the derivatives of a class's log joint, over classes; summed over rows."""
        weighted = self.weight[:, None] * probabilities
        mean = (probabilities * moving).sum(axis=2)  # (2, n_rows)
        outer = np.einsum("nk,ank,bnk->ab", weighted, moving, moving)
        outer = outer - (self.weight * mean) @ mean.T
        inner = np.diag(weighted.sum(axis=0)) - probabilities.T @ weighted
        mixed = (weighted * moving).sum(axis=1) - mean @ weighted
        blocks = [[outer[:1, :1], mixed[:1], outer[:1, 1:]], [mixed[:1].T, inner, mixed[1:].T]]
        return np.block([*blocks, [outer[1:, :1], mixed[1:], outer[1:, 1:]]])

    def fitted(self):
        """Begins with scores as they are, and as many wrong labels as expected."""
        n_classes = self.scores.shape[1]
        initial = np.append(np.zeros(n_classes + 1), np.log(np.divide(*self.pseudo_counts[::-1])))
        options = {"jac": True, "hess": self.hessian, "method": "trust-exact"}
        numbers = minimize(
            self.value_and_gradient, initial, **options, options={"gtol": NOISE_TOL}
        ).x
        # One more step, and nothing but rounding is left.
        gradient = self.value_and_gradient(numbers)[1]
        numbers = numbers - np.linalg.solve(self.hessian(numbers), gradient)
        share, (scale, *bias) = expit(numbers[-1]), numbers[:-1]
        transition = (1 - share) * np.eye(n_classes) + share * self.transition
        _, posterior, _, likelihood = self._at(numbers)
        error = share * (1 - share) * np.sqrt(max(np.linalg.inv(self.hessian(numbers))[-1, -1], 0))
        std = self._standard_errors(error, transition, posterior)
        noise = GivenNoise(float(np.exp(scale)), np.array(bias), transition, transition_std=std)
        return _Fitted(noise, likelihood)

    def _standard_errors(self, error, transition, posterior):
        """Of the matrix: by that of the share, and by how many rows there are of a true class."""
        by_share = error * np.abs(self.transition - np.eye(len(transition)))
        n_rows = (self.weight * ~self.is_clean) @ posterior
        by_rows = transition * (1 - transition) / np.maximum(n_rows, 1)[:, None]
        return np.sqrt(by_share**2 + by_rows)


@dataclass(frozen=True)
class _Fitted:
    noise: GivenNoise
    likelihood: np.ndarray  # (n_rows,), logs, weighted

    def gain_over(self, other):
        """How much likelier each row's label is."""
        return self.likelihood - other.likelihood
