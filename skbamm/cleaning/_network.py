"""Networks of hidden layers in the place of linear scores, all candidates and folds at once.

`params` has shape (n_candidates, n_folds, 1, n_params): the matrices of the layers one after the
other, each of shape (n_outputs, n_inputs + 1), the last column being the intercepts. Derivatives
are written out, as those of linear scores are: two products with the rows each.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from ..linalg._softmax import MAX_BLOCK, LabelledRows, weighted_squares
from ._network_fit import KroneckerMetric, join_layers, minimize_by_newton, minimize_near

# Distance to a minimum, where the Gauss-Newton matrix is about the identity, at which fits end:
# half its square is what the loss could still fall by. Networks have flat valleys, which take long.
NEAR = 1e-2
# Rows times params up to which they are solved as well as asked, by Newton steps: equal problems
# (weights written as repeated rows) get equal answers there.
SMALL = 2e4


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of hidden layers, none for a linear model; and the seed of the weights to start from.

    These are normal, with the variances of Glorot and Bengio (AISTATS 2010).
    """

    hidden_sizes: tuple = ()
    seed: int = 0

    def __call__(self, rows, standardizer):
        """Rows whose scores come through these layers, from columns of a `Standardizer`."""
        if not self.hidden_sizes:
            return rows
        generator = torch.Generator().manual_seed(self.seed)
        sizes = [len(standardizer.scale), *self.hidden_sizes, rows.n_scores]
        layers = [
            torch.randn(n_outputs, n_inputs, generator=generator, dtype=torch.float64)
            * math.sqrt(2 / (n_inputs + n_outputs))
            for n_inputs, n_outputs in pairwise(sizes)
        ]
        # Drawn for the columns themselves: signs of rotated ones are arbitrary.
        layers[0] = torch.from_numpy(standardizer.project(layers[0].numpy()))
        return NetworkRows(rows, [layer.to(rows.indicator) for layer in layers])


class NetworkRows(LabelledRows):
    """`LabelledRows` whose scores come from a network of tanh units.

    Parameters
    ----------
    rows : LabelledRows
    layers : list of Tensor of shape (n_outputs, n_inputs)
        Weights that fits start from, without intercepts.
    """

    is_linear = False

    def __init__(self, rows, layers):
        self.__dict__.update(copy.copy(rows).__dict__)
        self._latest = (None, None)
        self._latest_ahead: tuple[Any, Any, Any] = (None, None, None)
        self.start = [torch.nn.functional.pad(layer, (0, 1)) for layer in layers]
        self.shapes = [tuple(layer.shape) for layer in self.start]

    @property
    def n_params(self):
        return sum(math.prod(shape) for shape in self.shapes)

    def initial(self, n_candidates, n_folds):
        start = torch.cat([layer.flatten() for layer in self.start])
        return start.expand(n_candidates, n_folds, 1, -1).clone()

    def weigh_inputs(self, layer):
        """The first layer's products with the columns of the design."""
        return super().scores(layer)

    def weigh_inputs_adjoint(self, columns):
        return super().adjoint(columns)

    def input_moments(self, weights):
        """Eigenvalues and eigenvectors (None for the columns themselves) of weighted moments."""
        if self.is_dense or self.is_blocked or self.design.shape[1] > MAX_BLOCK:
            return self.column_squares(weights), None
        return torch.linalg.eigh(weighted_squares(self, weights))

    def layers(self, params):
        """The matrices of the layers, each (n_candidates, n_folds, n_outputs, n_inputs + 1)."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = params[:, :, 0].split(sizes, dim=-1)
        return [
            part.reshape(*part.shape[:2], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def split(self, params):
        layers = self.layers(torch.from_numpy(params)[None, None])
        return [layer[0, 0].numpy() for layer in layers]

    def merged(self, params):
        """One fit to start from; networks have no mean."""
        return params[:, :1]

    def penalized(self):
        parts = []
        for shape in self.shapes:
            mask = self.indicator.new_ones(shape)
            mask[:, -1] = 0.0
            parts.append(mask.flatten())
        return torch.cat(parts)

    def scores(self, params):
        return self._activations(params)[1]

    def forward(self, params):
        return self.state(params)[1]

    def state(self, params):
        """Outputs of the hidden layers, and scores; the last answer is kept."""
        if self._latest[0] is not params:
            self._latest = (params, self._activations(params))
        return self._latest[1]

    def _activations(self, params):
        first, *others = self.layers(params)
        moved, hidden = self.weigh_inputs(first), []
        for layer in others:
            hidden.append(moved.tanh_())
            moved = _apply(layer, hidden[-1])
        return hidden, moved

    def push(self, params, vector):
        return self._ahead(params, vector)[1]

    def _ahead(self, params, vector):
        """Derivatives along a vector of hidden outputs and scores; the last answer is kept."""
        if self._latest_ahead[0] is not params or self._latest_ahead[1] is not vector:
            hidden, _ = self.state(params)
            layers, along = self.layers(params), self.layers(vector)
            moved, ahead = self.weigh_inputs(along[0]), []
            for layer, change, output in zip(layers[1:], along[1:], hidden, strict=True):
                ahead.append(moved * (1 - output.square()))
                moved = layer[..., :-1] @ ahead[-1] + _apply(change, output)
            self._latest_ahead = (params, vector, (ahead, moved))
        return self._latest_ahead[2]

    def pull(self, params, columns):
        hidden, _ = self.state(params)
        layers, parts = self.layers(params), []
        for layer, output in zip(layers[:0:-1], hidden[::-1], strict=True):
            parts.append(_outer(columns, output))
            columns = (layer[..., :-1].mT @ columns) * (1 - output.square())
        parts.append(self.weigh_inputs_adjoint(columns))
        return join_layers(parts[::-1])

    def pull_along(self, params, vector, slope, bend):
        hidden, _ = self.state(params)
        ahead, _ = self._ahead(params, vector)
        slope = slope()
        layers, along = self.layers(params), self.layers(vector)
        parts = []
        for layer, change, output, moved in zip(
            layers[:0:-1], along[:0:-1], hidden[::-1], ahead[::-1], strict=True
        ):
            parts.append(_outer(bend, output))
            parts[-1][..., :-1] += slope @ moved.mT
            through = layer[..., :-1].mT @ slope
            bend = layer[..., :-1].mT @ bend + change[..., :-1].mT @ slope
            steepness = 1 - output.square()
            bend = bend * steepness - 2 * through * output * moved
            slope = through * steepness
        parts.append(self.weigh_inputs_adjoint(bend))
        return join_layers(parts[::-1])

    def metric(self, weights, probabilities, ridge, params):
        return KroneckerMetric.build(self, weights, probabilities, ridge, params)

    def minimize(self, losses, ridge, start, *, tol, **options):
        params = minimize_near(self, losses, ridge, start, tol=max(tol, NEAR), **options)
        if tol < NEAR and self.n_rows * self.n_params <= SMALL:
            params = minimize_by_newton(self, losses, ridge, params, tol=tol)
        return params

    def altered(self, design, indicator):
        part = super().altered(design, indicator)
        part._latest_ahead = (None, None, None)
        return part


class LastLayer(NetworkRows):
    """The last layer of fitted networks, each fold having the inputs that its own network gives.

    Parameters
    ----------
    rows : NetworkRows
    params : Tensor of shape (1, n_folds, 1, n_params)
    """

    def __init__(self, rows, params):
        *held, last = rows.layers(params)
        super().__init__(rows, [last[0, 0, :, :-1]])
        inputs = rows.state(params)[0][-1][0]
        self.is_dense = True
        self.design = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
        self.held = held

    def last(self, params):
        """The last layer of params of whole networks."""
        return params[..., params.shape[-1] - self.n_params :]

    def whole(self, params):
        """Params of whole networks, their hidden layers being those that are held."""
        return torch.cat([join_layers(self.held), params], dim=-1)

    def subset(self, mask):
        return self.altered(self.design[..., mask], self.indicator[..., mask])

    def weigh_inputs(self, layer):
        return layer @ self.design

    def weigh_inputs_adjoint(self, columns):
        return columns @ self.design.mT

    def input_moments(self, weights):
        return torch.linalg.eigh((self.design * weights[..., None, :]) @ self.design.mT)

    def minimize(self, losses, ridge, start, **options):
        return minimize_near(self, losses, ridge, start, **options)


def _apply(layer, inputs):
    return layer[..., :-1] @ inputs + layer[..., -1:]


def _outer(columns, inputs):
    return torch.cat([columns @ inputs.mT, columns.sum(-1, keepdim=True)], dim=-1)
