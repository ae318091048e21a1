"""The mean of fits that the folds cannot tell from the best one.

A choice is noisier than a mean. What is learned, and penalties that need no learning, are
candidates; each has a weight in proportion to ``exp(-z^2 / (2 c^2))``, z its held-out error less
the best one's in standard errors over the folds, c the parameter `standard_errors`. The mean is
that of the coefficients, of which no candidate can spoil more than its share (a mean of log
strengths can: a few very strong ones rule it).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..data._fold_weights import nearness
from ..linalg._tensors import to_numpy
from ._constants import NEGLIGIBLE, PREFERENCE, RESOLUTION, STRENGTH_GAIN, STRENGTH_STEP
from .losses._quadratic import PenaltyProblem
from .penalties._specs import MeanPenalty


@dataclass(frozen=True)
class Point:
    """Learned numbers, the lower level's solution there, and the held-out error of that."""

    problem: PenaltyProblem
    hyper: torch.Tensor  # (1, n_hyper)
    params: torch.Tensor  # (1, n_folds, n_targets, n_features)
    criterion: float
    name: str = "learned"

    @classmethod
    def of(cls, problem, hyper, params=None, name="learned"):
        """Where `params`, if given, are the lower level's solution."""
        if params is None:
            params = problem.solve_lower(hyper, problem.lower.loss.zeros()[None])
        # Rounding may leave less than nothing of a mean square, which is a difference of sums.
        criterion = max(float(problem.upper.value(hyper, params)), 0.0)
        return cls(problem, hyper, params, criterion, name)

    @property
    def log_weights(self):
        """Mean over the folds, shape (n_features,).

        A feature is penalized little only if it looks important without any fold. (The
        weights of a pilot on all rows predict worse: a column with entries in few rows looks
        important there and nowhere else.)
        """
        return self.problem.lower.penalty.log_weights(self.hyper)[0][0].mean(0)

    def mean_criterion(self, hyper):
        """Criterion, on the same folds, of the mean of the log weights of several points."""
        lower = self.problem.lower
        lower = replace(lower, penalty=MeanPenalty(lower.penalty, hyper))
        return Point.of(replace(self.problem, lower=lower), hyper[:1, :0]).criterion

    def by_fold(self):
        """What each fold says of the criterion, but for a constant, shape (n_folds,)."""
        errors = to_numpy(self.problem.upper.by_fold(self.params)[0])
        return len(errors) * errors


@dataclass(frozen=True)
class Average:
    """Candidates on the same folds, and their weights."""

    points: list[Point]
    weights: np.ndarray  # (n_points,), with sum 1
    best: Point

    @classmethod
    def of(cls, points, standard_errors=0.0, floor=0.0, advantage=0.0):
        """Weights by the folds; differences of held-out errors below the `floor` are none.

        The first point is the simplest fit, and has half of the weight before the folds are asked;
        the others have to be better by an `advantage` in standard errors. Without
        `standard_errors` the best one alone.
        """
        best = first_best([point.criterion for point in points])
        weights = np.eye(len(points))[best]
        errors = np.array([point.by_fold() for point in points])
        if standard_errors:
            options = {"floor": floor, "advantage": advantage}
            weights = nearness(errors, standard_errors, best, **options)
            weights[weights < NEGLIGIBLE] = 0.0
            weights[0] *= max(len(points) - 1, 1)
        return cls(points, weights / weights.sum(), points[best])

    @property
    def used(self):
        """The candidates that have a weight."""
        return [point for point, share in zip(self.points, self.weights, strict=True) if share]

    @property
    def params(self):
        """Mean of the coefficients of each fold, shape (1, n_folds, n_targets, n_features)."""
        share = self.best.params.new_tensor(self.weights)[:, None, None, None]
        return (share * torch.cat([point.params for point in self.points])).sum(0, keepdim=True)

    @property
    def criterion(self):
        """Held-out error of that mean."""
        return Point.of(self.best.problem, self.best.hyper, self.params).criterion

    @property
    def log_weights(self):
        """Mean log strengths, shape (n_features,)."""
        pairs = zip(self.weights, self.points, strict=True)
        return sum(share * point.log_weights for share, point in pairs)


def with_best_strengths(errors, points, column, bounds, n_steps):
    """Each of some points at the log strength, in a `column`, that is best for it.

    At most `n_steps` up while the error falls, else down: where the weakest penalty is best it may
    be many away, which changes nothing any more. ``errors(points)`` is an array; bounds hold for
    each number.
    """
    points, lowest = points.clone(), errors(points)
    moved = np.zeros(len(points), dtype=bool)
    for step in (STRENGTH_STEP, -STRENGTH_STEP):
        active = np.flatnonzero(~moved)
        for _ in range(n_steps):
            if not len(active):
                break
            tried = points[active].clone()
            tried[:, column] = (tried[:, column] + step).clamp(*(end[column] for end in bounds))
            found = errors(tried)
            better = found < np.maximum(lowest[active], RESOLUTION) * (1 - STRENGTH_GAIN)
            active = active[better]
            points[active], lowest[active] = tried[better], found[better]
            moved[active] = True
    return points


def first_best(values, floor=RESOLUTION):
    """Index of the lowest value, an earlier one unless a later beats it clearly.

    Values below their floor are all the same.
    """
    best = 0
    values = np.maximum(values, floor)
    for index, value in enumerate(values):
        if not np.isfinite(values[best]) or value < values[best] * (1 - PREFERENCE):
            best = index
    return best
