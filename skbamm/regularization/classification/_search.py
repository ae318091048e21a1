"""Learning a penalty of logistic regression on one design."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch

from ...linalg._curvature import minimize_closely
from ...linalg._softmax import CrossEntropy, minimize
from ...linalg._tensors import to_tensors
from ...solvers import Status
from .._constants import (
    LASSO_MAX_ITER,
    LEAST_SHARE,
    LITTLE_LOSS,
    LOG_LOSS_FINAL_STEPS,
    LOG_LOSS_NEAR,
    NO_LOSS,
)
from .._fit import design_options, penalized_features
from .._search import PenaltySearch
from ..losses._log_loss import HeldOutLogLoss, LogLossProblem, PenalizedLogLoss
from ..losses._sparse_log_loss import SparseLogLoss, SparseProblem
from ..penalties._specs import make_spec
from ._design import ClassDesign
from ._lasso import LassoFits, adaptive_lasso, sparse_fit


def class_search(n_classes, folded, options, shrinkage):
    """A `ClassSearch` on these rows and folds; infinite shrinkage leaves no deviations."""
    design = ClassDesign(folded, n_classes, **design_options(options))
    features = penalized_features(options, design.units)
    spec = make_spec(options.kind, features, shrinkage, asked=options.shrinkage)
    spec.weak_pilots = False
    return ClassSearch(design, spec, HeldOutLogLoss(design.test))


def class_searches(n_classes):
    """What makes the searches of a fit."""
    return partial(class_search, n_classes)


@dataclass(frozen=True)
class ClassSearch(PenaltySearch):
    """A `PenaltySearch` for log losses: solutions have no closed form, and begin at known ones."""

    near: float | None = None  # the log strength of ridge that other folds have found

    def best(self, run, *, like=None, **options):
        options["like"] = like
        if self.spec.is_square:
            if like is not None and self.near is None:
                near = float(like.initial.points[0].hyper[0, self.spec.strengths].mean())
                return replace(self, near=near).best(run, **options)
            return super().best(run, **options)
        # A lasso's criterion has kinks, and at one of these no gradient vanishes: one strength is
        # the best of a path, of several few steps are taken.
        few = LASSO_MAX_ITER if self.spec.n_hyper > 1 else 0
        result = super().best(replace(run, max_iter=min(run.max_iter, few)), **options)
        solution = result.solution
        if few < run.max_iter and solution.status is Status.MAX_ITER:
            result = replace(result, solution=replace(solution, status=Status.STALLED))
        return result

    def _prior_unit(self, baseline):
        # What a relative change of a squared error is of the log likelihood, for each row: half of
        # it. A fraction of a log loss near 0 would be no prior at all.
        return 0.5

    def _prepare(self):
        train, spec, device = self.design.train, self.spec, self.design.device
        if not spec.n_hyper:
            penalty = spec.penalty(None, train.n_folds, device)
            points = to_tensors(device, *spec.initial(0.0))
            params, tol = train.zeros()[None], LOG_LOSS_NEAR
            for _ in range(2):  # the second time with the curvature of about the solution
                problem = self._levels(penalty, train.curvature(params), tol)
                params = problem.solve_lower(points[0], params)
            return problem, *points
        if spec.is_square:
            path = self.design.path(spec.features.log_bounds)
            strength, knot = path.best(self.upper, self.near)
            curvature, tol, params = path.curvature(knot), path.tol(knot), path.near(strength)
        else:
            weights = train.weight.new_ones(train.n_folds, len(self.design.units.scale))
            path, fits = None, LassoFits.of(train, weights, self.upper)
            strength = float(np.log(fits.strengths[fits.best]).clip(*spec.features.log_bounds))
            curvature, tol, params = fits.curvature, fits.tol, fits.params[fits.best]
        points = to_tensors(device, *spec.initial(strength, self.design.n_initial))
        # A knot of the path at a bound may be beyond it, by rounding.
        common, initial = (each.clamp(*self._bounds()) for each in points)
        penalty = spec.penalty(path, train.n_folds, device)
        problem = self._levels(penalty, curvature, tol)
        problem.known[b""] = common[0], params
        return problem, common, initial

    def _levels(self, penalty, curvature, tol):
        train = self.design.train
        if self.spec.is_square:
            return LogLossProblem(PenalizedLogLoss(train, penalty), self.upper, curvature, tol)
        return SparseProblem(SparseLogLoss(train, penalty), self.upper, curvature, tol)

    def _exact_below(self, params):
        return params.new_full((len(params),), NO_LOSS)

    def _enough(self, params):
        return params.new_full((len(params),), LITTLE_LOSS)

    def refit(self, point, log_weights):
        if not self.spec.is_square:
            params = point.params[0].mean(0)
            return sparse_fit(self._all_rows[0], log_weights.exp(), params)
        return self._refit(log_weights[None], point.params.mean(1))[0]

    def mean_refit(self, points, shares):
        used = np.flatnonzero(shares >= LEAST_SHARE * max(shares))
        log_weights = torch.stack([points[k].log_weights for k in used])
        params = torch.cat([points[k].params for k in used]).mean(1)
        share = self.tensor(shares[used] / shares[used].sum())
        return (share[:, None, None] * self._refit(log_weights, params)).sum(0)

    def sparse_refit(self, average, params):
        return adaptive_lasso(average, self._all_rows[0], params, self.design.units.stretch)

    def _refit(self, log_weights, params):
        """Params (n_fits, n_scores, n_columns) of all rows, from those of the folds."""
        loss, _ = self._all_rows
        penalty = PenalizedLogLoss(loss, None).full(log_weights.exp())
        weight = loss.weight.expand(len(params), -1)
        objective = CrossEntropy(loss.rows, weight, penalty[:, None])
        curvature = loss.curvature(params.mean(0)[None, None])
        options = {"tol": LOG_LOSS_NEAR, "max_iter": LOG_LOSS_FINAL_STEPS}
        params = minimize(objective, params, metric=curvature.metric(penalty), **options)
        return torch.cat(
            [
                minimize_closely(loss.rows, loss.weight, one[None], found[None])
                for one, found in zip(penalty, params, strict=True)
            ]
        )

    @cached_property
    def _all_rows(self):
        return self.design.all_rows()
