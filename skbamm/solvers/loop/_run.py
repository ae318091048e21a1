"""What a run keeps on its way: records, and the points that may be its answer."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

from .._history import Recorder, Status
from .._steps import eps_of, norm_of
from ._verification import Answer, FinishingState, certified, solved, verified

# Criteria that differ by less, relatively, are equal.
EQUAL = 1e-9


@dataclass(eq=False)
class Candidate:
    """A point that may be the answer, and what is known of it."""

    hyper: Any
    params: Any
    multiplier: Any = None
    metric: Any = None  # one near here that is not exact
    answer: Answer | None = None
    # Where the problem solves its lower level, whose value is the other one.
    criterion: float = math.nan
    lower: float = math.nan

    @classmethod
    def of(cls, state, params=None, **values):
        params = state.params if params is None else params
        metric = getattr(state, "metric", None)
        metric = None if metric is None or metric.exact else metric
        return cls(state.hyper, params, getattr(state, "multiplier", None), metric, **values)


class Run:
    """Records and candidates of one run.

    The answer has the lowest criterion. Where the problem solves its lower level, that is known
    of every hyper. Elsewhere it would cost a descent at each, and the upper objective at
    unfinished params says nothing: the first point, the last one, that of the smallest
    residual and that of the lowest upper value are solved for when an answer is wanted, each
    from its own params. A run that does not verify takes that of the smallest residual as it is
    there; elsewhere its answer has a certificate, which is also the last row of the history.

    A point is evaluated when the run leaves it: only then are its params nearly solved for,
    which makes solving them cheap. Rows of the history get its criterion after the fact.
    """

    def __init__(self, problem, state, verifies, recorder=None):
        self.problem = problem
        self.verifies = verifies
        self.exact = problem.solve_lower is not None
        self.recorder = Recorder() if recorder is None else recorder
        self.has_multiplier = getattr(state, "multiplier", None) is not None
        params, self.latest, self.lower = self._levels(state)
        self.recorder.begin(criterion=self.latest, lower=self.lower, hyper=state.hyper)
        self.initial = self.evaluated = self._solved(state, params)
        self.candidates = {"initial": self.initial}
        self.initial_criterion = self.criterion = self.lowest = self.latest
        self.smallest = math.inf
        self.is_finite = _is_finite(state)
        self.measured = state.hyper  # where the last residual is from
        self.is_evaluated, self.arrived = True, len(self.recorder)
        self.residual, self.hypergradient_norm = state.residual, state.hypergradient_norm

    def _levels(self, state):
        """Params, solved where the problem can do it, and both objectives there."""
        problem, params = self.problem, state.params
        if self.exact:
            params = problem.solve_lower(state.hyper, params)
        lower = problem.lower.point(state.hyper, params).value
        if problem.nonsmooth is not None:
            lower = lower + problem.nonsmooth.value(state.hyper, params)
        # A step from here as a rule: what it asks of these points is known then.
        upper = problem.upper.point(state.hyper, params).value
        return params, float(upper), float(lower)

    def record(self, previous, state):
        """Keep what a step found; the row that the history gets."""
        was_finite, self.is_finite = self.is_finite, _is_finite(state)
        self.measured = previous.hyper
        residual = float(state.residual)
        # Infinite where `hyper` has just moved and its error is not known yet.
        if (self.exact and math.isfinite(residual)) or self.residual is None:
            self.residual, self.hypergradient_norm = residual, float(state.hypergradient_norm)
        if isinstance(state, FinishingState):
            self._keep_answer(state)
        elif not self.exact:
            self._keep(previous, state, residual, was_finite)
        elif bool((state.hyper != previous.hyper).any()):
            self._evaluate(previous, was_finite)
            self.is_evaluated, self.arrived = False, len(self.recorder)
        row = {
            "criterion": self.latest,
            "lower": self.lower,
            "residual": residual,
            "hypergradient_norm": float(state.hypergradient_norm),
            "averaging": float(getattr(state, "averaging", 0.0)),
            "hyper": state.hyper,
        }
        if self.has_multiplier:
            row["multiplier_norm"] = norm_of(state.multiplier)
        self.recorder.add(**row)
        return row

    def _keep(self, previous, state, residual, was_finite):
        """Candidates of a problem that does not solve its lower level."""
        at_previous = self.latest
        _, self.latest, self.lower = self._levels(state)
        # A residual is that of the point that the step was taken from.
        if was_finite and math.isfinite(at_previous) and residual < self.smallest:
            self.smallest, self.criterion = residual, at_previous
            self.residual, self.hypergradient_norm = residual, float(state.hypergradient_norm)
            self.candidates["smallest"] = Candidate.of(previous)
        if self.is_finite:
            self.candidates["last"] = Candidate.of(state)
            if -math.inf < self.latest < self.lowest:
                self.lowest = self.latest
                self.candidates["lowest"] = Candidate.of(state)

    def _evaluate(self, state, finite):
        """Criterion at a state's hyper, once, where the problem solves its lower level."""
        if self.is_evaluated:
            return
        self.is_evaluated = True
        params, self.latest, self.lower = self._levels(state)
        self.evaluated = self._solved(state, params)
        if finite and -math.inf < self.latest < self.criterion:
            self._take(self.evaluated)
        self.recorder.amend(self.arrived, criterion=self.latest, lower=self.lower)

    def _solved(self, state, params):
        return Candidate.of(state, params, criterion=self.latest, lower=self.lower)

    def _take(self, candidate):
        """Make it the one that is the lowest."""
        self.criterion = candidate.criterion
        self.candidates = {"lowest": candidate}

    def confirm(self, state, tol):
        """How a run ends whose method has converged and then come here, where levels are solved.

        As converged where its best point is stationary, or the one that the method means is and
        is no higher than such a point can be. As stalled where it means a worse one than the run
        has seen; else it is to go on (None).
        """
        before = self.evaluated
        self._evaluate(state, self.is_finite)
        best = self._lowest
        if self._certificate(best).is_converged(tol):
            return Status.CONVERGED
        allowed = tol * norm_of(before.hyper - best.hyper)
        allowed += self._certificate(best).roughness + _rounding(best)
        limit = min(best.criterion + allowed, self.initial_criterion)
        is_near = before.criterion <= limit
        if best is not before and is_near and self._certificate(before).is_converged(tol):
            self._take(before)
            return Status.CONVERGED
        return None if is_near or best is self.evaluated else Status.STALLED

    @property
    def _lowest(self):
        return self.candidates.get("lowest", self.initial)

    def _certificate(self, one):
        if one.answer is None:
            one.answer = certified(self.problem, one)
        return one.answer

    def close(self, state):
        """Make an answer with a certificate the last row of the history; what changes in it."""
        if self.verifies or not self.exact:
            return {}
        answer = self.answer(state)
        row = {
            "criterion": answer.criterion,
            "lower": self._lowest.lower,
            "residual": answer.residual,
            "hypergradient_norm": answer.hypergradient_norm,
            "hyper": answer.hyper,
        }
        self.recorder.amend(len(self.recorder) - 1, **row)
        return row

    def _keep_answer(self, state):
        """What was verified where a finishing step began, in place of where it began."""
        answer = state.answer
        self.latest = answer.criterion
        self.recorder.amend(self.arrived, criterion=self.latest)
        self.is_evaluated, self.arrived = True, len(self.recorder)
        best = self.candidates.get("verified")
        if best is None or not best.answer.criterion < answer.criterion:
            self.candidates["verified"] = Candidate(
                answer.hyper, answer.params, answer.multiplier, answer=answer
            )
        self.candidates.pop("last", None)

    def answer(self, state, *, verify=True) -> Answer:
        """The best candidate, at solved params."""
        if not isinstance(state, FinishingState):
            self._evaluate(state, self.is_finite)
        if not self.verifies:
            certifies = self.exact and verify
            return self._certificate(self._lowest) if certifies else self._unverified()
        for one in self.candidates.values():
            if one.answer is None:
                one.answer = solved(self.problem, one.hyper, one.params, is_solution=self.exact)
        finite = [one for one in self.candidates.values() if math.isfinite(one.answer.criterion)]
        if not finite:
            return self._unverified()
        best = min(finite, key=lambda one: one.answer.criterion)
        if not verify:
            return best.answer
        # Of those that rounding alone tells apart the stationary one, but never above the first.
        limit = best.answer.criterion + _rounding(best)
        if self.initial in finite:
            limit = min(limit, self.initial.answer.criterion)
        equal = [one for one in finite if one.answer.criterion <= limit]
        for one in equal:
            if one.answer.residual is None:
                one.answer = verified(self.problem, one.answer, one.multiplier)
        return min(equal, key=lambda one: one.answer.residual).answer

    def _unverified(self):
        """As the method left it."""
        candidate = self.candidates.get("smallest", self.initial)
        candidate = self._lowest if self.exact else candidate
        return Answer(
            candidate.hyper,
            candidate.params,
            self.criterion,
            lower_gap=None,
            is_solved=not self.verifies,
            residual=self.residual,
            hypergradient_norm=self.hypergradient_norm,
        )

    def initial_value(self):
        """The criterion at the initial point."""
        if self.exact or not self.verifies:
            return self.initial_criterion
        if self.initial.answer is None:
            self.initial.answer = solved(self.problem, self.initial.hyper, self.initial.params)
        return self.initial.answer.criterion

    def copy(self):
        """Another one, to end here while this one goes on."""
        copied = copy.copy(self)
        copied.recorder = self.recorder.copy()
        copied.candidates = {name: replace(one) for name, one in self.candidates.items()}
        copied.initial = copied.candidates.get("initial", self.initial)
        return copied


def _rounding(candidate):
    """A difference of criteria that tells nothing."""
    return max(EQUAL, 10 * eps_of(candidate.hyper)) * abs(candidate.answer.criterion)


def _is_finite(state):
    # An infinite residual is one that is not known yet; NaN comes from the derivatives.
    unusable = state.residual is not None and math.isnan(state.residual)
    return not unusable and math.isfinite(norm_of(state.hyper) + norm_of(state.params))
