"""The search for learned numbers: label quality, initialization, run, result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..linalg._tensors import to_numpy
from ..problems._base import BilevelProblem
from ..solvers import History, Solution, Status, solve
from ._constants import (
    CRITERION,
    DEVIATIONS,
    EXACT,
    FLATTER,
    FREE_AVERAGING,
    FREE_RIDGE,
    INITIAL_RIDGE,
    INITIAL_VERIFIED_WEIGHT,
    LEAST_RIDGE,
    LOWER,
    MAX_LOGIT,
    NOISY_DEVIATIONS,
    NOISY_RIDGES,
    RIDGE_PER_COLUMN,
    UPPER,
    LabelNumbers,
)
from ._problem import (
    FreeWeighting,
    LowerLevel,
    Prior,
    QualityWeighting,
    TrainingLoss,
    ValidationLoss,
)
from .label_quality._first_stage import fit_first_stage, inverse_temperature
from .label_quality._given_noise import GivenNoise, fit_given_noise
from .label_quality._out_of_fold import LabelQuality, label_quality
from .label_quality._scorer import LabelScorer
from .label_quality._scores import log_softmax


@dataclass(frozen=True)
class RunOptions:
    """What a search takes from an estimator."""

    solver: Any
    alpha: Any
    max_iter: int
    tol: float
    relabel: bool
    standard_errors: float = 0.0  # 0 for the learned fit alone
    grows_trees: bool = False
    initial_hyper: np.ndarray | None = None  # of a warm start
    callback: Any = None

    @classmethod
    def of(cls, estimator):
        names = ("solver", "alpha", "max_iter", "tol", "relabel", "standard_errors")
        is_warm = estimator.warm_start and hasattr(estimator, "hyper_")
        options = {name: getattr(estimator, name) for name in names}
        return cls(
            **options,
            grows_trees=estimator._grows_trees(),
            initial_hyper=estimator.hyper_ if is_warm else None,
        )


@dataclass(frozen=True)
class LearnedWeights:
    """What a search found."""

    label_weight: np.ndarray  # (n_noisy,)
    ridge: float
    clean_weight: float  # of verified rows
    hyper: np.ndarray  # (n_hyper,)
    predictions: np.ndarray  # (n_rows, n_classes), out-of-fold probabilities
    solution: Solution
    params: torch.Tensor  # (n_folds, n_scores, n_columns), fits of the folds
    training: np.ndarray  # (n_rows,), weights of the last fit, by which the user's are multiplied
    scorer: LabelScorer | None = None  # for other rows; None where each has a weight of its own
    targets: torch.Tensor | None = None  # (n_scores, n_rows), of the last fit; None: given labels
    noise: GivenNoise | None = None  # of given labels; None where the label weights tell it
    is_noise_shown: bool = True  # whether given labels are clearly likelier with wrong ones
    transition_std: np.ndarray | None = None  # standard errors of the noise transition matrix
    quality: LabelQuality | None = None  # what the label weights come from
    average: Any = None  # the `Average` that is fitted to all rows; None: this fit alone
    trees: dict[str, Any] = field(default_factory=dict)  # kinds of fitted ones, where in use
    unit: float = 1.0  # of gradients, so that `tol` means the same for any number of weights

    @property
    def history(self):
        return self.solution.history.in_units(self.unit)


def learn(design, weighting, options: RunOptions, final_estimator=None) -> LearnedWeights:
    """Label weights of the noisy rows of a `FoldedDesign`, by an estimator's `weighting`."""
    if weighting == "adaptive":
        return learn_adaptive(design, options, final_estimator)
    if len(design.rows.noisy) > 0:
        return learn_free(design, options)
    # There is no weight to learn: a plain fit with a learned ridge.
    return learn_adaptive(design, replace(options, relabel=False, initial_hyper=None))


def learn_adaptive(design, options, final_estimator=None) -> LearnedWeights:
    """Label weights as a learned function of label quality."""
    has_verified = design.rows.has_verified
    quality = label_quality(design, final_estimator, options.grows_trees)
    box = _box(design.rows, quality.ridge, options.alpha)
    initial, lower_bound, upper_bound = map(design.tensor, box)
    validation_weight = design.tensor(design.folds.validation)
    training = _training_loss(design, quality, options.relabel)
    level = LowerLevel(training, validation_weight, CRITERION)
    params = level.minimize(initial, quality.params, EXACT)
    rows, weight = design.validation(validation_weight)
    upper = ValidationLoss(rows, weight, bounded=not has_verified, tempered=has_verified)
    initial, prior = _calibrated(design, upper, initial, params)
    problem = BilevelProblem(
        upper=replace(upper, prior=prior),
        lower=training,
        # Another initialization of the run is no other criterion: the prior stays where it is.
        initial_hyper=_warm(design, options, initial),
        initial_params=params,
        lower_bound=lower_bound,
        upper_bound=upper_bound,
        strongly_convex=True,
        metric=level.metric,
        solve_lower=level.minimize,
    )
    unit = 1.0 if has_verified else FLATTER
    return _run(problem, options, unit, partial(_learned, design.rows, quality, training, unit))


def learn_free(design, options) -> LearnedWeights:
    """A free weight for each noisy row, as published."""
    rows, folds = design.rows, design.folds
    noisy = design.positions(rows.noisy)
    row_weight = design.tensor(rows.weight)
    ridge = FREE_RIDGE if options.alpha == "learn" else max(options.alpha, LEAST_RIDGE)
    if rows.has_verified:
        # As published: all noisy rows below, all verified rows above, a single fit.
        in_training = design.tensor(~rows.is_clean)[None]
        validation_weight = rows.weight * rows.is_clean
        validation_weight = design.tensor(validation_weight / validation_weight.sum())[None]
    else:
        in_training = design.tensor(folds.in_training)
        validation_weight = design.tensor(folds.validation)
    weighting = FreeWeighting(noisy, row_weight, in_training, float(ridge))
    training = TrainingLoss(design.labelled, weighting)
    bound = row_weight.new_full((len(noisy),), MAX_LOGIT)
    validation_rows, weight = design.validation(validation_weight)
    problem = BilevelProblem(
        upper=ValidationLoss(validation_rows, weight, bounded=not rows.has_verified),
        lower=training,
        initial_hyper=_warm(design, options, torch.zeros_like(bound)),
        initial_params=design.labelled.zeros(len(in_training)),
        lower_bound=-bound,
        upper_bound=bound,
        # The averaging biases params, not so much weights, and the last fit does without it.
        averaging=FREE_AVERAGING,
        metric=LowerLevel(training, validation_weight).metric,
    )
    # Each of n free weights has a gradient of the order 1 / n.
    unit = float(np.sqrt(len(noisy)))
    return _run(problem, options, unit, partial(_learned_free, design, weighting, options, unit))


def _learned_free(design, weighting, options, unit, solution) -> LearnedWeights:
    """From a run's solution."""
    rows, folds = design.rows, design.folds
    label_weight = to_numpy(weighting.label_weight(solution.hyper))
    training = np.ones(len(rows.labels))
    training[rows.noisy] = label_weight
    # The fit of the run itself is no model to keep: it saw the validation rows (averaging), and its
    # ridge is next to none. Out-of-fold ones choose the ridge of the last fit.
    stage = fit_first_stage(design, folds.out_of_fold * rows.weight * training, NOISY_RIDGES)
    predictions = np.exp(log_softmax(design.out_of_fold(design.scores(stage.params))))
    noise = fit_given_noise(predictions, rows.labels, rows.weight, folds.own, rows.is_clean)
    return LearnedWeights(
        label_weight=label_weight,
        ridge=stage.ridge if options.alpha == "learn" else max(options.alpha, LEAST_RIDGE),
        clean_weight=1.0,
        hyper=to_numpy(solution.hyper),
        predictions=predictions,
        solution=solution,
        params=stage.params,
        training=training,
        noise=noise,
        is_noise_shown=noise.is_shown,
        transition_std=noise.transition_std,
        unit=unit,
    )


def _run(problem, options, unit, conclude) -> LearnedWeights:
    """Solve a problem, and conclude from its solution."""

    def concluded(solution):
        if not solution.criterion <= solution.initial_criterion:
            # Where the lower level is not solved for, the best iterate is no better by necessity.
            solution = replace(
                solution,
                hyper=problem.project_hyper(problem.initial_hyper),
                params=problem.initial_params,
                criterion=solution.initial_criterion,
                status=Status.STALLED if solution.status is Status.CONVERGED else solution.status,
                residual=np.inf,
                hypergradient_norm=np.inf,
            )
        return conclude(solution)

    callback = options.callback
    if callback is not None:
        callback = callback.mapped(concluded, partial(History.in_units, unit=unit))
    tol = options.tol / unit
    limits = {"max_iter": options.max_iter, "tol": tol}
    # What `solve_lower` finds is trusted; of free weights the averaged problem is solved.
    return concluded(solve(problem, options.solver, **limits, callback=callback, verify=False))


def _training_loss(design, quality, relabel):
    """Of rows that label quality weighs, and relabels where it says how."""
    rows = design.rows
    relabel = relabel and quality.others is not None
    suggested = design.targets(quality.others) if relabel else None
    weighting = QualityWeighting(
        design.tensor(quality.log_odds),
        design.positions(rows.noisy),
        design.positions(rows.verified),
        design.tensor(rows.training_weight(suggested)),
        design.tensor(design.folds.in_training),
        relabel=float(relabel),
    )
    return TrainingLoss(design.labelled, weighting, suggested)


def _box(rows, ridge, alpha):
    """Initial `LabelNumbers` and their bounds."""
    log_ridge = np.log(ridge or usual_ridge(rows))
    log_verified_weight = np.log(INITIAL_VERIFIED_WEIGHT)
    initial = LabelNumbers(0.0, 1.0, log_ridge, log_verified_weight, 0.0)
    fixed: dict[str, float] = {}
    if not rows.has_verified:
        fixed |= {"log_verified_weight": 0.0, "log_inverse_temperature": 0.0}
    if alpha != "learn":
        fixed["log_ridge"] = np.log(max(alpha, LEAST_RIDGE))
    return tuple(numbers._replace(**fixed).pack() for numbers in (initial, LOWER, UPPER))


def _learned(rows, quality, training_loss, unit, solution) -> LearnedWeights:
    """From a run's solution."""
    weighting = training_loss.weighting
    hyper = to_numpy(solution.hyper)
    numbers = LabelNumbers.unpack(hyper)
    label_weight = to_numpy(weighting.label_weight(solution.hyper))
    clean_weight = float(np.exp(numbers.log_verified_weight))
    training = np.full(len(rows.labels), clean_weight)
    training[rows.noisy] = label_weight + weighting.relabel * (1 - label_weight)
    return LearnedWeights(
        label_weight=label_weight,
        ridge=float(np.exp(numbers.log_ridge)),
        clean_weight=clean_weight,
        hyper=hyper,
        predictions=quality.predictions,
        solution=solution,
        params=solution.params,
        training=training,
        scorer=quality.scorer,
        noise=quality.noise,
        is_noise_shown=quality.is_noise_shown,
        transition_std=quality.transition_std,
        quality=quality,
        targets=training_loss.at(solution.hyper).loss.targets if weighting.relabel else None,
        unit=unit,
    )


def usual_ridge(rows):
    """Where a ridge strength is looked for first."""
    per_row = rows.X.shape[1] / np.count_nonzero(rows.weight)
    return min(INITIAL_RIDGE, RIDGE_PER_COLUMN * per_row)


def _warm(design, options, initial):
    """Where a run begins: at the numbers learned before, if those are wanted and as many."""
    warm = options.initial_hyper
    return initial if warm is None or len(warm) != len(initial) else design.tensor(warm)


def _calibrated(design, loss, initial, params):
    """Initial numbers with the temperature of initial held-out scores, and their `Prior`."""
    deviations = DEVIATIONS
    if loss.tempered:
        log_inverse_temperature, error = _calibrate(design, params)
        found = {"log_inverse_temperature": initial.new_tensor(log_inverse_temperature)}
        initial = LabelNumbers.unpack(initial)._replace(**found).pack()
    else:
        deviations = NOISY_DEVIATIONS
        error = _error_over_folds(to_numpy(loss.fold_losses(initial, params)))
    return initial, Prior(design.tensor(error / deviations.pack() ** 2), initial)


def _error_over_folds(losses):
    """Standard error of the mean of the folds' losses; does not change as rows are repeated."""
    return losses.std(ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else 0.0


def _calibrate(design, params):
    """Log inverse temperature of initial held-out scores, and the standard error of their loss."""
    scores = design.scores(params)
    least = np.exp(LOWER.log_inverse_temperature)
    factor = max(inverse_temperature(design, scores)[0], least)
    labels, weight = design.validation_labels, design.validation_weight
    loss = -log_softmax(factor * design.held_out(scores))[np.arange(len(labels)), labels]
    spread = weight @ np.square(loss - weight @ loss)
    error = np.sqrt(spread * (weight @ weight))  # weights sum to 1: 1 / rows where all equal
    return np.log(factor), error
