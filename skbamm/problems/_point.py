"""An objective at a point: what was computed for one question answers the next ones too."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Any, NamedTuple

import torch

# Of the last points that a run remembers: both levels at the two that an iteration goes between.
N_REMEMBERED = 4


class Gradients(NamedTuple):
    """First derivatives of an objective.

    Attributes
    ----------
    hyper : Tensor
        In the upper-level variable.
    params : Tensor
        In the lower-level variable.
    """

    hyper: torch.Tensor
    params: torch.Tensor


class CurvatureProducts(NamedTuple):
    """Second derivatives of an objective times a vector of the shape of `params`.

    Attributes
    ----------
    hessian : Tensor
        (params, params) derivative times the vector, of the shape of `params`.
    mixed : Tensor
        (hyper, params) derivative times the vector, of the shape of `hyper`.
    """

    hessian: torch.Tensor
    mixed: torch.Tensor


class Once:
    """A property that is computed when it is first asked for: no lock, unlike `cached_property`."""

    def __init__(self, compute):
        self.compute = compute
        self.name = compute.__name__

    def __get__(self, owner, kind=None):
        if owner is None:
            return self
        value = vars(owner)[self.name] = self.compute(owner)
        return value


class Point:
    """An objective at a point, by the objective's own methods; `Objective.point` makes it.

    Parameters
    ----------
    objective : Objective
        Whose values and derivatives they are.
    hyper, params : Tensor
        The point.

    Attributes
    ----------
    value : Tensor
        As `Objective.value` returns it.
    gradients : Gradients
        In both.
    hyper_gradient, params_gradient : Tensor
        In one of them.
    """

    def __init__(self, objective: Any, hyper: torch.Tensor, params: torch.Tensor) -> None:
        self.objective = objective
        self.hyper = hyper
        self.params = params
        self._versions = _version(hyper), _version(params)

    def _is_as_it_was(self):
        """Whether its tensors were not changed in place since."""
        return self._versions == (_version(self.hyper), _version(self.params))

    @Once
    def value(self) -> torch.Tensor:
        return self.objective.value(self.hyper, self.params)

    @Once
    def gradients(self) -> Gradients:
        return self.objective.gradients(self.hyper, self.params)

    @Once
    def hyper_gradient(self) -> torch.Tensor:
        return self.gradients.hyper

    @Once
    def params_gradient(self) -> torch.Tensor:
        if "gradients" in vars(self):
            return self.gradients.params
        return self.objective.params_gradient(self.hyper, self.params)

    def prepare(self) -> None:
        """Before products are asked for."""

    def curvature_products(self, vector: torch.Tensor) -> CurvatureProducts:
        """Multiply by the Hessian and the mixed derivative.

        Parameters
        ----------
        vector : Tensor
            Of the shape of `params`.

        Returns
        -------
        products : CurvatureProducts
            Of the shapes of `params` and of `hyper`.
        """
        return self.objective.curvature_products(self.hyper, self.params, vector)

    def hessian_product(self, vector: torch.Tensor) -> torch.Tensor:
        """Multiply by the Hessian in `params` alone.

        Parameters
        ----------
        vector : Tensor
            Of the shape of `params`.

        Returns
        -------
        product : Tensor
            Of the shape of `params`.
        """
        return self.objective.hessian_product(self.hyper, self.params, vector)

    def mixed_product(self, vector: torch.Tensor) -> torch.Tensor:
        """Multiply by the mixed derivative alone.

        Parameters
        ----------
        vector : Tensor
            Of the shape of `params`.

        Returns
        -------
        product : Tensor
            Of the shape of `hyper`.
        """
        return self.objective.mixed_product(self.hyper, self.params, vector)


# What is then known of both gradients.
_PARTS = ("hyper_gradient", "params_gradient", "params_graph")


class AutogradPoint(Point):
    """The same by one evaluation of the value, whose graph is kept as long as the point is."""

    def prepare(self):
        """Make products cheap, where that is at hand: by the graph of the gradient in params."""
        return self.params_graph

    def share_leaves(self, other):
        """Stand on the same leaves as another point there, where neither has begun."""
        if "leaves" not in vars(self):
            self.leaves = other.leaves

    @Once
    def leaves(self):
        return tuple(tensor.detach().requires_grad_() for tensor in (self.hyper, self.params))

    @Once
    def graph(self):
        """The value with its graph."""
        with differentiating():
            return self.objective.value(*self.leaves)

    @Once
    def params_graph(self):
        """The gradient in params with its graph."""
        return derivatives(self.graph, self.leaves[1:], create_graph=True)[0]

    @Once
    def value(self):
        return self.graph.detach()

    @Once
    def gradients(self):
        if not vars(self).keys().isdisjoint(_PARTS):
            return Gradients(self.hyper_gradient, self.params_gradient)
        return Gradients(*derivatives(self.graph, self.leaves))

    @Once
    def hyper_gradient(self):
        if "gradients" in vars(self):
            return self.gradients.hyper
        return derivatives(self.graph, self.leaves[:1])[0]

    @Once
    def params_gradient(self):
        if "params_graph" in vars(self):
            return self.params_graph.detach()
        if "gradients" in vars(self):
            return self.gradients.params
        return derivatives(self.graph, self.leaves[1:])[0]

    def curvature_products(self, vector):
        mixed, hessian = self._products(self.leaves, vector)
        return CurvatureProducts(hessian, mixed)

    def hessian_product(self, vector):
        return self._products(self.leaves[1:], vector)[0]

    def mixed_product(self, vector):
        return self._products(self.leaves[:1], vector)[0]

    def _products(self, inputs, vector):
        return derivatives(self.params_graph, inputs, vector.detach())


def derivatives(output, inputs, vector=None, *, create_graph=False):
    """Derivatives that are zero, not missing, where the output does not depend on an input."""
    if not output.requires_grad:
        return tuple(torch.zeros_like(tensor) for tensor in inputs)
    if vector is None and output.numel() > 1:
        output = output.sum()
    found = torch.autograd.grad(
        output,
        inputs,
        vector,
        create_graph=create_graph,
        retain_graph=True,
        allow_unused=True,
    )
    for gradient in found:
        if gradient is None:
            pairs = zip(inputs, found, strict=True)
            return tuple(torch.zeros_like(t) if g is None else g for t, g in pairs)
    return found


class _Memory(threading.local):
    points: deque | None = None


_memory = _Memory()


@contextlib.contextmanager
def remembered_points():
    """Ask no objective twice about one of the last points, in this thread and block."""
    before, _memory.points = _memory.points, deque(maxlen=N_REMEMBERED)
    try:
        yield
    finally:
        _memory.points = before


def remembered(kind, objective, hyper, params):
    """The point of some kind, which may be one of the last ones."""
    points = _memory.points
    if points is None:
        return kind(objective, hyper, params)
    there = None  # of another objective
    for point in reversed(points):
        if point.params is params and point.hyper is hyper and point._is_as_it_was():
            if point.objective is objective:
                return point
            there = there or point
    found = kind(objective, hyper, params)
    if kind is AutogradPoint and isinstance(there, AutogradPoint):
        found.share_leaves(there)
    points.append(found)
    return found


def _version(tensor):
    # Tensors of inference mode count no changes: they are not to be changed.
    return None if tensor.is_inference() else tensor._version


def differentiating():
    """A context with autograd on, whatever the caller's modes are."""
    return _outside_inference() if torch.is_inference_mode_enabled() else torch.enable_grad()


@contextlib.contextmanager
def _outside_inference():
    with torch.inference_mode(False), torch.enable_grad():
        yield
