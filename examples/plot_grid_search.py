"""
One fit instead of a grid
=========================

Two groups of columns with a strength each: what ``GridSearchCV`` does with 400 fits, and
``RandomizedSearchCV`` with 60, one fit of :class:`~skbamm.BilevelRegularizedRegressor` does by
following gradients. The number of strengths costs it next to nothing, and a grid everything.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skbamm import BilevelRegularizedRegressor

X, y = load_diabetes(return_X_y=True)
expand = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False))
X = StandardScaler().fit_transform(expand.fit_transform(X))
degree = expand[-1].powers_.sum(axis=1)
folds = KFold(5, shuffle=True, random_state=0)


# %%
# A ridge with a strength for each of two groups, in scikit-learn: columns are divided by the root
# of their strength first.
class GroupScaler(TransformerMixin, BaseEstimator):
    def __init__(self, first=1.0, second=1.0):
        self.first = first
        self.second = second

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X / np.sqrt(np.where(degree == 1, self.first, self.second))


ridge = make_pipeline(GroupScaler(), Ridge(alpha=len(y) * 4 / 5))
strengths = np.logspace(-4, 2, 20)
names = ("groupscaler__first", "groupscaler__second")
options = {"scoring": "neg_mean_squared_error", "cv": folds, "refit": False}
searches = {
    "GridSearchCV": GridSearchCV(ridge, dict.fromkeys(names, strengths), **options),
    "RandomizedSearchCV": RandomizedSearchCV(
        ridge, dict.fromkeys(names, loguniform(1e-4, 1e2)), n_iter=60, random_state=0, **options
    ),
}

# %%
# All three look at the same held-out rows.
print(f"{'':28}held-out error   CPU s")
for name, search in searches.items():
    begin = time.process_time()
    search.fit(X, y)
    print(f"{name:28}{-search.best_score_:14.1f} {time.process_time() - begin:7.2f}")
options = {"groups": degree, "shrinkage": 0, "standardize": False, "tol": 1e-3}
model = BilevelRegularizedRegressor("l2", cv=list(folds.split(X)), **options)
model.fit(X, y)  # the first fit of a process also imports torch
begin = time.process_time()
model.fit(X, y)
print(f"{'skbamm':28}{model.criterion_ * y.var():14.1f} {time.process_time() - begin:7.2f}")

# %%
# The picture: the grid's errors, and the way that skbamm went.
figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
errors = -searches["GridSearchCV"].cv_results_["mean_test_score"].reshape(20, 20).T
levels = errors.min() + np.geomspace(3, errors.max() - errors.min(), 15)
contours = ax.contourf(strengths, strengths, errors, [errors.min(), *levels], cmap="Blues")
figure.colorbar(contours, label="held-out squared error")
tried = searches["RandomizedSearchCV"].cv_results_
ax.plot(*(tried[f"param_{name}"].data for name in names), "x", color="gray", label="random search")
path = np.exp(model.history_["hyper"])
ax.plot(*path.T, "o-", color="tab:red", label="skbamm")
ax.set(xscale="log", yscale="log", xlim=(1e-4, 1e2), ylim=(1e-4, 1e2))
ax.set(xlabel="strength of degree 1", ylabel="strength of degree 2")
ax.set_title("Diabetes, 65 terms: 400 points of a grid, one path")
ax.legend()
