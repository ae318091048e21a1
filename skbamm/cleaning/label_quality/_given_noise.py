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

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from .._constants import (
    LEAST_GAIN,
    LEAST_PLAIN_ODDS,
    NOISE_PRIOR,
    NOISE_SHARES,
    NOISE_TOL,
    PAIR_COUNT,
    SCORE_PRIOR,
    SHOWN,
    TINY,
    TOTAL_MARGIN,
)
from ._scores import (
    NoiseModel,
    as_counts,
    as_votes,
    has_shares,
    in_standard_errors,
    is_one_vote,
    likelihood_and_scale,
    log_softmax,
    noise_transition_matrix,
)


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

    def log_likelihood(self, predictions, given, is_clean=False):
        """Of each given label, or of a row's votes; of verified labels as they are."""
        likely = self.probabilities(predictions)
        own = (likely * as_votes(given, likely.shape[1])).sum(axis=1)
        joint = NoiseModel(self.transition).log_likelihood(likely, given)
        return np.where(is_clean, np.log(own + TINY), joint)

    def posterior(self, predictions, given):
        """The same as `probabilities`, the given label or votes being known."""
        return NoiseModel(self.transition).posterior(self.probabilities(predictions), given)


def fit_given_noise(predictions, given, weight, own, is_clean, guide=None) -> GivenNoise:
    """The noise that makes given labels likeliest; none where it does not show.

    It shows if labels are likelier than without any by a margin, and by `SHOWN` standard errors
    over the folds of the rows, `own`: by the predictions of a `guide`, where there is one. (Scores
    of a kernel model end somewhere in any case, which looks like noise or hides it.)
    """
    known = given, as_counts(weight), is_clean
    fits = _Fits(predictions if guide is None else guide, *known)
    best, none = fits.likeliest(), fits.none()
    gain = best.gain_over(none)
    is_shown = gain.sum() > LEAST_GAIN and in_standard_errors(np.bincount(own, gain)) > SHOWN
    if guide is not None:
        fits = _Fits(predictions, *known)
        best, none = (fits.likeliest(), none) if is_shown else (best, fits.none())
    # Shares say by themselves how probable it is that a label is right.
    if is_shown or has_shares(given, weight):
        return best.noise
    off = best.noise.transition - none.noise.transition
    hidden = np.hypot(best.noise.transition_std, off)
    return replace(none.noise, is_shown=False, transition_std=hidden)


class _Fits:
    """Kinds of noise fitted to the same rows.

    Where likelihood cannot tell, surely predicted rows say how many wrong labels there are.
    """

    def __init__(self, predictions, given, counts, is_clean):
        self.rows = _centred_logs(predictions), given, counts, is_clean
        noisy = ~is_clean
        self.joint = confident_joint(predictions[noisy], given[noisy], counts[noisy])
        self.mass = counts @ as_votes(given, predictions.shape[1])
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
        pairs = self._fitted(self._confusion(best.noise), self._pairs_prior)
        for least, other in ((LEAST_GAIN, self._mixed(self.frequency)), (margin, pairs)):
            transition = other.noise.transition
            is_told = self.n_verified or (transition.max(axis=0) <= np.diag(transition)).all()
            if is_told and other.gain_over(best).sum() > least:
                best = other
        return best

    def none(self):
        """Where no label is wrong."""
        return self._fitted(np.eye(len(self.mass)), self._pairs_prior)

    def _confusion(self, noise):
        """As surely predicted rows are confused; with votes, as these tell by expectation."""
        scores, given, counts, is_clean = self.rows
        if given.ndim == 1:
            return _transition(self.joint, self.mass)
        likely = np.exp(log_softmax(noise.factor * scores + noise.bias))
        likely = np.where(is_clean[:, None], given, likely)
        counts = counts * ~is_clean
        return noise_transition_matrix(
            likely, given, counts, len(self.mass), pseudo_count=PAIR_COUNT
        )

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


def confident_joint(predictions, given, weight):
    """Weight of rows by given label and surely predicted class.

    Only rows count that some class predicts at least as surely as it predicts its own rows on
    average, so that poor predictions are not taken for noise (Northcutt, Jiang, Chuang, "Confident
    Learning", JAIR 2021, section 3.1). `predictions`, (n_rows, n_classes), are out-of-fold.
    """
    given = as_votes(given, predictions.shape[1]) * weight[:, None]
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


def _slopes(moved, transition, given):
    """Slopes of log likelihoods of rows, and squares that curve them, from those of the matrix.

    Those of votes add up; of shares it is their mean, as of one vote.
    """
    if given.ndim == 1:
        slope = moved.T[given]
        return slope, slope**2
    mean = given @ (moved * transition).T / (given @ transition.T + TINY)
    is_one, each = is_one_vote(given), (given @ moved.T, given @ np.square(moved).T)
    return np.where(is_one, mean, each[0]), np.where(is_one, mean**2, each[1])


@dataclass(frozen=True)
class _Mixture:
    """Labels that follow a transition matrix by some share, and the true classes by the rest.

    Minus its log likelihood, and a weak log prior, is a function of numbers: the logarithm of the
    scores' factor, the bias of each class, and the logit of that share.
    """

    scores: np.ndarray  # (n_rows, n_classes)
    given: np.ndarray  # labels, or votes
    weight: np.ndarray
    is_clean: np.ndarray
    transition: np.ndarray
    pseudo_counts: np.ndarray  # of labels that follow the true class, and of those that do not

    def _labels_at(self, share):
        """Likelihood of what is given, its log scale, slope and curvature by the share's logit.

        Each for all true classes; labels of verified rows are right.
        """
        own, noisy = np.eye(len(self.transition)), ~self.is_clean[:, None]
        transition = (1 - share) * own + share * self.transition
        likelihood, scale = likelihood_and_scale(transition, self.given)
        likelihood = np.where(noisy, likelihood, as_votes(self.given, len(own))) + TINY
        moved = share * (1 - share) * (self.transition - own) / (transition + TINY)
        slope, squares = (noisy * each for each in _slopes(moved, transition, self.given))
        return likelihood, scale * noisy[:, 0], slope, slope * (1 - 2 * share) - squares

    @property
    def _precision(self):
        return SCORE_PRIOR * self.weight.sum()

    def _at(self, numbers):
        """Probabilities of classes before and after the label is known, and what moves them.

        These are scaled scores and, for the share, the slope of the label's log likelihood.
        """
        likelihood, scale, slope, curvature = self._labels_at(expit(numbers[-1]))
        scaled = np.exp(numbers[0]) * self.scores
        before = np.exp(log_softmax(scaled + numbers[1:-1]))
        joint = before * likelihood
        total = joint.sum(axis=1) + TINY
        moving = np.stack([scaled, slope])
        gain = self.weight * (np.log(total) + scale)
        return before, joint / total[:, None], moving, curvature, gain

    def value_and_gradient(self, numbers):
        before, after, (scaled, slope), _, likelihood = self._at(numbers)
        change = self.weight[:, None] * (after - before)
        by_share = self.weight @ (after * slope).sum(axis=1)
        by_scores = np.array([(change * scaled).sum(), *change.sum(axis=0)])
        log_shares = log_expit([-numbers[-1], numbers[-1]])
        by_prior = self.pseudo_counts[1] - self.pseudo_counts.sum() * expit(numbers[-1])
        value = self._precision / 2 * np.square(numbers[:-1]).sum()
        value -= likelihood.sum() + self.pseudo_counts @ log_shares
        return value, np.append(self._precision * numbers[:-1] - by_scores, -by_share - by_prior)

    def hessian(self, numbers):
        before, after, moving, curvature, _ = self._at(numbers)
        still = np.stack([moving[0], np.zeros_like(before)])
        share = expit(numbers[-1])
        hessian = self._covariance(before, still) - self._covariance(after, moving)
        # Neither scores nor log likelihoods are linear in the first and the last number.
        hessian[0, 0] -= self.weight @ ((after - before) * moving[0]).sum(axis=1)
        hessian[-1, -1] -= self.weight @ (after * curvature).sum(axis=1)
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
        _, posterior, *_, likelihood = self._at(numbers)
        error = share * (1 - share) * np.sqrt(max(np.linalg.inv(self.hessian(numbers))[-1, -1], 0))
        std = self._standard_errors(error, transition, posterior)
        noise = GivenNoise(float(np.exp(scale)), np.array(bias), transition, transition_std=std)
        return _Fitted(noise, likelihood)

    def _standard_errors(self, error, transition, posterior):
        """Of the matrix: by that of the share, and by how many labels there are of a true class."""
        by_share = error * np.abs(self.transition - np.eye(len(transition)))
        n_votes = as_votes(self.given, len(transition)).sum(axis=1)
        n_given = (self.weight * ~self.is_clean * n_votes) @ posterior
        by_rows = transition * (1 - transition) / np.maximum(n_given, 1)[:, None]
        return np.sqrt(by_share**2 + by_rows)


@dataclass(frozen=True)
class _Fitted:
    noise: GivenNoise
    likelihood: np.ndarray  # (n_rows,), logs, weighted

    def gain_over(self, other):
        """How much likelier each row's label is."""
        return self.likelihood - other.likelihood
