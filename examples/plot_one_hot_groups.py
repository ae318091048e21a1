"""
Groups of one-hot columns: which variables of a table matter?
=============================================================

House prices in Ames: 33 numbers and 40 categories, which one-hot encoding turns into some 300
columns. The columns of one category belong together: ``groups="prefix"`` takes the part of a
column's name before the ``__`` that ``ColumnTransformer`` writes, and learns strengths by groups.
"""

import time

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LassoCV, RidgeCV
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.datasets import load_ames_housing
from skbamm.inspection import PenaltyDisplay

houses, log_price = load_ames_housing(return_X_y=True)
usual = houses["Gr_Liv_Area"] < 4000  # the author of the data advises to leave out five sales
houses, log_price = houses[usual], log_price[usual]


# %%
# One transformer for each variable, named after it.
def encoded(model):
    numbers = houses.select_dtypes("number").columns
    categories = houses.columns.difference(numbers)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [(name, StandardScaler(), [name]) for name in numbers]
        + [(name, one_hot, [name]) for name in categories]
    )
    return make_pipeline(columns, StandardScaler(), model).set_output(transform="pandas")


# %%
# Learn on half of the sales, predict the others. Errors are relative to RidgeCV's.
models = {
    "RidgeCV": RidgeCV(np.logspace(-1, 5, 30)),
    "LassoCV": LassoCV(max_iter=10_000),
    "skbamm, no groups": BilevelRegularizedRegressor(),
    "skbamm, a strength a variable": BilevelRegularizedRegressor("l2", groups="prefix"),
    "skbamm, groups": BilevelRegularizedRegressor(groups="prefix"),
}
fitted, errors, seconds = {}, {name: [] for name in models}, {}
for split in range(4):
    parts = train_test_split(houses, log_price, test_size=0.5, random_state=split)
    train, test, train_price, test_price = parts
    for name, model in models.items():
        begin = time.process_time()
        fitted[name] = encoded(model).fit(train, train_price)
        seconds[name] = time.process_time() - begin
        errors[name].append(mean_squared_error(test_price, fitted[name].predict(test)))
for name, values in errors.items():
    ratio = np.mean(values) / np.mean(errors["RidgeCV"])
    print(f"{name:30} {ratio:.3f} of RidgeCV's squared error, {seconds[name]:.1f} s")

# %%
# The picture: the twenty variables with the weakest penalty.
display = PenaltyDisplay.from_estimator(
    fitted["skbamm, a strength a variable"], by="group", max_items=20
)
display.ax_.set_title("Ames: learned penalty of the least penalized variables")
