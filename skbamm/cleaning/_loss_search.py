"""Learning a loss under which wrong labels count little: weights from the fit's own losses."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..data._tensors import to_numpy
from ..solvers import SlBamm, solve
from ._learned_loss import LearnedLossProblem
from ._problem import TrustedLoss
from ._search import (
    CLEAN_START,
    FLATTER,
    LEAST_RIDGE,
    LOWER,
    SOLVED,
    UPPER,
    LearnedTrust,
    reported,
    usual_ridge,
)
from ._weighting import EvidenceWeighting
from .label_quality._scores import log_softmax

# Slopes that a run may start from, the best one being chosen.
SLOPES = (0.25, 1.0, 3.0)
LEAST_SLOPE = 0.02
# The starts are reached from a convex problem on, in so many steps of the slope.
CONTINUATION = (0.02, 0.3, 0.6, 1.0)


def learn_loss(
    search, solver, *, alpha, max_iter, tol, relabel=False, watch=None, initial_hyper=None
):
    """Trust as a learned function of a row's own loss."""
    search = search.with_network()
    rows = search.rows
    has_clean = bool(rows.is_clean.any())
    start, lower, upper = _starts(search, alpha, has_clean)
    if initial_hyper is not None and len(initial_hyper) == start.shape[1]:
        start = np.vstack([initial_hyper, start])
    judging = search.tensor(search.folds.judging)
    judges, judges_weight = search.judges(judging)
    nothing = search.tensor(np.zeros(start.shape[1]))
    loss = TrustedLoss(
        judges,
        judges_weight,
        nothing,
        nothing,
        bounded=not has_clean,
        sharpness=EvidenceWeighting.LOG_SHARPNESS if has_clean else None,
    )
    noisy = search.tensor(~rows.is_clean)
    problem = LearnedLossProblem(
        search.softmax, noisy, search.in_training * search.row_weight, loss, judging, tol=SOLVED
    )
    params = _continued(search, problem, search.tensor(start))
    # The run goes on from the best of the starts alone: each costs as much as the others.
    best = int(loss.value(search.tensor(start), params).argmin())
    bilevel = problem.problem(
        search.tensor(start[[best]]), search.tensor(lower), search.tensor(upper), params[[best]]
    )
    unit = 1.0 if has_clean else FLATTER
    if solver == "sl-bamm":
        # At the bottom of a valley curvature is positive, and short moves of hyper stay there:
        # an average with the upper level would only bias it.
        solver = SlBamm(averaging=0.0, max_move=0.3)

    def conclude(solution):
        return _learned(search, problem, solution, alpha, unit)

    watch = watch and watch.through(conclude, partial(reported, unit=unit))
    return conclude(solve(bilevel, solver, max_iter=max_iter, tol=tol / unit, callback=watch))


def _starts(search, alpha, has_clean):
    """Starts of (threshold, slope, log ridge, log clean weight, log sharpness), and their box."""
    lower, upper = LOWER.copy(), UPPER.copy()
    lower[EvidenceWeighting.SLOPE] = LEAST_SLOPE
    chance = np.log(search.rows.n_classes)
    start = np.array(
        [
            # A row that is predicted at chance counts half of what it could.
            [slope * chance, slope, np.log(usual_ridge(search.rows)), np.log(CLEAN_START), 0.0]
            for slope in SLOPES
        ]
    )
    if not has_clean:
        start[:, 3:] = lower[3:] = upper[3:] = 0.0
    if alpha != "learn":
        start[:, 2] = lower[2] = upper[2] = np.log(max(alpha, LEAST_RIDGE))
    return start, lower, upper


def _continued(search, problem, hyper):
    """Fits at the starts, each followed from a loss that is all but the cross-entropy."""
    params = search.softmax.initial(len(hyper), search.folds.n_folds)
    for share in CONTINUATION:
        softer = hyper.clone()
        softer[:, EvidenceWeighting.SLOPE] *= share
        softer[:, EvidenceWeighting.THRESHOLD] *= share
        params = problem.solve_lower(softer, params)
    return params


def _learned(search, problem, solution, alpha, unit):
    """The fit to all rows, and the weights that it gives to itself."""
    rows = search.rows
    hyper = solution.hyper
    whole = LearnedLossProblem(
        problem.rows,
        problem.lower.noisy,
        search.row_weight[None],
        problem.upper,
        problem.judging,
        tol=SOLVED,
    )
    params = solution.params
    fit = whole.solve_lower(hyper, problem.rows.merged(params), tol=SOLVED / 10)
    loss, _ = problem.rows.cross_entropy(problem.rows.scores(fit))
    share = to_numpy(whole.lower.trust(hyper, loss)[0, 0])
    clean_weight = float(hyper[0, 3].exp())
    training = np.where(rows.is_clean, clean_weight, share)
    # The last fit is normalised by what rows count, the search by what they could.
    could = rows.weight @ np.where(rows.is_clean, clean_weight, 1.0)
    ridge = float(hyper[0, 2].exp())
    if alpha == "learn":
        ridge *= could / (rows.weight @ training)
    return LearnedTrust(
        trust=share[rows.noisy],
        ridge=ridge,
        clean_weight=clean_weight,
        hyper=to_numpy(hyper[0]),
        predictions=np.exp(log_softmax(search.cross_fitted(params))),
        solution=solution,
        params=fit,
        training=training,
        unit=unit,
    )
