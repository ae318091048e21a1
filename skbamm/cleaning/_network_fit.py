"""Fitting networks: a metric for their params, and minimisers.

What is minimised is described at `minimize_loss`, `rows` are `NetworkRows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..linalg._softmax import INTERCEPT_RIDGE, conjugate, sum_params

# Steps after which the minimiser's coordinates are made anew.
METRIC_STEPS = 20


def join_layers(parts):
    """Params from the parts of each layer, (n_candidates, n_folds, n_outputs, n_inputs + 1)."""
    return torch.cat([part.flatten(2) for part in parts], dim=-1)[:, :, None]


@dataclass(frozen=True)
class KroneckerMetric:
    """Inverse of the Gauss-Newton matrix, each layer's taken as a Kronecker product (K-FAC [1]_).

    Moments of the layer's inputs times moments of the gradients in its outputs, plus the ridge.
    Columns of a dense design are uncorrelated, so their moments are taken as diagonal.

    References
    ----------
    .. [1] J. Martens, R. Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate
           Curvature", ICML 2015, arXiv:1503.05671.
    """

    rows: Any
    inputs: list  # eigenvalues and eigenvectors of each layer's moments of inputs
    outputs: list  # the same of gradients
    ridge: torch.Tensor
    exact = False

    @classmethod
    def build(cls, rows, weights, probabilities, ridge, params):
        hidden, _ = rows.state(params)
        total = weights.sum(-1)[..., None, None].clamp_min(1e-300)
        size, axes = rows.input_moments(weights)
        inputs = [(size.clamp_min(0) / total[..., 0], axes)]
        for output in hidden:
            whole = torch.cat([output, torch.ones_like(output[..., :1, :])], dim=-2)
            inputs.append(_eigen((whole * weights[..., None, :]) @ whole.mT / total))
        moments = _gradient_moments(rows, params, weights, probabilities)
        return cls(rows, inputs, [_eigen(moment) for moment in moments], ridge)

    def solve(self, vector):
        ridge = self.ridge[:, None, None, None]
        parts = []
        for part, (size, axes), (slope, turns) in zip(
            self.rows.layers(vector), self.inputs, self.outputs, strict=True
        ):
            moved = turns.mT @ part if axes is None else turns.mT @ part @ axes
            moved = moved / (slope[..., None] * size[..., None, :] + ridge + INTERCEPT_RIDGE)
            parts.append(turns @ moved if axes is None else turns @ moved @ axes.mT)
        return join_layers(parts)


def _gradient_moments(rows, params, weights, probabilities):
    """Moments of gradients in the outputs of layers, were labels drawn from the predictions."""
    hidden, _ = rows.state(params)
    layers = rows.layers(params)
    moments = [0.0] * len(layers)
    root = weights.sqrt()[:, :, None]
    for k in range(rows.n_scores):
        # A column of a root of the cross-entropy's second derivative in the scores.
        chance = probabilities[..., k : k + 1, :]
        if rows.has_reference:
            columns = (chance * (1 - chance)).sqrt() * root
        else:
            columns = -probabilities * chance.sqrt() * root
            columns[..., k, :] += (chance.sqrt() * root)[..., 0, :]
        for index in range(len(layers) - 1, -1, -1):
            moments[index] = moments[index] + columns @ columns.mT
            if index:
                output = hidden[index - 1]
                columns = (layers[index][..., :-1].mT @ columns) * (1 - output.square())
    return moments


def _eigen(moments):
    values, vectors = torch.linalg.eigh(moments)
    return values.clamp_min(0), vectors


def minimize_near(rows, losses, ridge, params, *, tol, max_iter, metric=None):
    """A minimum of a function of the rows' cross-entropies plus ridge; see `minimize_loss`.

    Of the valley that the start leads to. Conjugate gradients in coordinates in which the
    Gauss-Newton matrix is near the identity, with the step that this matrix tells.
    """
    penalty = rows.penalty(ridge)
    loss, probabilities = rows.cross_entropy(rows.forward(params))
    value = losses.value(loss) + sum_params(penalty * params.square()) / 2
    direction = previous = None
    age = 0
    for _ in range(max_iter):
        weights = losses.slope(loss)
        if metric is None or age == METRIC_STEPS:
            metric, age = KroneckerMetric.build(rows, weights, probabilities, ridge, params), 0
            direction = None
        residual = probabilities - rows.indicator
        gradient = rows.pull(params, weights[:, :, None] * residual) + penalty * params
        steepest = metric.solve(gradient)
        decrement = sum_params(gradient * steepest)
        moving = decrement > tol**2
        if not bool(moving.any()):
            break
        direction = conjugate(gradient, steepest, decrement, direction, previous)
        slope = sum_params(gradient * direction)
        ahead = rows.push(params, direction)
        bend = (weights * rows.curvature_along(probabilities, ahead)).sum(2)
        bend = bend + sum_params(penalty * direction.square())
        step = (slope / bend.clamp_min(1e-300)).where(moving, bend * 0)[..., None, None]
        for _ in range(20):
            tried = params - step * direction
            loss, probabilities = rows.cross_entropy(rows.forward(tried))
            found = losses.value(loss) + sum_params(penalty * tried.square()) / 2
            risen = found > value * (1 + 1e-12)
            if not bool(risen.any()):
                break
            step = step.where(~risen[..., None, None], step / 2)
        params, value = tried, found
        previous, age = (gradient, decrement), age + 1
    return params


def minimize_by_newton(rows, losses, ridge, params, *, tol, max_iter=50):
    """The minimum of the valley that `params` are in, for few of them.

    Newton steps, along directions of negative curvature too; see `minimize_loss`.
    """
    penalty = rows.penalty(ridge)

    def at(params):
        loss, probabilities = rows.cross_entropy(rows.forward(params))
        value = losses.value(loss) + sum_params(penalty * params.square()) / 2
        return value, loss, probabilities

    value, loss, probabilities = at(params)
    for _ in range(max_iter):
        weights = losses.slope(loss)
        residual = probabilities - rows.indicator
        gradient = rows.pull(params, weights[:, :, None] * residual) + penalty * params
        hessian = _hessian(rows, losses, params, loss, probabilities)
        hessian = hessian + torch.diag_embed(penalty[:, :, 0])
        sizes, axes = torch.linalg.eigh(hessian)
        turned = (axes.mT @ gradient.mT) / sizes.abs().clamp_min(INTERCEPT_RIDGE)[..., None]
        direction = (axes @ turned).mT
        decrement = sum_params(gradient * direction)
        moving = decrement > tol**2
        if not bool(moving.any()):
            break
        step = moving.to(params)[..., None, None]
        for _ in range(40):
            tried = params - step * direction
            found, loss, probabilities = at(tried)
            risen = found > value * (1 + 1e-12)
            if not bool(risen.any()):
                break
            step = step.where(~risen[..., None, None], step / 2)
        params, value = tried, found
    return params


def _hessian(rows, losses, params, loss, probabilities):
    """Second derivatives without the ridge, (n_candidates, n_folds, n_params, n_params)."""
    n_candidates, n_folds, _, n_params = params.shape
    units = torch.eye(n_params, dtype=params.dtype, device=params.device)
    units = units[:, None, None].expand(-1, n_folds, -1, -1)
    weights, bend = losses.slope(loss), losses.bend(loss)
    residual = probabilities - rows.indicator
    found = []
    for c in range(n_candidates):
        # Unit vectors stand in for candidates.
        point = params[c].expand(n_params, -1, -1, -1)
        weight, left = weights[c, :, None], residual[c]
        ahead = rows.push(point, units)
        turn = weight * rows.curvature(probabilities[c], ahead)
        if bend is not None:
            turn = turn + bend[c, :, None] * (left * ahead).sum(-2, keepdim=True) * left
        slope = (weight * left).expand_as(turn)
        product = rows.pull_along(point, units, lambda slope=slope: slope, turn)
        found.append(product[:, :, 0].transpose(0, 1))
    return torch.stack(found)
