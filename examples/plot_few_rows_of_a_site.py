"""
Few rows of the site that counts
================================

Twenty houses of a neighbourhood have been sold, and two thousand elsewhere in Ames. Fitted to
these twenty, a model is noisy; fitted to all, it predicts another town. With ``row_source=`` and
``target_source=`` the fit learns what rows of elsewhere are worth, and by how much the level of
each neighbourhood differs, from the errors on the twenty.
"""

import numpy as np

from skbamm import BilevelRegularizedRegressor
from skbamm.datasets import load_ames_housing
from skbamm.inspection import RowWeightDisplay

table, log_price = load_ames_housing(return_X_y=True)
names = ["Gr_Liv_Area", "Total_Bsmt_SF", "Lot_Area", "Year_Built", "Year_Remod_Add"]
names += ["Garage_Cars", "Fireplaces", "Full_Bath", "Bedroom_AbvGr", "First_Flr_SF"]
X, y = table[names].to_numpy(dtype=float), log_price.to_numpy()
site = table["Neighborhood"].astype(str).to_numpy()

# %%
# Each neighbourhood of more than 120 houses is the target once.
generator = np.random.default_rng(0)
sites, counts = np.unique(site, return_counts=True)
errors: dict[str, list[float]] = {"twenty rows": [], "all rows alike": [], "learned": []}
targets = sites[counts > 120]
for target in targets:
    own = generator.permutation(np.flatnonzero(site == target))
    known, test = own[:20], own[20:]
    rows = np.concatenate([known, np.flatnonzero(site != target)])
    models = {
        "twenty rows": BilevelRegularizedRegressor().fit(X[known], y[known]),
        "all rows alike": BilevelRegularizedRegressor().fit(X[rows], y[rows]),
        "learned": BilevelRegularizedRegressor().fit(
            X[rows], y[rows], row_source=site[rows], target_source=target
        ),
    }
    for name, model in models.items():
        errors[name].append(float(np.mean((model.predict(X[test]) - y[test]) ** 2)))
alike = np.array(errors["all rows alike"])
print("Squared error of the neighbourhood's other houses, relative to all rows alike")
for name, values in errors.items():
    ratio = np.array(values) / alike
    print(f"{name:15} mean {np.exp(np.log(ratio).mean()):.2f}, worst {ratio.max():.2f}")

# %%
# What the last fit learned: one weight of all other rows, and the level of each neighbourhood that
# was taken off log10 prices (0.1 is a quarter of the price).
display = RowWeightDisplay.from_estimator(models["learned"])
display.ax_.set_title(f"{targets[-1]} is predicted")
