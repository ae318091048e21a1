"""From rows to a learned penalty: the shrinkage first, then everything else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from ..linalg._tensors import to_numpy
from ..solvers import History
from ._constants import NESTED_MAX_ITER, NESTED_STANDARD_ERRORS
from ._design import RowDesign, make_design
from ._extremes import in_raw_units
from ._options import PenaltyOptions, resolve_descriptions
from ._report import at_bounds
from ._search import PenaltySearch, SearchResult
from .losses._quadratic import HeldOutError
from .losses._row_errors import ROW_ERRORS
from .penalties._shrinkage import choose_shrinkage
from .penalties._specs import PenalizedFeatures, make_spec


@dataclass(frozen=True)
class LearnedPenalty:
    """What a fit found: the mean over the repeats, the run of the first one."""

    coef: np.ndarray  # (n_targets, n_features)
    intercept: np.ndarray  # (n_targets,)
    alpha: np.ndarray  # (n_features,)
    hyper: np.ndarray  # (n_hyper,)
    hyper_names: list[str]
    history: History  # its `hyper` in the form of this one
    exponents: np.ndarray  # (n_exponents,)
    group_share: float
    criterion: float  # of the mean, on the folds of all repeats
    initial_criterion: float  # the same without learning
    baseline: float  # that of the best fit with one strength for all features
    best_criterion: float  # of the best candidate of the first repeat
    average: dict[str, float]  # weight of each candidate in the mean, by name
    n_averaged: int  # how many of them the mean of any repeat is of, at most
    shrinkage: float
    n_repeats: int
    first: SearchResult
    at_bounds: str = ""  # what to tell of strengths at their bounds


def explained(learned, standard_errors):
    """Why the criterion of some `LearnedPenalty` is not the best one of a run, in brackets."""
    n_repeats, reasons = max(one.n_repeats for one in learned), []
    if n_repeats > 1:
        reasons.append(f"of the mean of {n_repeats} runs")
    if any(one.n_averaged > 1 for one in learned):
        best = np.mean([one.best_criterion for one in learned])
        has = "" if n_repeats > 1 else f", which has {best:.6g}"
        reasons.append(
            f"of a mean of fits that standard_errors={standard_errors:g} cannot tell from the "
            f"best one{has}"
        )
    return f" ({', '.join(reasons)})" if reasons else ""


def learn_penalty(repeats, options, run, make_search, *, known, progress, attributes=None):
    """Learn on the folds and fit all rows with what was learned: a `LearnedPenalty`.

    `repeats` holds the rows in several assignments to folds, as `FoldedRows` or `FoldStatistics`;
    what is learned is averaged over them. `known` are numbers learned before, or None.
    ``attributes(learned)``, if given, returns an estimator's attributes, for callbacks.
    ``make_search(folded, options, shrinkage)`` makes the searches.
    """
    search, outcome = _first_search(repeats[0], options, run, progress, make_search)
    if progress.stopped and run.max_iter and search.spec.n_hyper:
        progress.leave_out("a run of iterations")
        run = replace(run, max_iter=0)
    known = outcome.learned_from(known)
    found: list[SearchResult] = []
    for number, folded in enumerate(repeats if search.spec.n_hyper else repeats[:1]):
        if found:
            if progress.stopped:
                progress.leave_out(f"{len(repeats) - number} of {len(repeats)} repeats")
                break
            search = make_search(folded, options, outcome.shrinkage)
        with progress.stage("learn penalty", run.max_iter) as stage:
            # What is printed and reported of a run is that of the first one.
            callback = stage.callback(attributes, verbose=not found)
            if callback is not None:
                one_more = partial(outcome.with_one_more, found, run.exact_zeros)
                callback = callback.mapped(one_more, outcome.history)
            one = search.best(
                run,
                shrinkage=outcome.shrinkage,
                callback=callback,
                known=known,
                like=found[0] if found else None,
            )
        found.append(one)
    with progress.stage("last fit"):
        learned = outcome.of(found, run.exact_zeros)
    return replace(learned, at_bounds=at_bounds(outcome.search, found[0], options))


def regression_search(folded, options, shrinkage):
    """A `PenaltySearch` on these rows and folds; infinite shrinkage leaves no deviations."""
    of_design = design_options(options)
    design = make_design(folded, **of_design)
    doubled = 0.0
    if folded.exponents is not None:
        doubled = folded.exponents[len(options.strength) :].mean()
    scale = float(np.log(design.units.target_scale).mean() + np.log(2) * doubled)
    features = penalized_features(options, design.units, log_target_scale=scale)
    spec = make_spec(options.kind, features, shrinkage, asked=options.shrinkage)
    if options.loss == "squared_error":
        return PenaltySearch(design, spec, HeldOutError(design.test))
    # A squared error needs sums only, this one the rows themselves.
    of_rows = design if isinstance(design, RowDesign) else RowDesign(folded, **of_design)
    return PenaltySearch(design, spec, ROW_ERRORS[options.loss].of(of_rows.test, design.test))


def design_options(options):
    """What a design of `PenaltyOptions` is made with."""
    # The lasso's penalty grows like a column's scale, the others' like its square.
    stretch = options.factors if options.kind == "l1" else np.sqrt(options.factors)
    return {"penalized": options.strength != 0, "stretch": stretch, **options.design}


def penalized_features(options, units, *, log_target_scale=0.0):
    """What is known of the penalized features, in the units of a design."""
    group = options.groups.index
    factor = (units.stretch * units.unit) ** (1 if options.kind == "l1" else 2)
    descriptions = options.descriptions[:, units.penalized]
    if len(descriptions) and not (units.penalized | units.unpenalized).all():
        # Constant columns have no say in their mean and deviation.
        learned = np.isnan(options.strength[units.penalized])
        descriptions = resolve_descriptions(descriptions.T, learned)
    return PenalizedFeatures(
        group=group[units.penalized],
        grouped=options.groups.given,
        strength=options.strength[units.penalized] / factor,
        factor=factor,
        descriptions=descriptions,
        log_bounds=tuple(np.log(np.asarray(options.alpha_bounds) * units.strength)),
        log_target_scale=log_target_scale,
        positive=options.positive,
        log_unit=float(np.log(units.strength)),
    )


@dataclass(frozen=True)
class _Outcome:
    """From searches to what is reported of them."""

    search: PenaltySearch  # the first one
    shrinkage: float
    names: list[str]  # of what is reported
    # (n_reported, n_hyper): what is reported has the same shape whatever shrinkage was chosen.
    embedding: np.ndarray
    options: PenaltyOptions
    exponents: np.ndarray | None  # of 2, by which columns were divided

    def learned_from(self, reported):
        """The initial point, given what was reported before; None where that does not fit."""
        if reported is None or len(reported) != len(self.embedding):
            return None
        return np.linalg.pinv(self.embedding) @ reported

    def history(self, history):
        return history.with_hyper(lambda values: values @ self.embedding.T)

    def with_one_more(self, found, exact_zeros, result):
        """`of` what was found, and of a further `SearchResult`."""
        return self.of([*found, result], exact_zeros)

    def of(self, found, exact_zeros):
        """The fit of all rows with the mean of what was found on each assignment to folds."""
        spec, first = self.search.spec, found[0]
        is_averaged = first.is_averaged
        learned, initial = [one.learned for one in found], [one.initial for one in found]
        criterion, initial_criterion = (
            _mean_criterion(averages, is_averaged) for averages in (learned, initial)
        )
        if criterion > initial_criterion:
            # With one more candidate the others count less, and a mean may be worse for that.
            learned, criterion = initial, initial_criterion
        log_weights = sum(one.log_weights for one in learned) / len(learned)
        hyper = np.mean([to_numpy(one.best.hyper[0]) for one in learned], axis=0)
        if is_averaged:
            points = [point for one in learned for point in one.used]
            shares = np.concatenate([one.weights[one.weights > 0] for one in learned])
            params = self.search.mean_refit(points, shares / len(learned))
        else:
            params = self.search.refit(learned[0].best, log_weights)
        if exact_zeros and spec.is_square:
            params = self.search.sparse_refit(learned[0], params)
        coef, intercept = self.search.in_raw_units(params)
        if self.exponents is not None:
            coef, intercept = in_raw_units(coef, intercept, self.exponents)
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise ValueError(
                "The coefficients are not finite: values of X, y or sample_weight differ by too "
                "many powers of ten for products of them. Choose other units for their columns."
            )
        return LearnedPenalty(
            coef=coef,
            intercept=intercept,
            alpha=with_constant_columns(self.search.alpha(log_weights), self.options),
            hyper=self.embedding @ hyper,
            hyper_names=self.names,
            history=self.history(first.history),
            exponents=hyper[spec.exponents].copy(),
            group_share=float(hyper[spec.shares].sum()),
            criterion=criterion,
            initial_criterion=initial_criterion,
            baseline=float(np.mean([one.baseline for one in found])),
            best_criterion=learned[0].best.criterion,
            average=_shares(learned),
            n_averaged=max(len(one.used) for one in learned),
            n_repeats=len(found),
            shrinkage=float(self.shrinkage),
            first=first,
        )


def with_constant_columns(alpha, options):
    """Strengths with those of constant columns, which are NaN: what the rest of a group has.

    That is its geometric mean, or that of all columns where a group has none else, times their
    factors.
    """
    missing, learned = np.isnan(alpha), np.isnan(options.strength)
    if not missing.any():
        return alpha
    known = ~missing & learned
    log = np.log(alpha / np.where(known, options.factors, 1), where=known, out=np.zeros(len(alpha)))
    n_known, sums = (
        np.bincount(options.groups.index, values, minlength=len(options.groups))
        for values in (known, log)
    )
    overall = sums.sum() / max(n_known.sum(), 1)
    means = np.where(n_known > 0, sums / n_known.clip(1), overall)
    common = np.exp(means)[options.groups.index] * options.factors
    filled = np.where(learned, common, options.strength)
    return np.where(missing, filled, alpha)


def _shares(averages):
    """Weights of the candidates by name, the largest first."""
    shares: dict[str, float] = {}
    for one in averages:
        for point, share in zip(one.points, one.weights, strict=True):
            if share:
                shares[point.name] = shares.get(point.name, 0.0) + float(share) / len(averages)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _mean_criterion(averages, is_averaged):
    """Held-out error, mean over repeats, of averaged fits, or of the mean of the best penalties."""
    if is_averaged or len(averages) == 1:
        return float(np.mean([one.criterion for one in averages]))
    hyper = torch.cat([one.best.hyper for one in averages])
    return float(np.mean([one.best.mean_criterion(hyper) for one in averages]))


def _first_search(folded, options, run, progress, make_search):
    """The search on the first folds and its `_Outcome`, shrinkage chosen where that is open."""
    shrinkage = 0.0 if options.shrinkage == "auto" else options.shrinkage
    search = make_search(folded, options, shrinkage)
    spec, names = search.spec, search.spec.names(options.groups.names)
    embedding = np.eye(spec.n_hyper)
    if options.shrinkage == "auto" and spec.n_deviations:
        shrinkage = np.inf
        if progress.stopped:
            progress.leave_out("the choice of a shrinkage")
        else:
            shrinkage = _chosen_shrinkage(search, folded, options, run, progress, make_search)
        if np.isinf(shrinkage):
            embedding = spec.from_common()
            search = make_search(folded, options, shrinkage)
    return search, _Outcome(search, shrinkage, names, embedding, options, folded.exponents)


def _chosen_shrinkage(search, folded, options, run, progress, make_search):
    """The shrinkage that nested cross-validation chooses."""
    pairs, max_iter = folded.nested(), run.max_iter
    with progress.stage("choose shrinkage", len(pairs)) as stage:
        return choose_shrinkage(
            stage.each(pairs, what="fold"),
            lambda some, candidate: make_search(some, options, candidate),
            run.solver,
            max_iter=max_iter if search.spec.is_square else min(max_iter, NESTED_MAX_ITER),
            tol=run.tol,
            standard_errors=NESTED_STANDARD_ERRORS,
        )
