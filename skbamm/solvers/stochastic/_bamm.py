"""Stochastic sl-BAMM: the single-loop averaged method of multipliers on batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .._bamm import FADING
from .._options import AUTO, FRACTION, FUNCTION, NOTHING, POSITIVE
from .._steps import PowerLaw, Schedule, at, divide, random_direction, unit
from ._base import kinds_of
from ._moves import DistanceMove, share_met
from ._single_loop import SingleLoop, SingleLoopState, directions

# "auto" steps of params and multiplier are one over the largest curvature, and fall by these
# powers. Both follow hyper, so they fall slowly. A row that is met rarely, however, is decided by
# few visits, with the noise of the multiplier then: it dies out where squared steps have a sum.
SLOWLY, SUMMABLY = 0.25, 0.6
# It is looked for by so many products at first, then by one in so many iterations and whenever an
# entry of hyper has moved so far; so much of it is kept.
N_FIRST, EVERY, MOVED, KEPT = 8, 10, 0.3, 0.9
# The first "auto" move of hyper in each number, whose natural unit is one.
FIRST_MOVE = 0.1
# Times the curvature downward along the multiplier, which would make that grow without end.
DAMPING = 2.0


@dataclass(frozen=True)
class StochasticBammState(SingleLoopState):
    """State of `StochasticSlBamm`."""

    averaging: float = 0.0  # used in the step that led here
    curvature: float = 0.0  # the largest of the averaged objective, on batches of late
    probe: Any = None  # a direction that has it
    looked_at: Any = None  # hyper where the curvature was last looked at
    damping: float = 0.0


@dataclass(kw_only=True, eq=False, repr=False)
class StochasticSlBamm(SingleLoop):
    r"""Single-loop Bi-level Averaged Method of Multipliers (sl-BAMM) on batches.

    With the averaged objective :math:`\psi_\mu = \mu F + (1 - \mu) f`, one batch i of the lower
    level and one batch j of the upper level, all three variables move from the same point:

    .. math::

        y &\leftarrow y - \beta \, \nabla_y \psi_{\mu, ij} \\
        v &\leftarrow v - \eta \, (\nabla^2_{yy} \psi_{\mu, ij} \, v - \nabla_y F_j) \\
        x &\leftarrow P(x - \alpha \, (\nabla_x F_j - \nabla^2_{xy} \psi_{\mu, ij} \, v))

    Each direction is an unbiased estimate of that of `SlBamm`, and with all data in one batch it is
    that one.

    Parameters
    ----------
    averaging : float, callable or None, default=None
        Weight :math:`\mu` of the upper objective, in [0, 1); a callable gets the iteration,
        counted from 0. None: 0 where the lower level is strongly convex, else
        ``PowerLaw(0.9, 0.5)``.

    params_step, multiplier_step : float, callable or "auto", default="auto"
        :math:`\beta` and :math:`\eta`. "auto" is one over the largest curvature of
        :math:`\psi_\mu` on batches, which is measured by one product every tenth iteration, times
        ``PowerLaw(1, 0.25)``; that of the multiplier falls by up to the power .6, the fewer entries
        of hyper a batch tells of.

    hyper_step : float, callable or "auto", default="auto"
        :math:`\alpha`; a callable may be a schedule of the paper. "auto" is the distance from the
        initial point over the root of the sum of all squared hypergradients (DoG): it
        needs no scale of the losses. Weights of rows, of which a batch moves few, go further, and
        the answer is a mean over each row's own visits.

    max_move : float, default=0.5
        Largest change of one entry of `hyper` in the first step of ``hyper_step="auto"``; times the
        root of t, but no more than 4.5, where entries come up every t-th time. It falls like the
        steps of params, by which these keep up with hyper.

    params_optimizer, multiplier_optimizer, hyper_optimizer : callable or None, default=None
        A `torch.optim` class, or ``functools.partial(torch.optim.Adam, lr=1e-3)``, which takes the
        place of the step of that variable.

    params_scheduler, multiplier_scheduler, hyper_scheduler : callable or None, default=None
        The same of `torch.optim.lr_scheduler`, for an optimizer.

    Notes
    -----
    Where the lower level is bent down along the multiplier (a network), that would grow without
    end; twice as much curvature as was found there is added to its equation, and fades.

    References
    ----------
    .. [1] R. Liu, Y. Liu, W. Yao, S. Zeng, J. Zhang, "Averaged Method of Multipliers
           for Bi-Level Optimization without Lower-Level Strong Convexity", ICML 2023,
           arXiv:2302.03407. Algorithm 1; with batches in the place of its gradients.
    .. [2] M. Ivgi, O. Hinder, Y. Carmon, "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step
           Size Schedule", ICML 2023, arXiv:2302.12022.
    """

    kinds = kinds_of(
        *("params", "multiplier", "hyper"),
        also=(AUTO,),
        averaging=(FRACTION, FUNCTION, NOTHING),
        max_move=(POSITIVE,),
    )

    averaging: Schedule | None = None
    params_step: Schedule | str = "auto"
    multiplier_step: Schedule | str = "auto"
    hyper_step: Schedule | str = "auto"
    max_move: float = 0.5
    params_optimizer: Any = None
    multiplier_optimizer: Any = None
    hyper_optimizer: Any = None
    params_scheduler: Any = None
    multiplier_scheduler: Any = None
    hyper_scheduler: Any = None

    def init(self, problem):
        averaging = self._averaging(problem, 0)
        state = self._begin(problem, StochasticBammState, "multiplier", averaging=averaging)
        if not self._automatic:
            return state
        product, probe = self._product(problem, state), random_direction(state.params)
        for _ in range(N_FIRST):
            image = product(probe)
            probe = unit(image)
        return replace(state, curvature=float(image.norm()), probe=probe, looked_at=state.hyper)

    def step(self, problem, state):
        averaging = self._averaging(problem, state.iteration)
        found = directions(problem, state, averaging)
        damping = self._damping(state, found.hessian)
        gradients = found.gradients
        if damping:
            gradients["multiplier"] = found.multiplier + damping * state.multiplier
        lengths = self._lengths(state, damping, found.hyper)
        following = self._advance(
            problem,
            state,
            gradients,
            lengths=lengths,
            averaging=averaging,
            damping=damping,
            **found.observed,
        )
        if self._automatic and self._is_due(following):
            image = self._product(problem, following)(state.probe)
            curvature = max(float(image.norm()), KEPT * state.curvature)
            following = replace(
                following, curvature=curvature, probe=unit(image), looked_at=following.hyper
            )
        return following

    def _is_due(self, state):
        """Whether to look at the curvature again."""
        moved = float((state.hyper - state.looked_at).abs().max())
        return state.iteration % EVERY == 0 or moved > MOVED

    def _move_of(self, name, length=None):
        if name == "hyper" and self.hyper_step == "auto" and self.hyper_optimizer is None:
            return DistanceMove(FIRST_MOVE, self.max_move, SLOWLY)
        return super()._move_of(name, length)

    @property
    def _automatic(self):
        """Variables whose steps follow from the largest curvature."""
        return [
            name
            for name in ("params", "multiplier")
            if getattr(self, f"{name}_step") == "auto"
            and getattr(self, f"{name}_optimizer") is None
        ]

    def _lengths(self, state, damping, hypergradient):
        """Of "auto" steps."""
        first = divide(1.0, state.curvature + damping)
        rare = 1.0 - share_met(hypergradient)
        powers = {"params": SLOWLY, "multiplier": SLOWLY + rare * (SUMMABLY - SLOWLY)}
        return {name: PowerLaw(first, powers[name])(state.iteration) for name in self._automatic}

    def _averaging(self, problem, iteration):
        if self.averaging is None:
            return 0.0 if problem.strongly_convex else at(FADING, iteration)
        return at(self.averaging, iteration)

    def _damping(self, state, hessian):
        if self.multiplier_step != "auto":
            return 0.0
        curvature = divide(
            float((state.multiplier * hessian).sum()), float(state.multiplier.square().sum())
        )
        return max(-DAMPING * curvature, KEPT * state.damping, 0.0)

    def _product(self, problem, state):
        """Times the Hessian of the averaged objective on the batches of the next step."""
        from ...problems import AveragedObjective

        objective = problem.lower_level.batch(state.iteration)
        if state.averaging:
            upper = problem.upper_level.batch(state.iteration)
            objective = AveragedObjective(objective, upper, state.averaging)
        return lambda vector: objective.hessian_product(state.hyper, state.params, vector)
