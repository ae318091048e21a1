"""
Wrong targets
=============

Prices of houses in Ames, some of which were typed wrong: one in twenty has a digit too many, one in
twenty lacks one. :class:`~skbamm.HyperCleaningRegressor` finds them, lists them, and fits any
regressor to weighted rows. Prices are skewed: it looks for errors of their logarithms by itself.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import HuberRegressor, RidgeCV
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningRegressor
from skbamm.datasets import load_ames_housing
from skbamm.inspection import TargetWeightDisplay

table, log_price = load_ames_housing(return_X_y=True)
names = ["Gr_Liv_Area", "Total_Bsmt_SF", "Lot_Area", "Garage_Cars", "Fireplaces", "Year_Built"]
price = np.round(10**log_price)
X_train, X_test, price_train, price_test = train_test_split(
    table[names], price, train_size=1500, random_state=0
)

generator = np.random.default_rng(0)
draw = generator.random(len(X_train))
factor = np.select([draw < 0.05, draw < 0.1], [10.0, 0.1], 1.0)
given = price_train * factor

# %%
# The report lists rows by their index, the least probable prices first, and what is expected.
model = HyperCleaningRegressor().fit(X_train, given)
report = model.target_report()
print(report.head(8).round(2))
is_wrong = factor != 1
found = report["is_issue"].loc[X_train.index] == is_wrong
print(f"{is_wrong.sum()} wrong prices; {model.noise_rate_:.0%} estimated")
print(f"{found.mean():.1%} of all prices are told rightly; {model.status_}")

# %%
# Weights serve any regressor: here trees and linear fits, and what they lose to wrong prices.
linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13)))
trees = HistGradientBoostingRegressor(random_state=0)
methods = {
    "ridge": linear,
    "Huber": make_pipeline(StandardScaler(), HuberRegressor(max_iter=1000)),
    "weighted ridge": HyperCleaningRegressor(),
    "trees": trees,
    "weighted trees": HyperCleaningRegressor(trees),
}
errors = {}
for name, method in methods.items():
    predicted = method.fit(X_train, given).predict(X_test)
    errors[name] = mean_absolute_error(price_test, predicted) / 1000
predicted = trees.fit(X_train, price_train).predict(X_test)
errors["trees, right prices"] = mean_absolute_error(price_test, predicted) / 1000
for name, error in errors.items():
    print(f"{name:20} {error:5.1f}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
TargetWeightDisplay.from_estimator(model, ax=axes[:2])
axes[2].barh(list(errors), list(errors.values()), color="#0072B2")
axes[2].invert_yaxis()
axes[2].set(xlabel="mean absolute error, 1000 dollars")
plt.show()
