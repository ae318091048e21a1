"""How strongly what is learned of groups shrinks to what is common to all."""

from __future__ import annotations

from numbers import Real

import numpy as np

# No deviation at all comes first: it wins ties.
CANDIDATES = (np.inf, 0.1, 0.01, 0.001, 0.0)

# From here on a difference of a tenth costs half of the error itself: nothing is left to learn,
# and the prior would only make the problem stiff.
STIFF = 100.0


def effective(shrinkage):
    """The number itself, infinite where it leaves no difference."""
    return float(shrinkage) if shrinkage < STIFF else np.inf


def check_shrinkage(shrinkage):
    """Raise unless ``shrinkage`` is "auto" or a number from 0 to infinity."""
    if isinstance(shrinkage, str) and shrinkage == "auto":
        return
    if isinstance(shrinkage, Real) and not isinstance(shrinkage, bool) and float(shrinkage) >= 0:
        return
    raise ValueError(
        f"shrinkage must be 'auto' or a number >= 0 (numpy.inf: no deviations): got {shrinkage!r}."
    )


def choose_shrinkage(pairs, make_search, solver, *, max_iter, tol, standard_errors):
    """The largest shrinkage that nested cross-validation cannot tell from the best one.

    Parameters
    ----------
    pairs : iterable of (data, data)
        For each fold, what is learned from (the other folds) and what it is judged by.
    make_search : callable
        ``make_search(data, shrinkage)`` returns a `PenaltySearch`.

    Returns
    -------
    shrinkage : float
        Infinite where there is nothing to choose by.
    """
    rows = []
    for learned_from, judged_by in pairs:
        row = []
        for group in (CANDIDATES[:1], CANDIDATES[1:]):
            search = make_search(learned_from, group[0])
            hyper = search.learn(solver, max_iter=max_iter, tol=tol, shrinkages=_finite(group))
            row.append(make_search(judged_by, group[0]).error(hyper))
        rows.append(np.concatenate(row))
    if len(rows) < 2:
        return np.inf
    errors = np.array(rows)
    increase = errors - errors[:, [errors.mean(axis=0).argmin()]]
    allowed = standard_errors * increase.std(axis=0, ddof=1) / np.sqrt(len(errors))
    # Rounding must not flip the choice.
    allowed = allowed + 1e-6 * errors.mean(axis=0).min()
    return float(CANDIDATES[int(np.flatnonzero(increase.mean(axis=0) <= allowed)[0])])


def _finite(shrinkages):
    """Without deviations there is nothing to shrink."""
    return np.where(np.isfinite(shrinkages), shrinkages, 0.0)
