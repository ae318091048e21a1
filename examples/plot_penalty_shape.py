"""
Ridge, lasso, or something that selects more?
=============================================

``penalty="adaptive"``, the default, also learns what kind of penalty a table asks for. Its weights
fall with the size m of a pilot coefficient like :math:`m^{-e}`: an exponent e of 0 is ridge, 1 is
much like the lasso, and from 2 on it comes close to counting columns. What do three real tables
ask for?
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.datasets import load_meat_spectra
from skbamm.inspection import PenaltyDisplay

# %%
# Ten measurements of patients, these with their squares and products, and spectra of meat.
X, y = load_diabetes(return_X_y=True)
products = PolynomialFeatures(2, include_bias=False)
tables = {
    "diabetes, 10 columns": (X, y),
    "diabetes, 65 columns": (products.fit_transform(StandardScaler().fit_transform(X)), y),
    "meat, 100 wavelengths": load_meat_spectra(return_X_y=True),
}

# %%
# Held-out errors are in units of the variance of y.
models = {}
for title, data in tables.items():
    models[title] = model = BilevelRegularizedRegressor(n_repeats=1).fit(*data)
    ridge = model.history_.initial["baseline"]
    error = f"{model.criterion_:.3f}, of the best ridge {ridge:.3f}"
    print(f"{title:22} exponent {model.exponents_[0]:.2f}, held-out error {error}")

# %%
# The picture: the weight of a coefficient's square by its size, that of usual size having weight 1.
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, title in zip(axes, tables, strict=True):
    PenaltyDisplay.from_estimator(models[title], kind="weight", ax=ax)
    ax.legend(loc="upper right")
    ax.set_title(title)
