"""
Which columns matter? Half a table of columns that cannot
=========================================================

Every number in the Ames housing table gets three shadows, copies with their rows shuffled, which
say nothing about the price. A good selection keeps no shadow. ``exact_zeros=True`` ends the fit
with a lasso on columns rescaled by what was learned; beside it, the lasso alone.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LassoCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.datasets import load_ames_housing

houses, log_price = load_ames_housing(return_X_y=True)
numbers = houses.select_dtypes("number").to_numpy(float)
y = log_price.to_numpy()
generator = np.random.default_rng(0)
shadows = np.hstack([generator.permuted(numbers, axis=0) for _ in range(3)])
X = np.hstack([numbers, shadows])
is_shadow = np.arange(X.shape[1]) >= numbers.shape[1]

# %%
# From more and more sales: how many true columns and how many shadows are kept, and R2 on others.
models = {
    "LassoCV": make_pipeline(StandardScaler(), LassoCV(max_iter=10_000)),
    "skbamm, exact_zeros": BilevelRegularizedRegressor(exact_zeros=True),
}
sizes = (200, 400, 800, 1600)
kept = {name: np.zeros((len(sizes), 2)) for name in models}
print("rows   model                  true columns   shadows   R2")
for row, size in enumerate(sizes):
    scores = {name: [] for name in models}
    for split in range(3):
        parts = train_test_split(X, y, train_size=size, test_size=1000, random_state=split)
        train, test, train_y, test_y = parts
        for name, model in models.items():
            scores[name].append(model.fit(train, train_y).score(test, test_y))
            coef = model.coef_ if name.startswith("skbamm") else model[-1].coef_
            kept[name][row] += [sum(coef[~is_shadow] != 0) / 3, sum(coef[is_shadow] != 0) / 3]
    for name in models:
        true, shadow = kept[name][row]
        print(f"{size:4}   {name:22} {true:12.1f} {shadow:9.1f}   {np.mean(scores[name]):.3f}")

# %%
# The picture.
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for (name, counts), color in zip(kept.items(), ("tab:gray", "tab:blue"), strict=True):
    ax.plot(sizes, counts[:, 0], "o-", color=color, label=f"{name}: true columns (of 33)")
    ax.plot(sizes, counts[:, 1], "x--", color=color, label=f"{name}: shadows (of 99)")
ax.set(xscale="log", xlabel="sales to learn from", ylabel="columns kept")
ax.set_xticks(sizes, [str(size) for size in sizes])
ax.minorticks_off()
ax.set_ylim(-1, 28)
ax.set_title("Ames: what is kept, mean of three draws")
ax.legend(loc="upper left", ncols=2, fontsize="small")
