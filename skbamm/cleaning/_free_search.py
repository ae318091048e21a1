"""Learning one free weight for each noisy row, as published."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..data._tensors import to_numpy
from ..solvers import SlBamm, solve
from ._problem import CleaningProblem, TrustedLoss
from ._search import LEAST_RIDGE, LearnedTrust, learn_adaptive, reported
from ._weighting import FreeWeighting
from .label_quality._out_of_fold import NOISY_PATH, pilot_path
from .label_quality._scores import log_softmax

# The papers' free weights come with a ridge that is only there for separable rows.
FREE_RIDGE = 1e-4


def learn_free(
    search, solver, *, alpha, max_iter, tol, relabel=False, watch=None, initial_hyper=None
):
    """One free weight for each noisy row, as published."""
    if len(search.rows.noisy) == 0:
        # No weight to learn: a plain fit with a learned ridge.
        return learn_adaptive(search, solver, alpha=alpha, max_iter=max_iter, tol=tol, watch=watch)
    rows, folds = search.rows, search.folds
    has_clean = bool(rows.is_clean.any())
    noisy = search.positions(rows.noisy)
    ridge = FREE_RIDGE if alpha == "learn" else max(alpha, LEAST_RIDGE)
    if has_clean:
        # As published: all noisy rows below, all clean rows above, a single fit.
        in_training = search.tensor(~rows.is_clean)[None]
        judging = search.row_weight * search.tensor(rows.is_clean)
        judging = (judging / judging.sum())[None]
    else:
        in_training, judging = search.in_training, search.tensor(folds.judging)
    weighting = FreeWeighting(noisy, search.row_weight, in_training, float(ridge))
    nothing = search.tensor(np.zeros(len(noisy)))
    judges, judges_weight = search.judges(judging)
    loss = TrustedLoss(judges, judges_weight, nothing, nothing, bounded=not has_clean)
    problem = CleaningProblem(search.softmax, weighting, loss, judging, strongly_convex=False)
    params = search.softmax.zeros(1, len(in_training))
    start = nothing
    if initial_hyper is not None and len(initial_hyper) == len(noisy):
        start = search.tensor(initial_hyper)
    if solver == "sl-bamm":
        # The lower level is all but merely convex. A constant averaging parameter biases params,
        # not so much weights, and the last fit does without it.
        solver = SlBamm(averaging=0.5)
    bilevel = problem.problem(start[None], nothing - 10, nothing + 10, params)
    # Each of n free weights has a gradient of the order 1 / n.
    unit = np.sqrt(len(noisy))

    def conclude(solution):
        trust = weighting.trust(solution.hyper)[0]
        training = np.ones(len(rows.labels))
        training[rows.noisy] = to_numpy(trust)
        # The fit of the run itself is no model to keep: it saw the judging rows (averaging), and
        # its ridge is next to none. Cross-fitted ones choose the ridge of the last fit.
        base = search.tensor(folds.unseen * rows.weight)
        weights = base.index_copy(1, noisy, base[:, noisy] * trust)
        params, _, _, strength = pilot_path(search, weights, NOISY_PATH)
        return LearnedTrust(
            trust=to_numpy(trust),
            ridge=strength if alpha == "learn" else max(alpha, LEAST_RIDGE),
            clean_weight=1.0,
            hyper=to_numpy(solution.hyper[0]),
            predictions=np.exp(log_softmax(search.cross_fitted(params))),
            solution=solution,
            params=params,
            training=training,
            unit=float(unit),
        )

    watch = watch and watch.through(conclude, partial(reported, unit=unit))
    return conclude(solve(bilevel, solver, max_iter=max_iter, tol=tol / unit, callback=watch))
