"""The held-out error along the overall strength of a learned penalty."""

from __future__ import annotations

import copy

import numpy as np

from ..linalg._session import PANEL_COLUMNS, threads_for, torch_session
from ..linalg._tensors import to_numpy
from ..regularization._options import penalty_options


def strength_path(estimator, X, y, sample_weight, held_out, params, *, target, multiples):
    """Held-out errors at multiples of the strengths of the best fit, ``hyper_``.

    On the folds of a fitted estimator, mean over its repeats: the errors, and the standard errors,
    over the folds, of how much each is above the lowest one. Each multiple is a solve for every
    fold and repeat; nothing is learned. `held_out` and `params` are as in `_folded`.
    """
    fitted = copy.copy(estimator)  # validation writes attributes
    repeats, make_search = fitted._folded(X, y, sample_weight, held_out, params)
    n_features, n_targets = repeats[0].shape[1], repeats[0].n_targets
    n_known = 1 if hasattr(estimator, "classes_") else np.atleast_2d(estimator.coef_).shape[0]
    known = estimator.n_features_in_, n_known
    if (n_features, n_targets) != known:
        raise ValueError(
            f"X and y must be those of fit, with {known[0]} columns and {known[1]} targets: got "
            f"{n_features} and {n_targets}."
        )
    options = penalty_options(fitted, n_features)
    shrinkage = float(np.ravel(estimator.shrinkage_)[target])
    hyper = np.atleast_2d(estimator.hyper_)[target]
    of_one = target if getattr(estimator, "alpha_per_target", False) else slice(None)
    with torch_session(), threads_for(PANEL_COLUMNS * np.prod(repeats[0].shape)):
        found = [
            _by_fold(make_search(folded.target(of_one), options, shrinkage), hyper, multiples)
            for folded in repeats
        ]
    values = np.mean([value for value, _ in found], axis=0)
    best = int(values.argmin())
    n_folds = found[0][1].shape[1]
    if n_folds < 2:
        return values, np.full(len(values), np.nan)
    more = [by_fold - by_fold[best] for _, by_fold in found]
    deviations = [one.std(axis=1, ddof=1) for one in more]
    return values, np.mean(deviations, axis=0) / np.sqrt(n_folds)


def _by_fold(search, hyper, multiples):
    """Errors, and what each fold says of them but for a constant, (n_multiples, n_folds)."""
    problem, _, _ = search._prepare()
    strengths = search.spec.strengths
    # Without deviations what is common to all comes first.
    points = search.tensor(hyper[None, : search.spec.n_hyper]).repeat(len(multiples), 1)
    points[:, strengths] += search.tensor(np.log(multiples))[:, None]
    values, by_fold = [], []
    for one in points.split(1):
        solved = problem.solve_lower(one, problem.lower.loss.zeros()[None])
        values.append(float(problem.upper.value(one, solved)))
        by_fold.append(to_numpy(problem.upper.by_fold(solved)[0]))
    return np.array(values), np.array(by_fold) * len(by_fold[0])
