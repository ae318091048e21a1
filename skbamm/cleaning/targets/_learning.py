"""The numbers behind the weights, learned by bilevel optimization from the point that EM found.

Below are the ridge fits of all folds on weighted rows, above minus the mean log density of held-out
targets under the noise model of the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import logit

from ...linalg._tensors import as_tensor, memo_last, to_numpy, to_tensor
from ...problems._base import BilevelProblem, Objective
from ...solvers import solve
from ._constants import LEAST_WEIGHT, LOG_GROSS, MOST_RATE, REACH
from ._noise import Mixture, Student
from ._search import Fitted


@dataclass(frozen=True, eq=False)
class StudentNumbers:
    """Of errors with heavy tails."""

    names = ("log scale", "log degrees", "log ridge")

    @staticmethod
    def pack(model, ridge):
        return [0.5 * math.log(model.variance), math.log(model.degrees), math.log(ridge)]

    @staticmethod
    def unpack(hyper):
        log_scale, log_degrees, _ = hyper
        return Student(math.exp(2 * log_scale), math.exp(log_degrees))

    @staticmethod
    def log_density(hyper, residual, y, is_clean):
        log_scale, log_degrees, _ = hyper
        degrees = log_degrees.exp()
        scale = torch.lgamma((degrees + 1) / 2) - torch.lgamma(degrees / 2)
        scale = scale - 0.5 * (log_degrees + math.log(math.pi)) - log_scale
        square = (residual * (-log_scale).exp()) ** 2
        return scale - (degrees + 1) / 2 * torch.log1p(square / degrees)

    @staticmethod
    def label_weight(hyper, residual, y, is_clean):
        log_scale, log_degrees, _ = hyper
        found = 1 / (1 + residual**2 * (-2 * log_scale - log_degrees).exp())
        return torch.where(is_clean, torch.ones_like(found), found)


@dataclass(frozen=True, eq=False)
class MixtureNumbers:
    """Of a share of wrong targets; the shift is in units of the right ones' initial scale."""

    is_marginal: bool
    unit: float
    names = ("logit rate", "log scale", "shift", "log wrong scale", "log ridge")

    def pack(self, model, ridge):
        scales = [0.5 * math.log(variance) for variance in (model.variance, model.wrong_variance)]
        rate = float(logit(model.rate))
        return [rate, scales[0], model.shift / self.unit, scales[1], math.log(ridge)]

    def unpack(self, hyper):
        logit_rate, log_scale, shift, log_wrong_scale, _ = hyper
        scales = math.exp(2 * log_scale), math.exp(2 * log_wrong_scale)
        rate = 1 / (1 + math.exp(-logit_rate))
        return Mixture(rate, scales[0], shift * self.unit, scales[1], self.is_marginal)

    def _log_parts(self, hyper, residual, y):
        logit_rate, log_scale, shift, log_wrong_scale, _ = hyper
        value = (y if self.is_marginal else residual) - shift * self.unit
        right = _log_normal(residual, log_scale) + torch.nn.functional.logsigmoid(-logit_rate)
        near = _log_normal(value, log_wrong_scale)
        wrong = torch.logaddexp(near, torch.full_like(near, LOG_GROSS))
        return right, wrong + torch.nn.functional.logsigmoid(logit_rate)

    def log_density(self, hyper, residual, y, is_clean):
        right, wrong = self._log_parts(hyper, residual, y)
        known = _log_normal(residual, hyper[1])
        return torch.where(is_clean, known, torch.logaddexp(right, wrong))

    def label_weight(self, hyper, residual, y, is_clean):
        right, wrong = self._log_parts(hyper, residual, y)
        return torch.where(is_clean, torch.ones_like(right), torch.sigmoid(right - wrong))


def _log_normal(residual, log_scale):
    return -0.5 * (residual * (-log_scale).exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Tensors of the rows, sorted by fold."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    is_clean: torch.Tensor
    own: torch.Tensor  # (n_rows,), fold
    folds: list
    score: torch.Tensor  # residuals that the weights are a function of
    numbers: Any

    def label_weight(self, hyper):
        found = self.numbers.label_weight(hyper, self.score, self.y, self.is_clean)
        return self.weight * found.clamp_min(LEAST_WEIGHT)


@dataclass(frozen=True, eq=False)
class TrainingLoss(Objective):
    """Half the weighted mean squares of each fold's training rows, plus ridge; sums over folds."""

    rows: _Rows

    def value(self, hyper, params):
        gram, moment = self._cross_products(hyper)
        quadratic = (params * (gram @ params[:, :, None])[:, :, 0]).sum() / 2
        penalty = hyper[-1].exp() * (params[:, :-1] ** 2).sum() / 2
        return quadratic - (moment * params).sum() + penalty

    def _cross_products(self, hyper):
        weight = self.rows.label_weight(hyper)
        X, y = self.rows.X, self.rows.y
        gram = torch.stack([X[own].T @ (weight[own, None] * X[own]) for own in self.rows.folds])
        moment = torch.stack([X[own].T @ (weight[own] * y[own]) for own in self.rows.folds])
        gram, moment = gram.sum(0) - gram, moment.sum(0) - moment
        total = gram[:, -1:, -1:]
        return gram / total, moment / total[:, 0]

    @memo_last()
    def system(self, hyper):
        """Hessians' factors and right-hand sides."""
        gram, moment = self._cross_products(hyper)
        penalty = hyper[-1].exp().expand(gram.shape[-1]).clone()
        penalty[-1] = 0.0
        return torch.linalg.cholesky(gram + torch.diag(penalty)), moment

    def minimize(self, hyper, params=None):
        factor, moment = self.system(hyper)
        return torch.cholesky_solve(moment[:, :, None], factor)[:, :, 0]

    def metric(self, hyper, params, averaging):
        factor = self.system(hyper)[0] * math.sqrt(1 - averaging)
        return _InverseHessian(factor, averaging == 0)


@dataclass(frozen=True, eq=False)
class _InverseHessian:
    factor: torch.Tensor
    exact: bool

    def solve(self, vector):
        return torch.cholesky_solve(vector[:, :, None], self.factor)[:, :, 0]


@dataclass(frozen=True, eq=False)
class HeldOutLoss(Objective):
    """Minus the mean log density of targets, each by the fit that has not seen it."""

    rows: _Rows

    def value(self, hyper, params):
        rows = self.rows
        residual = rows.y - (rows.X * params[rows.own]).sum(1)
        found = rows.numbers.log_density(hyper, residual, rows.y, rows.is_clean)
        return -(rows.weight @ found) / rows.weight.sum()


def problem_of(ridge, rows, fitted, device=None):
    """The `BilevelProblem` that begins at a `Fitted` model, and its numbers."""
    model = fitted.noise
    if isinstance(model, Mixture):
        numbers: Any = MixtureNumbers(model.is_marginal, model.variance**0.5)
    else:
        numbers = StudentNumbers()
    initial = to_tensor(np.array(numbers.pack(model, fitted.ridge)), device)
    upper_bound = initial + REACH
    if isinstance(model, Mixture):
        upper_bound[0] = min(float(upper_bound[0]), logit(MOST_RATE))
    X, y, weight, score = (
        to_tensor(array, device) for array in (ridge.X, ridge.y, ridge.weight, fitted.residual)
    )
    label = np.repeat(np.arange(len(ridge.folds)), np.diff(ridge.bounds))
    own = as_tensor(label, initial.device)
    is_clean = as_tensor(rows.is_clean.copy(), initial.device)
    stacked = _Rows(X, y, weight, is_clean, own, ridge.folds, score, numbers)
    lower = TrainingLoss(stacked)
    problem = BilevelProblem(
        upper=HeldOutLoss(stacked),
        lower=lower,
        initial_hyper=initial,
        initial_params=lower.minimize(initial),
        lower_bound=initial - REACH,
        upper_bound=upper_bound,
        strongly_convex=True,
        metric=lower.metric,
        solve_lower=lower.minimize,
    )
    return problem, numbers


def learn(ridge, rows, fitted, options, callback=None):
    """The solution of a run, and the function that makes a `Fitted` model of one."""
    problem, numbers = problem_of(ridge, rows, fitted, options.device)

    def conclude(solution):
        hyper = to_numpy(solution.hyper).tolist()
        model, strength = numbers.unpack(hyper), math.exp(hyper[-1])
        weight = model.label_weight(fitted.residual, rows)
        density = model.log_density(ridge.y - ridge.out_of_fold(weight, strength), rows)
        return Fitted(model, weight, strength, fitted.residual, density)

    limits = {"max_iter": options.max_iter, "tol": options.tol}
    solution = solve(
        problem,
        options.solver,
        **limits,
        callback=callback and callback(conclude, numbers.names),
        verify=False,
    )
    return solution, conclude, numbers.names
