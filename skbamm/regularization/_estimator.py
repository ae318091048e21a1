"""What estimators with a learned penalty share: parameters, and attributes that tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from operator import attrgetter

import numpy as np

from .._base import BilevelEstimator
from ..data._validation import Interval, StrOptions


class PenaltyEstimator(BilevelEstimator):
    """An estimator whose `fit` ends with one or several `LearnedPenalty`."""

    _parameter_constraints: dict = {
        **BilevelEstimator._parameter_constraints,
        "penalty": [StrOptions({"adaptive", "l2", "l1"})],
        "groups": ["array-like", dict, Mapping, callable, str, None],
        "alpha": [Real, Mapping, dict, StrOptions({"learn"})],
        "alpha_bounds": [tuple, list],
        "standard_errors": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "exact_zeros": ["boolean"],
        "alpha_features": ["array-like", None],
        "penalty_factors": ["array-like", dict, Mapping, None],
        "shrinkage": [Real, str],
        "n_repeats": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    }

    def _previous_hyper(self, number=0):
        if not (self.warm_start and hasattr(self, "hyper_")):
            return None
        known = np.atleast_2d(self.hyper_)
        return known[min(number, len(known) - 1)]

    def _store_penalty(self, learned, groups, progress, *, several=False):
        """Attributes of what was learned; a list or a row of each where there are `several`."""
        from ._report import without_gain

        def stacked(name):
            values = [attrgetter(name)(one) for one in learned]
            return np.stack(values) if several else values[0]

        def listed(values):
            return values if several else values[0]

        self.alpha_ = stacked("alpha")
        self.exponents_ = stacked("exponents")
        self.group_share_ = stacked("group_share")
        self.hyper_ = stacked("hyper")
        self.hyper_names_ = learned[0].hyper_names
        self.groups_ = groups.columns()
        self.shrinkage_ = stacked("shrinkage")
        self.criterion_ = stacked("criterion")
        self.initial_criterion_ = stacked("initial_criterion")
        self.hypergradient_norm_ = stacked("first.hypergradient_norm")
        self.residual_ = stacked("first.residual")
        self.group_alpha_ = listed([groups.geometric_means(one.alpha) for one in learned])
        self.average_weights_ = listed([one.average for one in learned])
        self.history_ = listed([one.history for one in learned])
        worst = max((one.first for one in learned), key=lambda first: first.residual)
        sentence = self._describe(worst.solution, worst.residual) + without_gain(learned)
        self.status_ = progress.describe(sentence)
