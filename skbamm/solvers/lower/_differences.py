"""Curvature products of objectives that have none, by differences of their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from .._steps import eps_of, norm_of


@dataclass(frozen=True)
class _Differenced:
    """An objective whose curvature products are differences of its gradients."""

    objective: Any

    def __getattr__(self, name):
        return getattr(self.objective, name)

    def point(self, hyper, params):
        from ...problems import Point

        return Point(self, hyper, params)

    def curvature_products(self, hyper, params, vector):
        length = norm_of(vector)
        if length == 0:
            return _Products(params * 0, hyper * 0)
        step = eps_of(params) ** (1 / 3) * max(norm_of(params), 1.0) / length
        ahead = self.objective.gradients(hyper, params + step * vector)
        behind = self.objective.gradients(hyper, params - step * vector)
        return _Products(
            (ahead.params - behind.params) / (2 * step), (ahead.hyper - behind.hyper) / (2 * step)
        )

    def hessian_product(self, hyper, params, vector):
        return self.curvature_products(hyper, params, vector).hessian

    def mixed_product(self, hyper, params, vector):
        return self.curvature_products(hyper, params, vector).mixed


class _Products(NamedTuple):
    hessian: Any
    mixed: Any


def with_products(objective):
    """The objective, with curvature products also where it has none of its own."""
    return objective if objective.twice_differentiable else _Differenced(objective)
