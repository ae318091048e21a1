"""Softmax regressions of all folds whose coefficients have weighted absolute values as penalty."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from ._softmax import MAX_HALVINGS, TINY, sum_params

# Penalty that keeps a coefficient at zero, relative to the mean of the curvature's diagonal.
EXCLUDED = 1e9
# Added to the curvature that preconditions, relative to the mean of its diagonal.
DAMPING = 1e-6
# What conjugate gradients leave of a Newton step, relative to it (and where it
# only tells which coefficients leave zero), and how many of them at most.
LEFT, ROUGH, MAX_LINEAR = 0.03, 0.3, 60
# How often coefficients that would leave zero in the wrong direction are held there.
MAX_ROUNDS = 10
# Last steps at most.
MAX_POLISHING = 20
# Of a predicted decrease that a step must reach, and what counts as none by rounding.
ARMIJO, ROUNDING = 1e-4, 1e-14


def minimize_sparse(objective, weights, params, curvature, *, tol, max_iter, polish=False):
    """Minimisers of a `CrossEntropy` plus ``sum weights * |params|``.

    With more than two classes, adding a number to a column's coefficients of all classes changes
    the penalty alone: such moves are medians, and steps do without them.

    Newton steps on the coefficients that are not held at zero, projected on the orthant of their
    signs (Andrew and Gao, "Scalable training of L1-regularized log-linear models", 2007; Schmidt,
    "Graphical model structure learning with l1-regularization", 2010, on such steps). Shapes are
    those of `minimize`, `weights` broadcast to params; `curvature` is that of a point nearby. `tol`
    is on the distance to the minimiser in units in which the Hessian is about the identity; with
    `polish` to working precision.
    """
    curvature = replace(curvature, centred=False)
    diagonal = curvature.blocks
    if diagonal.ndim == 3:
        diagonal = diagonal.diagonal(dim1=-2, dim2=-1)
    excluded, damping = EXCLUDED * diagonal.mean(), DAMPING * diagonal.mean()
    ridge = objective.penalty + damping

    def values(params):
        fold_values = objective.fold_values(params, objective.rows.evaluated(params)[0])
        return fold_values + sum_params(weights * params.abs())

    value = values(params)
    for _ in range(max_iter):
        gradient = pseudo_gradient(objective.gradient(params), weights, params)
        orthant = torch.where(params != 0, params, -gradient).sign()
        free = (params != 0) | (gradient != 0)
        for _ in range(MAX_ROUNDS):
            metric = curvature.metric(ridge + excluded * ~free)
            system = _FreeSystem(objective, params, free, metric)
            direction = system.newton(gradient, ROUGH)
            # A coefficient that leaves zero does so down its own gradient, or not at all.
            wrong = free & (params == 0) & (direction * orthant >= 0)
            if not bool(wrong.any()):
                break
            free = free & ~wrong
        direction = system.newton(gradient, LEFT, direction * free) * free
        decrement = sum_params(gradient * direction)
        moving = decrement > tol**2
        if not moving.any():
            break
        search = values, params, direction, orthant, weights, value, moving, gradient
        params, found = _search(*search)
        if not objective.rows.has_reference:
            params = _balanced(params, weights)
            found = values(params)
        if not bool((found < value - ROUNDING * value.abs()).any()):
            break
        value = found
    return _polished(objective, weights, params, curvature, excluded) if polish else params


def _polished(objective, weights, params, curvature, excluded):
    """Newton steps that values are too coarse to compare: all coefficients keep their signs."""
    free, least = (params != 0) | (weights == 0), math.inf
    metric = curvature.metric(objective.penalty + excluded * ~free)
    for _ in range(MAX_POLISHING):
        gradient = pseudo_gradient(objective.gradient(params), weights, params) * free
        step = _FreeSystem(objective, params, free, metric).newton(gradient, LEFT)
        decrement = float((gradient * step).sum())
        arrived = params - step
        if not decrement < least or bool(((arrived.sign() != params.sign()) & (weights > 0)).any()):
            break
        params, least = arrived, decrement
    return params


def pseudo_gradient(gradient, weights, params):
    """The smallest subgradient of a gradient plus ``weights * |params|``."""
    at_zero = gradient.sign() * (gradient.abs() - weights).clamp_min(0)
    return torch.where(params != 0, gradient + weights * params.sign(), at_zero)


class _FreeSystem:
    """The Newton equation on the free coefficients of each fold."""

    def __init__(self, objective, params, free, metric):
        self.objective, self.params, self.free, self.metric = objective, params, free, metric
        # Where those of all classes are free, their mean has no curvature.
        self.centred = None if objective.rows.has_reference else free.all(-2, keepdim=True)

    def newton(self, gradient, accuracy, step=None):
        """About its solution, by conjugate gradients."""
        target = self._projected(gradient)
        enough = accuracy**2 * sum_params(target.square())
        left, step = target, torch.zeros_like(target) if step is None else self._projected(step)
        if bool(step.any()):
            product = self.objective.hessian_product(self.params, step)
            left = target - self._projected(product)
        direction = self._projected(self.metric.solve(left))
        slope = sum_params(left * direction)
        for _ in range(MAX_LINEAR):
            product = self._projected(self.objective.hessian_product(self.params, direction))
            length = _ratio(slope, sum_params(direction * product))
            step = step + length * direction
            left = left - length * product
            if bool((sum_params(left.square()) <= enough).all()):
                break
            steepest = self._projected(self.metric.solve(left))
            before, slope = slope, sum_params(left * steepest)
            direction = steepest + _ratio(slope, before) * direction
        return step

    def _projected(self, vector):
        vector = vector * self.free
        if self.centred is None:
            return vector
        return vector - vector.mean(-2, keepdim=True) * self.centred


def _ratio(numerator, denominator):
    """0 where the denominator is not positive; for a tensor of params."""
    found = numerator / denominator.clamp_min(TINY)
    return found.where(denominator > 0, torch.zeros_like(found))[:, None, None]


def _balanced(params, weights):
    """The same scores with the smallest penalty: each column less the median of its classes."""
    moved = params - params.median(-2, keepdim=True).values
    lower = moved.abs().sum(-2, keepdim=True) < (1 - ROUNDING) * params.abs().sum(-2, keepdim=True)
    return moved.where(lower & (weights > 0), params)


def _search(values, params, direction, orthant, weights, value, moving, gradient):
    """Params after the step, halved in each fold until its value falls, and the values there."""
    length = moving.to(value)
    for _ in range(MAX_HALVINGS):
        tried = params - length[:, None, None] * direction
        # What would change its sign stops at zero.
        tried = tried.where((tried * orthant > 0) | (weights == 0), 0 * tried)
        tried = tried.where(moving[:, None, None], params)
        found = values(tried)
        allowed = value - ARMIJO * sum_params(gradient * (params - tried))
        risen = moving & (found > allowed + ROUNDING * value.abs())
        if not bool(risen.any()):
            break
        length = length.where(~risen, length / 2)
    else:
        tried = tried.where(~risen[:, None, None], params)
        found = found.where(~risen, value)
    return tried, found
