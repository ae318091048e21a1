"""Learning a penalty on one design: initial points, run, choice, and the fit of all rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from ..linalg._tensors import to_numpy, to_tensor, to_tensors
from ..solvers import Solution, Status, solve
from ._average import Average, Point, first_best, with_best_strengths
from ._constants import (
    EXCLUSION,
    LASSO_FINAL,
    LEAST_SIZE,
    PREFERENCE,
    RESOLUTION,
    RIDGE_GRID,
    SMOOTHING,
    STIFFNESS,
    UNMOVED,
)
from ._lasso import (
    inverse_sizes,
    lasso_fits,
    sparse_coefficients,
    sparsest_exact,
    weighted_lasso,
)
from .losses._nonquadratic_problem import NonquadraticError, NonquadraticProblem
from .losses._quadratic import PenalizedError, PenaltyProblem
from .penalties._functions import Absolute, Barrier, Square
from .penalties._specs import LinearPenalty


@dataclass(frozen=True)
class SearchResult:
    """What one search found on its folds."""

    baseline: float  # criterion of the best fit with one strength for all features
    initial: Average  # without learning; the best fit with one strength comes first
    learned: Average
    is_averaged: bool  # whether several fits may have a weight in these
    solution: Solution

    @property
    def history(self):
        return _reported(self.solution.history, self.baseline)

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
        # In the unit of `tol`: relative to the best global fit's error.
        return values / max(self.baseline, RESOLUTION)


def _reported(history, baseline):
    """A run's history in the unit of `tol`; its beginning also knows the baseline criterion."""
    history = history.with_hyper(lambda hyper: hyper[..., 0, :]).in_units(
        1 / max(baseline, RESOLUTION)
    )
    return replace(history, initial={**history.initial, "baseline": np.asarray(baseline)})


@dataclass(frozen=True)
class PenaltySearch:
    """One search on one design.

    The baseline is the criterion of the best fit with one strength for all features. Nothing that
    is learned is taken unless it is better.
    """

    design: Any  # GramDesign, SharedGramDesign or RowDesign
    spec: Any  # LinearSpec or AdaptiveSpec: what is learned
    upper: Any  # HeldOutError or a RowError

    def best(self, run, *, shrinkage=0.0, callback=None, known=None, like=None):
        """Learn on the folds by `RunOptions`; `callback` gets what was found so far.

        The spec's initial points, each at its best strength, are candidates, and so is what is
        learned. The run begins at the best of them and a `known` one, of shape (n_hyper,); after a
        search on other folds at what that one, `like`, has learned.
        """
        problem, common, points = self._prepare()
        base, is_exact = self._base(problem, common)
        candidates = [base] if is_exact else self._candidates(problem, base, points, like)
        standard_errors = 0.0 if is_exact or not self._averages() else run.standard_errors
        initial = self._average(candidates, base, standard_errors)
        begin = base if is_exact else self._begin(problem, candidates, known, like)
        bilevel = self._bilevel(problem, begin.hyper, shrinkage, base.criterion, begin.params)

        def conclude(solution):
            learned, enough = initial, base.criterion * (1 - PREFERENCE)
            is_new = not any(torch.equal(solution.hyper, point.hyper) for point in candidates)
            if is_new and (run.max_iter or known is not None):
                found = Point.of(problem, solution.hyper, solution.params)
                # A prior may prefer what fits worse.
                if found.criterion <= initial.best.criterion and found.criterion < enough:
                    learned = self._average([*candidates, found], base, standard_errors)
            return SearchResult(base.criterion, initial, learned, standard_errors > 0, solution)

        if callback is not None:
            callback = callback.mapped(conclude, lambda history: _reported(history, base.criterion))
        max_iter = run.max_iter if self.spec.n_hyper else 0
        solution = solve(
            bilevel,
            run.solver,
            max_iter=0 if is_exact else max_iter,
            tol=run.tol * max(base.criterion, RESOLUTION),
            callback=callback,
            verify=False,  # what `solve_lower` finds is exact
        )
        if is_exact and max_iter:
            solution = replace(solution, status=Status.EXACT)
        return conclude(solution)

    def _base(self, problem, common):
        """The best global fit, and whether it is exact to rounding."""
        # Right after the path, which has the factors for it.
        base = Point.of(problem, common, name="one strength")
        return base, base.criterion <= float(self._exact_below(base.params)[0])

    def _averages(self):
        """Whether fits are averaged, which takes folds enough to tell a standard error."""
        # A stiff barrier rounds by more than nearly exact fits differ, which would move weights.
        is_single = self.spec.kind != "adaptive" or self.spec.features.positive
        return self.design.train.n_folds > 2 and not is_single

    def _candidates(self, problem, base, points, like):
        """What needs no learning: the best global fit, and initial points at their best strengths.

        After a search on other folds, those that had a weight there, at the same strengths.
        """
        if torch.equal(points, base.hyper):
            return [base]
        if like is not None:
            used = [point for point in like.initial.used if point.name != base.name]
            if not used:
                return [base]
            points, names = torch.cat([p.hyper for p in used]), [point.name for point in used]
        else:
            names = self.spec.initial_names(len(points))
            column, bounds = self.spec.strengths.start, self._bounds()
            # With a barrier each point is a run of Newton's method, and weak penalties are stiff.
            n_steps = 0 if self.spec.features.positive else self.design.n_strength_steps
            errors = partial(self._errors, problem)
            points = with_best_strengths(errors, points, column, bounds, n_steps)
        return [base, *self._points(problem, points, names)]

    def _points(self, problem, hyper, names):
        """A `Point` at each row of `hyper`; some are solved at once."""
        zeros, found = problem.lower.loss.zeros(), []
        for some in hyper.split(self.design.n_at_once):
            found += problem.solve_lower(some, zeros.repeat(len(some), 1, 1, 1)).split(1)
        parts = zip(hyper.split(1), found, names, strict=True)
        return [Point.of(problem, *part) for part in parts]

    def _begin(self, problem, candidates, known, like):
        """The `Point` at which a run begins."""
        if like is not None:
            return Point.of(problem, like.learned.best.hyper)
        points = candidates[1:] or candidates
        if known is not None:
            hyper = self.tensor(known)[None].clamp(*self._bounds())
            points = [Point.of(problem, hyper), *points]
        return points[first_best([point.criterion for point in points])]

    def _average(self, points, base, standard_errors):
        floor = max(float(self._exact_below(base.params)[0]), PREFERENCE * base.criterion)
        return Average.of(points, standard_errors, floor, self.design.advantage)

    def _exact_below(self, params):
        return self.upper.exact(exact_below(params, self._variance))

    def _enough(self, params):
        """Criterion below which less would be no gain worth a word."""
        return self._exact_below(params)

    @cached_property
    def _variance(self):
        return self.tensor(self.design.units.variance)

    def _errors(self, problem, points):
        parts = points.split(self.design.n_at_once)
        return np.concatenate([to_numpy(problem.criterion(part)) for part in parts])

    def learn(self, solver, *, max_iter, tol, shrinkages):
        """Numbers learned from the common initial point, one row for each of some shrinkages."""
        problem, common, _ = self._prepare()
        base, is_exact = self._base(problem, common)
        max_iter = max_iter if self.spec.n_hyper and not is_exact else 0
        tol = tol * max(base.criterion, RESOLUTION)

        def learned(shrinkage):
            bilevel = self._bilevel(problem, common, shrinkage, base.criterion)
            found = solve(bilevel, solver, max_iter=max_iter, tol=tol, verify=False)
            return to_numpy(found.hyper)

        return np.concatenate([learned(shrinkage) for shrinkage in shrinkages])

    def error(self, hyper):
        """Held-out error at each of some learned numbers, shape (n_candidates,)."""
        problem, _, _ = self._prepare()
        return to_numpy(problem.criterion(self.tensor(hyper)))

    def tensor(self, array):
        return to_tensor(array, self.design.device)

    def _prepare(self):
        """The problem's two levels, the best global fit and the initial points of a run."""
        train, spec = self.design.train, self.spec
        if spec.is_square and spec.n_hyper == 0:
            upper, path, strength, smoothing = self.upper, None, 0.0, 0.0
        else:
            path = self.design.path()
            upper, strength, smoothing = self._global_fit(path)
        penalty = spec.penalty(path, train.n_folds, self.design.device)
        points = spec.initial(strength, self.design.n_initial)
        common, initial = to_tensors(self.design.device, *points)
        initial = initial.clamp(*self._bounds())
        problem = self._problem(train, penalty, upper, smoothing)
        if path is None:
            params = problem.solve_lower(common, train.zeros()[None])
            problem = replace(problem, upper=upper.calibrated(params, self._exact_below(params)))
        return problem, common, initial

    def _problem(self, loss, penalty, upper, smoothing):
        is_positive = self.spec.features.positive
        if self.spec.is_square and not is_positive:
            return PenaltyProblem(PenalizedError(loss, penalty), upper)
        function = Square() if self.spec.is_square else Absolute(smoothing)
        barrier = Barrier(STIFFNESS * self.design.units.strength if is_positive else 0.0)
        return NonquadraticProblem(NonquadraticError(loss, penalty, function, barrier), upper)

    def _global_fit(self, path):
        """The calibrated upper level, the best global log strength, and the smoothing at its scale.

        The strength is the best of the ridge path, or of the lasso's.
        """
        spec, train = self.spec, self.design.train
        low, high = spec.features.log_bounds
        grid = self.tensor(np.log(RIDGE_GRID * self.design.units.strength).clip(low, high))
        coarse = path.compared(grid)
        exact = self._exact_below(coarse)
        upper = self.upper.calibrated(coarse, exact)
        errors = upper.value(grid[:, None], coarse)
        best = best_strength(*(to_numpy(one) for one in (errors, exact, path.rounding(grid))))
        if spec.is_square:
            return upper, float(grid[best]), 0.0
        # The scale of coefficients: what is far below it counts as zero while learning.
        coefficients, _ = path.coefficients(grid[best, None])
        size = float(coefficients.square().mean().sqrt())
        smoothing = SMOOTHING * max(size, LEAST_SIZE)
        sizes = np.sqrt(self.design.units.variance)
        strengths, params = lasso_fits(
            train,
            np.ones(train.zeros().shape),
            lambda params: upper.by_fold(params).sum(1),
            spread=sizes.max() / sizes.min() if len(sizes) else 1.0,
            positive=spec.features.positive,
            device=self.design.device,
        )
        best = first_best(to_numpy(upper.value(self.tensor(strengths)[:, None], params)))
        return upper, float(np.clip(np.log(strengths[best]), low, high)), smoothing

    def _prior_unit(self, baseline):
        """What a shrinkage of 1 is, given the criterion of the best global fit."""
        return max(baseline, RESOLUTION)

    def _bilevel(self, problem, initial, shrinkage, baseline, params=None):
        """The problem from a point (and `params` solved there), with the prior of a shrinkage."""
        if self.spec.n_deviations and shrinkage:
            strength = self.tensor(np.array([shrinkage * self._prior_unit(baseline)]))
            problem = problem.with_prior(self.tensor(self.spec.prior()), strength)
        return problem.problem(initial, *self._bounds(), params)

    def _bounds(self):
        return self.tensor(self.spec.bounds()).unbind(1)

    def refit(self, point, log_weights):
        """Params (n_targets, n_features) of all rows, with given weights."""
        final = self._final(point.problem, log_weights)
        loss, nothing = final.lower.loss, point.hyper[:, :0]
        is_positive = self.spec.features.positive
        if not self.spec.is_square:
            weights = to_numpy(final.lower.weights(nothing).alpha[0])
            weights = np.repeat(weights, loss.zeros().shape[1], axis=0)
            coef = weighted_lasso(loss, 0, weights, np.ones(1), positive=is_positive, **LASSO_FINAL)
            return self.tensor(coef[0])
        solved = final.solve_lower(nothing, loss.zeros()[None])
        return (_without_negative(final, nothing, solved) if is_positive else solved)[0, 0]

    def mean_refit(self, points, shares):
        """The same for a weighted mean of fits; `shares` sum to 1."""
        loss, _ = self._all_rows
        mean = 0.0
        n_parts = -(-len(points) // self.design.n_at_once)
        for some in np.array_split(np.arange(len(points)), n_parts):
            log_weights = torch.stack([points[k].log_weights for k in some])
            final = self._final(points[0].problem, log_weights)
            nothing = log_weights.new_zeros(len(some), 0)
            solved = final.solve_lower(nothing, loss.zeros().repeat(len(some), 1, 1, 1))
            share = self.tensor(np.take(shares, some))[:, None, None, None]
            mean = mean + (share * solved).sum(0)[0]
        return mean

    def sparse_refit(self, average, params):
        """Params of all rows with zeros: an adaptive lasso, given an `Average` and its refit."""
        loss, is_positive = self._all_rows[0], self.spec.features.positive
        stretch = self.design.units.stretch
        weights = inverse_sizes(params, stretch)
        mean_square = exact_below(average.params, self._variance)[0]
        if average.criterion <= float(self.upper.exact(mean_square)):
            coef = sparsest_exact(loss, weights, float(mean_square), positive=is_positive)
            if coef is not None:
                return self.tensor(coef)
        options = {"stretch": stretch, "positive": is_positive, "device": self.design.device}
        coef = sparse_coefficients(average, loss, weights, **options)
        return self.tensor(coef)

    def in_raw_units(self, params):
        """Coefficients (n_targets, n_features) and intercepts, in units of the data."""
        return self._all_rows[1](params)

    def _final(self, problem, log_weights):
        """The problem of all rows with given weights, of shape ([n_candidates,] n_features)."""
        nothing = log_weights.new_zeros(0, log_weights.shape[-1])
        penalty = LinearPenalty(nothing, log_weights, 1)
        return replace(
            problem, lower=replace(problem.lower, loss=self._all_rows[0], penalty=penalty)
        )

    @cached_property
    def _all_rows(self):
        return self.design.all_rows()

    def alpha(self, log_weights):
        """Strengths in units of the data, shape (n_features,), NaN for constant columns."""
        unit = 0.0 if self.spec.is_square else self.spec.features.log_target_scale
        units = self.design.units
        alpha = np.where(units.unpenalized, 0.0, np.nan)
        alpha[units.penalized] = np.exp(to_numpy(log_weights) + unit) * self.spec.features.factor
        return alpha


def _without_negative(final, hyper, solved):
    """Zero where the barrier holds a coefficient, the others solved for."""
    if not solved.numel():  # nothing is penalized
        return solved
    free = solved > 0
    weights = final.lower.majorizer(hyper, solved.clamp_min(0))
    excluded = EXCLUSION * (1 + weights.max())
    metric = final.lower.loss.metric(weights.where(free, excluded))
    coef = metric.minimizer(final.lower.loss, solved)
    return coef.clamp_min(0) * free


def exact_below(params, variance):
    """Held-out error, in units of the variance of y, below which a fit is exact to rounding.

    A Gram matrix gives the error as ``y'y - 2 b'w + w'Gw`` for each unit of weight. Each term is
    rounded to `eps` of itself (the sums are formed block by block, so that more rows hardly add
    to that); roundings of single products are independent, so that those of ``w'Gw`` add up to
    ``eps * sum_j w_j^2 G_jj``. That is one for columns that do not correlate, and large where
    coefficients of opposite signs cancel, that is, for ill-conditioned columns. An error must be
    `1 / PREFERENCE` times its own rounding before anything is chosen or searched by it. Rows in
    float32 are rounded themselves, which adds about ``1e-14 * (1 + w'w)``: far less.

    `params` are in scaled units, in which targets have variance 1; `variance` is that of the
    scaled columns. One for each candidate.
    """
    size = (params.square() * variance).sum(-1).mean((1, 2))
    return RESOLUTION * (1 + size)


def best_strength(errors, floor, rounding):
    """Index of the best of descending strengths.

    Where it is exact, the weaker ones that are too are as good by their errors, and shrink less:
    it is then the last of these that rounding does not move. `rounding` is how far it may move
    the coefficients of each, NaN if not known.
    """
    # What rounding moves by more than the margin of a choice cannot be chosen.
    best = first_best(errors, np.where(rounding > PREFERENCE, np.inf, floor))
    weaker = (errors <= floor) & (rounding <= UNMOVED)
    while errors[best] <= floor[best] and best + 1 < len(errors) and weaker[best + 1]:
        best += 1
    return best
