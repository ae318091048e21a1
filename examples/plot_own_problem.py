"""
A bilevel problem of your own: penalties for quantiles
======================================================

How far may the disease progress within a year, at most and at least? Quantile regression, on
measurements and their squares and products: two groups of columns, with a strength each. No
estimator of skbamm does that; two functions and a call of :func:`~skbamm.solvers.solve` do.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import QuantileRegressor
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from torch.nn.functional import softplus

from skbamm.problems import BilevelProblem
from skbamm.solvers import solve

X, y = load_diabetes(return_X_y=True)
expand = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False))
X = StandardScaler().fit_transform(expand.fit_transform(X))
X = torch.from_numpy(np.column_stack([X, np.ones(len(y))]))  # the last column is the intercept
y = torch.from_numpy((y - y.mean()) / y.std())
degree = torch.from_numpy(expand[-1].powers_.sum(axis=1)) - 1


def pinball(residual, quantile, width=0.1):
    """The loss whose minimiser is a quantile, rounded at its kink."""
    return (quantile * residual + width * softplus(-residual / width)).mean()


# %%
# Below: the penalized loss of the rows to train on. Above: the loss of held-out rows.
def learn(train, held_out, quantile, group):
    def lower(hyper, params):
        penalty = (hyper.exp()[group] * params[:-1].square()).sum() + 1e-4 * params[-1] ** 2
        return pinball(y[train] - X[train] @ params, quantile) + penalty / 2

    def upper(hyper, params):
        return pinball(y[held_out] - X[held_out] @ params, quantile)

    start = torch.full((int(group.max()) + 1,), -2.0, dtype=torch.float64)
    params = torch.zeros(X.shape[1], dtype=torch.float64)
    bounds = {"lower_bound": -8.0, "upper_bound": 4.0}
    problem = BilevelProblem(upper, lower, start, params, strongly_convex=True, **bounds)
    return solve(problem, max_iter=600, tol=1e-3)


# %%
# Three splits into 180 rows to train on, 120 held out, 142 to test on.
def lasso(train, held_out, quantile):
    """QuantileRegressor, the best of ten strengths on the held-out rows."""
    models = [QuantileRegressor(quantile=quantile, alpha=a) for a in np.logspace(-3, 0, 10)]
    coefs = []
    for model in models:
        model.fit(X[train, :-1].numpy(), y[train].numpy())
        coefs.append(torch.from_numpy(np.append(model.coef_, model.intercept_)))
    return min(coefs, key=lambda c: pinball(y[held_out] - X[held_out] @ c, quantile))


losses = {"QuantileRegressor": [], "one strength": [], "a strength a degree": []}
for split in range(3):
    rows, test = train_test_split(np.arange(len(y)), test_size=142, random_state=split)
    train, held_out, predicted = rows[:180], rows[180:], []
    for quantile in (0.1, 0.9):
        one, two = (learn(train, held_out, quantile, group) for group in (degree * 0, degree))
        print(
            f"split {split}, quantile {quantile}: {two.status}, {two.n_iter} iterations, ", end=""
        )
        print("log strengths", two.hyper.round(decimals=1).tolist())
        fits = (lasso(train, held_out, quantile), one.params, two.params)
        for name, params in zip(losses, fits, strict=True):
            losses[name].append(float(pinball(y[test] - X[test] @ params, quantile, 1e-6)))
        predicted.append(X[test] @ two.params)
print({name: round(float(np.mean(values)), 4) for name, values in losses.items()})

# %%
# The picture: what was predicted for the test rows of the last split, and what came.
low, high = predicted
order = torch.argsort(low + high)
inside = ((y[test] >= low) & (y[test] <= high)).double().mean()
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.fill_between(range(len(test)), low[order], high[order], alpha=0.3, label="10 % to 90 % quantile")
ax.plot(y[test][order], ".", color="tab:red", label="what came")
ax.set(
    xlabel="patient, by the middle of the prediction", ylabel="progression (standard deviations)"
)
ax.set_title(f"Diabetes: {inside:.0%} of 142 test rows are between the learned quantiles")
ax.legend()
