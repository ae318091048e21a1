"""The mean of fits that held-out labels cannot tell from the best one: the estimator's guard.

No way to clean labels is safe: each harms on some tables, and held-out rows are seldom enough to
choose. So several fits are averaged (`_members`), each with a weight in proportion to
``exp(-z^2 / (2 c^2))``, z its held-out loss less the best one's in standard errors over the folds,
c the parameter `standard_errors`. Loss is minus the log likelihood of all given labels: of verified
ones as they are, of others after the noise that was estimated. Where no wrong labels show, all that
is averaged are fits on all labels as given, of several ridge strengths. The scores of boosted trees
join where these are grown (`label_quality._trees`); the rest is linear in the columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..linalg._softmax import CrossEntropy, minimize
from ..linalg._tensors import to_numpy, to_tensor
from ._constants import CLOSE, EXACT, LEAST_MEMBER, TINY
from ._members import (
    Member,
    SoftLabels,
    labels_of_folds,
    labels_of_rows,
    members,
    target_tensor,
)
from .label_quality._scores import (
    label_likelihood,
    likeliest_factor,
    log_likelihood,
    weights_by_folds,
)
from .label_quality._trees import ALL_LABELS


@dataclass(frozen=True)
class Fitted:
    """A candidate out of each fold, and what it says of held-out labels: a member, or trees."""

    kind: str
    factor: float  # of its scores, at which held-out labels are likeliest
    losses: np.ndarray  # (n_criteria, n_folds), sums over the rows of each fold
    member: Member | None = None  # None of trees, which are told by their kind
    params: torch.Tensor | None = None  # (n_scores, n_columns), a member's mean over the folds


@dataclass(frozen=True)
class Average:
    """Candidates and their weights, which sum to 1; those without any are left out."""

    fitted: list[Fitted]
    weights: np.ndarray

    @classmethod
    def of(cls, fitted, standard_errors):
        """By the folds. The fits on all labels have half of the weight before these are asked."""
        kinds = [one.kind for one in fitted]
        shares = {kind: kinds.count(kind) for kind in kinds}
        plain = {kinds[0], ALL_LABELS} & {*kinds}
        others = max(len(shares) - len(plain), 1)
        prior = [1 / (shares[kind] * (len(plain) if kind in plain else others)) for kind in kinds]
        criteria = np.stack([one.losses for one in fitted], axis=1)
        each = [weights_by_folds(losses, standard_errors, np.array(prior)) for losses in criteria]
        weights = np.min(each, axis=0)
        weights = weights if weights.max() > TINY else each[-1]  # none is good in all
        weights = np.maximum(weights - LEAST_MEMBER * weights.max(), 0.0)
        kept = np.flatnonzero(weights)
        return cls([fitted[index] for index in kept], weights[kept] / weights.sum())

    def _weighted(self, *, trees):
        """Pairs of candidates and weights: of boosted trees, or of the others."""
        pairs = zip(self.fitted, self.weights.tolist(), strict=True)
        return [(one, weight) for one, weight in pairs if (one.member is None) is trees]

    @property
    def by_kind(self):
        """Weight of each kind of fit, the largest first."""
        found: dict[str, float] = {}
        for one, weight in zip(self.fitted, self.weights.tolist(), strict=True):
            found[one.kind] = found.get(one.kind, 0.0) + weight
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def is_linear(self):
        return not self._weighted(trees=True)

    @property
    def has_linear(self):
        return bool(self._weighted(trees=False))

    @property
    def ridge(self):
        """Geometric mean of the linear fits'; None without any."""
        if not self.has_linear:
            return None
        members, weights = zip(*self._weighted(trees=False), strict=True)
        logs = np.log([one.member.ridge for one in members])
        return float(np.exp(np.average(logs, weights=weights)))

    @property
    def tree_factors(self):
        """Of the scores of each kind of trees, in the sum that is returned."""
        return {one.kind: weight * one.factor for one, weight in self._weighted(trees=True)}

    def shrunk(self, factor):
        """With ridge strengths times a factor."""

        def of(one):
            if one.member is None:
                return one
            return replace(one, member=replace(one.member, ridge=one.member.ridge * factor))

        return replace(self, fitted=[of(one) for one in self.fitted])

    def mean(self, fit):
        """Of the linear members' params: ``fit(member, initial)`` makes those on all rows."""
        mean: Any = 0.0
        more: Any = 0.0
        for one, weight in self._weighted(trees=False):
            found = fit(one.member, one.params[None] + more)
            # What all rows tell beyond those of the folds is much the same for all members.
            more = one.params.new_tensor(found) - one.params
            mean = mean + weight * one.factor * found
        return mean

    def params(self, rows, labelled, learned, metric=None):
        """Of the members' fits on all rows, (n_scores, n_columns); zeros without any."""
        if not self.has_linear:
            return to_numpy(labelled.zeros(1)[0])
        labels = labels_of_rows(rows, learned)

        def fit(member, initial):
            loss = _loss(rows, labelled, labels, member)
            # Errors of all members add up.
            return to_numpy(minimize(loss, initial, tol=EXACT / 10, metric=metric)[0])

        return self.mean(fit)


def average_members(design, learned, options) -> Average | None:
    """Members out of the folds of a `FoldedDesign`, and how they count; None without any."""
    few, quality = design.with_few_folds(), learned.quality
    rows, folds = few.rows, few.folds
    labels = SoftLabels(rows.is_clean, *(rows.is_clean,) * 3, 1.0)
    noise = np.eye(rows.n_classes)
    if learned.is_noise_shown:
        labels = labels_of_folds(few, quality, learned)
        noise = quality.transition
    given = np.eye(rows.n_classes)[rows.labels]
    likelihood = np.where(rows.is_clean[:, None], given, label_likelihood(noise, rows.given))
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
        scores = few.out_of_fold(few.scores(params))
        known_factor = None if learned.is_noise_shown else 1.0
        factor, losses = _losses(few, scores, likelihoods, known_factor)
        fitted.append(Fitted(member.kind, factor, losses, member, params.mean(0)))
    fitted += [Fitted(one.kind, *_losses(few, one.scores, likelihoods)) for one in quality.trees]
    return Average.of(fitted, options.standard_errors) if fitted else None


def _losses(design, scores, likelihoods, factor=None):
    """Factor of out-of-fold scores, the likeliest one unless given, and losses of the folds."""
    rows, folds = design.rows, design.folds
    factors, losses = [], []
    for each in likelihoods:
        factors.append(factor or likeliest_factor(scores, each, rows.weight))
        loss = -rows.weight * log_likelihood(factors[-1] * scores, each)
        losses.append(np.bincount(folds.own, loss, folds.n_folds))
    return factors[0], np.array(losses)


def _params(design, labels, member, initial, known):
    """A member's fits out of each fold; None where a fold has no rows for it."""
    if known is not None:
        return known
    loss = _loss(design.rows, design.labelled, labels, member, design.folds.out_of_fold)
    return None if loss is None else minimize(loss, initial, tol=CLOSE)


def _loss(rows, labelled, labels, member, training=1.0):
    """What a member minimises; None where a fold has no rows for it."""
    weights, classes = labels.of_kind(member.training)
    weights = np.atleast_2d(training * rows.training_weight(classes) * weights)
    if not weights.any(1).all():
        return None
    weights = to_tensor(weights / weights.sum(1, keepdims=True), labelled.targets.device)
    targets = None if classes is None else target_tensor(classes, labelled.targets)
    return CrossEntropy(labelled, weights, weights.new_tensor(member.ridge), targets)
