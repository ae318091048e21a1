"""From rows to a learned penalty: the shrinkage first, then everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..solvers import History
from ._folds import Folds, position_folds
from ._shrinkage import choose_shrinkage, effective
from ._tensors import to_numpy

# Where the lower level is no square, a run for each fold and shrinkage takes long, and its order
# shows early.
NESTED_MAX_ITER = 40


@dataclass(frozen=True)
class LearnedPenalty:
    """What a fit found.

    Attributes
    ----------
    coef : ndarray of shape (n_targets, n_features)
    intercept : ndarray of shape (n_targets,)
    alpha, power : ndarray of shape (n_features,)
    hyper : ndarray of shape (n_hyper,)
        Mean over the repeats, as `exponents`, `group_share` and the criteria.
    hyper_names : list of str
    history : History
        Of the first repeat, its `hyper` in the form of this one.
    exponents : ndarray of shape (n_exponents,)
    group_share, criterion, initial_criterion, shrinkage : float
    first : Learned
        The first repeat, which tells how the run went.
    """

    coef: np.ndarray
    intercept: np.ndarray
    alpha: np.ndarray
    power: np.ndarray
    hyper: np.ndarray
    hyper_names: list
    history: History
    exponents: np.ndarray
    group_share: float
    criterion: float
    initial_criterion: float
    shrinkage: float
    first: Any


def learn_penalty(data, repeats, validation, options, solver, *, start, exact_zeros, **run):
    """Learn on the folds and refit.

    Parameters
    ----------
    data : RegressionRows
    repeats : list of Folds
        Several assignments of rows to folds; the learned log weights are averaged over them.
    validation : RegressionRows or None
    options : PenaltyOptions
    start : ndarray or None
        Numbers learned before, to start from as well.
    exact_zeros : bool
    **run
        Passed to `PenaltySearch.best`.

    Returns
    -------
    learned : LearnedPenalty
    """
    search, shrinkage, embedding, names = _first_search(
        data, repeats[0], validation, options, solver, run
    )
    family = search.family
    if start is not None:
        known = len(start) == len(embedding)
        start = np.linalg.pinv(embedding) @ start if known else None
    found = [search.best(solver, shrinkage=shrinkage, start=start, **run)]
    # What is reported of a run is that of the first one.
    run = {**run, "callback": None, "start": to_numpy(found[0].hyper[0]), "only": True}
    for folds in repeats[1:] if family.n_hyper else []:
        again = options.search(data, folds, validation, shrinkage)
        found.append(again.best(solver, shrinkage=shrinkage, **run))
    log_weights = torch.stack([one.log_weights for one in found]).mean(0)
    hyper = np.mean([to_numpy(one.hyper[0]) for one in found], axis=0)
    return LearnedPenalty(
        **search.refit(found[0], log_weights, exact_zeros=exact_zeros),
        hyper=embedding @ hyper,
        hyper_names=names,
        history=found[0].history.with_hyper(lambda values: values @ embedding.T),
        exponents=hyper[family.exponents].copy(),
        group_share=float(hyper[family.shares].sum()),
        criterion=float(np.mean([one.criterion for one in found])),
        initial_criterion=float(np.mean([one.initial_criterion for one in found])),
        shrinkage=float(shrinkage),
        first=found[0],
    )


def _first_search(data, folds, validation, options, solver, run):
    """The search on the first folds, and its shrinkage: chosen where that is left open.

    Returns
    -------
    search : PenaltySearch
    shrinkage : float
    embedding : ndarray of shape (n_reported, n_hyper)
        From what is learned to what is reported: that has the same shape whatever was chosen.
    names : list of str
        Of what is reported.
    """
    shrinkage = 0.0 if options.shrinkage == "auto" else effective(options.shrinkage)
    search = options.search(data, folds, validation, shrinkage)
    names = search.family.names(options.groups.names)
    if options.shrinkage != "auto" or not search.family.n_deviations:
        return search, shrinkage, np.eye(search.family.n_hyper), names

    def make_search(part, candidate):
        return options.search(data, part, validation, candidate)

    max_iter = run["max_iter"]
    shrinkage = choose_shrinkage(
        _nested(folds, validation),
        make_search,
        solver,
        max_iter=max_iter if search.family.is_square else min(max_iter, NESTED_MAX_ITER),
        tol=run["tol"],
        standard_errors=run["standard_errors"],
    )
    if np.isfinite(shrinkage):
        return search, shrinkage, np.eye(search.family.n_hyper), names
    embedding = search.family.from_common()
    return options.search(data, folds, validation, shrinkage), shrinkage, embedding, names


def _nested(folds, validation):
    """Pairs of folds to learn from and to judge by; halves of the validation rows where given."""
    if validation is None:
        return folds.nested()
    half = position_folds(len(validation), 2, seed=0)
    train = folds.splits[0][0]
    halves = [Folds([(train, np.flatnonzero(half == k))]) for k in (0, 1)]
    return [(halves[0], halves[1]), (halves[1], halves[0])]
