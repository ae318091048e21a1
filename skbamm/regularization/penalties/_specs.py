"""What each ``penalty`` learns: its numbers, their bounds and starts, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from ._weights import AdaptivePenalty, LinearPenalty

EXPONENT_BOUNDS = (0.0, 6.0)
SHARE_BOUNDS = (0.0, 1.0)
POWER_BOUNDS = (0.1, 2.0)
# Of a term of the log strengths: a description one deviation from its mean, or a group.
TERM_BOUNDS = (-10.0, 10.0)
# Pilot strength relative to the best ridge's, and exponent. One from each side: the criterion has
# several basins. The best one is followed.
ADAPTIVE_INITIAL = ((1 / 30, 1.0), (30.0, 2.0))
# Further ones where they cost little, the most useful first.
MORE_INITIAL = ((1.0, 4.0), (1.0, 2.0), (30.0, 4.0), (1 / 30, 2.0))
# The groups' share in the magnitudes, at the start.
SHARE = 0.3
# Powers that the bridge starts from: the lasso, and the side where it is sparser.
BRIDGE_POWERS = (1.0, 0.5)
# Smoothing of the penalty at zero, in units of the ridge coefficients' root mean square. Less
# for the bridge only makes more basins, and for the lasso kinks that a gradient does not see.
SMOOTHING = {"l1": 3e-2, "bridge": 1e-1}
LOG_WEIGHT_LIMIT = (-60.0, 60.0)


@dataclass(frozen=True)
class PenalizedFeatures:
    """What is known of the penalized features before learning."""

    group: np.ndarray  # (n_penalized,), number of each feature's group
    grouped: bool  # whether the user grouped the features at all
    strength: np.ndarray  # (n_penalized,), where fixed; NaN where learned
    # (n_descriptions, n_penalized): standardized over the learned features, 0 for others.
    descriptions: np.ndarray
    log_bounds: tuple[float, float]  # of learned strengths
    # A fixed strength of power q is divided by the targets' scale to the power 2 - q.
    log_target_scale: float
    positive: bool = False  # whether coefficients must not be negative

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

    def indicators(self, among, separate):
        """1 where a feature is in a group, for groups with features `among` these.

        One row for all groups together unless they are `separate`.
        """
        if not (separate and self.grouped):
            return among[None].astype(float)[: int(among.any())]
        return ((self.group == np.unique(self.group[among])[:, None]) & among).astype(float)


@dataclass(frozen=True)
class GlobalFit:
    """The best fits with one strength for all features."""

    ridge: float  # log strength
    lasso: float = np.nan  # log strength; NaN where it was not asked for
    typical: float = 1.0  # size of the lasso's coefficients that are not zero


class LinearSpec:
    """ "l2", "l1" and "bridge": log strengths and powers are linear in what is learned.

    `hyper` is the log strengths of the learned groups (or one for all of them), a slope for
    each description, and with "bridge" the powers of the groups (or one).

    Groups and descriptions make a difference only where they are `separate`.
    """

    exponents = shares = slice(0, 0)

    def __init__(self, kind, features, separate=True):
        self.kind = kind
        self.features = features
        self._strengths = features.indicators(features.learned, separate)
        self._terms = features.descriptions if separate else features.descriptions[:0]
        everyone = np.ones(len(features.group), dtype=bool)
        learns_power = kind == "bridge"
        self._powers = features.indicators(everyone, separate)[: None if learns_power else 0]
        self.n_hyper = len(self._strengths) + len(self._terms) + len(self._powers)
        self.n_deviations = self.n_hyper - int(learns_power) - min(len(self._strengths), 1)

    @property
    def is_square(self):
        return self.kind == "l2"

    @property
    def strengths(self):
        """Where `hyper` holds log strengths."""
        return slice(0, len(self._strengths))

    def names(self, groups):
        """What each learned number is, given the names of all groups."""
        named = self.features.named
        return [
            *named("log alpha", groups, self._strengths),
            *(f"slope[{number}]" for number in range(len(self._terms))),
            *named("power", groups, self._powers),
        ]

    def bounds(self):
        rows = [self.features.log_bounds] * len(self._strengths)
        rows += [TERM_BOUNDS] * len(self._terms) + [POWER_BOUNDS] * len(self._powers)
        return np.reshape(rows, (-1, 2)).astype(float)

    def prior(self):
        """Its quadratic form is the sum of squared deviations from what is common to all."""
        return block_diag(
            _spread(len(self._strengths)), np.eye(len(self._terms)), _spread(len(self._powers))
        )

    def from_common(self):
        """Matrix from what is learned without deviations to what is learned with them."""
        strengths, powers = (
            np.ones((len(rows), min(len(rows), 1))) for rows in (self._strengths, self._powers)
        )
        return block_diag(strengths, np.zeros((len(self._terms), 0)), powers)

    def initial(self, fit, n_more=0):
        """The best global fit, and the points that the run starts from."""
        if self.kind == "l2":
            common = self._point(fit.ridge, 2.0)[None]
            return common, common
        common = self._point(fit.lasso, 1.0)[None]
        if self.kind == "l1" or not np.isfinite(fit.typical):
            return common, common
        # Another power, as strong as the lasso where coefficients have their usual size.
        powers = [(fit.lasso + (1 - q) * np.log(fit.typical), q) for q in BRIDGE_POWERS]
        return common, np.array([self._point(*start) for start in powers])

    def _point(self, strength, power):
        return np.concatenate(
            [
                np.full(len(self._strengths), strength),
                np.zeros(len(self._terms)),
                np.full(len(self._powers), power),
            ]
        )

    def penalty(self, path, n_folds, tensor):
        fixed = self.features.log_fixed
        basis = np.vstack([self._strengths, self._terms, 0 * self._powers])
        if self.is_square:
            return LinearPenalty(tensor(basis), tensor(fixed), n_folds)
        n_before = self.n_hyper - len(self._powers)
        powers = np.vstack([np.zeros((n_before, len(fixed))), self._powers])
        fixed_power = np.full(len(fixed), 0.0 if len(self._powers) else 1.0)
        # Fixed strengths are the user's, in units of the target.
        unit = self.features.log_target_scale * ~self.features.learned
        basis, fixed = basis + powers * unit, fixed + (fixed_power - 2) * unit
        arrays = (basis, fixed, powers, fixed_power)
        basis, fixed, powers, fixed_power = (tensor(array) for array in arrays)
        return LinearPenalty(basis, fixed, n_folds, powers, fixed_power)

    def power(self, hyper):
        """Power of each feature's penalty."""
        if len(self._powers):
            return hyper[self.n_hyper - len(self._powers) :] @ self._powers
        return np.full(len(self.features.group), 2.0 if self.is_square else 1.0)


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

    def __init__(self, features, *, pooled=True, described=True, deviating=False):
        self.features = features
        groups = features.indicators(features.learned, separate=True)
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

    def initial(self, fit, n_more=0):
        common = np.zeros((1, self.n_hyper))
        common[:, :2] = fit.ridge
        chosen = ADAPTIVE_INITIAL + MORE_INITIAL[:n_more]
        starts = common.repeat(len(chosen), axis=0)
        for start, (pilot, exponent) in zip(starts, chosen, strict=True):
            start[0] += np.log(pilot)
            start[self.exponents] = exponent
            start[self.shares] = SHARE
        return common, starts

    def penalty(self, path, n_folds, tensor):
        features, membership = self.features, None
        if self._groups is not None:
            membership = tensor(self._groups / self._groups.sum(axis=1, keepdims=True))
        return AdaptivePenalty(
            path,
            tensor(features.learned.astype(float)),
            tensor(features.log_fixed),
            LOG_WEIGHT_LIMIT,
            membership,
            tensor(self._terms) if len(self._terms) else None,
            features.positive,
        )

    def power(self, hyper):
        return np.full(len(self.features.group), 2.0)


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


def _spread(n):
    """The quadratic form of the sum of squared deviations from the mean."""
    return np.eye(n) - np.ones((n, n)) / max(n, 1)
