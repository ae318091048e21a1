"""Any classifier that takes weights of rows, in whatever it is wrapped."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skbamm import HyperCleaningClassifier
from skbamm.cleaning._final_estimator import fit_final_estimator, weight_names
from tests.cleaning.label_data import make_labels

LOGISTIC = LogisticRegression()
SCALED = make_pipeline(StandardScaler(), LOGISTIC)
GRID = {"C": [0.01, 1.0]}
SCALED_GRID = {"logisticregression__C": [0.01, 1.0]}


class OwnClassifier(ClassifierMixin, BaseEstimator):
    """Takes weights among other keywords."""

    def fit(self, X, y, **keywords):
        self.model_ = LogisticRegression().fit(X, y, keywords["sample_weight"])
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


ACCEPTED = {
    "classifier": (LOGISTIC, ["sample_weight"]),
    "pipeline": (SCALED, ["standardscaler__sample_weight", "logisticregression__sample_weight"]),
    "pipeline in a pipeline": (
        make_pipeline(StandardScaler(), Pipeline([("inner", SCALED)])),
        [
            "standardscaler__sample_weight",
            "pipeline__inner__standardscaler__sample_weight",
            "pipeline__inner__logisticregression__sample_weight",
        ],
    ),
    "search": (GridSearchCV(LOGISTIC, GRID, cv=2), ["sample_weight"]),
    "random search": (RandomizedSearchCV(LOGISTIC, GRID, n_iter=2, cv=2), ["sample_weight"]),
    "search over pipelines": (
        GridSearchCV(SCALED, SCALED_GRID, cv=2),
        ["standardscaler__sample_weight", "logisticregression__sample_weight"],
    ),
    "pipeline that ends in a search": (
        make_pipeline(StandardScaler(), GridSearchCV(LOGISTIC, GRID, cv=2)),
        ["standardscaler__sample_weight", "gridsearchcv__sample_weight"],
    ),
    "network": (
        make_pipeline(
            StandardScaler(), MLPClassifier((4,), solver="lbfgs", alpha=1.0, random_state=0)
        ),
        ["standardscaler__sample_weight", "mlpclassifier__sample_weight"],
    ),
    "calibrated": (CalibratedClassifierCV(LinearSVC(), cv=2), ["sample_weight"]),
    "vote": (
        VotingClassifier([("one", LOGISTIC), ("two", "drop")], voting="soft"),
        ["sample_weight"],
    ),
    "stack": (StackingClassifier([("one", LOGISTIC)], cv=2), ["sample_weight"]),
    "any keyword": (OwnClassifier(), ["sample_weight"]),
}


@pytest.fixture(scope="module")
def data():
    return make_labels(120)


@pytest.mark.parametrize("routing", [False, True], ids=["", "routing"])
@pytest.mark.parametrize("kind", ACCEPTED)
def test_it_answers_with_the_weights_of_the_fit(data, kind, routing):
    final, names = ACCEPTED[kind]
    assert weight_names(final) == names
    with config_context(enable_metadata_routing=routing):
        model = HyperCleaningClassifier(max_iter=0, cv=2, relabel=False, final_estimator=final)
        model.fit(data.X, data.y, is_clean=data.is_clean)
        found = model.predict_proba(data.X)
    weight = np.where(data.is_clean, model.clean_weight_, model.sample_weight_)
    expected = fit_final_estimator(final, data.X, data.y, weight).predict_proba(data.X)
    np.testing.assert_allclose(found, expected)
    plain = fit_final_estimator(final, data.X, data.y, np.ones(120)).predict_proba(data.X)
    assert not np.allclose(found, plain, atol=1e-3)


@pytest.mark.parametrize("kind", ["search", "pipeline that ends in a search"])
def test_a_search_also_scores_by_the_weights(data, kind):
    """Labels of half of the rows are turned round, and weigh nothing."""
    turned = np.arange(120) % 2 == 0
    y = np.where(turned, (data.truth + 1) % 3, data.truth)
    fitted = fit_final_estimator(ACCEPTED[kind][0], data.X, y, 1.0 * ~turned)
    search = fitted[-1] if isinstance(fitted, Pipeline) else fitted
    # Unweighted, a fold would be right in half of its rows at most.
    assert search.best_score_ > 0.6


def test_relabelled_rows_reach_a_search(data):
    model = HyperCleaningClassifier(max_iter=0, cv=2, final_estimator=ACCEPTED["search"][0])
    model.fit(data.X, data.y, is_clean=data.is_clean)
    assert model.score(data.X, data.truth) > 0.7
    assert set(model.final_estimator_.best_params_) == {"C"}


@pytest.mark.parametrize(
    ("final", "message"),
    [
        (KNeighborsClassifier(), "accept sample_weight.*KNeighborsClassifier does not"),
        (
            GridSearchCV(make_pipeline(StandardScaler(), KNeighborsClassifier()), {}),
            "accept sample_weight.*KNeighborsClassifier does not",
        ),
        (
            VotingClassifier([("one", LOGISTIC), ("two", KNeighborsClassifier())]),
            "accept sample_weight.*VotingClassifier does not",
        ),
        (
            StackingClassifier([("one", SCALED)]),
            "accept sample_weight.*StackingClassifier does not",
        ),
        (
            OneVsRestClassifier(LOGISTIC),
            "accept sample_weight.*OneVsRestClassifier does not",
        ),
        (
            make_pipeline(StandardScaler(), TunedThresholdClassifierCV(LOGISTIC)),
            "accept sample_weight.*TunedThresholdClassifierCV does not",
        ),
        (
            FixedThresholdClassifier(LOGISTIC),
            "accept sample_weight.*FixedThresholdClassifier does not",
        ),
        (GridSearchCV(Ridge(), {"alpha": [1.0]}), "must be a classifier: Ridge is none"),
        (make_pipeline(LOGISTIC, StandardScaler()), "must be a classifier: StandardScaler is none"),
        (GridSearchCV(LOGISTIC, GRID, refit=False), "must predict: a search with refit=False"),
        (
            make_pipeline(StandardScaler(), GridSearchCV(LOGISTIC, GRID, refit=False)),
            "must predict: a search with refit=False",
        ),
        (LogisticRegression, "must be an instance|instance of a class"),
    ],
)
def test_what_cannot_be_fitted_with_weights_is_refused_before_the_search(data, final, message):
    with pytest.raises(ValueError, match=message):
        HyperCleaningClassifier(final_estimator=final).fit(data.X, data.y)


@pytest.mark.parametrize(
    ("final", "sparse", "positive"),
    [
        (None, True, False),
        (LOGISTIC, True, False),
        (MultinomialNB(), True, True),
        (GaussianNB(), False, False),
        (HistGradientBoostingClassifier(), False, False),
        (GridSearchCV(GaussianNB(), {}), False, False),
        (make_pipeline(StandardScaler(), GaussianNB()), False, False),
        (make_pipeline(StandardScaler(with_mean=False), LOGISTIC), True, False),
        (object(), True, False),
    ],
)
def test_tags_follow_it(final, sparse, positive):
    tags = HyperCleaningClassifier(final_estimator=final).__sklearn_tags__()
    assert (tags.input_tags.sparse, tags.input_tags.positive_only) == (sparse, positive)
    # Linear models score labels, whatever the final estimator takes.
    assert not tags.input_tags.allow_nan and not tags.input_tags.categorical


def test_sparse_rows_are_refused_by_what_does_not_take_them(data):
    model = HyperCleaningClassifier(max_iter=0, cv=2, final_estimator=GaussianNB())
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        model.fit(csr_array(data.X), data.y)


class Scaler(StandardScaler):
    """Takes weights, and refuses them."""

    def fit(self, X, y=None, sample_weight=None):
        if sample_weight is not None:
            raise ValueError("no weights here")
        return super().fit(X)


def test_a_transformer_may_refuse_the_weights_that_it_takes(data):
    pipeline = make_pipeline(Scaler(), LOGISTIC)
    weight = np.linspace(0.1, 1.0, 120)
    found = fit_final_estimator(pipeline, data.X, data.y, weight)
    expected = pipeline.fit(data.X, data.y, logisticregression__sample_weight=weight)
    np.testing.assert_array_equal(found[-1].coef_, expected[-1].coef_)
