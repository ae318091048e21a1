"""
Cleaning human labels: which diagnoses should be looked at again?
=================================================================

Masses in mammograms. Radiologists call 17 % of them wrongly; a biopsy knows, and is what one would
rather spare. Say 80 of 815 biopsies are at hand. :class:`~skbamm.HyperCleaningClassifier` weighs
the other calls: where should a second reader look first? With four columns there is not much to
know about a mass, and two plain logistic regressions come close.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skbamm import HyperCleaningClassifier
from skbamm.datasets import load_mammography

masses = load_mammography()
# Shape, margin and density are codes: one column for each value.
encode = make_column_transformer(
    (StandardScaler(), [0]), (OneHotEncoder(sparse_output=False), [1, 2, 3])
)
X = encode.fit_transform(masses.data)


# %%
# Three orders in which to look again, lowest first: the learned weight; how likely a model of the
# calls, cross-validated, finds each call ("confident learning"); how likely one of the biopsies.
def qualities(labels, is_clean):
    rows = np.arange(len(labels))
    of_calls = cross_val_predict(LogisticRegression(), X, labels, cv=5, method="predict_proba")
    of_biopsies = LogisticRegression().fit(X[is_clean], labels[is_clean]).predict_proba(X)
    return {
        "learned weight": HyperCleaningClassifier()
        .fit(X, labels, is_clean=is_clean)
        .sample_weight_,
        "model of the calls": of_calls[rows, labels],
        "model of the biopsies": of_biopsies[rows, labels],
    }


# %%
# Ten draws of 80 known biopsies; how many wrong calls are found by looking at so many?
found = {}
for draw in range(10):
    is_clean = np.random.default_rng(draw).permutation(815) < 80
    labels = np.where(is_clean, masses.target, masses.given_label)
    is_wrong = (labels != masses.target)[~is_clean]
    for name, quality in qualities(labels, is_clean).items():
        order = np.argsort(quality[~is_clean], kind="stable")
        found.setdefault(name, []).append(np.cumsum(is_wrong[order]))
    found.setdefault("any order", []).append(np.linspace(0, is_wrong.sum(), len(is_wrong)))
for name, curves in found.items():
    in_50, in_100, in_200 = np.mean(curves, axis=0)[[49, 99, 199]]
    print(f"{name:22} wrong calls among the first 50, 100, 200:", end="")
    print(f"{in_50:6.1f}{in_100:6.1f}{in_200:6.1f}")

# %%
# The picture: the mean of the draws.
figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
for name, curves in found.items():
    style = {"color": "gray", "linestyle": "--"} if name == "any order" else {}
    ax.plot(np.arange(1, 736), np.mean(curves, axis=0), label=name, **style)
ax.set(xlabel="calls looked at again", ylabel="wrong calls found")
ax.set_title("Mammograms: 735 calls, 80 biopsies known")
ax.legend()
