"""The mean of fits that held-out labels cannot tell from the best one: the estimator's guard.

No way to clean labels is safe: each harms on some tables, and held-out rows are seldom enough to
choose. So several fits are averaged (`_members`), each with a weight in proportion to
``exp(-z^2 / (2 c^2))``, z its held-out loss less the best one's in standard errors over the folds,
c the parameter `standard_errors`. Loss is minus the log likelihood of all given labels: of verified
ones as they are, of others after the noise that was estimated. Where no wrong labels show, all that
is averaged are fits on all labels as given, of several ridge strengths.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..linalg._softmax import CrossEntropy, minimize
from ..linalg._tensors import to_numpy, to_tensor
from ._constants import (
    CRITERION,
    EXACT,
    LEAST_MEMBER,
    MAX_FACTOR,
    MAX_FOLDS,
    MAX_NEWTON,
    NEWTON_CHANGE,
    TINY,
)
from ._members import (
    Member,
    SoftLabels,
    labels_of_folds,
    labels_of_rows,
    members,
    target_tensor,
)
from .label_quality._scores import label_likelihood, log_softmax, weights_by_folds


@dataclass(frozen=True)
class Fitted:
    """A member's fits out of each fold, and what they say of held-out labels."""

    member: Member
    params: torch.Tensor  # (n_scores, n_columns), mean over the folds
    factor: float  # of its scores, at which held-out labels are likeliest
    losses: np.ndarray  # (n_criteria, n_folds), sums over the rows of each fold


@dataclass(frozen=True)
class Average:
    """Members and their weights; those without any are left out."""

    fitted: list[Fitted]
    weights: np.ndarray  # sum to 1

    @classmethod
    def of(cls, fitted, standard_errors):
        """By the folds. The fits on all labels have half of the weight before these are asked."""
        kinds = [one.member.kind for one in fitted]
        shares = {kind: kinds.count(kind) for kind in kinds}
        is_plain = np.array([kind == kinds[0] for kind in kinds])
        prior = np.where(is_plain, max(len(shares) - 1, 1), 1) / [shares[kind] for kind in kinds]
        criteria = np.stack([one.losses for one in fitted], axis=1)
        each = [weights_by_folds(losses, standard_errors, prior) for losses in criteria]
        weights = np.min(each, axis=0)
        weights = weights if weights.max() > TINY else each[-1]  # no member is good in all
        weights = np.maximum(weights - LEAST_MEMBER * weights.max(), 0.0)
        used = np.flatnonzero(weights)
        return cls([fitted[index] for index in used], weights[used] / weights.sum())

    @property
    def by_kind(self):
        """Weight of each kind of fit, the largest first."""
        found: dict[str, float] = {}
        for one, weight in zip(self.fitted, self.weights, strict=True):
            found[one.member.kind] = found.get(one.member.kind, 0.0) + float(weight)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def ridge(self):
        """Geometric mean."""
        return float(np.exp(self.weights @ np.log([one.member.ridge for one in self.fitted])))

    def shrunk(self, factor):
        """With ridge strengths times a factor."""
        members = [replace(one.member, ridge=one.member.ridge * factor) for one in self.fitted]
        pairs = zip(self.fitted, members, strict=True)
        return replace(self, fitted=[replace(one, member=member) for one, member in pairs])

    def mean(self, fit):
        """Of the members' params: ``fit(member, initial)`` makes those on all rows."""
        mean: Any = 0.0
        more: Any = 0.0
        for one, share in zip(self.fitted, self.weights, strict=True):
            found = fit(one.member, one.params[None] + more)
            # What all rows tell beyond those of the folds is much the same for all members.
            more = one.params.new_tensor(found) - one.params
            mean = mean + share * one.factor * found
        return mean

    def params(self, rows, labelled, learned, metric=None):
        """The mean of the members' fits on all rows, (n_scores, n_columns)."""
        labels = labels_of_rows(rows, learned)

        def fit(member, initial):
            loss = _loss(rows, labelled, labels, member)
            # Errors of all members add up.
            return to_numpy(minimize(loss, initial, tol=EXACT / 10, metric=metric)[0])

        return self.mean(fit)


def average_members(design, learned, options) -> Average | None:
    """Members out of the folds of a `FoldedDesign`, and how they count; None without any."""
    few, quality = _with_few_folds(design), learned.quality
    rows, folds = few.rows, few.folds
    labels = SoftLabels(rows.is_clean, *(rows.is_clean,) * 3, 1.0)
    noise = np.eye(rows.n_classes)
    if learned.is_noise_shown:
        labels = labels_of_folds(few, quality, learned)
        noise = quality.transition
    given = np.eye(rows.n_classes)[rows.labels]
    likelihood = np.where(rows.is_clean[:, None], given, label_likelihood(noise, rows.labels))
    # Without verified labels a wrong noise may be as likely: who is good must be so without any.
    is_alone = learned.is_noise_shown and not rows.has_verified
    likelihoods = [likelihood, given] if is_alone else [likelihood]
    fitted: list[Fitted] = []
    # Fits of the given labels, which come first, may be there already.
    known = iter(quality.plain if few is design and options.alpha == "learn" else ())
    kind = params = None
    for member in members(rows, learned, options.alpha):
        if member.kind != kind:
            kind, params = member.kind, few.labelled.zeros(folds.n_folds)
        params = _params(few, labels, member, params, next(known, None))
        if params is None:
            continue
        scores, factors, losses = few.out_of_fold(few.scores(params)), [1.0], []
        if learned.is_noise_shown:
            factors = [likeliest_factor(scores, each, rows.weight) for each in likelihoods]
        for factor, each in zip(factors, likelihoods, strict=True):
            loss = -rows.weight * log_likelihood(factor * scores, each)
            losses.append(np.bincount(folds.own, loss, folds.n_folds))
        fitted.append(Fitted(member, params.mean(0), factors[0], np.array(losses)))
    return Average.of(fitted, options.standard_errors) if fitted else None


def _params(design, labels, member, initial, known):
    """A member's fits out of each fold; None where a fold has no rows for it."""
    if known is not None:
        return known
    loss = _loss(design.rows, design.labelled, labels, member, design.folds.out_of_fold)
    return None if loss is None else minimize(loss, initial, tol=CRITERION)


def _loss(rows, labelled, labels, member, training=1.0):
    """What a member minimises; None where a fold has no rows for it."""
    weights, classes = labels.of_kind(member.training)
    weights = np.atleast_2d(training * rows.weight * weights)
    if not weights.any(1).all():
        return None
    weights = to_tensor(weights / weights.sum(1, keepdims=True), labelled.targets.device)
    targets = None if classes is None else target_tensor(classes, labelled.targets)
    return CrossEntropy(labelled, weights, weights.new_tensor(member.ridge), targets)


def _with_few_folds(design):
    """The same rows with folds put together: members, and pairs of folds, cost as they grow."""
    if design.folds.n_folds <= MAX_FOLDS:
        return design
    design = copy.copy(design)
    design.folds = design.folds.merged(MAX_FOLDS)
    return design


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
