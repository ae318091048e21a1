"""
Classes from a raw table
========================

Is a house in Ames cheap, in the middle, or dear? Ten raw columns: six numbers that matter, others
that may, and two categories of many levels. :class:`~skbamm.AdditiveClassifier` gives each class a
smooth function of every number and an effect of every level, and learns how strongly each block of
them is penalized, by the log loss of held-out rows.
"""

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import AdditiveClassifier
from skbamm.datasets import load_ames_housing
from skbamm.inspection import TermDisplay

X, log_price = load_ames_housing(return_X_y=True)
names = ["Gr_Liv_Area", "Total_Bsmt_SF", "Lot_Area", "Year_Built", "Year_Remod_Add", "Garage_Cars"]
names += ["Fireplaces", "Overall_Cond", "Neighborhood", "MS_SubClass"]
X = X[names].astype({"Overall_Cond": "category", "Neighborhood": "category"})
X["MS_SubClass"] = X["MS_SubClass"].astype("category")
price = 10**log_price
y = np.select([price < 130_000, price < 200_000], ["cheap", "middle"], "dear")

# %%
# No pairs of columns, to see single functions. Beside it, logistic regression on indicators with a
# cross-validated strength, and boosted trees.
columns = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
    remainder=StandardScaler(),
)
logistic = LogisticRegressionCV(
    cv=5, scoring="neg_log_loss", max_iter=500, l1_ratios=(0,), use_legacy_attributes=False
)
models = {
    "additive": AdditiveClassifier(interactions=None),
    "logistic regression": make_pipeline(columns, logistic),
    "boosted trees": HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=60, random_state=0
    ),
}
losses: dict[str, list[float]] = {name: [] for name in models}
for split in range(3):
    train, test, given, truth = train_test_split(
        X, y, train_size=800, random_state=split, stratify=y
    )
    for name, model in models.items():
        found = model.fit(train, given).predict_proba(test)
        losses[name].append(log_loss(truth, found))
print("Three classes of house prices, 800 houses: test log loss, 3 splits")
for name, values in losses.items():
    print(f"{name:20} {np.mean(values):.3f}")

# %%
# What was learned: functions of each class, on its logit, relative to their mean over the houses.
display = TermDisplay.from_estimator(models["additive"], train, given, max_terms=6)
