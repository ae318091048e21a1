"""Numbers that the regressor stands on, each with its reason."""

import numpy as np

# Ridge strengths of mean squares, on standardized columns, that are compared.
RIDGES = np.logspace(-7, 3, 31)
# Weights below are none, but keep the sums of a fold away from zero.
LEAST_WEIGHT = 1e-12
# The square of a wrong target counts as that of a right one so many deviations off, at most.
FAR = 3.0
# More columns are turned to so many leading directions: only residuals are asked of that fit.
MOST_COLUMNS = 300
# More sparse columns are turned without ever being dense.
MOST_DENSE = 2_000
# Noise models are learned from so many rows, those of a pseudo-random sample; the rest is scored.
MOST_ROWS = 10_000
# More folds are joined: fits are made anew without each.
MOST_FOLDS = 10
# Robust deviations from the median beyond which targets are no nearer to an error's unit, and
# units beyond which how far a target is off says no more.
WINSORIZED, FARTHEST = 10.0, 1e4
# Rounds of fits and noise models in turn, and how often the strength is searched anew.
ROUNDS, SEARCH_EVERY = 10, 5
CONVERGED = 1e-3  # change of any weight at which they end
INNER_ROUNDS = 10
# Rows that a mixture's numbers have seen before any: wrong ones with twice the scale of right
# ones. Rates are shrunk towards one in ten rows. Most targets are right: where errors are not quite
# normal, the likeliest "wrong" ones are all but the smallest (.58 of them where .27 were wrong).
PRIOR_ROWS = 5.0
LEAST_RATE, MOST_RATE = 1e-4, 0.5
# Of wrong targets one in a hundred is a gross error: anywhere, equally likely, as far as that.
LOG_GROSS = float(np.log(0.01 / (2 * FARTHEST)))
# Errors that heavy tails expect in fewer of all rows than that are not those of right targets. Of
# 339 clean tables of many kinds of errors one row of one, of Cauchy errors, was below. One of 250
# rows that is 40 deviations off is at 2e-7 to 1e-88, as the tails of the others are.
IMPOSSIBLE = 1e-6
# Standard errors over held-out rows by which mixtures have to be likelier than every model without
# wrong targets, and the width of the shares. On some 25 clean tables they were above 2.3 on one
# alone, daily riders of a railway, whose holidays no column tells. With 20 to 30 % wrong targets on
# 700 rows they are at 1.4 to 8: where linear fits say little, less than all is found.
ADVANTAGE, STANDARD_ERRORS = 1.8, 0.5
# Robust deviations of residuals beyond which a row does not say more on heavy tails.
FARTHEST_VOTE = 100.0
# What is added to that, divided by the number of rows: of few rows such errors are known badly.
ADVANTAGE_ROWS = 150.0
# Targets are right, however far off, where trees tell that share of which ones they are; on so
# many rows.
TOLD, TREE_ROWS = 0.5, 3_000
# Noise models are of logarithms where not more of the targets are negative, their tails differ by
# that, and logarithms make them likelier by so many standard errors.
MOST_NEGATIVE, SKEWED, LOG_ADVANTAGE = 0.1, 0.15, 3.0
# Smaller shares are none.
LEAST_SHARE = 0.01
# With fewer verified rows their squares decide nothing.
VERIFIED_ROWS = 20
# With fewer rows, or where one value makes up more of the targets, no target is taken for wrong: a
# fit of that value alone would leave all others as wrong.
LEAST_ROWS, MOST_TIED = 25, 0.25
# Rounds of fits that are scored on rows which they have not seen.
HELD_OUT_ROUNDS = 6
DEGREES = np.array([2.5, 3, 4, 5, 7, 10, 20, 50, 200.0])
# Tuning of Huber's and Tukey's weights at 95 % efficiency under normal errors.
HUBER, TUKEY = 1.345, 4.685

# How far learned numbers may go from where EM has ended, in logarithms.
REACH = 3.0

# More columns are turned to so many directions where the strength of the last fit is looked for.
MOST_FINAL_COLUMNS = 1_200
