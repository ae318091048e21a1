"""How strongly what is learned of groups shrinks to what is common to all."""

from __future__ import annotations

import numpy as np

from .._constants import PREFERENCE, RESOLUTION, SHRINKAGES


def choose_shrinkage(pairs, make_search, solver, *, max_iter, tol, standard_errors):
    """The largest shrinkage that nested cross-validation cannot tell from the best one.

    `pairs` holds for each fold what is learned from (the other folds) and what validates it;
    ``make_search(data, shrinkage)`` returns a `PenaltySearch`. Infinite where there is nothing to
    choose by.
    """
    rows = []
    for learned_from, validation in pairs:
        row = []
        for group in (SHRINKAGES[:1], SHRINKAGES[1:]):
            search = make_search(learned_from, group[0])
            hyper = search.learn(solver, max_iter=max_iter, tol=tol, shrinkages=_finite(group))
            row.append(make_search(validation, group[0]).error(hyper))
        rows.append(np.concatenate(row))
    if len(rows) < 2:
        return np.inf
    errors = np.array(rows)
    increase = errors - errors[:, [errors.mean(axis=0).argmin()]]
    allowed = standard_errors * increase.std(axis=0, ddof=1) / np.sqrt(len(errors))
    allowed = allowed + PREFERENCE * max(errors.mean(axis=0).min(), RESOLUTION)
    return float(SHRINKAGES[int(np.flatnonzero(increase.mean(axis=0) <= allowed)[0])])


def _finite(shrinkages):
    """Without deviations there is nothing to shrink."""
    return np.where(np.isfinite(shrinkages), shrinkages, 0.0)
