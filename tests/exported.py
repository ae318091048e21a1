"""Models that are exported, and what scikit-learn puts around them."""

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from tests.cleaning.label_data import make_labels

NAMES = np.array(["ant", "bee", "cow"])


def regressor(**options):
    return BilevelRegularizedRegressor(max_iter=0, **options)


def cleaner(final_estimator=None):
    """What is exported is the same whatever weights have taught it; free ones take less time."""
    return HyperCleaningClassifier("sample", max_iter=0, final_estimator=final_estimator)


def labels(n_classes=3):
    data = make_labels(90, n_classes=n_classes)
    return data.X, NAMES[data.y]


REGRESSORS = {
    "pipeline": lambda one: make_pipeline(StandardScaler(), one),
    "search": lambda one: GridSearchCV(one, {"penalty": ["l2"]}, cv=2),
    "bagging": lambda one: BaggingRegressor(one, n_estimators=2, max_features=0.5, random_state=0),
    "voting": lambda one: VotingRegressor([("ours", one), ("theirs", LinearRegression())]),
    "target": lambda one: TransformedTargetRegressor(one, transformer=StandardScaler()),
    "selection": lambda one: make_pipeline(SelectFromModel(one), LinearRegression()),
}

CLASSIFIERS = {
    "alone": lambda one: one,
    "pipeline": lambda one: make_pipeline(StandardScaler(), one),
    "search": lambda one: GridSearchCV(one, {"alpha": ["learn", 0.1]}, cv=2),
    "calibrated": lambda one: CalibratedClassifierCV(one, cv=2),
    "calibrated once": lambda one: CalibratedClassifierCV(one, cv=2, ensemble=False),
    "stacking": lambda one: StackingClassifier([("ours", one)], cv=2),
    "stacked": lambda one: StackingClassifier([("theirs", LogisticRegression())], one, cv=2),
    "bagging": lambda one: BaggingClassifier(one, n_estimators=2, random_state=0),
    "one against the rest": lambda one: OneVsRestClassifier(one),
    "elimination": lambda one: make_pipeline(RFE(one), LogisticRegression()),
}

# Those that skl2onnx does not know, refuses, or converts wrongly, with plain estimators as well.
NOT_IN_ONNX = {
    "isotonic": lambda one: CalibratedClassifierCV(one, cv=2, method="isotonic"),
    "calibrated pipeline": lambda one: CalibratedClassifierCV(
        make_pipeline(StandardScaler(), one), cv=2
    ),
    "frozen": lambda one: CalibratedClassifierCV(FrozenEstimator(one.fit(*labels()))),
    "voting": lambda one: VotingClassifier([("ours", one), ("theirs", LogisticRegression())]),
    "one against one": lambda one: OneVsOneClassifier(one),
}
