"""What a fit says of itself: strengths at their bounds, and no gain worth a word."""

from __future__ import annotations

import warnings

import numpy as np

from ..data._validation import level_of_caller
from ..linalg._tensors import to_numpy
from ..solvers import Status
from ._constants import NO_GAIN, STEPS_BEYOND, STRENGTH_GAIN, STRENGTH_STEP


def at_bounds(search, result, options):
    """What to tell of strengths at an end of ``alpha_bounds``; "" where nothing is lost by it.

    Bounds are the natural answer to targets of pure noise, or of none. What counts is whether the
    held-out error falls beyond them.
    """
    point, spec = result.learned.best, search.spec
    enough = float(search._enough(point.params)[0])
    low, high = spec.bounds()[spec.strengths].T
    log_strengths = to_numpy(point.hyper)[0, spec.strengths]
    sides = (log_strengths >= high).astype(int) - (log_strengths <= low)
    if not sides.any() or point.criterion <= enough:
        return ""
    beyond = point.hyper.repeat(len(STEPS_BEYOND), 1)
    steps = STRENGTH_STEP * np.outer(STEPS_BEYOND, sides)
    beyond[:, spec.strengths] += search.tensor(steps)
    errors = [float(point.problem.criterion(one)) for one in beyond.split(1)]
    gain = 1 - np.nanmin(errors) / point.criterion
    if gain < STRENGTH_GAIN:
        return ""
    names = np.array(spec.names(options.groups.names), dtype=object)[spec.strengths]
    ends = [
        f"{', '.join(name.removeprefix('log ') for name in names[sides == side][:5])} at the {end}"
        for side, end in ((-1, "lower"), (1, "upper"))
        if (sides == side).any()
    ]
    return (
        f"Learned strengths lie at alpha_bounds={tuple(options.alpha_bounds)} ({'; '.join(ends)} "
        f"one), and the held-out error is {100 * gain:.3g} % lower beyond them. Pass wider "
        "alpha_bounds."
    )


def warn_of_bounds(learned):
    """Warn, once, where a `LearnedPenalty` of some tells of its bounds."""
    for text in [one.at_bounds for one in learned if one.at_bounds][:1]:
        warnings.warn(text, UserWarning, stacklevel=level_of_caller())


def without_gain(learned):
    """What ``status_`` says of `LearnedPenalty`s, one for each search, that gain next to nothing.

    Their criterion is an optimistic one: where even that shows no gain, there is none.
    """
    able = [one for one in learned if len(one.hyper) > 1]
    if not able or any(one.first.solution.status is Status.EXACT for one in able):
        return ""
    as_good = [one for one in able if one.criterion > (1 - NO_GAIN) * one.baseline]
    if not as_good:
        return ""
    of_several = f" for {len(as_good)} of {len(learned)} targets" if len(learned) > 1 else ""
    criterion, baseline = (
        np.mean([getattr(one, name) for one in as_good]) for name in ("criterion", "baseline")
    )
    return (
        f"; less than {NO_GAIN:.0%} gained over one strength for all features{of_several} "
        f"(held-out error {criterion:.3g}, with one strength {baseline:.3g})"
    )
