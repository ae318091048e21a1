"""
Which columns deserve which penalty?
====================================

Diabetes: 442 patients, ten measurements, expanded to 65 terms of degree 1 and 2. Ridge penalizes
all terms alike. :class:`~skbamm.BilevelRegularizedRegressor` learns a strength for each, from
three or four numbers: the weaker the penalty, the more the fit expects of a term.
"""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import RepeatedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.inspection import PenaltyDisplay

X, y = load_diabetes(return_X_y=True, as_frame=True)


# %%
# Terms of the same degree are a group. A function of a column's name says which: products and
# squares have a blank or a power in theirs.
def degree(name):
    return "squares and products" if " " in name or "^" in name else "measurements"


def expanded(model):
    expand = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False))
    return make_pipeline(expand, StandardScaler(), model).set_output(transform="pandas")


learned = expanded(BilevelRegularizedRegressor(groups=degree)).fit(X, y)

# %%
# The picture: the twenty weakest penalties.
display = PenaltyDisplay.from_estimator(learned, max_items=20)
display.ax_.set_title("Diabetes: learned the terms with the weakest penalty")

# %%
# Does it predict better than one strength for all? Fifteen splits, R2:
ridge = expanded(RidgeCV(np.logspace(-2, 6, 30)))
splits = RepeatedKFold(n_splits=5, n_repeats=3, random_state=0)
for name, model in {"one strength (RidgeCV)": ridge, "a strength for each term": learned}.items():
    print(f"{name:26} {cross_val_score(model, X, y, cv=splits).mean():.3f}")
