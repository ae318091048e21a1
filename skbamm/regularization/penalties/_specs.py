"""What each ``penalty`` learns, and how few learned numbers make a weight for every feature.

A spec says which numbers, their bounds and initial points, and makes the penalty: a smooth map
from `hyper`, of shape (n_candidates, n_hyper), to the weights alpha of shape (n_candidates,
n_folds, n_features) of ``sum_j alpha_j w_j^2 / 2``. ``log_weights(hyper)`` returns their
logarithms and the Jacobian of these, of shape (n_candidates, n_hyper, n_folds, n_features).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import block_diag

from ...linalg._tensors import to_tensors
from .._constants import (
    ADAPTIVE_INITIAL,
    EXPONENT_BOUNDS,
    GROUPED_INITIAL,
    INITIAL_SHARE,
    LOG_WEIGHT_LIMIT,
    MAGNITUDE_FLOOR,
    SHARE_BOUNDS,
    TERM_BOUNDS,
)


@dataclass(frozen=True)
class LinearPenalty:
    """Log weights that are linear in `hyper`: of groups, or of descriptions.

    A row of `basis` belongs to a learned number; of a group's log strength it is 1 on the group.
    """

    basis: torch.Tensor  # (n_hyper, n_features)
    fixed: torch.Tensor  # ([n_candidates,] n_features), added to the log weights
    n_folds: int

    @property
    def n_hyper(self):
        return len(self.basis)

    def log_weights(self, hyper):
        log_weights = (hyper @ self.basis + self.fixed)[:, None]
        shape = (len(hyper), self.n_hyper, self.n_folds, self.fixed.shape[-1])
        jacobian = self.basis[None, :, None].expand(shape)
        return log_weights.expand(len(hyper), self.n_folds, -1), jacobian


@dataclass(frozen=True)
class MeanPenalty:
    """The mean of a penalty's log weights at several points, of which nothing is learned."""

    penalty: Any
    points: torch.Tensor  # (n_points, n_hyper)

    def log_weights(self, hyper):
        log_weights, jacobian = self.penalty.log_weights(self.points)
        return log_weights.mean(0, keepdim=True), jacobian[:1, :0]


@dataclass(frozen=True)
class AdaptivePenalty:
    r"""Weights that fall with the size of a pilot fit's coefficients.

    .. math::

        \alpha_j = e^{a + z_j^T c} (m_j / m)^{-e}, \qquad
        m_j^2 = (1 - t) \, w_j^2 + t \, \overline{w^2}_{g(j)} + \delta^2 m^2

    where :math:`w_j^2` is the squared coefficient of feature j, on a scale that does not depend on
    its `factor`, in a ridge fit of strength :math:`e^{l}` on the same training rows (mean over
    targets), the bar its mean over the
    group of j, and :math:`m^2` its mean over all features. `hyper` is :math:`(l, a, e)`,
    :math:`t` where groups are given, and :math:`c` where there is a basis z. With exponent 0
    it is ridge, 2 adaptive ridge; more is close to subset selection. With share t = 1 a group
    has one strength, with 0 groups make no difference.
    """

    path: Any  # the ridge path of the training rows
    learned: torch.Tensor  # (n_features,), 1 where the weight is learned, 0 where it is fixed
    fixed: torch.Tensor  # (n_features,), log weight where fixed, 0 elsewhere
    limit: tuple[float, float]  # of the log weights
    # (n_groups, n_features); rows sum to 1: they average over a group.
    membership: Any = None
    # (n_terms, n_features): further terms of the log weights, one learned number each.
    basis: torch.Tensor | None = None
    positive: bool = False  # whether only positive coefficients of the pilot count
    factor: torch.Tensor | float = 1.0  # (n_features,): the pilot's squares are so much larger

    @property
    def n_hyper(self):
        return self._n_common + (0 if self.basis is None else len(self.basis))

    @property
    def _n_common(self):
        """How many numbers come before those of the basis."""
        return 3 if self.membership is None else 4

    def log_weights(self, hyper):
        strength, exponent = hyper[:, 1, None, None], hyper[:, 2, None, None]
        if self.basis is not None:
            strength = strength + (hyper[:, self._n_common :] @ self.basis)[:, None]
        share = hyper[:, 3, None, None] if self.membership is not None else None
        log, by_pilot, by_share = self._magnitudes(hyper[:, 0], share)
        log_weights = strength - exponent * log
        derivatives = [-exponent * by_pilot, torch.ones_like(log), -log]
        if share is not None:
            derivatives.append(-exponent * by_share)
        jacobian = torch.stack(derivatives, dim=1)
        if self.basis is not None:
            terms = self.basis[None, :, None].expand(len(hyper), -1, jacobian.shape[2], -1)
            jacobian = torch.cat([jacobian, terms], dim=1)
        inside = (log_weights >= self.limit[0]) & (log_weights <= self.limit[1])
        log_weights = log_weights.clamp(*self.limit) * self.learned + self.fixed
        return log_weights, jacobian * (inside * self.learned)[:, None]

    def _magnitudes(self, log_strength, share):
        """Log magnitudes relative to the root mean square, and their two derivatives."""
        square, growth = self._squares(log_strength)
        n_learned = self.learned.sum()
        mean = square.sum(-1, keepdim=True) / n_learned
        mean_growth = growth.sum(-1, keepdim=True) / n_learned
        by_share = torch.zeros_like(square)
        if share is not None:
            by_share = self._group_means(square) - square
            growth = growth + share * (self._group_means(growth) - growth)
            square = square + share * by_share
        floored = square + MAGNITUDE_FLOOR**2 * mean
        known = floored > 0  # a pilot that is zero everywhere says nothing
        safe = floored.where(known, torch.ones_like(floored))
        safe_mean = mean.where(mean > 0, torch.ones_like(mean))
        rate = (growth + MAGNITUDE_FLOOR**2 * mean_growth) / safe - mean_growth / safe_mean
        found = (safe / safe_mean).log(), rate, by_share / safe
        return tuple((part / 2).where(known, 0 * safe) for part in found)

    def _squares(self, log_strength):
        """Squared coefficients of the pilot, mean over targets, and their derivatives."""
        coefficients, derivative = self.path.coefficients(log_strength)
        if self.positive:
            coefficients = coefficients.clamp_min(0)
        share = self.learned / self.factor
        square = coefficients.square().mean(2) * share
        return square, 2 * (coefficients * derivative).mean(2) * share

    def _group_means(self, values):
        """The mean over its group for each learned feature, 0 for others."""
        return values @ self.membership.mT @ (self.membership > 0).to(values)


@dataclass(frozen=True)
class PenalizedFeatures:
    """What is known of the penalized features before learning."""

    group: np.ndarray  # (n_penalized,), number of each feature's group
    grouped: bool  # whether the user grouped the features at all
    # (n_penalized,), where fixed; NaN where learned. Both are times the `factor` in what columns
    # are divided by, which has the geometric mean 1.
    strength: np.ndarray
    factor: np.ndarray  # (n_penalized,)
    # (n_descriptions, n_penalized): standardized over the learned features, 0 for others.
    descriptions: np.ndarray
    log_bounds: tuple[float, float]  # of learned strengths
    # A fixed strength of the lasso is divided by the targets' scale, one of ridge is not.
    log_target_scale: float
    positive: bool = False  # whether coefficients must not be negative
    log_unit: float = 0.0  # of strengths

    @property
    def learned(self):
        return np.isnan(self.strength)

    @property
    def log_fixed(self):
        return np.log(np.where(self.learned, 1.0, self.strength))

    def named(self, what, groups, indicators):
        """Names of learned numbers that belong to groups, or to all features."""
        if len(indicators) == 1:
            return [what]
        return [f"{what}[{groups[self.group[row.argmax()]]}]" for row in indicators]

    def indicators(self, separate):
        """1 where a learned feature is in a group, for groups that have any.

        One row for all groups together unless they are `separate`.
        """
        learned = self.learned
        if not (separate and self.grouped):
            return learned[None].astype(float)[: int(learned.any())]
        return ((self.group == np.unique(self.group[learned])[:, None]) & learned).astype(float)


class LinearSpec:
    """ "l2" and "l1": log strengths are linear in what is learned.

    `hyper` is the log strengths of the learned groups (or one for all of them) and a slope for
    each description. Groups and descriptions make a difference only where they are `separate`.
    """

    exponents = shares = slice(0, 0)
    weak_pilots = False  # it has no pilot

    def __init__(self, kind, features, separate=True):
        self.kind = kind
        self.features = features
        self._strengths = features.indicators(separate)
        self._terms = features.descriptions if separate else features.descriptions[:0]
        self.n_hyper = len(self._strengths) + len(self._terms)
        self.n_deviations = self.n_hyper - min(len(self._strengths), 1)

    @property
    def is_square(self):
        return self.kind == "l2"

    @property
    def strengths(self):
        """Where `hyper` holds log strengths."""
        return slice(0, len(self._strengths))

    def names(self, groups):
        """What each learned number is, given the names of all groups."""
        slopes = [f"slope[{number}]" for number in range(len(self._terms))]
        return self.features.named("log alpha", groups, self._strengths) + slopes

    def bounds(self):
        rows = [self.features.log_bounds] * len(self._strengths) + [TERM_BOUNDS] * len(self._terms)
        return np.reshape(rows, (-1, 2)).astype(float)

    def prior(self):
        """Its quadratic form is the sum of squared deviations from what is common to all."""
        n = len(self._strengths)
        return block_diag(np.eye(n) - np.ones((n, n)) / max(n, 1), np.eye(len(self._terms)))

    def from_common(self):
        """Matrix from what is learned without deviations to what is learned with them."""
        n = len(self._strengths)
        return block_diag(np.ones((n, min(n, 1))), np.zeros((len(self._terms), 0)))

    def initial(self, log_strength, n_points=1):
        """The best global fit, given its log strength, and the initial points of a run."""
        common = np.zeros((1, self.n_hyper))
        common[:, self.strengths] = log_strength
        return common, common

    def penalty(self, path, n_folds, device):
        features, fixed = self.features, self.features.log_fixed
        if not self.is_square:
            # Fixed strengths are the user's, in units of the target.
            fixed = fixed - features.log_target_scale * ~features.learned
        basis, fixed = to_tensors(device, np.vstack([self._strengths, self._terms]), fixed)
        return LinearPenalty(basis, fixed, n_folds)


class AdaptiveSpec:
    """ "adaptive": weights that fall with the size of a pilot's coefficients.

    `hyper` is the pilot's log strength, the log strength, the exponent and (with groups)
    their share, then slopes of descriptions and deviations of groups.

    At least one of the features is learned. Groups have a share in the magnitudes of their
    features where they are `pooled`, and a deviation each where they are `deviating`; descriptions
    make a difference where these are `described`.
    """

    kind = "adaptive"
    is_square = True
    #: Whether groups with a deviation each also begin at weak pilots, which log loss does not like.
    weak_pilots = True

    def __init__(self, features, *, pooled=True, described=True, deviating=False):
        self.features = features
        groups = features.indicators(separate=True)
        # One group, or as many as features, have nothing to share.
        shared = features.grouped and 1 < len(groups) < features.learned.sum()
        self._groups = groups if pooled and shared else None
        terms = [features.descriptions] if described else []
        self._n_slopes = len(features.descriptions) if described else 0
        if deviating and features.grouped and len(groups) > 1:
            terms.append(groups)
        self._terms = np.vstack([np.zeros((0, len(features.group))), *terms])
        self.n_deviations = len(self._terms)
        self.exponents = slice(2, 3)
        self.shares = slice(3, 3 if self._groups is None else 4)
        self.n_hyper = self.shares.stop + len(self._terms)

    @property
    def strengths(self):
        return slice(1, 2)

    def names(self, groups):
        names = ["log pilot alpha", "log alpha", "exponent"]
        if self._groups is not None:
            names.append("group share")
        deviations = self._terms[self._n_slopes :]
        names += [f"slope[{number}]" for number in range(self._n_slopes)]
        return names + self.features.named("log deviation", groups, deviations)

    def bounds(self):
        rows = [self.features.log_bounds] * 2 + [EXPONENT_BOUNDS]
        rows += [] if self._groups is None else [SHARE_BOUNDS]
        return np.array(rows + [TERM_BOUNDS] * len(self._terms), dtype=float)

    def prior(self):
        n_before = self.n_hyper - len(self._terms)
        return block_diag(np.zeros((n_before, n_before)), np.eye(len(self._terms)))

    def from_common(self):
        return np.eye(self.n_hyper)[:, : self.n_hyper - len(self._terms)]

    def initial(self, log_strength, n_points=1):
        common = np.zeros((1, self.n_hyper))
        common[:, :2] = log_strength
        chosen = self._chosen(n_points)
        initial = common.repeat(len(chosen), axis=0)
        for point, (pilot, exponent, share, strength) in zip(initial, chosen, strict=True):
            point[:2] += np.log([pilot, strength])
            point[self.exponents] = exponent
            point[self.shares] = share
        return common, initial

    def _chosen(self, n_points):
        is_grouped = self.n_deviations > self._n_slopes and self._groups is not None
        if is_grouped and self.weak_pilots:
            return GROUPED_INITIAL[:n_points]
        return [(*point, INITIAL_SHARE, 1.0) for point in ADAPTIVE_INITIAL[:n_points]]

    def initial_names(self, n_points):
        return [
            f"pilot {pilot:g}, exponent {exponent:g}"
            for pilot, exponent, *_ in self._chosen(n_points)
        ]

    def penalty(self, path, n_folds, device):
        features, groups, none = self.features, self._groups, np.zeros((0, 0))
        shares = none if groups is None else groups / groups.sum(axis=1, keepdims=True)
        learned, fixed, membership, terms, factor = to_tensors(
            device, features.learned, features.log_fixed, shares, self._terms, features.factor
        )
        return AdaptivePenalty(
            path,
            learned,
            fixed,
            (LOG_WEIGHT_LIMIT[0] + features.log_unit, LOG_WEIGHT_LIMIT[1] + features.log_unit),
            None if groups is None else membership,
            terms if len(terms) else None,
            features.positive,
            factor,
        )


def make_spec(kind, features, shrinkage=0.0, *, asked="auto"):
    """The spec of an estimator's ``penalty``; with nothing to learn, a square.

    With infinite `shrinkage` nothing but the common numbers is learned; `asked` is the estimator's
    parameter. Adaptive weights of groups deviate only where a number is given: left to themselves
    these deviations predict worse (docs/design-notes.md).
    """
    separate = np.isfinite(shrinkage)
    if kind == "adaptive" and features.learned.any():
        by_user = asked != "auto"
        return AdaptiveSpec(
            features,
            pooled=separate or not by_user,
            described=separate,
            deviating=separate and by_user,
        )
    return LinearSpec("l2" if kind == "adaptive" else kind, features, separate)
