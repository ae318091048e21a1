"""
Learn a penalty, and learn which labels to believe
==================================================

Real data in; scores beside scikit-learn's own tools, learned weights and one figure out
(``quickstart.png``). "start" is the same estimator with ``max_iter=0``: before it learns.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LassoCV, LogisticRegressionCV, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier

# %%
# A penalty for each feature: diabetes (442 patients, 10 measurements), expanded to 65 terms.
# Terms of degree 1 and of degree 2 are two groups.
X, y = load_diabetes(return_X_y=True)
expand = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False))
X = expand.fit_transform(X)
degree = expand[-1].powers_.sum(axis=1)
models = {
    "RidgeCV": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 6, 30))),
    "LassoCV": make_pipeline(StandardScaler(), LassoCV(cv=5, max_iter=100_000)),
    "start": BilevelRegularizedRegressor(groups=degree, max_iter=0),
    "skbamm": BilevelRegularizedRegressor(groups=degree),
}
print("Diabetes, degree 2: test R2 of five random splits, 70 % and 30 %")
scores = np.empty((5, len(models)))
for split in range(5):
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=split)
    for column, model in enumerate(models.values()):
        scores[split, column] = model.fit(X_train, y_train).score(X_test, y_test)
print("\nsplit  " + "".join(f"{name:>10}" for name in models))
for name, row in [*enumerate(scores), ("mean", scores.mean(axis=0))]:
    print(f"{name!s:7}" + "".join(f"{score:10.3f}" for score in row))
print("\nOn all rows:")
regressor = BilevelRegularizedRegressor(groups=degree, verbose=1).fit(X, y)
print(regressor.status_)
exponent, share = regressor.exponents_[0], regressor.group_share_
print(f"learned exponent {exponent:.2f}, share of the group in a feature's size {share:.2f}")
for value, strength in regressor.group_alpha_.items():
    print(f"learned strength of degree {value} (geometric mean): {strength:.2g}")

# %%
# A weight for each row: digits, 300 training rows with certified labels, 40 % of the rest wrong.
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
generator = np.random.default_rng(0)
is_clean = generator.permutation(len(y_train)) < 300
is_wrong = ~is_clean & (generator.random(len(y_train)) < 0.4)
other = (y_train + generator.integers(1, 10, len(y_train))) % 10
given = np.where(is_wrong, other, y_train)
print(f"\n\nDigits: {sum(is_clean)} clean rows, {sum(is_wrong)} of {sum(~is_clean)} others wrong\n")
start = HyperCleaningClassifier(max_iter=0).fit(X_train, given, is_clean=is_clean)
cleaner = HyperCleaningClassifier(verbose=1).fit(X_train, given, is_clean=is_clean)
print(f"{cleaner.status_}\n\n{'':28}accuracy    ROC-AUC of wrong labels")
for rows, used in {"all rows": slice(None), "clean rows": is_clean}.items():
    peer = LogisticRegressionCV(
        cv=5, scoring="neg_log_loss", l1_ratios=(0,), use_legacy_attributes=False, max_iter=1000
    )
    peer = make_pipeline(StandardScaler(), peer).fit(X_train[used], given[used])
    print(f"{'logistic regression, ' + rows:33}{np.mean(peer.predict(X_test) == y_test):.3f}")
for name, model in {"start": start, "skbamm": cleaner}.items():
    auc = roc_auc_score(is_wrong[~is_clean], 1 - model.sample_weight_[~is_clean])
    print(f"{name:33}{model.score(X_test, y_test):.3f}    {auc:.4f}")
true_rate = is_wrong[~is_clean].mean()
print(f"\nshare of wrong labels: {cleaner.noise_rate_:.3f} estimated, {true_rate:.3f} true")

# %%
# What was learned, in one figure.
figure, axes = plt.subplot_mosaic("AB;CC", figsize=(10, 8), layout="constrained")
left, middle, right = axes.values()
for value, color in ((1, "tab:blue"), (2, "tab:orange")):
    features = np.flatnonzero(degree == value)
    alpha = regressor.alpha_[features]
    left.semilogy(features, alpha, "o", color=color, label=f"degree {value}")
left.set(title="Diabetes: learned penalty of each feature", xlabel="feature", ylabel="alpha_")
left.legend(title="group")
for wrong, color in ((False, "tab:blue"), (True, "tab:red")):
    weight = cleaner.sample_weight_[~is_clean & (is_wrong == wrong)]
    label = "wrong label" if wrong else "right label"
    middle.hist(weight, np.linspace(0, 1, 26), alpha=0.6, color=color, label=label)
title = "Digits: learned weight of each noisy row"
middle.set(title=title, xlabel="sample_weight_", ylabel="rows (log scale)", yscale="log")
middle.legend(loc="upper center")
for name, model in {"regressor / best ridge fit": regressor, "classifier / start": cleaner}.items():
    best = np.minimum.accumulate(model.history_["criterion"]) / model.initial_criterion_
    right.plot(np.arange(1, len(best) + 1), best, label=name)
right.axhline(1, color="gray", linewidth=1, linestyle="--")
right.set(title="Held-out loss, best so far", xlabel="sl-BAMM iteration", ylabel="relative loss")
right.legend(loc=(0.4, 0.2))
figure.savefig("quickstart.png", dpi=120)
print("figure: quickstart.png")
