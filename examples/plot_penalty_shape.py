"""
Ridge, lasso, or something that selects more?
=============================================

``penalty="bridge"`` learns the power of the penalty itself: 2 is ridge, 1 the lasso, and towards 0
it comes close to counting columns. ``penalty="adaptive"``, the default, gets that freedom from a
pilot fit instead, in a fraction of the time. What do three real tables ask for?
"""

import time

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
# Held-out errors are in units of the variance of y; "one strength" is the best ridge or lasso.
models = {}
for title, data in tables.items():
    for penalty in ("bridge", "adaptive"):
        begin = time.process_time()
        model = BilevelRegularizedRegressor(penalty, n_repeats=1).fit(*data)
        seconds = time.process_time() - begin
        learned = f"power {model.power_[0]:.2f}"
        if penalty == "adaptive":
            learned = f"exponent {model.exponents_[0]:.2f}"
        error = f"{model.criterion_:.3f}, one strength {model.initial_criterion_:.3f}"
        print(f"{title:22} {penalty:9} {learned:14} held-out error {error} ({seconds:.2f} s)")
        models[title, penalty] = model

# %%
# The picture: how the penalty grows with a coefficient, one of usual size having to pay 1.
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, title in zip(axes, tables, strict=True):
    PenaltyDisplay.from_estimator(models[title, "bridge"], kind="function", ax=ax)
    ax.legend(loc="upper center")
    ax.set_title(title)
