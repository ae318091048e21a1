"""An objective of hyper and params in the forms that users gave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ._objective import Objective, tensor_of
from ._random import SameNumbers
from ._structure import Structure, forms_of


@dataclass(frozen=True)
class StructuredObjective(Objective):
    """A function of nestings of tensors and modules as one of two tensors."""

    function: Callable[[Any, Any], torch.Tensor]
    hyper: Structure
    params: Structure
    # Of what modules draw (Dropout).
    seed: int = field(default_factory=torch.initial_seed, kw_only=True)
    _numbers: SameNumbers = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        draws = self.hyper.draws or self.params.draws
        object.__setattr__(self, "_numbers", SameNumbers(draws))

    @property
    def forms(self):
        return forms_of(self.hyper, self.params)

    def value(self, hyper, params):
        # Losses tell trainable parameters by `requires_grad`, also where nobody differentiates.
        asked = torch.is_grad_enabled() and (hyper.requires_grad or params.requires_grad)
        with (
            torch.set_grad_enabled(asked),
            self._numbers.again(self.seed, params.device),
            self.hyper.bound(hyper) as of_hyper,
            self.params.bound(params) as of_params,
        ):
            return tensor_of(self.function, self.function(of_hyper, of_params))
