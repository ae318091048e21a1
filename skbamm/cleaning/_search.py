"""The search for learned numbers: evidence, start, run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from ..linalg._softmax import minimize_cross_entropy
from ..linalg._tensors import to_numpy, to_tensor
from ..solvers import Solution, solve
from ._problem import CleaningProblem, TrustedLoss
from ._weighting import EvidenceWeighting, FreeWeighting
from .label_quality._kernel import N_FEATURES, KernelRows, random_directions
from .label_quality._out_of_fold import (
    EXACT,
    NOISY_PATH,
    clean_evidence,
    noisy_evidence,
    pilot_path,
)
from .label_quality._scorer import EvidenceModel, LinearScores
from .label_quality._scores import calibrate, log_softmax

# Start of the learned numbers: Bayes' rule for the trust, and a usual ridge.
RIDGE_START, RIDGE_PER_COLUMN = 5e-3, 0.1
CLEAN_START = 4.0
# Stands in for a fixed ridge of 0, under which separable classes have no finite fit.
LEAST_RIDGE = 1e-12
# The papers' free weights come with a ridge that is only there for separable rows.
FREE_RIDGE = 1e-4
# Distance to the lower level's solution at which the criterion is taken.
SOLVED = 1e-4
# Boxes of threshold, slope, log ridge, log weight of clean rows, log sharpness. A slope of 0
# would trust all rows alike, and a clean row is worth at least a trusted noisy one: evidence
# is cross-fitted, but its models share rows, and held-out loss would push further.
LOWER = np.array([-8.0, 0.1, np.log(1e-4), 0.0, -2.0])
UPPER = np.array([8.0, 4.0, np.log(10.0), 5.0, 3.0])
# Units of the pull to the start: off by one of them costs half a standard error of the
# criterion, so that few clean rows move them little.
SCALES = np.array([0.5, 0.25, 1.0, 0.25, np.inf])
# The same without clean rows: nothing that the criterion sees has helped to judge labels.
NOISY_SCALES = np.array([2.0, 1.0, 2.0, 2.0, np.inf])
# The bounded loss is flatter than the cross-entropy by about so much.
FLATTER = 3.0


@dataclass(frozen=True)
class LearnedTrust:
    """What a search found."""

    trust: np.ndarray  # (n_noisy,), how far each noisy row's label is believed
    ridge: float
    clean_weight: float
    hyper: np.ndarray  # (n_hyper,)
    predictions: np.ndarray  # (n_rows, n_classes), out-of-fold probabilities
    solution: Solution
    params: torch.Tensor  # (1, n_folds, n_scores, n_columns), fits of the folds
    training: np.ndarray  # (n_rows,), weights of the last fit, by which the user's are multiplied
    model: EvidenceModel | None = None  # for other rows; None where each has a weight of its own
    targets: torch.Tensor | None = None  # (n_scores, n_rows), of the last fit; None: given labels
    unit: float = 1.0  # of gradients, so that `tol` means the same for any number of weights

    @property
    def history(self):
        return reported(self.solution.history, self.unit)


class TrustSearch:
    """What all weightings share: rows as tensors, folds, batched softmax fits."""

    def __init__(self, rows, folds, standardizer, device, final_estimator=None):
        self.rows = rows
        self.folds = folds
        self.standardizer = standardizer
        self.device = device
        self.final_estimator = final_estimator
        self.softmax = standardizer.labelled(rows, device)
        self.in_training = self.tensor(folds.in_training)
        self.row_weight = self.tensor(rows.weight)

    def tensor(self, array):
        return to_tensor(array, self.device)

    def positions(self, array):
        return torch.from_numpy(np.asarray(array)).to(self.device)

    def fit_folds(self, weights, ridge, start=None, *, tol=1e-3, smoothing=0.0):
        """Softmax fits of every fold, (1, n_folds, n_scores, n_columns).

        Rows without weight in any fold cost nothing.
        """
        weights = weights / weights.sum(-1, keepdim=True)
        used = weights.any(0)
        if start is None:
            start = self.softmax.zeros(1, len(weights))
        ridge = weights.new_full((1,), ridge)
        rows = self.softmax.smoothed(smoothing) if smoothing else self.softmax
        if float(used.double().mean()) < 0.8:
            rows, weights = rows.subset(used), weights[:, used]
        return minimize_cross_entropy(rows, weights[None], ridge, start, tol=tol)

    def shares(self, probabilities):
        """Chances of classes of the noisy rows as targets of all rows, (n_scores, n_rows)."""
        targets = self.softmax.indicator.clone()
        first = 1 if self.softmax.has_reference else 0
        targets[:, self.positions(self.rows.noisy)] = self.tensor(probabilities.T[first:])
        return targets

    def full_scores(self, params):
        """Scores of all classes from every fold's fit, (n_folds, n_rows, n_classes)."""
        scores = to_numpy(self.softmax.scores(params)[0]).transpose(0, 2, 1)
        if self.softmax.has_reference:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=2)
        return scores

    def raw_scores(self, params):
        """The mean of the folds' models, for other rows."""
        return LinearScores(*self.standardizer.raw(to_numpy(params[0].mean(0))))

    def cross_fitted(self, params):
        """Scores of each row from the fit of its own part, (n_rows, n_classes)."""
        return self.full_scores(params)[self.folds.part, np.arange(len(self.rows.labels))]

    def judged(self, scores):
        """Scores, labels and weights of all held-out judging rows, fold by fold."""
        fold, row = np.nonzero(self.folds.judging)
        return scores[fold, row], self.rows.labels[row], self.folds.judging[fold, row]

    def judges(self, judging):
        """Rows that judge in some fold, and their weights."""
        used = judging.any(0)
        if bool(used.all()):
            return self.softmax, judging
        return self.softmax.subset(used), judging[:, used]

    def judging_labels(self):
        """Labels and weights of all held-out judging rows, fold by fold."""
        fold, row = np.nonzero(self.folds.judging)
        return self.rows.labels[row], self.folds.judging[fold, row]

    def kernel_rows(self):
        """Features for kernel models of all rows."""
        directions = random_directions(self.rows.X.shape[1], N_FEATURES // 2)
        columns = self.softmax.design[:, :-1]
        columns = to_numpy(columns) if self.softmax.is_dense else columns
        return KernelRows(columns, self.standardizer.project(directions), self.rows.weight)


def learn_adaptive(
    search, solver, *, alpha, max_iter, tol, relabel=False, watch=None, initial_hyper=None
):
    """Trust as a learned function of evidence."""
    has_clean = bool(search.rows.is_clean.any())
    evidence = clean_evidence(search) if has_clean else noisy_evidence(search)
    start, lower, upper = _box(search, evidence, alpha)
    problem = _problem(search, start, _weighting(search, evidence, relabel), evidence.others)
    params = problem.solve_lower(search.tensor(start)[None], evidence.params, tol=EXACT)
    loss, centre = problem.upper, search.tensor(start)
    unit, scales = (1.0, SCALES) if has_clean else (FLATTER, NOISY_SCALES)
    if has_clean:
        start[4], error = _sharpness_and_error(search, params)
    else:
        error = _error_over_folds(to_numpy(loss.fold_losses(centre[None], params)[0]))
    problem.upper = replace(
        loss, pull=search.tensor(error / scales**2), centre=search.tensor(start)
    )
    # Another start of the run is not another criterion: the pull stays where it is.
    if initial_hyper is not None and len(initial_hyper) == len(start):
        start = initial_hyper
    bilevel = problem.problem(
        search.tensor(start)[None], search.tensor(lower), search.tensor(upper), params
    )

    def conclude(solution):
        return _concluded(search, problem, evidence, solution, unit)

    watch = watch and watch.mapped(conclude, partial(reported, unit=unit))
    return conclude(solve(bilevel, solver, max_iter=max_iter, tol=tol / unit, callback=watch))


def learn_free(
    search, solver, *, alpha, max_iter, tol, relabel=False, watch=None, initial_hyper=None
):
    """A free weight for each noisy row, as published."""
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
    # The lower level is all but merely convex. A constant averaging parameter biases params,
    # not so much weights, and the last fit does without it.
    problem = CleaningProblem(
        search.softmax, weighting, loss, judging, strongly_convex=False, averaging=0.5
    )
    params = search.softmax.zeros(1, len(in_training))
    start = nothing
    if initial_hyper is not None and len(initial_hyper) == len(noisy):
        start = search.tensor(initial_hyper)
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

    watch = watch and watch.mapped(conclude, partial(reported, unit=unit))
    return conclude(solve(bilevel, solver, max_iter=max_iter, tol=tol / unit, callback=watch))


def _weighting(search, evidence, relabel):
    rows = search.rows
    return EvidenceWeighting(
        search.tensor(evidence.odds),
        search.positions(rows.noisy),
        search.positions(rows.clean),
        search.row_weight,
        search.in_training,
        relabel=1.0 if relabel and evidence.others is not None else 0.0,
    )


def _box(search, evidence, alpha):
    """Start and bounds of threshold, slope, log ridge, log clean weight, log sharpness."""
    ridge = evidence.ridge or usual_ridge(search.rows)
    start = np.array([0.0, 1.0, np.log(ridge), np.log(CLEAN_START), 0.0])
    lower, upper = LOWER.copy(), UPPER.copy()
    if not search.rows.is_clean.any():
        start[3:] = lower[3:] = upper[3:] = 0.0
    if alpha != "learn":
        start[2] = lower[2] = upper[2] = np.log(max(alpha, LEAST_RIDGE))
    return start, lower, upper


def _problem(search, start, weighting, others):
    """A `CleaningProblem` whose upper level does not pull to the start yet."""
    centre = search.tensor(start)
    has_clean = bool(search.rows.is_clean.any())
    judging = search.tensor(search.folds.judging)
    judges, judges_weight = search.judges(judging)
    loss = TrustedLoss(
        judges,
        judges_weight,
        torch.zeros_like(centre),
        centre,
        bounded=not has_clean,
        sharpness=EvidenceWeighting.LOG_SHARPNESS if has_clean else None,
    )
    return CleaningProblem(
        search.softmax,
        weighting,
        loss,
        judging,
        strongly_convex=True,
        suggested=search.shares(others) if weighting.relabel else None,
        tol=SOLVED,
    )


def _concluded(search, problem, evidence, solution, unit):
    """What a run of `learn_adaptive` found."""
    rows, weighting = search.rows, problem.lower.weighting
    hyper = to_numpy(solution.hyper[0])
    trust = to_numpy(weighting.trust(solution.hyper)[0])
    clean_weight = float(np.exp(hyper[EvidenceWeighting.LOG_CLEAN]))
    training = np.full(len(rows.labels), clean_weight)
    training[rows.noisy] = trust + weighting.relabel * (1 - trust)
    return LearnedTrust(
        trust=trust,
        ridge=float(np.exp(hyper[EvidenceWeighting.LOG_RIDGE])),
        clean_weight=clean_weight,
        hyper=hyper,
        predictions=evidence.predictions,
        solution=solution,
        params=solution.params,
        training=training,
        model=evidence.model,
        targets=problem.lower.targets(solution.hyper)[0, 0] if weighting.relabel else None,
        unit=unit,
    )


def reported(history, unit):
    """A run's history in the unit of `tol`."""
    return history.with_hyper(lambda hyper: hyper[..., 0, :]).in_units(unit)


def usual_ridge(rows):
    """Where a ridge strength is looked for first: the fewer columns for each row, the weaker."""
    per_row = rows.X.shape[1] / np.count_nonzero(rows.weight)
    return min(RIDGE_START, RIDGE_PER_COLUMN * per_row)


def _error_over_folds(losses):
    """Standard error of the mean of the folds' losses; does not change as rows are repeated."""
    return losses.std(ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else 0.0


def _sharpness_and_error(search, params):
    """Calibration of the start's held-out scores, and the standard error of their loss."""
    scores, labels, weight = search.judged(search.full_scores(params))
    factor, _ = calibrate(scores[None], labels, weight * len(weight), start=np.ones(1), pull=1.0)
    factor = max(float(factor[0]), np.exp(LOWER[4]))
    loss = -log_softmax(factor * scores)[np.arange(len(labels)), labels]
    spread = weight @ np.square(loss - weight @ loss)
    error = np.sqrt(spread * (weight @ weight))  # weights sum to 1: 1 / rows where all equal
    return np.log(factor), error
