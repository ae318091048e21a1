"""From rows to a learned penalty: the shrinkage first, then everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..linalg._tensors import to_numpy
from ..solvers import History
from ._design import RowDesign, make_design
from ._search import PenaltySearch
from .losses._huber import HuberError
from .losses._quadratic import HeldOutError
from .penalties._shrinkage import choose_shrinkage, effective
from .penalties._specs import PenalizedFeatures, make_spec

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


def learn_penalty(
    repeats,
    options,
    solver,
    *,
    start,
    exact_zeros,
    progress,
    attributes=None,
    max_iter,
    **run,
):
    """Learn on the folds and refit.

    Parameters
    ----------
    repeats : list of FoldedRows or FoldStatistics
        Several assignments of rows to folds; the learned log weights are averaged over them.
    options : PenaltyOptions
    start : ndarray or None
        Numbers learned before, to start from as well.
    exact_zeros : bool
    progress : Progress
    attributes : callable or None
        ``attributes(learned)`` returns an estimator's attributes, for callbacks.
    max_iter : int
    **run
        Passed to `PenaltySearch.best`.

    Returns
    -------
    learned : LearnedPenalty
    """
    search, outcome = _first_search(
        repeats[0], options, solver, progress, {"max_iter": max_iter, **run}
    )
    if progress.stopped and max_iter and search.family.n_hyper:
        progress.leave_out("a run of iterations")
        max_iter = 0
    start = outcome.learned_from(start)
    found: list = []
    for number, folded in enumerate(repeats if search.family.n_hyper else repeats[:1]):
        if found:
            if progress.stopped:
                progress.leave_out(f"{len(repeats) - number} of {len(repeats)} repeats")
                break
            search = make_search(folded, options, outcome.shrinkage)
            start = to_numpy(found[0].hyper[0])
        with progress.stage("learn penalty", max_iter) as stage:
            # What is printed and reported of a run is that of the first one.
            watch = stage.watch(attributes, verbose=not found)
            if watch is not None:
                watch = watch.through(outcome.with_one_more(found, exact_zeros), outcome.history)
            one = search.best(
                solver,
                shrinkage=outcome.shrinkage,
                watch=watch,
                max_iter=max_iter,
                start=start,
                only=bool(found),
                **run,
            )
        found.append(one)
    with progress.stage("last fit"):
        return outcome.of(found, exact_zeros)


def make_search(folded, options, shrinkage):
    """A `PenaltySearch` on these rows and folds; infinite shrinkage leaves no deviations."""
    group = options.groups.index
    of_design = {"penalized": ~(options.strengths == 0)[group], **options.design}
    design = make_design(folded, **of_design)
    units = design.units
    features = PenalizedFeatures(
        group=group[units.penalized],
        grouped=options.groups.given,
        strength=options.strengths[group][units.penalized],
        descriptions=options.descriptions[:, units.penalized],
        log_bounds=tuple(np.log(np.asarray(options.alpha_bounds) * units.strength)),
        log_target_scale=float(np.log(units.target_scale).mean()),
        positive=options.positive,
    )
    spec = make_spec(options.kind, features, shrinkage, asked=options.shrinkage)
    if options.loss == "squared_error":
        return PenaltySearch(design, spec, HeldOutError(design.test))
    # A squared error needs sums only, this one the rows themselves.
    of_rows = design if isinstance(design, RowDesign) else RowDesign(folded, **of_design)
    return PenaltySearch(design, spec, HuberError.of(of_rows.test, design.test))


@dataclass(frozen=True)
class _Outcome:
    """From searches to what is reported of them.

    Attributes
    ----------
    search : PenaltySearch
        The first.
    shrinkage : float
    names : list of str
        Of what is reported.
    embedding : ndarray of shape (n_reported, n_hyper)
        From what is learned to what is reported: that has the same shape whatever was chosen.
    """

    search: Any
    shrinkage: float
    names: list
    embedding: np.ndarray

    def learned_from(self, reported):
        """What to start from, given what was reported before; None where that does not fit."""
        if reported is None or len(reported) != len(self.embedding):
            return None
        return np.linalg.pinv(self.embedding) @ reported

    def history(self, history):
        return history.with_hyper(lambda values: values @ self.embedding.T)

    def with_one_more(self, found, exact_zeros):
        """A function of a further `Learned`."""
        return lambda learned: self.of([*found, learned], exact_zeros)

    def of(self, found, exact_zeros):
        """The refit with the mean of what was found on each assignment of rows to folds."""
        family = self.search.family
        log_weights = torch.stack([one.log_weights for one in found]).mean(0)
        hyper = np.mean([to_numpy(one.hyper[0]) for one in found], axis=0)
        return LearnedPenalty(
            **self.search.refit(found[0], log_weights, exact_zeros=exact_zeros),
            hyper=self.embedding @ hyper,
            hyper_names=self.names,
            history=self.history(found[0].history),
            exponents=hyper[family.exponents].copy(),
            group_share=float(hyper[family.shares].sum()),
            criterion=float(np.mean([one.criterion for one in found])),
            initial_criterion=float(np.mean([one.initial_criterion for one in found])),
            shrinkage=float(self.shrinkage),
            first=found[0],
        )


def _first_search(folded, options, solver, progress, run):
    """The search on the first folds, its shrinkage chosen where that is left open.

    Returns
    -------
    search : PenaltySearch
    outcome : _Outcome
    """
    shrinkage = 0.0 if options.shrinkage == "auto" else effective(options.shrinkage)
    search = make_search(folded, options, shrinkage)
    names = search.family.names(options.groups.names)
    same = np.eye(search.family.n_hyper)
    if options.shrinkage != "auto" or not search.family.n_deviations:
        return search, _Outcome(search, shrinkage, names, same)

    shrinkage = np.inf
    if progress.stopped:
        progress.leave_out("the choice of a shrinkage")
    else:
        shrinkage = _chosen(search.family, folded, options, solver, progress, run)
    if np.isfinite(shrinkage):
        return search, _Outcome(search, shrinkage, names, same)
    embedding = search.family.from_common()
    search = make_search(folded, options, shrinkage)
    return search, _Outcome(search, shrinkage, names, embedding)


def _chosen(family, folded, options, solver, progress, run):
    """The shrinkage that nested cross-validation chooses."""

    max_iter = run["max_iter"]
    pairs = folded.nested()
    with progress.stage("choose shrinkage", len(pairs)) as stage:
        return choose_shrinkage(
            stage.each(pairs, what="fold"),
            lambda some, candidate: make_search(some, options, candidate),
            solver,
            max_iter=max_iter if family.is_square else min(max_iter, NESTED_MAX_ITER),
            tol=run["tol"],
            standard_errors=run["standard_errors"],
        )
