"""From rows to a learned penalty: the shrinkage first, then everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._design import make_design
from ._families import PenalizedFeatures, make_family
from ._folds import Folds, position_folds
from ._groups import FeatureGroups
from ._penalty_search import PenaltySearch
from ._shrinkage import choose_shrinkage


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
    design: dict

    def search(self, data, folds, validation, shrinkage):
        """A `PenaltySearch` on these folds, with or without deviations."""
        group = self.groups.index
        design = make_design(
            data, folds, validation, penalized=~(self.strengths == 0)[group], **self.design
        )
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
        return PenaltySearch(design, family)


def learn_penalty(data, folds, validation, options, solver, *, initial_hyper, **run):
    """Learn on the folds and refit.

    Parameters
    ----------
    data : RegressionRows
    folds : Folds
    validation : RegressionRows or None
    options : PenaltyOptions
    initial_hyper : ndarray or None
        Numbers learned before, to start from as well.
    **run
        Passed to `PenaltySearch.run`.

    Returns
    -------
    learned : LearnedPenalty
    """
    shrinkage = 0.0 if options.shrinkage == "auto" else float(options.shrinkage)
    search = options.search(data, folds, validation, shrinkage)
    if options.shrinkage == "auto" and search.family.n_deviations:

        def make_search(part, candidate):
            return options.search(data, part, validation, candidate)

        shrinkage = choose_shrinkage(
            _nested(folds, validation),
            make_search,
            solver,
            max_iter=run["max_iter"],
            tol=run["tol"],
            standard_errors=run["standard_errors"],
        )
        if np.isinf(shrinkage):
            search = options.search(data, folds, validation, shrinkage)
    if initial_hyper is not None and len(initial_hyper) != search.family.n_hyper:
        initial_hyper = None
    return search.run(solver, shrinkage=shrinkage, initial_hyper=initial_hyper, **run)


def _nested(folds, validation):
    """Pairs of folds to learn from and to judge by; halves of the validation rows where given."""
    if validation is None:
        return folds.nested()
    half = position_folds(len(validation), 2, seed=0)
    train = folds.splits[0][0]
    halves = [Folds([(train, np.flatnonzero(half == k))]) for k in (0, 1)]
    return [(halves[0], halves[1]), (halves[1], halves[0])]
