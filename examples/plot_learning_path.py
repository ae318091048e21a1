"""
What was learned, iteration by iteration?
=========================================

A fit is a run of sl-BAMM: in each iteration the learned numbers move, and with them the held-out
error. Here are both for spectra of meat, in three blocks of columns (absorbance, first and second
differences) with a strength each, and a way to stop early.
"""

import matplotlib.pyplot as plt
import numpy as np

from skbamm import BilevelRegularizedRegressor
from skbamm.callback import EarlyStopping
from skbamm.datasets import load_meat_spectra
from skbamm.inspection import ConvergenceDisplay

absorbance, fat = load_meat_spectra(return_X_y=True)
X = np.hstack([np.diff(absorbance, order, axis=1) for order in range(3)])
block = np.repeat(["absorbance", "first difference", "second difference"], [100, 99, 98])

# %%
# ``verbose=1`` prints a line every ten iterations.
options = {"groups": block, "shrinkage": 0, "tol": 1e-3}
model = BilevelRegularizedRegressor("l2", verbose=1, **options).fit(X, fat)
print(model.status_)
error = f"{model.initial_criterion_:.4f} without learning, {model.criterion_:.4f} learned"
print(f"held-out error {error}")

# %%
# The picture. Trial points that were taken back are part of the history, so lines may turn.
figure = plt.figure(figsize=(8, 10), layout="constrained")
upper, lower = figure.subfigures(2, 1, height_ratios=(1, 2))
ConvergenceDisplay.from_estimator(model, kind="hyper", ax=upper.subplots())
ConvergenceDisplay.from_estimator(model, ax=lower.subplots())

# %%
# A callback ends a run that does not pay any more, here when six iterations gain less than 3 %.
stopped = BilevelRegularizedRegressor("l2", **options)
stopped.set_callbacks(EarlyStopping(patience=6, min_improvement=0.03)).fit(X, fat)
print(stopped.status_)
print(f"held-out error {stopped.criterion_:.4f} after {stopped.n_iter_} evaluations")
