"""A linear model and boosted trees as one plain classifier of scikit-learn, of summed scores."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression

from ._constants import ABSENT_SCORE

# Of the fit that only tells scikit-learn shapes and classes: its coefficients are replaced.
SMALLEST_C = 1e-10


def sum_of_scores(rows, learned, coef, intercept):
    """A fitted `StackingClassifier` of linear scores and those of the trees in the average."""
    linear = LogisticRegression()
    fields = {"coef_": coef, "intercept_": intercept, "classes_": rows.classes}
    vars(linear).update(fields, n_features_in_=rows.X.shape[1], n_iter_=np.array([1]))
    factors = learned.average.tree_factors
    members = [(kind, learned.trees[kind]) for kind in factors]
    if learned.average.has_linear:
        members.append(("linear", linear))
        factors = {**factors, "linear": 1.0}
    stack = StackingClassifier(
        members,
        LogisticRegression(C=SMALLEST_C),
        stack_method="decision_function",
        cv="prefit",
    )
    # Some rows of each class: scikit-learn warns where there is hardly one.
    some = np.tile(np.unique(rows.labels, return_index=True)[1], 3)
    stack.fit(rows.X[some], rows.classes[rows.labels[some]])
    blocks, intercept = [], np.zeros(len(stack.final_estimator_.coef_))
    for kind, member in stack.named_estimators_.items():
        known = np.searchsorted(rows.classes, member.classes_)
        block = np.eye(rows.n_classes)[:, known] if rows.n_classes > 2 else np.eye(1)
        # Of two classes out of more a member has one score, which is that of the second.
        blocks.append(factors[kind] * (block[:, 1:] if len(known) == 2 < rows.n_classes else block))
        absent = np.setdiff1d(np.arange(rows.n_classes), known)
        intercept[absent] = -ABSENT_SCORE
    stack.final_estimator_.coef_ = np.hstack(blocks)
    stack.final_estimator_.intercept_ = intercept
    return stack
