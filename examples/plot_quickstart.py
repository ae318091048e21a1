"""
Learn a penalty for each column, and a weight for each label
============================================================

Prices of houses, and images with wrong labels: test scores relative to scikit-learn's own tools,
and pictures of what was learned (``quickstart_penalties.png``, ``quickstart_labels.png``).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LassoCV, LogisticRegression, RidgeCV
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.datasets import load_ames_housing

# %%
# A penalty for each column. Houses sold in Ames: 33 numbers, and 40 categories as one-hot columns.
# The columns of a variable are a group. (The author of the data leaves out five huge houses.)
table = load_ames_housing(as_frame=False)
names = np.array(table.feature_names)
usual = table.data[:, names == "Gr_Liv_Area"].ravel() < 4000
houses, log_price = table.data[usual], table.target[usual]
is_text = np.array([isinstance(entry, str) for entry in houses[0]])
encoder = OneHotEncoder(sparse_output=False)
X = np.hstack([houses[:, ~is_text].astype(float), encoder.fit_transform(houses[:, is_text])])
variable = np.append(names[~is_text], names[is_text].repeat([*map(len, encoder.categories_)]))
models = {
    "RidgeCV": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 30))),
    "LassoCV": make_pipeline(StandardScaler(), LassoCV(cv=5, max_iter=10_000)),
    "without learning (max_iter=0)": BilevelRegularizedRegressor(groups=variable, max_iter=0),
    "skbamm": BilevelRegularizedRegressor(groups=variable),
}
sizes, n_splits = (200, 400, 800), 5
errors = np.empty((len(models), len(sizes), n_splits))
for column, split in np.ndindex(len(sizes), n_splits):
    parts = train_test_split(X, log_price, train_size=sizes[column], random_state=split)
    for row, model in enumerate(models.values()):
        predicted = model.fit(parts[0], parts[2]).predict(parts[1])
        errors[row, column, split] = mean_squared_error(parts[3], predicted)
print(f"Log house prices, {X.shape[1]} columns: test MSE relative to RidgeCV, {n_splits} splits")
print(f"{'houses to learn from':38}" + "".join(f"{size:7}" for size in sizes))
for name, ratios in zip(models, errors.mean(axis=2) / errors[0].mean(axis=1), strict=True):
    print(f"{name:38}" + "".join(f"{ratio:7.3f}" for ratio in ratios))

# %%
# The picture: learned strengths on all houses, as means over the columns of a variable.
strengths = models["skbamm"].fit(X, log_price).group_alpha_
shown = np.array(sorted(strengths, key=strengths.get))[[*range(-1, -7, -1), *range(8, -1, -1)]]
figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
ax.barh(shown, [strengths[name] for name in shown])
ax.set(xscale="log", xlabel="learned penalty", title="House prices: 9 weakest, 6 strongest of 73")
figure.savefig("quickstart_penalties.png", dpi=200)

# %%
# A weight for each label. Digits: 60 labels are verified, 40 % of the others are wrong. Logistic
# regression gets the best of three strengths, and of three filters, *on the test rows*.
X, y = load_digits(return_X_y=True)
logistic = [make_pipeline(StandardScaler(), LogisticRegression(C=C)) for C in (0.001, 0.01, 0.1)]
scores = {}
for draw in range(3):
    train, test, right, truth = train_test_split(X, y, test_size=0.4, stratify=y, random_state=draw)
    generator = np.random.default_rng(draw)
    verified = generator.permutation(len(right)) < 60
    wrong = ~verified & (generator.random(len(right)) < 0.4)
    given = np.where(wrong, (right + generator.integers(1, 10, len(right))) % 10, right)
    chances = logistic[-1].fit(train[verified], given[verified]).predict_proba(train)
    chance = chances[np.arange(len(given)), given]
    filtered = [verified | (chance > least) for least in (0.05, 0.1, 0.3)]
    subsets = {"all": [chance >= 0], "verified": [verified], "filtered": filtered}
    for name, choices in subsets.items():
        fits = (model.fit(train[rows], given[rows]) for model in logistic for rows in choices)
        best = max(model.score(test, truth) for model in fits)
        scores.setdefault(f"logistic regression, {name} labels", []).append(best)
    initial, cleaner = HyperCleaningClassifier(max_iter=0), HyperCleaningClassifier()
    for name, model in {"without learning (max_iter=0)": initial, "skbamm": cleaner}.items():
        model.fit(train, given, is_clean=verified)
        scores.setdefault(name, []).append(model.score(test, truth))
print(f"\nDigits, {wrong.sum()} of {len(given)} labels wrong: test accuracy, {draw + 1} splits")
for name, accuracies in scores.items():
    print(f"{name:38}{np.mean(accuracies):7.3f}")
fixed = cleaner.fix_labels()
print(f"right labels: {np.mean(given == right):.3f}, fix_labels(): {np.mean(fixed == right):.3f}")

# %%
# The picture: the images with the lowest weights, and the weights of right and wrong labels.
figure, axes = plt.subplot_mosaic("abcde;wwwww;wwwww", figsize=(5, 4), layout="constrained")
for ax, row in zip("abcde", np.argsort(cleaner.sample_weight_), strict=False):
    axes[ax].imshow(train[row].reshape(8, 8), cmap="gray_r")
    axes[ax].set(xticks=[], yticks=[], title=f"{given[row]}? No, {fixed[row]}")
for group, name in ((~wrong & ~verified, "right labels"), (wrong, "wrong labels")):
    axes["w"].hist(cleaner.sample_weight_[group], np.linspace(0, 1, 26), alpha=0.6, label=name)
axes["w"].set(yscale="log", xlabel="learned weight", ylabel="rows (log scale)")
axes["w"].legend(loc="upper center")
figure.savefig("quickstart_labels.png", dpi=200)
