"""An objective of hyper and params in the forms that users gave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ._objective import Objective, tensor_of
from ._structure import Structure


@dataclass(frozen=True)
class StructuredObjective(Objective):
    """A function of nestings of tensors and modules as one of two tensors."""

    function: Callable[[Any, Any], torch.Tensor]
    hyper: Structure
    params: Structure

    @property
    def forms(self):
        """Of hyper and params; None for a lone tensor."""
        return tuple(None if one.is_tensor else one for one in (self.hyper, self.params))

    def value(self, hyper, params):
        # Losses tell trainable parameters by `requires_grad`, also where nobody differentiates.
        asked = torch.is_grad_enabled() and (hyper.requires_grad or params.requires_grad)
        with (
            torch.set_grad_enabled(asked),
            self.hyper.bound(hyper) as of_hyper,
            self.params.bound(params) as of_params,
        ):
            return tensor_of(self.function, self.function(of_hyper, of_params))
