"""Learning a penalty on prepared data: path, starts, run, choice, refit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..linalg._tensors import to_numpy, to_tensor
from ..solvers import Solution, solve
from ._lasso import lasso_fits
from ._last_fit import refit
from .losses._nonquadratic_problem import NonquadraticError, NonquadraticProblem
from .losses._quadratic import PenalizedError, PenaltyProblem
from .penalties._functions import Barrier, Bridge, Square
from .penalties._specs import SMOOTHING, GlobalFit
from .penalties._weights import LinearPenalty

# Strengths of the ridge path, in units of the mean eigenvalue of the Gram matrix; the strongest
# comes first, as the simplest.
PATH = np.logspace(4, -9, 53)
# Steps of the log strength that the one-standard-error rule tries.
STRENGTHENING = (0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
# A criterion below this is an exact fit: it has no scale to be relative to, and weaker penalties
# would only follow its rounding.
TINY = 1e-10
# A later candidate must beat an earlier, simpler one by this much, so that rounding cannot
# flip the choice.
PREFERENCE = 1e-6
# Of the barrier that keeps coefficients positive while learning, in units of the mean
# eigenvalue of the Gram matrix.
STIFFNESS = 1e6


@dataclass(frozen=True)
class Learned:
    """What one search found on its folds.

    Attributes
    ----------
    hyper : Tensor of shape (1, n_hyper)
    params : Tensor of shape (1, n_folds, n_targets, n_features)
        Solution of the lower level there.
    problem : PenaltyProblem
    criterion, initial_criterion : float
        Held-out error there, and of the best fit with one strength for all.
    solution : Solution
        Of a single candidate.
    """

    hyper: torch.Tensor
    params: torch.Tensor
    problem: PenaltyProblem
    criterion: float
    initial_criterion: float
    solution: Solution

    @property
    def log_weights(self):
        """Mean over the folds, shape (n_features,).

        A feature is penalized little only if it looks important without any fold. (The
        weights of a pilot on all rows predict worse: a column with entries in few rows looks
        important there and nowhere else.)
        """
        return self.problem.lower.penalty.log_weights(self.hyper)[0][0].mean(0)

    @property
    def history(self):
        return _reported(self.solution.history, self.initial_criterion)

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
        # In the unit of `tol`: beside the best global fit's error.
        return float(values[0]) / max(self.initial_criterion, TINY)


def _reported(history, ceiling):
    """A run's history in the unit of `tol`; its start also knows the best global fit's error."""
    history = history.candidate(0).in_units(1 / max(ceiling, TINY))
    return replace(history, start={**history.start, "baseline": np.asarray(ceiling)})


class PenaltySearch:
    """One search on one design.

    Parameters
    ----------
    design : GramDesign or RowDesign
    family : LinearFamily or AdaptiveFamily
        What is learned.
    upper : HeldOutError or HuberError
    """

    def __init__(self, design, family, upper):
        self.design = design
        self.family = family
        self.upper = upper
        self.smoothing = 0.0  # known with the path

    def best(
        self,
        solver,
        *,
        max_iter,
        tol,
        standard_errors=0.0,
        shrinkage=0.0,
        watch=None,
        start=None,
        only=False,
    ):
        """Learn on the folds.

        Parameters
        ----------
        solver : str or Solver
        max_iter, tol
            As for `solve`; `tol` beside the best global fit's error.
        standard_errors, shrinkage : float
        watch : Watch or None
            Gets a `Learned` as what was found so far.
        start : ndarray of shape (n_hyper,) or None
            A further point to start from, before the family's own.
        only : bool
            Whether to start there alone.

        Returns
        -------
        learned : Learned
        """
        problem, common, starts = self._prepare()
        # Right after the path, which has the factors for it.
        ceiling = float(problem.criterion(common)[0])
        if start is not None:
            given = self.tensor(start)[None]
            starts = given if only else torch.cat([given, starts])
        starts = self._best_start(problem, starts)
        bilevel = self._bilevel(problem, starts, shrinkage, ceiling)

        def conclude(solution):
            hyper, params = solution.hyper, solution.params
            if not float(solution.criterion[0]) < ceiling * (1 - PREFERENCE):
                hyper, params = common, problem.solve_lower(common, params)
            # Two folds have no standard error to speak of.
            if self._strengthens and standard_errors > 0 and self.design.train.n_folds > 2:
                strengths = self.family.strengths
                hyper, params = _strengthen(
                    bilevel, self.upper, strengths, hyper, params, ceiling, standard_errors
                )
            criterion = float(self.upper.value(hyper, params)[0])
            return Learned(hyper, params, problem, criterion, ceiling, solution)

        solution = solve(
            bilevel,
            solver,
            max_iter=max_iter if self.family.n_hyper else 0,
            tol=tol * max(ceiling, TINY),
            callback=watch and watch.through(conclude, lambda history: _reported(history, ceiling)),
        )
        return conclude(solution)

    def _best_start(self, problem, starts):
        """Following the best one does as well as following several."""
        if len(starts) == 1:
            return starts
        parts = [starts] if self.design.compares_at_once else starts[:, None]
        errors = np.concatenate([to_numpy(problem.criterion(part)) for part in parts])
        return starts[first_best(errors), None]

    def learn(self, solver, *, max_iter, tol, shrinkages):
        """The numbers learned from the common start, for each of some shrinkages.

        Returns
        -------
        hyper : ndarray of shape (n_shrinkages, n_hyper)
        """
        problem, common, _ = self._prepare()
        ceiling = float(problem.criterion(common)[0])
        bilevel = self._bilevel(problem, common.repeat(len(shrinkages), 1), shrinkages, ceiling)
        max_iter = max_iter if self.family.n_hyper else 0
        return to_numpy(
            solve(bilevel, solver, max_iter=max_iter, tol=tol * max(ceiling, TINY)).hyper
        )

    def error(self, hyper):
        """Held-out error at each of some learned numbers, shape (n_candidates,)."""
        problem, _, _ = self._prepare()
        return to_numpy(problem.criterion(self.tensor(hyper)))

    def tensor(self, array):
        return to_tensor(array, self.design.device)

    @property
    def _strengthens(self):
        return self.family.kind == "adaptive"

    def _prepare(self):
        """The problem's two levels, the best global fit and the points to start from."""
        train = self.design.train
        plain = self.family.is_square and self.family.n_hyper == 0
        path = None if plain else self.design.path()
        fit = self._global_fit(path)
        penalty = self.family.penalty(path, train.n_folds, self.tensor)
        points = self.family.initial(fit, self.design.n_more_starts)
        common, starts = (self.tensor(point) for point in points)
        if path is None:
            params = train.zeros()[None]
            params = self._problem(train, penalty).solve_lower(common, params)
            self.upper = self.upper.calibrated(params)
        return self._problem(train, penalty), common, starts

    def _problem(self, loss, penalty):
        positive = self.family.features.positive
        if self.family.is_square and not positive:
            return PenaltyProblem(PenalizedError(loss, penalty), self.upper)
        function = Square() if self.family.is_square else Bridge(self.smoothing)
        barrier = Barrier(STIFFNESS * self.design.units.strength if positive else 0.0)
        return NonquadraticProblem(NonquadraticError(loss, penalty, function, barrier), self.upper)

    def _global_fit(self, path):
        """The best of the ridge path and, where coefficients may be zero, of the lasso's."""
        if path is None:
            return GlobalFit(0.0)
        low, high = self.family.features.log_bounds
        grid = self.tensor(np.log(PATH * self.design.units.strength).clip(low, high))
        surveyed = path.compared(grid)
        self.upper = self.upper.calibrated(surveyed)
        best = first_best(to_numpy(self.upper.value(grid[:, None], surveyed)))
        ridge = float(grid[best])
        if self.family.is_square:
            return GlobalFit(ridge)
        # The scale of coefficients: what is far below it counts as zero while learning.
        coefficients, _ = path.coefficients(grid[best, None])
        size = float(coefficients.square().mean().sqrt())
        self.smoothing = SMOOTHING[self.family.kind] * max(size, TINY)
        train, features = self.design.train, self.family.features
        weights = np.ones(train.zeros().shape)
        strengths, params = lasso_fits(
            train,
            weights,
            lambda params: self.upper.by_fold(params).sum(1),
            positive=features.positive,
            device=self.design.device,
        )
        best = first_best(to_numpy(self.upper.value(self.tensor(strengths)[:, None], params)))
        size = params[best][params[best] != 0]
        typical = float(size.square().mean().sqrt()) if len(size) else np.nan
        return GlobalFit(ridge, float(np.clip(np.log(strengths[best]), low, high)), typical)

    def _bilevel(self, problem, starts, shrinkage, ceiling):
        """The problem to solve; `ceiling` is the criterion of the best global fit."""
        shrinkage = np.broadcast_to(shrinkage, len(starts))
        if self.family.n_deviations and shrinkage.any():
            strength = self.tensor(shrinkage * max(ceiling, TINY))
            problem = problem.with_prior(self.tensor(self.family.prior()), strength)
        low, high = self.tensor(self.family.bounds()).unbind(1)
        return problem.problem(starts, low, high)

    def refit(self, learned, log_weights, *, exact_zeros):
        """Coefficients and weights on all rows, in the units of the data.

        Returns
        -------
        fitted : dict
            ``coef`` (n_targets, n_features), ``intercept`` (n_targets,), ``alpha`` and
            ``power`` (n_features,).
        """
        power = self.family.power(to_numpy(learned.hyper[0]))
        nothing = log_weights.new_zeros(0, len(log_weights))
        penalty = LinearPenalty(nothing, log_weights, 1)
        if not self.family.is_square:
            penalty = replace(penalty, power_basis=nothing, fixed_power=self.tensor(power))
        loss, raw = self.design.all_rows()
        coefficients = refit(
            self._problem(loss, penalty),
            learned,
            exact_zeros=exact_zeros,
            is_lasso=self.family.kind == "l1",
            positive=self.family.features.positive,
        )
        coef, intercept = raw(coefficients)
        unit = (2 - power) * self.family.features.log_target_scale
        return {
            "coef": coef,
            "intercept": intercept,
            "alpha": self._of_all(np.exp(to_numpy(log_weights) + unit), 0.0),
            "power": self._of_all(power, 2.0),
        }

    def _of_all(self, values, otherwise):
        """A number for every feature, from those of the penalized."""
        found = np.full(len(self.design.units.penalized), otherwise)
        found[self.design.units.penalized] = values
        return found


def _strengthen(problem, upper, strengths, hyper, params, ceiling, standard_errors):
    """The strongest penalty that the folds cannot tell from the best one.

    The one-standard-error rule, on the log strengths: steps up while the mean increase of the
    held-out error stays below so many standard errors of that increase over the folds, and
    the error below that of the best global fit.
    """
    params = problem.solve_lower(hyper, params)
    chosen, best = (hyper, params), upper.by_fold(params)[0]
    n_folds = len(best)
    for step in STRENGTHENING:
        stronger = hyper.clone()
        stronger[:, strengths] += step
        stronger = problem.project_hyper(stronger)
        params = problem.solve_lower(stronger, params)
        increase = n_folds * (upper.by_fold(params)[0] - best)
        allowed = standard_errors * float(increase.std(correction=1)) / n_folds**0.5
        raised = float(upper.value(stronger, params)[0])
        if float(increase.mean()) > allowed or raised > ceiling:
            break
        chosen = stronger, params
    return chosen


def first_best(values):
    """Index of the lowest value, an earlier one unless a later beats it clearly."""
    best = 0
    values = np.maximum(values, TINY)
    for index, value in enumerate(values):
        if value < values[best] - PREFERENCE * abs(values[best]) or not np.isfinite(values[best]):
            best = index
    return best
