"""
Classes from a raw table
========================

Is a house in Ames cheap, in the middle, or dear? Ten raw columns: six numbers that matter, others
that may, and two categories of many levels. :class:`~skbamm.SmoothTerms` makes smooth functions of
numbers and effects of levels, :class:`~skbamm.BilevelRegularizedClassifier` learns how strongly
each block is penalized, by the log loss of held-out rows.
"""

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import BilevelRegularizedClassifier, SmoothTerms
from skbamm.datasets import load_ames_housing
from skbamm.inspection import PenaltyDisplay

X, log_price = load_ames_housing(return_X_y=True)
names = ["Gr_Liv_Area", "Total_Bsmt_SF", "Lot_Area", "Year_Built", "Year_Remod_Add", "Garage_Cars"]
names += ["Fireplaces", "Overall_Cond", "Neighborhood", "MS_SubClass"]
X = X[names].astype({"Overall_Cond": "category", "Neighborhood": "category"})
X["MS_SubClass"] = X["MS_SubClass"].astype("category")
price = 10**log_price
y = np.select([price < 130_000, price < 200_000], ["cheap", "middle"], "dear")

# %%
# Blocks are told by the part of a column's name before "__": ``groups="prefix"`` means that.
# Beside it, logistic regression on indicators with a cross-validated strength, and boosted trees.
terms = SmoothTerms(interactions=None).set_output(transform="pandas")
smooth = BilevelRegularizedClassifier(groups="prefix", standardize=False)
columns = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
    remainder=StandardScaler(),
)
logistic = LogisticRegressionCV(
    cv=5, scoring="neg_log_loss", max_iter=500, l1_ratios=(0,), use_legacy_attributes=False
)
models = {
    "smooth terms": make_pipeline(terms, smooth),
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
# What was learned: the weaker the penalty, the more the fit expects of a block.
display = PenaltyDisplay.from_estimator(models["smooth terms"], by="group")
display.ax_.set_title("Learned strength of each block")
