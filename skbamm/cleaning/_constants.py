"""Numbers behind label weights: tuned ones and learned ones, then guards against rounding.

"Measured" means on the development tables with wrong labels (docs/design-notes.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# --- Rows and designs --------------------------------------------------------------------------
# A search looks at so many noisy rows, and verified ones; at more for many columns or classes. A
# handful of numbers and some linear models do not need more (measured).
ENOUGH, PER_COLUMN, PER_CLASS = 10_000, 20, 300
# A class keeps so many rows, if it has them.
LEAST_ROWS = 50
# With fewer rows with verified labels it is tried as well what is learned without these.
FEW_VERIFIED = 45
# Beyond this many columns a rotation costs more than it saves.
MAX_ROTATED = 1000
# Folds are fitted on the rows with weight alone where these are fewer than this fraction.
FEW_USED = 0.8
# Rows of which scores are made at a time.
BLOCK_ROWS = 4096
# Sampled rows times columns, for each row, up to which curvature blocks of the sample pay in the
# last fit.
MOST_SAMPLED = 100

# --- Fits of the folds -------------------------------------------------------------------------
# Distances to the minimiser. Label quality comes from exact fits: what is left of their iterations
# would be noise in it, which hangs on the order of columns. Close ones give the averaged fits their
# labels. Rough ones choose a ridge strength; at the last the criterion is taken.
EXACT, CLOSE, ROUGH, CRITERION = 1e-9, 1e-6, 1e-4, 1e-4
# A weaker ridge must beat a stronger one by this fraction, so that rounding cannot flip the choice.
PREFERENCE = 1e-6
# Share of every label that first-stage models spread over all classes: few rows may miss one.
SMOOTHING = 1e-3
# Ridge strengths tried for first-stage models of verified rows, and for models of noisy ones.
VERIFIED_RIDGES = np.logspace(0, -2.5, 6)
NOISY_RIDGES = np.logspace(-1, -3.5, 6)

# --- Label quality -----------------------------------------------------------------------------
# Models of all rows: their ridge, the weight of a verified row, and how often they are fitted.
ROUND_RIDGE, ROUND_VERIFIED_WEIGHT, N_ROUNDS = 1e-2, 2.0, 2
# Random features of the kernel model: half as many directions, a cosine and a sine for each.
N_FEATURES = 300
# Its ridge strengths relative to the mean square of a feature's weight.
KERNEL_RIDGES = (1e-4, 1e-3, 1e-2)
# Features of so many rows are kept instead of made anew; of so many they are made at a time where
# only their products are asked for.
MAX_KEPT, PRODUCT_ROWS = 20_000, 200
# The directions are part of the method: no option and no fold changes them.
SEED = 20260101
# Digits by which columns are put in order before they get directions: rounding leaves these.
KEY_DIGITS = 9
# Inverse temperature at which predicted probabilities are expected to serve as scores.
PROBABILITY_FACTOR = 3.0
# Mixing weights are between 0 and this.
MAX_MIXING_WEIGHT = 20.0
# Nats for a mixing weight that is off by all of itself: of a single model, and of stacked ones; and
# how many rows without a verified label say as much as all of them.
SINGLE_PRIOR, STACKED_PRIOR, STACKED_ROWS = 1.0, 4.0, 500
# By how many standard errors the user's own model must predict validation rows better.
STANDARD_ERRORS = 0.5
# A class of fewer rows may be what the user's own model cannot be fitted with, out of a fold.
LEAST_OF_CLASS = 10
# Boosted trees need so many rows; below, they lose to linear models as often as not (measured).
TREE_ROWS = 300
# With many classes, each of which has its trees, there are fewer of them, in larger steps.
FEW_CLASSES, TREES_OF_FEW, TREES_OF_MANY = 4, (100, 0.1), (30, 0.25)
# Few leaves and bins are as good and quicker; of many columns a random part is tried at each split.
TREE_OPTIONS: dict[str, Any] = {"max_leaf_nodes": 15, "max_bins": 64}
TREE_COLUMNS = 50
# Folds that they are fitted out of, and pairs of folds: more of them cost more.
TREE_FOLDS = 4
# Multiply-adds that a round of boosting takes for an entry of X, between waits of its threads.
WORK_OF_ENTRY = 10
# Shares of these iterations after which they may end.
TREE_STAGES = (0.1, 0.2, 0.4, 0.7, 1.0)
# Trees that are sure of a class are not that sure.
LEAST_PROBABILITY = 1e-4
# How strongly given labels follow their own model where noise depends on the row: half of the log
# probabilities, since these contain the true class as well.
TILT = 0.5
# Log likelihood by which a richer kind of noise must win, for each row and in total: poor
# predictions make any model of the given labels look a little better.
MARGIN, TOTAL_MARGIN = 0.005, 6.0
# Pseudo-rows of each class that follow one overall noise rate: where pairs of classes may be
# confused, and at first, where predictions are poor and there is but one rate.
PAIR_COUNT, ONE_RATE_COUNT = 10.0, 1e4
# Iterations of expectation-maximisation.
N_EM = 30
# Noise rates that the pseudo-rows may have, and the one to begin with.
NOISE_RATES, INITIAL_NOISE_RATE = (0.01, 0.99), 0.3
# Of given labels: the share of rows that follow the expected share of labels that say nothing, the
# shares that may be expected, and the prior precision, for each row, of the scores' log factor and
# biases.
NOISE_PRIOR, NOISE_SHARES, SCORE_PRIOR = 5e-3, (0.01, 0.95), 1e-4
# Wrong labels show where labels are likelier by so many nats, and by so many standard errors.
LEAST_GAIN, SHOWN = 3.0, 1.0
# Log posterior odds beyond this say no more; and those of a label that is not there, of weight 0
# whatever the learned numbers are.
MAX_LOG_ODDS, NO_LABEL_ODDS = 12.0, -1e4

# --- The average ---------------------------------------------------------------------------------
# Ridge strengths of fits on all labels as given, and of others, the strongest first.
PLAIN_RIDGES, RIDGES = np.logspace(0, -4, 5), np.array([1e-1, 1e-3])
# So much of the largest weight is taken off each: members of less are not fitted on all rows.
LEAST_MEMBER = 0.02
# Factors of a member's scores are between this and one over it.
MAX_FACTOR = 5.0
# More folds are put together.
MAX_FOLDS = 5

# --- Learned numbers ---------------------------------------------------------------------------
# Initially the label weight is the posterior probability, and the ridge a usual one: the fewer
# columns for each row, the weaker.
INITIAL_RIDGE, RIDGE_PER_COLUMN = 5e-3, 0.1
INITIAL_VERIFIED_WEIGHT = 4.0


class LabelNumbers(NamedTuple):
    """The numbers that the adaptive weighting learns, along the last axis of `hyper`."""

    intercept: Any
    slope: Any
    log_ridge: Any
    log_verified_weight: Any  # relative to a noisy row of label weight 1
    log_inverse_temperature: Any  # of predictions; in the upper level only

    @classmethod
    def unpack(cls, hyper):
        """From an array or a tensor of shape (..., 5)."""
        return cls(*(hyper[..., index] for index in range(len(cls._fields))))

    def pack(self):
        """An array of shape (..., 5), or a tensor where the numbers are."""
        if not hasattr(self.intercept, "new_tensor"):
            return np.stack(np.broadcast_arrays(*self), axis=-1).astype(float)
        import torch

        return torch.stack(torch.broadcast_tensors(*self), dim=-1)

    def logit(self, log_odds):
        """Of the label weight, given the log posterior odds that the label is right."""
        return self.intercept + self.slope * log_odds


# As users see them.
LOGARITHMS = ("log alpha", "log verified weight", "log inverse temperature")
HYPER_NAMES = ("intercept", "slope", *LOGARITHMS)
# Boxes. A slope of 0 would weigh all rows alike, and a verified row is worth at least a noisy one
# of full weight: label quality is out-of-fold, but its models share rows, and held-out loss would
# go further.
LOWER = LabelNumbers(-8.0, 0.1, np.log(1e-4), 0.0, -2.0)
UPPER = LabelNumbers(8.0, 4.0, np.log(10.0), 5.0, 3.0)
# Standard deviations of the prior: off by one of them costs half a standard error of the criterion,
# so that few verified rows move the numbers little.
DEVIATIONS = LabelNumbers(0.5, 0.25, 1.0, 0.25, np.inf)
# The same without verified rows: nothing that the criterion sees has helped to score labels.
NOISY_DEVIATIONS = LabelNumbers(2.0, 1.0, 2.0, 2.0, np.inf)
# The bounded loss is flatter than the cross-entropy by about so much.
FLATTER = 3.0
# The papers' free weights come with a ridge that is only there for separable rows, and with a
# constant averaging parameter: their lower level is all but merely convex.
FREE_RIDGE, FREE_AVERAGING = 1e-4, 0.5
# Bound of a free logit.
MAX_LOGIT = 10.0
# A final estimator gets rows with classes of this probability or more: all of them make trees
# slower, and no better.
LEAST_TARGET = 0.3
# Where it takes no weights, rows are repeated to at most so many times their number.
MOST_COPIES = 3.0
# By how much its scores of a class that it has not seen are below all others: a softmax of them
# gives that class a probability of less than 1e-15.
ABSENT_SCORE = 36.0
# Rows that its probabilities are tried on after the last fit.
TRIED_ROWS = 1000

# --- Guards against rounding, no numbers of a method -------------------------------------------
# Of sums that are divided by; of probabilities in odds, with and without a noise model.
TINY, LEAST_ODDS, LEAST_PLAIN_ODDS = 1e-300, 1e-12, 1e-6
# By how much sums and maxima of shares of votes may be off.
VOTE_TOL = 1e-6
# Stands in for a fixed ridge of 0, under which separable classes have no finite fit.
LEAST_RIDGE = 1e-12
# Ridge of a kernel model's intercept.
KERNEL_INTERCEPT_RIDGE = 1e-9
# Gradient at which the noise of given labels is found, but for one step.
NOISE_TOL = 1e-6
# Newton's method for mixing weights: most steps, most halvings, and the relative change that ends
# it. Initial ones are at least this.
MAX_NEWTON, MAX_HALVINGS, NEWTON_CHANGE, LEAST_INITIAL = 50, 30, 1e-9, 1e-2
