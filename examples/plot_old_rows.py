"""
Old rows under drift
====================

What was built long ago says little about what is built next. Houses in Ames are predicted from
those that were built before: houses of each five years from all older ones. ``fit(X, y, time=...)``
learns how fast rows lose weight, by predicting the newest of the old houses from those before them,
and leaves rows as they are where nothing is gained.
"""

import matplotlib.pyplot as plt
import numpy as np

from skbamm import BilevelRegularizedRegressor
from skbamm.datasets import load_ames_housing
from skbamm.inspection import RowWeightDisplay

table, log_price = load_ames_housing(return_X_y=True)
names = ["Gr_Liv_Area", "Total_Bsmt_SF", "Lot_Area", "Garage_Cars", "Fireplaces", "Full_Bath"]
X = table[names].to_numpy(dtype=float)
y, built = log_price.to_numpy(), table["Year_Built"].to_numpy(dtype=float)

# %%
# Beside it, a fit to all older rows alike, and one to those of the last ten years.


def error(model, test):
    return float(np.mean((model.predict(X[test]) - y[test]) ** 2))


years = list(range(1960, 2006, 5))
ratios: dict[str, list[float]] = {"last ten years": [], "learned weights": []}
for year in years:
    old, new = built < year, (built >= year) & (built < year + 5)
    all_alike = error(BilevelRegularizedRegressor().fit(X[old], y[old]), new)
    recent = old & (built >= year - 10)
    model = BilevelRegularizedRegressor().fit(X[recent], y[recent])
    ratios["last ten years"].append(error(model, new) / all_alike)
    model = BilevelRegularizedRegressor().fit(X[old], y[old], time=built[old])
    ratios["learned weights"].append(error(model, new) / all_alike)
print("Squared error of the next five years' houses, relative to all rows alike")
print(f"{'':16}", *years)
for name, values in ratios.items():
    print(f"{name:16}", *(f"{value:.2f}" for value in values))

# %%
# What the last fit learned, and the errors by year: where houses change at once, as around 1970, no
# weights of older ones help.
print(model.status_.split("; ")[-1])
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
RowWeightDisplay.from_estimator(model, ax=axes[0])
for name, values in ratios.items():
    axes[1].plot(years, values, marker="o", label=name)
axes[1].axhline(1, color="gray", linestyle=":", label="all rows alike")
axes[1].set(ylim=(0, None), xlabel="houses of five years from", ylabel="relative squared error")
axes[1].legend(frameon=False)
plt.show()
