"""Any classifier, in whatever it is wrapped; with weights of rows, or with rows as often."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
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
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skbamm import HyperCleaningClassifier
from skbamm.cleaning._final_estimator import fit_final_estimator, repeated_rows, weight_names
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
def test_what_cannot_predict_classes_is_refused_before_the_search(data, final, message):
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


# What takes no weights: rows are repeated

UNWEIGHTED = {
    "classifier": KNeighborsClassifier(),
    "search over pipelines": GridSearchCV(
        make_pipeline(StandardScaler(), KNeighborsClassifier()), {}, cv=2
    ),
    "vote": VotingClassifier([("one", LOGISTIC), ("two", KNeighborsClassifier())], voting="soft"),
    "stack": StackingClassifier([("one", SCALED)], cv=2),
    "wrapper": OneVsRestClassifier(LOGISTIC),
    "threshold": make_pipeline(StandardScaler(), FixedThresholdClassifier(LOGISTIC)),
}


@pytest.mark.parametrize("kind", UNWEIGHTED)
def test_rows_of_whole_weights_come_as_often(kind):
    final, data = UNWEIGHTED[kind], make_labels(120, n_classes=2)
    assert weight_names(final) == []
    times = np.arange(120) % 3
    copies = np.repeat(np.arange(120), times)
    found = fit_final_estimator(final, data.X, data.y, 1.0 * times, unit=1.0)
    expected = final.fit(data.X[copies], data.y[copies])
    np.testing.assert_array_equal(found.predict_proba(data.X), expected.predict_proba(data.X))


def test_it_says_that_it_repeated_rows(data):
    model = HyperCleaningClassifier(max_iter=0, cv=2, final_estimator=KNeighborsClassifier(3))
    plain = clone(model.final_estimator).fit(data.X, data.y)
    model.fit(data.X, data.y, is_clean=data.is_clean)
    assert "final_estimator takes no weights" in model.status_
    assert model.score(data.X, data.truth) > plain.score(data.X, data.truth)
    assert (
        "takes no weights"
        not in model.set_params(final_estimator=LOGISTIC).fit(data.X, data.y).status_
    )


def test_classes_keep_their_weights_by_the_heaviest_rows():
    random = np.random.default_rng(0)
    weight, labels = random.uniform(size=500), random.integers(0, 3, 500)
    index = repeated_rows(weight, labels, unit=0.8)
    assert (np.diff(index) >= 0).all()
    copies = np.bincount(index, minlength=500)
    for label in range(3):
        own = labels == label
        assert abs(copies[own].sum() - weight[own].sum() / 0.8) <= 0.5
        assert weight[own & (copies == 0)].max() < weight[own & (weight < 0.8) & (copies > 0)].min()


def test_a_class_of_little_weight_keeps_a_row_and_one_without_any_has_none():
    labels = np.repeat([0, 1, 2], [50, 3, 3])
    weight = np.repeat([1.0, 1e-3, 0.0], [50, 3, 3])
    found = labels[repeated_rows(weight, labels, unit=1.0)]
    np.testing.assert_array_equal(np.bincount(found, minlength=3), [50, 1, 0])


def test_very_heavy_rows_do_not_make_a_table_without_end():
    weight, labels = np.where(np.arange(100) < 10, 1e6, 1.0), np.arange(100) % 2
    assert len(repeated_rows(weight, labels, unit=1.0)) <= 301


def test_rows_of_one_weight_are_taken_wherever_they_stand():
    index = repeated_rows(np.ones(1000), np.zeros(1000), unit=2.0)
    assert len(index) == 500 and abs(index.mean() - 500) < 50
