"""SOBA and MA-SOBA: single-loop stochastic bilevel optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._options import FRACTION, FUNCTION
from .._steps import PowerLaw, Schedule, at
from ._base import kinds_of
from ._single_loop import SingleLoop, SingleLoopState, directions

# The papers' powers, those of SOBA's Theorem 1 and of MA-SOBA's.
FAST, SLOW = PowerLaw(0.1, 0.4), PowerLaw(0.1, 0.6)
EQUAL, SHARE = PowerLaw(0.1, 0.5), PowerLaw(0.9, 0.5)


@dataclass(kw_only=True, eq=False, repr=False)
class Soba(SingleLoop):
    r"""SOBA: stochastic gradient steps on params, multiplier and hyper at once.

    .. math::

        y &\leftarrow y - \rho \, \nabla_y f_i \\
        v &\leftarrow v - \rho \, (\nabla^2_{yy} f_i \, v - \nabla_y F_j) \\
        x &\leftarrow P(x - \gamma \, (\nabla_x F_j - \nabla^2_{xy} f_i \, v))

    with one batch i of the lower level and one batch j of the upper level an iteration.

    Parameters
    ----------
    params_step, multiplier_step : float or callable, default=PowerLaw(0.1, 0.4)
        :math:`\rho`; a callable gets the iteration, counted from 0.

    hyper_step : float or callable, default=PowerLaw(0.1, 0.6)
        :math:`\gamma`. The powers are those of the paper's Theorem 1.

    params_optimizer, multiplier_optimizer, hyper_optimizer : callable or None, default=None
        A `torch.optim` class, or ``functools.partial(torch.optim.Adam, lr=1e-3)``, which takes the
        place of the step of that variable.

    params_scheduler, multiplier_scheduler, hyper_scheduler : callable or None, default=None
        The same of `torch.optim.lr_scheduler`, for an optimizer.

    Notes
    -----
    The paper's v has the other sign.

    References
    ----------
    .. [1] M. Dagreou, P. Ablin, S. Vaiter, T. Moreau, "A framework for bilevel optimization that
           enables stochastic and global variance reduction algorithms", NeurIPS 2022,
           arXiv:2201.13409. Algorithm 1 with equations (5) to (7).
    """

    params_step: Schedule = FAST
    multiplier_step: Schedule = FAST
    hyper_step: Schedule = SLOW
    params_optimizer: Any = None
    multiplier_optimizer: Any = None
    hyper_optimizer: Any = None
    params_scheduler: Any = None
    multiplier_scheduler: Any = None
    hyper_scheduler: Any = None

    def step(self, problem, state):
        found = directions(problem, state)
        return self._advance(problem, state, found.gradients, **found.observed)


@dataclass(frozen=True)
class MaSobaState(SingleLoopState):
    """State of `MaSoba`."""

    hypergradient: Any = None  # moving mean


@dataclass(kw_only=True, eq=False, repr=False)
class MaSoba(Soba):
    r"""MA-SOBA: as `Soba`, hyper moving along a moving average of its directions.

    .. math:: h \leftarrow (1 - \theta) h + \theta \, (\nabla_x F_j - \nabla^2_{xy} f_i \, v),
              \qquad x \leftarrow P(x - \gamma h_{old}).

    Parameters
    ----------
    params_step, multiplier_step : float or callable, default=PowerLaw(0.1, 0.5)
        As in `Soba`; the theory asks for the power 1/2 in all of them.

    hyper_step : float or callable, default=PowerLaw(0.1, 0.5)
        :math:`\gamma`.

    params_optimizer, multiplier_optimizer, hyper_optimizer : callable or None, default=None
        As in `Soba`.

    params_scheduler, multiplier_scheduler, hyper_scheduler : callable or None, default=None
        As in `Soba`.

    direction_step : float or callable, default=PowerLaw(0.9, 0.5)
        :math:`\theta`, below 1.

    References
    ----------
    .. [1] X. Chen, T. Xiao, K. Balasubramanian, "Optimal Algorithms for Stochastic Bilevel
           Optimization under Relaxed Smoothness Conditions", 2023, arXiv:2306.12067. Algorithm 1.
    """

    kinds = kinds_of("params", "multiplier", "hyper", direction_step=(FRACTION, FUNCTION))

    params_step: Schedule = EQUAL
    multiplier_step: Schedule = EQUAL
    hyper_step: Schedule = EQUAL
    direction_step: Schedule = SHARE

    def init(self, problem):
        first = super().init(problem)
        return MaSobaState(**vars(first), hypergradient=first.hyper * 0)

    def step(self, problem, state):
        found = directions(problem, state)
        # Hyper moves along the mean that was known before this batch.
        gradients = found.gradients | {"hyper": state.hypergradient}
        share = at(self.direction_step, state.iteration)
        mean = state.hypergradient + share * (found.hyper - state.hypergradient)
        return self._advance(problem, state, gradients, hypergradient=mean, **found.observed)
