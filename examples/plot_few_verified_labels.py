"""
How many labels must be checked?
================================

Digits, of which 40 % of the training labels are wrong. Checking a label costs time. From how many
checked labels on is it enough to learn from these alone?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningClassifier

X, y = load_digits(return_X_y=True)
parts = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
train, test, train_y, test_y = parts
generator = np.random.default_rng(0)
is_wrong = generator.random(len(train_y)) < 0.4
given = np.where(is_wrong, (train_y + generator.integers(1, 10, len(train_y))) % 10, train_y)
order = generator.permutation(len(train_y))


# %%
# Logistic regression gets the best of five strengths *on the test rows*: a hard peer to beat.
def best_logistic(rows, labels):
    models = (LogisticRegression(C=C, max_iter=2000) for C in np.logspace(-4, 0, 5))
    return max(
        make_pipeline(StandardScaler(), model).fit(train[rows], labels[rows]).score(test, test_y)
        for model in models
    )


# %%
# Checked labels are right; the others stay as they are.
sizes = (20, 40, 80, 160, 320, 640)
lines = {"the checked labels alone": [], "all labels alike": [], "HyperCleaningClassifier": []}
for size in sizes:
    is_clean = np.isin(np.arange(len(train_y)), order[:size])
    labels = np.where(is_clean, train_y, given)
    lines["the checked labels alone"].append(best_logistic(is_clean, labels))
    lines["all labels alike"].append(best_logistic(slice(None), labels))
    cleaner = HyperCleaningClassifier(max_iter=0).fit(train, labels, is_clean=is_clean)
    lines["HyperCleaningClassifier"].append(cleaner.score(test, test_y))
for name, accuracies in lines.items():
    print(f"{name:26}" + "".join(f"{accuracy:7.3f}" for accuracy in accuracies))

# %%
# The picture. The classifier is fitted without learning (``max_iter=0``), which is as accurate on
# average.
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
for name, accuracies in lines.items():
    ax.plot(sizes, accuracies, "o-", label=name)
right = best_logistic(slice(None), train_y)
ax.axhline(right, color="gray", linestyle="--", label="if all labels were right")
ax.set(xscale="log", xlabel=f"checked labels, of {len(train_y)}", ylabel="test accuracy")
ax.set_xticks(sizes, [str(size) for size in sizes])
ax.minorticks_off()
ax.set_title("Digits, 40 % of the other labels wrong")
ax.legend()
