"""
Cleaning, then HistGradientBoosting
===================================

Is a house in Ames dearer than the median? Boosted trees answer well, and learn wrong labels by
heart. :class:`~skbamm.HyperCleaningClassifier` averages such trees with linear models, on all
labels and on those that are probably right. It can also hand on what it found: labels that it has
corrected, or, to a ``final_estimator=`` of yours, the weights of the rows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import HyperCleaningClassifier
from skbamm.datasets import load_ames_housing

houses, log_price = load_ames_housing(return_X_y=True)
is_dear = (log_price > log_price.median()).astype(int).to_numpy()
numbers = make_column_selector(dtype_include="number")
categories = make_column_selector(dtype_exclude="number")
# Trees take categories as codes; a linear model takes one column for each frequent value.
encode = make_column_transformer(
    (StandardScaler(), numbers),
    (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20), categories),
    sparse_threshold=0,
)
boosting = HistGradientBoostingClassifier(max_iter=50, random_state=0)

# %%
# One label in ten was checked; of the others more and more are wrong.
rates = (0.0, 0.15, 0.3, 0.4)
ways = ("labels as given", "cleaned", "labels corrected", "wrong ones known, left out")
accuracy = {way: np.zeros(len(rates)) for way in ways}
n_splits = 2
for split in range(n_splits):
    parts = train_test_split(houses, is_dear, test_size=0.4, random_state=split)
    train, test, train_y, test_y = parts
    train, test = encode.fit_transform(train), encode.transform(test)
    generator = np.random.default_rng(split)
    is_clean, luck = generator.random(len(train_y)) < 0.1, generator.random(len(train_y))
    for column, rate in enumerate(rates):
        is_wrong = ~is_clean & (luck < rate)
        labels = np.where(is_wrong, 1 - train_y, train_y)
        cleaner = HyperCleaningClassifier().fit(train, labels, is_clean=is_clean)
        scores = (
            boosting.fit(train, labels).score(test, test_y),
            cleaner.score(test, test_y),
            boosting.fit(train, cleaner.fix_labels()).score(test, test_y),
            boosting.fit(train[~is_wrong], train_y[~is_wrong]).score(test, test_y),
        )
        for way, score in zip(ways, scores, strict=True):
            accuracy[way][column] += score / n_splits
print(f"{'wrong labels':28}" + "".join(f"{rate:8.0%}" for rate in rates))
for way, values in accuracy.items():
    print(f"{way:28}" + "".join(f"{value:8.3f}" for value in values))

# %%
# The picture.
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for way, style in zip(ways, ("s-", "o-", "^-", "--"), strict=True):
    color = "gray" if style == "--" else None
    ax.plot(np.array(rates) * 100, accuracy[way], style, color=color, label=way)
ax.set(xlabel="wrong labels, % of those not checked", ylabel="test accuracy")
ax.set_title("Ames: boosted trees, and cleaning")
ax.legend()
