"""
More columns than rows: which derivative of a spectrum helps?
=============================================================

The fat content of meat from near-infrared spectra: 60 samples to learn from, and 297 columns in
three blocks, which are the absorbance at 100 wavelengths and its first and second differences.
Chemometricians try the blocks one by one. Here each block gets a penalty of its own; beside it
the same without blocks, and what one would use otherwise.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LassoCV, RidgeCV
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.datasets import load_meat_spectra

absorbance, fat = load_meat_spectra(return_X_y=True)
blocks = [np.diff(absorbance, order, axis=1) for order in range(3)]
X = np.hstack(blocks)
block = np.repeat(["absorbance", "first difference", "second difference"], [100, 99, 98])

# %%
# Eight random splits into 60 samples to learn from and 155 to predict.
models = {
    "RidgeCV": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-8, 4, 40))),
    "LassoCV": make_pipeline(StandardScaler(), LassoCV(max_iter=100_000)),
    "one strength a block": BilevelRegularizedRegressor("l2", groups=block),
    "one a column": BilevelRegularizedRegressor(),
}
errors = {name: [] for name in models}
for train, test in ShuffleSplit(8, train_size=60, random_state=0).split(X):
    for name, model in models.items():
        residual = model.fit(X[train], fat[train]).predict(X[test]) - fat[test]
        errors[name].append(np.sqrt(np.mean(residual**2)))
for name, values in errors.items():
    print(f"{name:22} mean error {np.mean(values):.2f}, worst split {np.max(values):.2f}")

# %%
# The picture: errors of the splits, and the strengths of the blocks on all samples.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
left.boxplot(list(errors.values()), orientation="horizontal", tick_labels=list(errors))
left.invert_yaxis()
left.set(xlabel="root mean square error, % fat", title="155 fresh samples, eight splits")
strengths = models["one strength a block"].fit(X, fat).group_alpha_
right.barh(list(strengths), list(strengths.values()), color="tab:blue")
right.invert_yaxis()
right.set(xscale="log", xlabel="learned strength", title="What each block has to pay")
