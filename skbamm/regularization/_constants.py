"""Tuned numbers of learned penalties, then guards against rounding: what each does, and its source.

"Measured" means on the development tables (docs/design-notes.md).
"""

from __future__ import annotations

import numpy as np

# --- Rows, folds and designs -------------------------------------------------------------------
# On few rows what is learned depends on which of them are held out together: averaging over three
# assignments predicts better, over more no better still (measured).
FEW_ROWS, FEW_ROWS_REPEATS = 1000, 3
# With more features than that, memory counts on the Gram path, and eigenvectors cost more than a
# few Cholesky factors (measured),
LARGE = 300
# unless each of many targets needs a ridge path of its own.
FEW_TARGETS = 8
# Up to so many features, so many points are solved at once: calls cost more than sums there, and
# points that turn out not to be needed cost little (measured).
FEW_FEATURES, AT_ONCE = 50, 6

# --- What is learned: bounds and initial points ------------------------------------------------
# Of the exponent of adaptive weights (2 is adaptive ridge), and of the groups' share in magnitudes.
EXPONENT_BOUNDS, SHARE_BOUNDS = (0.0, 6.0), (0.0, 1.0)
# Of a term of the log strengths: a description one deviation from its mean, or a group.
TERM_BOUNDS = (-10.0, 10.0)
# Of adaptive log weights: further ones overflow.
LOG_WEIGHT_LIMIT = (-60.0, 60.0)
# A feature's magnitude never counts as less than this fraction of the root mean square.
MAGNITUDE_FLOOR = 1e-3
# Pilot strength relative to the best ridge's, and exponent: candidates for the mean, the most
# useful first. A strong pilot sees columns one by one, a good one what each adds to the others.
ADAPTIVE_INITIAL = ((1.0, 2.0), (30.0, 2.0), (1.0, 4.0), (30.0, 4.0), (1.0, 1.0), (30.0, 1.0))
# The same where groups have a deviation each, then the groups' share in the magnitudes, and the
# strength relative to the best ridge's. A weak pilot says little of single features, but much of
# groups: a wiggly function needs a small strength, and shows with one alone.
GROUPED_INITIAL = (
    (1.0, 2.0, 0.3, 1.0),
    (1e-3, 3.0, 0.7, 0.1),
    (1e-3, 1.5, 0.7, 0.3),
    (30.0, 4.0, 0.3, 1.0),
)
# A candidate's weight relative to the best one's, below which it is not fitted.
NEGLIGIBLE = 1e-4
# Steps of the log strength from the best ridge's, where the best one for an initial point is looked
# for, how many in a direction, and what a step must gain, relatively: less is none in a mean.
STRENGTH_STEP, MAX_STRENGTH_STEPS, STRENGTH_GAIN = float(np.log(10)) / 2, 8, 1e-3
# Ratio of factors of penalties, beyond which bounds of strengths no longer hold all of them.
MOST_FACTORS = 1e8
# So many of these steps beyond a bound it is looked whether the bound costs something.
STEPS_BEYOND = (1, 2, 4, 8)
# Held-out error below that of one strength for all, relatively, which is no gain worth a word: it
# is itself an optimistic one.
NO_GAIN = 0.01
# The groups' share in the magnitudes to begin with.
INITIAL_SHARE = 0.3

# --- Searches ----------------------------------------------------------------------------------
# Strengths of the coarse ridge grid, in units of the mean eigenvalue of the Gram matrix; the
# strongest comes first, as the simplest.
RIDGE_GRID = np.logspace(4, -9, 53)
# Where the lower level is no square, a run for each fold and shrinkage takes long, and its order
# shows early.
NESTED_MAX_ITER = 40
# Standard errors of the held-out error that are given up for a larger shrinkage.
NESTED_STANDARD_ERRORS = 0.5
# Shrinkages that "auto" compares. No deviation at all comes first: it wins ties.
SHRINKAGES = (np.inf, 0.1, 0.01, 0.001, 0.0)
# From here on a difference of a tenth costs half of the error itself: nothing is left to learn,
# and the prior would only make the problem stiff.
LARGEST_SHRINKAGE = 100.0

# --- Penalties that are no squares -------------------------------------------------------------
# Smoothing of the lasso at zero, in units of the ridge coefficients' root mean square. Less makes
# kinks that a gradient does not see.
SMOOTHING = 3e-2
# On the way from ridge: smoothing relative to the final one, and the accuracy there.
SOFTENING, ROUGH = (100.0, 10.0), 1e-3
# Of the lower level's solution: its gradient relative to the one at zero, and Newton steps at most.
ACCURACY, MAX_SOLVE_ITER = 1e-9, 200
# The same where squares have a barrier alone: Newton's method ends once it knows which hold.
BARRIER_ACCURACY = 1e-12
# A gradient relative to the one at zero from which Newton's method needs no way around, and from
# which params count as the solution.
NEAR, SOLVED = 0.1, 1e-7
# Refinements of what an inverse Hessian is said to be: it has half of its digits or so at first.
REFINED = 2
# A metric's curvature is never less than this fraction of the majorizer's: what is nearly flat
# far from zero would make it singular. On the way to a solution less is enough.
CURVATURE_FLOOR, DUAL_FLOOR = 1e-2, 1e-6
# Of the barrier that keeps coefficients positive while learning, in units of the mean
# eigenvalue of the Gram matrix.
STIFFNESS = 1e6
# Penalty that takes a coefficient out of the last fit, in units of the largest of the others' or
# of the Gram matrix's diagonal.
EXCLUSION = 1e12

# --- Lasso paths -------------------------------------------------------------------------------
# From the strength that gives only zeros down to a fraction of it, some at a time.
SMALLEST_FRACTION, N_STRENGTHS, N_AT_A_TIME = 1e-4, 80, 8
# The tolerance is on the duality gap, relative to the squared length of the target: fitted values
# are as exact as its root.
LASSO_PATH = {"tol": 1e-8, "max_iter": 3000}
LASSO_FINAL = {"tol": 1e-14, "max_iter": 20_000}
# Standard errors of the held-out error that exact zeros give up for a stronger lasso.
LASSO_STANDARD_ERRORS = 0.5

# --- Large Gram matrices -----------------------------------------------------------------------
# How many products are kept: params, the multiplier, and the params of a point that is tried.
REMEMBERED = 4
# A ridge path's subspace begins with so many products with the Gram matrix, good for strong
# penalties, and takes so many solves of each factor: far cheaper than another one.
N_PRODUCTS, N_SOLVES = 8, 4
# Largest residual relative to the right-hand side, of a solution and of one of many to compare.
PATH_ACCURACY, COMPARED = 1e-8, 1e-3

# --- Huber's loss ------------------------------------------------------------------------------
# Times the standard deviation of normal errors: 95 % as efficient as squares where errors are
# normal (Huber, "Robust Estimation of a Location Parameter", 1964).
EFFICIENT = 1.345
# Standard deviation of a normal error relative to the median of its size.
DEVIATION = 1.4826

# --- Log loss ----------------------------------------------------------------------------------
# Steps of the log strength between the knots of a ridge path, the strongest knot (in these steps
# above the unit of strengths), and how many knots without gain end the path. The best strength is
# one of so many between two knots, which rounding does not move.
KNOT_STEP, STRONGEST, MAX_PATIENCE = float(np.log(10)) / 2, 0, 2
# Up to so many rows the path begins at the strongest knot, with more so much below it.
STRONG_ROWS = 1000
N_BETWEEN = 16
# The same of a lasso path: a strength relative to the one before, and how many at most.
LASSO_STEP, MAX_LASSO_STEPS = 10**-0.2, 60
# The distance at which its fits count as solved: so near that rounding does not move the best one.
LASSO_NEAR = 1e-6
# Iterations on several strengths of a lasso.
LASSO_MAX_ITER = 20
# Distance to the minimiser, in units in which the Hessian is about the identity (half of its square
# is the loss above the least one), at which fits count as solved: relative to the root of the loss,
# and in a run so much smaller.
LOG_LOSS_NEAR, LOG_LOSS_CLOSER = 1e-3, 0.1
# What is left of the equation of a multiplier, relative to its right-hand side.
LOG_LOSS_LINEAR = 1e-3
# Conjugate gradient steps of a solve, and of a last fit.
LOG_LOSS_STEPS, LOG_LOSS_FINAL_STEPS = 100, 2000
# Numbers of scores up to which candidates are solved at once: more leave the cache (measured).
LOG_LOSS_AT_ONCE = 1e5
# Weight in a mean, relative to the largest, below which a fit is left out of it.
LEAST_SHARE = 1e-2
# How many solutions of the lower level are kept to begin others at.
LOG_LOSS_REMEMBERED = 30
# Ridge of unpenalized columns and of intercepts: keeps them finite where classes are separable, or
# one is missing.
FREE_RIDGE, INTERCEPT_RIDGE = 1e-7, 1e-9
# Log loss below which there is nothing to learn, and below which less is no reason for other
# bounds:
# where classes are separable it falls for ever.
NO_LOSS, LITTLE_LOSS = 1e-4, 0.02

# === Guards against rounding ===================================================================
# A later candidate must beat an earlier, simpler one by this fraction.
PREFERENCE = 1e-6
# Least held-out error, relative to the size of what it is the difference of, whose rounding is
# below `PREFERENCE` of it.
RESOLUTION = float(np.finfo(np.float64).eps) / PREFERENCE
# Rounding that moves a prediction by less than this is none.
UNMOVED = 1e-8
# Shares of a column in the fitted values, relative to the targets, below which it may have none
# (if what is left is optimal without it), and below which it has none.
NO_EFFECT = (1e-5, 1e-9)
# Coefficients all but zero have no size to be relative to.
LEAST_SIZE = 1e-10
# Columns whose root mean square is beyond these are divided by a power of two near it.
USUAL_SIZES = (1e-5, 1e5)
# A column, or a description, that varies less than this is constant: variance relative to the
# mean square, deviation relative to the largest entry.
CONSTANT_VARIANCE, CONSTANT_DEVIATION = 1e-15, 1e-12
# Added to a Gram matrix that rounding made indefinite, relative to its mean diagonal.
JITTER = (1e-10, 1e-6)
# Eigenvalues of a Gram matrix below this fraction of the largest are zero.
SINGULAR = 1e-13
# Penalties whose ratios differ by less are multiples of each other.
MULTIPLE = 1e-12
# A value that a step must lower may rise by this fraction.
ROUNDING = 1e-14
# Half of a sum of weights, less what rounding may take: it must not decide between two medians.
HALF = (1 - 1e-12) / 2
# Lengths to divide by.
TINIEST = float(np.finfo(np.float64).tiny)
