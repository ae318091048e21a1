"""Learning a penalty on prepared data: path, starts, run, choice, refit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..problems._penalties import AdaptivePenalty, GroupPenalty
from ..problems._regression import PenaltyProblem
from ..solvers import Solution, Status, solve
from ._tensors import to_numpy, to_tensor

# Strengths of the ridge path, in units of the mean eigenvalue of the Gram matrix; the strongest
# comes first, as the simplest.
PATH = np.logspace(4, -9, 53)
EXPONENT_BOUNDS = (0.0, 6.0)
# Starts of the adaptive penalty: pilot strength beside the best ridge's, exponents of the
# feature's and of its group's magnitude. One from each side: the criterion has valleys.
STARTS = ((1 / 30, 1.0, 0.0), (30.0, 2.0, 1.0))
# Further ones where only the best start is followed, the most useful first.
MORE_STARTS = ((1.0, 4.0, 0.0), (1.0, 2.0, 1.0), (30.0, 4.0, 0.0), (1 / 30, 2.0, 0.0))
# Steps of the log strength that the one-standard-error rule tries.
STRENGTHENING = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
# A criterion below this is an exact fit: it has no scale to be relative to, and weaker penalties
# would only follow its rounding.
TINY = 1e-10
# A later candidate must beat an earlier, simpler one by this much, so that rounding cannot
# flip the choice.
PREFERENCE = 1e-6


@dataclass(frozen=True)
class LearnedPenalty:
    """What a search found.

    Attributes
    ----------
    coef : ndarray of shape (n_targets, n_features)
    intercept : ndarray of shape (n_targets,)
    alpha : ndarray of shape (n_features,)
    hyper : ndarray of shape (n_hyper,)
    exponents : ndarray of shape (n_exponents,)
    criterion, initial_criterion : float
        Of the learned penalty, and of the best ridge fit.
    solution : Solution
    chosen : int
        Index of the chosen candidate in `solution`.
    """

    coef: np.ndarray
    intercept: np.ndarray
    alpha: np.ndarray
    hyper: np.ndarray
    exponents: np.ndarray
    criterion: float
    initial_criterion: float
    solution: Solution
    chosen: int

    @property
    def history(self):
        return self.solution.history.candidate(self.chosen)

    @property
    def residual(self):
        return self._final("residual")

    @property
    def hypergradient_norm(self):
        return self._final("hypergradient_norm")

    def _final(self, name):
        values = getattr(self.solution, name)
        if values is None:
            return 0.0
        # In the unit of `tol`: beside the best ridge fit's error.
        return float(values[self.chosen]) / max(self.initial_criterion, TINY)


class PenaltySearch:
    """One search on one design.

    Parameters
    ----------
    design : GramDesign or RowDesign
    kind : {"adaptive", "l2"}
    groups : FeatureGroups
        Of all features.
    strengths : ndarray of shape (n_groups,)
        Fixed strengths; NaN where learned.
    bounds : tuple of float
        Smallest and largest learned strength.
    """

    def __init__(self, design, kind, groups, strengths, bounds):
        self.design = design
        self.kind = kind
        self.groups = groups
        penalized = design.penalized
        self.index = groups.index[penalized]
        self.feature_strength = strengths[groups.index][penalized]
        self.learned = np.isnan(self.feature_strength)
        self.learned_groups = np.unique(self.index[self.learned])
        self.log_bounds = np.log(np.asarray(bounds) * design.unit)

    def run(self, solver, *, max_iter, tol, standard_errors, callback=None, initial_hyper=None):
        """Learn on the folds, then refit on all rows with what was learned."""
        train = self.design.train
        path = self.design.path(train) if self.learned.any() else None
        penalty = self._penalty(path, train.n_folds)
        problem = PenaltyProblem(train, self.design.test, penalty)
        ridge, starts = self._starts(path, penalty, problem.upper)
        ceiling = _criterion(problem, ridge)
        if initial_hyper is not None:
            starts = torch.cat([self._tensor(initial_hyper)[None], starts])
        if penalty.n_hyper == 0:
            max_iter = 0
        bounds = self._bounds(penalty)
        if self.design.n_more_starts and len(starts) > 1:
            starts = starts.clamp(*bounds)
            chosen = first_best(np.array([_criterion(problem, start[None]) for start in starts]))
            starts = starts[chosen : chosen + 1]
        bilevel = problem.problem(starts, *bounds)
        solution = solve(
            bilevel, solver, max_iter=max_iter, tol=tol * max(ceiling, TINY), callback=callback
        )
        chosen = first_best(to_numpy(solution.criterion))
        if solution.status is Status.MAX_ITER and (
            solution.residual[chosen] <= tol * max(ceiling, TINY)
        ):
            solution = replace(solution, status=Status.CONVERGED)  # only the others have not
        hyper, criterion = solution.hyper[chosen : chosen + 1], float(solution.criterion[chosen])
        if not criterion < ceiling * (1 - PREFERENCE):
            hyper, criterion = ridge, ceiling
        # Two folds have no standard error to speak of.
        if isinstance(penalty, AdaptivePenalty) and standard_errors > 0 and train.n_folds > 2:
            hyper, criterion = _strengthen(
                bilevel, hyper, solution.params[:1], ceiling, standard_errors
            )
        return self._refit(hyper, criterion, ceiling, solution, chosen)

    @property
    def n_hyper(self):
        """How many numbers are learned."""
        if self.kind == "l2" or not self.learned.any():
            return len(self.learned_groups)
        return 4 if self._has_group_exponent else 3

    @property
    def _has_group_exponent(self):
        """With one group, or with as many as features, its magnitude says nothing new."""
        return self.groups.given and 1 < len(self.learned_groups) < self.learned.sum()

    def _tensor(self, array):
        return to_tensor(array, self.design.device)

    def _penalty(self, path, n_folds):
        fixed = self._tensor(np.log(np.where(self.learned, 1.0, self.feature_strength)))
        if self.kind == "l2" or not self.learned.any():
            indicator = (self.index == self.learned_groups[:, None]) & self.learned
            return GroupPenalty(self._tensor(indicator), fixed, n_folds)
        membership = None
        if self._has_group_exponent:
            member = (self.index == self.learned_groups[:, None]) & self.learned
            membership = self._tensor(member / member.sum(axis=1, keepdims=True))
        limit = (-60.0, 60.0)
        return AdaptivePenalty(path, self._tensor(self.learned), fixed, limit, membership)

    def _bounds(self, penalty):
        box = [self.log_bounds] * penalty.n_hyper
        if isinstance(penalty, AdaptivePenalty):
            box[2:] = [np.array(EXPONENT_BOUNDS)] * (penalty.n_hyper - 2)
        low, high = np.reshape(box, (-1, 2)).T
        return self._tensor(low), self._tensor(high)

    def _starts(self, path, penalty, upper):
        """The best of the ridge path as it is, and the points that the run starts from."""
        if penalty.n_hyper == 0:
            nothing = self._tensor(np.zeros((1, 0)))
            return nothing, nothing
        grid = self._tensor(np.log(PATH * self.design.unit).clip(*self.log_bounds))
        errors = upper.value(grid, path.survey(grid))
        best = grid[first_best(to_numpy(errors))]
        ridge = torch.zeros_like(best).repeat(1, penalty.n_hyper)
        if isinstance(penalty, GroupPenalty):
            ridge += best
            return ridge, ridge.clone()
        ridge[:, :2] = best
        chosen = STARTS + MORE_STARTS[: self.design.n_more_starts]
        starts = ridge.repeat(len(chosen), 1)
        for start, (pilot, *exponents) in zip(starts, chosen, strict=True):
            start[0] += np.log(pilot)
            start[2:] = self._tensor(exponents[: penalty.n_hyper - 2])
        return ridge, starts

    def _refit(self, hyper, criterion, ceiling, solution, chosen):
        loss = self.design.all_rows()
        path = self.design.path(loss) if self.learned.any() else None
        penalty = self._penalty(path, n_folds=1)
        refit = PenaltyProblem(loss, loss, penalty)
        params = refit.solve_lower(hyper, solution.params[:1, :1])[0, 0]
        coef, intercept = self.design.raw_coefficients(params)
        alpha = np.zeros(len(self.design.penalized))
        alpha[self.design.penalized] = to_numpy(refit.lower.weights(hyper)[0][0, 0])
        hyper = to_numpy(hyper[0])
        exponents = hyper[2:] if isinstance(penalty, AdaptivePenalty) else hyper[:0]
        return LearnedPenalty(
            coef, intercept, alpha, hyper, exponents, criterion, ceiling, solution, chosen
        )


def _criterion(problem, hyper):
    """Held-out error at one point, of shape (1, n_hyper)."""
    params = problem.solve_lower(hyper, problem.lower.loss.zeros()[None])
    return float(problem.upper.value(hyper, params)[0])


def _strengthen(problem, hyper, params, ceiling, standard_errors):
    """The strongest penalty that the folds cannot tell from the best one.

    The one-standard-error rule, on the log strength: steps up while the mean increase of the
    held-out error stays below so many standard errors of that increase over the folds, and
    the error below that of ridge.
    """
    loss = problem.upper.loss
    params = problem.solve_lower(hyper, params)
    chosen = hyper
    error, best = float(problem.upper.value(hyper, params)[0]), loss.by_fold(params)[0]
    for step in STRENGTHENING:
        stronger = hyper.clone()
        stronger[:, 1] += step
        stronger = problem.project_hyper(stronger)
        params = problem.solve_lower(stronger, params)
        increase = 2 * loss.n_folds * (loss.by_fold(params)[0] - best)
        allowed = standard_errors * float(increase.std(correction=1)) / loss.n_folds**0.5
        raised = float(problem.upper.value(stronger, params)[0])
        if float(increase.mean()) > allowed or raised > ceiling:
            break
        chosen, error = stronger, raised
    return chosen, error


def first_best(values):
    """Index of the lowest value, an earlier one unless a later beats it clearly."""
    best = 0
    values = np.maximum(values, TINY)
    for index, value in enumerate(values):
        if value < values[best] - PREFERENCE * abs(values[best]) or not np.isfinite(values[best]):
            best = index
    return best
