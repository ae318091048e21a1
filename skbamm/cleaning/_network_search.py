"""Hidden layers in a search for learned numbers."""

from __future__ import annotations

import numpy as np

from ._network import LastLayer
from ._weighting import EvidenceWeighting

# Stands in for a fixed ridge of 0, under which separable classes have no finite fit.
LEAST_RIDGE = 1e-12
# The ridge strength that is tried first, by which factor others differ, between which they may lie,
# and how well the fits that choose are solved.
RIDGE_START, FACTOR, RANGE, ROUGH = 1e-3, 3.0, (1e-4, 1.0), 3e-2
# A weaker ridge must beat a stronger one by this much, so that rounding cannot flip the choice.
PREFERENCE = 1e-6


def network_path(fitted, params):
    """The best of what `fitted` gives for ridge strengths, going up or down while it gets better.

    ``fitted(strength, params)`` returns a tuple that begins with the loss and the params; those of
    a strength are where fits at the next one start: under a strong ridge the first weights would
    all become zero, and stay there.
    """
    best = first = fitted(RIDGE_START, params)
    for factor in (FACTOR, 1 / FACTOR):
        strength = RIDGE_START * factor
        while RANGE[0] <= strength <= RANGE[1]:
            found = fitted(strength, best[1])
            if found[0] >= best[0] * (1 - PREFERENCE):
                break
            strength, best = strength * factor, found
        if best is not first:
            break
    return best


def hold_hidden_layers(search, make, start, alpha):
    """A search whose lower level is the last layer, the others being fitted at the start.

    Networks of folds, each fitted without the rows that judge it, at the ridge strength that
    predicts these best. With hidden layers held the lower level is convex and quickly solved; all
    layers at once were tried: runs took ten times as long, and reached the same accuracy.

    Parameters
    ----------
    search : TrustSearch
        Of a network.
    make : callable
        ``make(search, start)`` returns the `CleaningProblem`.
    start : ndarray of shape (n_hyper,)
    alpha : "learn" or float

    Returns
    -------
    search : TrustSearch
        Its rows are a `LastLayer`.
    problem : CleaningProblem
        Of these rows.
    params : Tensor
        Solutions of its lower level at the start.
    start : ndarray of shape (n_hyper,)
        With the strength that was chosen.
    """
    problem = make(search, start)

    def fitted(strength, params):
        hyper = start.copy()
        hyper[EvidenceWeighting.LOG_RIDGE] = np.log(strength)
        point = search.tensor(hyper)[None]
        params = problem.solve_lower(point, params, tol=ROUGH)
        return float(problem.upper.value(point, params)), params, hyper

    params = search.softmax.initial(1, search.folds.n_folds)
    if alpha == "learn":
        _, params, start = network_path(fitted, params)
    else:
        _, params, start = fitted(max(alpha, LEAST_RIDGE), params)
    search = search.with_scores(LastLayer(search.softmax, params))
    problem = make(search, start)
    params = problem.solve_lower(search.tensor(start)[None], search.softmax.last(params))
    return search, problem, params, start
