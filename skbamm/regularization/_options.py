"""What an estimator's parameters ask of a fit: of its run, and of the penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data._tables import in_feature_order
from ..linalg._tensors import resolve_device
from .penalties._groups import (
    FeatureGroups,
    check_alpha_bounds,
    resolve_alpha,
    resolve_descriptions,
    resolve_groups,
)
from .penalties._shrinkage import check_shrinkage


@dataclass(frozen=True)
class RunOptions:
    """What an estimator's parameters say about a run of a solver."""

    solver: Any  # name or Solver
    max_iter: int
    tol: float  # of the residual relative to the error of the best fit with one strength
    standard_errors: float
    exact_zeros: bool


@dataclass(frozen=True)
class PenaltyOptions:
    """What an estimator's parameters say about the penalty, resolved."""

    kind: str  # the estimator's `penalty`
    groups: FeatureGroups
    strengths: np.ndarray  # (n_groups,), fixed ones; NaN where learned
    descriptions: np.ndarray  # (n_descriptions, n_features)
    shrinkage: Any  # a number or "auto"
    alpha_bounds: tuple[float, float]
    positive: bool
    loss: str
    design: dict  # `fit_intercept`, `standardize` and `device`


def penalty_options(estimator, n_features):
    """The options of a `BilevelRegularizedRegressor`, its feature names being known."""
    names = getattr(estimator, "feature_names_in_", None)
    labels = in_feature_order(estimator.groups, names, "groups")
    groups = resolve_groups(labels, n_features, names)
    strengths = resolve_alpha(estimator.alpha, groups)
    check_alpha_bounds(estimator.alpha_bounds)
    check_shrinkage(estimator.shrinkage)
    descriptions = in_feature_order(estimator.alpha_features, names, "alpha_features")
    return PenaltyOptions(
        kind=estimator.penalty,
        groups=groups,
        strengths=strengths,
        descriptions=resolve_descriptions(descriptions, np.isnan(strengths)[groups.index]),
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
