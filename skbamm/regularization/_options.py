"""What an estimator's parameters ask of the penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data._columns import in_feature_order
from ..data._tensors import resolve_device
from ._make_design import make_design
from ._search import PenaltySearch
from .losses._held_out import held_out_error
from .penalties._descriptions import resolve_descriptions
from .penalties._groups import FeatureGroups, check_alpha_bounds, resolve_alpha, resolve_groups
from .penalties._shrinkage import check_shrinkage
from .penalties._specs import PenalizedFeatures, make_family


@dataclass(frozen=True)
class PenaltyOptions:
    """What an estimator's parameters say about the penalty, resolved.

    Attributes
    ----------
    kind : {"adaptive", "l2", "l1", "bridge"}
    groups : FeatureGroups
    strengths : ndarray of shape (n_groups,)
        Fixed strengths; NaN where learned.
    descriptions : ndarray of shape (n_descriptions, n_features)
    shrinkage : float or "auto"
    alpha_bounds : tuple of float
    positive : bool
    loss : {"squared_error", "huber"}
    design : dict
        ``fit_intercept``, ``standardize`` and ``device``.
    """

    kind: str
    groups: FeatureGroups
    strengths: np.ndarray
    descriptions: np.ndarray
    shrinkage: Any
    alpha_bounds: tuple[float, float]
    positive: bool
    loss: str
    design: dict

    def search(self, data, folds, validation, shrinkage):
        """A `PenaltySearch` on these folds, with or without deviations."""
        group = self.groups.index
        of_design = {"penalized": ~(self.strengths == 0)[group], **self.design}
        design = make_design(data, folds, validation, **of_design)
        features = PenalizedFeatures(
            group=group[design.penalized],
            grouped=self.groups.given,
            strength=self.strengths[group][design.penalized],
            descriptions=self.descriptions[:, design.penalized],
            log_bounds=tuple(np.log(np.asarray(self.alpha_bounds) * design.unit)),
            log_target_scale=float(np.log(design.target_scale).mean()),
            positive=self.positive,
        )
        family = make_family(self.kind, features, shrinkage, asked=self.shrinkage)
        upper = held_out_error(self.loss, design, data, folds, validation, of_design)
        return PenaltySearch(design, family, upper)


def penalty_options(estimator, n_features):
    """The options of a `BilevelRegularizedRegressor`, its feature names being known."""
    names = getattr(estimator, "feature_names_in_", None)
    labels = in_feature_order(estimator.groups, names, "groups")
    groups = resolve_groups(labels, n_features, names)
    strengths = resolve_alpha(estimator.alpha, groups)
    check_alpha_bounds(estimator.alpha_bounds)
    check_shrinkage(estimator.shrinkage)
    return PenaltyOptions(
        kind=estimator.penalty,
        groups=groups,
        strengths=strengths,
        descriptions=resolve_descriptions(
            in_feature_order(estimator.alpha_features, names, "alpha_features"),
            np.isnan(strengths)[groups.index],
        ),
        shrinkage=estimator.shrinkage,
        alpha_bounds=estimator.alpha_bounds,
        positive=estimator.positive,
        loss=estimator.loss,
        design={
            "fit_intercept": estimator.fit_intercept,
            "standardize": estimator.standardize,
            "device": resolve_device(estimator.device),
        },
    )
