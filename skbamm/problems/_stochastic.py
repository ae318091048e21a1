"""A bilevel problem whose objectives are means over batches of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

import torch

from ._base import BilevelProblem
from ._batches import Batch, Batches, batches_of
from ._objective import Objective, tensor_of
from ._point import CurvatureProducts, Gradients, derivatives
from ._random import SameNumbers
from ._structure import Structure, forms_of
from ._variables import Variables


class BatchEvaluation(NamedTuple):
    """What one forward pass and its derivatives tell of a batch; None where it was not asked."""

    value: float
    hyper: Any = None  # gradient
    params: Any = None  # gradient
    hessian: Any = None  # product with the vector
    mixed: Any = None  # product with the vector
    depends: bool = True  # whether autograd finds a way from the value to a variable


class StochasticLevel:
    """One loss and its batches: an objective for each batch, and one for all data."""

    def __init__(self, function, batches: Batches, hyper: Structure, params: Structure):
        self.function = function
        self.batches = batches
        self.hyper = hyper
        self.params = params
        self._numbers = SameNumbers(hyper.draws or params.draws)

    def batch(self, number) -> BatchObjective:
        """The loss on one batch, whose numbers go through all epochs."""
        return BatchObjective(self, self.batches.batch(number))

    def whole(self) -> WholeObjective:
        """Its mean over all data."""
        return WholeObjective(self)

    def value(self, hyper, params, batch):
        # Losses tell trainable parameters by `requires_grad`, also where nobody differentiates.
        asked = torch.is_grad_enabled() and (hyper.requires_grad or params.requires_grad)
        with (
            torch.set_grad_enabled(asked),
            self._numbers.again(batch.seed, params.device),
            self.hyper.bound(hyper) as of_hyper,
            self.params.bound(params) as of_params,
        ):
            found = self.function(of_hyper, of_params, batch.contents)
        return tensor_of(self.function, found)


@dataclass(frozen=True)
class BatchObjective(Objective):
    """A loss on one batch."""

    level: StochasticLevel
    data: Batch

    @property
    def n_rows(self):
        return self.data.n_rows

    def value(self, hyper, params):
        return self.level.value(hyper, params, self.data)

    def evaluate(self, hyper, params, vector=None, *, with_hyper=True):
        """Value, gradients and products with a vector from one forward pass."""
        with torch.inference_mode(False), torch.enable_grad():
            # A graph to hyper is built where something is asked of it.
            needed = with_hyper or vector is not None
            hyper = hyper.detach().requires_grad_(needed)
            params = params.detach().requires_grad_()
            value = self.value(hyper, params).sum()
            inputs = (params, hyper) if with_hyper else (params,)
            first = derivatives(value, inputs, create_graph=vector is not None)
            hessian = mixed = None
            if vector is not None:
                directional = (first[0] * vector).sum()
                hessian, mixed = derivatives(directional, (params, hyper))
        gradients = [gradient.detach() for gradient in first]
        of_hyper = gradients[1] if with_hyper else None
        return BatchEvaluation(
            float(value.detach()), of_hyper, gradients[0], hessian, mixed, value.requires_grad
        )


@dataclass(frozen=True)
class WholeObjective(Objective):
    """The mean of a loss over all data, batch by batch, so that memory is that of a batch."""

    level: StochasticLevel

    @property
    def forms(self):
        return forms_of(self.level.hyper, self.level.params)

    def value(self, hyper, params):
        return self._mean(lambda batch: (batch.value(hyper, params).reshape(()),))[0]

    def gradients(self, hyper, params, *, differentiable=False):
        def of(batch):
            return batch.gradients(hyper, params, differentiable=differentiable)

        return Gradients(*self._mean(of))

    def curvature_products(self, hyper, params, vector):
        return CurvatureProducts(
            *self._mean(lambda batch: batch.curvature_products(hyper, params, vector))
        )

    def _mean(self, parts):
        """Means of a batch's tensors, weighted by its rows."""
        total, n_rows = None, 0
        for data in self.level.batches.all():
            found = [data.n_rows * part for part in parts(BatchObjective(self.level, data))]
            total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
            n_rows += data.n_rows
        if total is None:
            raise ValueError("There must be a batch to take a mean over.")
        return [part / n_rows for part in total]


@dataclass(frozen=True, eq=False)
class StochasticProblem(Variables):
    """Two losses on batches of data, an initial point and a feasible set.

    Sought is the minimum over hyper of the mean of `upper` over its data, params minimising the
    mean of `lower` over other data. `hyper` and `params` are what the losses get: a tensor, an
    `nn.Module`, or a tuple, list or dict of these, in any nesting. For solvers each is one tensor.

    Parameters
    ----------
    upper, lower : callable
        ``function(hyper, params, batch)`` returns a scalar, the mean over the rows of the batch (a
        penalty may be added). A module comes bound to the numbers of the moment: ``params(X)``.

    upper_data, lower_data : DataLoader, tuple of Tensor, or iterable
        An iterable gives batches, and one pass through it is an epoch; it must be possible to go
        through it again. Tensors of one length are cut into batches of `batch_size` rows in a
        random order, and a batch is a tuple of them; numbers of rows, which free weights for rows
        need, are ``torch.arange(n_rows)``. Tensors come on the device of `initial_params`.

    initial_hyper, initial_params : Tensor, Module, tuple, list or dict
        The initial point, of float32 or float64. One unit of `hyper` should be a natural first
        move, as for `BilevelProblem`. Modules are copied; `load_params` writes into them.

    batch_size : int, default=64
        Rows of a batch where data are tensors.

    lower_bound, upper_bound : float, Tensor, tuple, list or dict, default=-inf, inf
        Box that `hyper` is kept in, as for `BilevelProblem`.

    project : callable, dict or None, default=None
        ``project(hyper)`` returns the nearest feasible point in the same form: a simplex, a ball; a
        dict has one for some keys of `initial_hyper`.
        With modules in it, hyper comes as copies of these, to be changed in place and returned.

    strongly_convex : bool, default=False
        Whether the mean of `lower` is strongly convex in `params` for every feasible `hyper`.
        Then nothing is averaged by default.

    seed : int, default=0
        Of the order of rows, and of what is random in losses (Dropout) and loaders. Batches are
        numbered: equal seeds give equal runs, and the global generators are left alone. Generators
        of torch that a loader or its samplers show as `generator` are seeded too, others are not.

    Attributes
    ----------
    upper_level, lower_level : object
        What solvers ask: ``batch(number)`` is an `Objective` on one batch.
    """

    upper: Callable[[Any, Any, Any], torch.Tensor]
    lower: Callable[[Any, Any, Any], torch.Tensor]
    upper_data: Any = field(repr=False)
    lower_data: Any = field(repr=False)
    initial_hyper: Any = field(repr=False)
    initial_params: Any = field(repr=False)
    batch_size: int = 64
    lower_bound: Any = -torch.inf
    upper_bound: Any = torch.inf
    project: Any = None
    strongly_convex: bool = False
    seed: int = 0
    upper_level: Any = field(init=False, repr=False)
    lower_level: Any = field(init=False, repr=False)
    _structures: tuple = field(init=False, repr=False)
    _first: tuple = field(init=False, repr=False)

    def __post_init__(self):
        for name in ("upper", "lower"):
            if not callable(getattr(self, name)):
                found = type(getattr(self, name)).__name__
                raise TypeError(
                    f"{name} must be a function of (hyper, params, batch): got {found}."
                )
        size = self.batch_size
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise ValueError(f"batch_size must be a whole number above 0: got {size!r}.")
        hyper, first_hyper = Structure.of(self.initial_hyper, "initial_hyper")
        params, first_params = Structure.of(self.initial_params, "initial_params")
        self._set(_structures=(hyper, params), _first=(first_hyper, first_params))
        self._check_variables(first_hyper, first_params)
        for number, name in enumerate(("upper", "lower")):
            data = getattr(self, f"{name}_data")
            options = size, 2 * self.seed + number, first_params.device, f"{name}_data"
            level = StochasticLevel(getattr(self, name), batches_of(data, *options), hyper, params)
            self._set(**{f"{name}_level": level})

    def _set(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def first_point(self):
        """Make the initial point two tensors.

        Returns
        -------
        hyper, params : Tensor
            Hyper is made feasible.
        """
        hyper, params = self._first
        return self.project_hyper(hyper), params

    def full_batch(self, **options):
        """Make it a problem without batches, of the means over all data.

        Parameters
        ----------
        **options
            Further fields of `BilevelProblem`, such as `metric`.

        Returns
        -------
        problem : BilevelProblem
            Every evaluation goes through all batches.
        """
        hyper, params = self._first
        return BilevelProblem(
            self.upper_level.whole(),
            self.lower_level.whole(),
            hyper,
            params,
            lower_bound=self.lower_bound,
            upper_bound=self.upper_bound,
            project=self.project,
            strongly_convex=self.strongly_convex,
            **options,
        )
