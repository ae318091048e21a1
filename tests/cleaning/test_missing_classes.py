"""What is answered for classes that a final estimator has not seen: relabelled, or of weight 0."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skbamm import HyperCleaningClassifier
from skbamm.cleaning._final_estimator import class_probabilities, class_scores
from tests.cleaning.label_data import far_classes


class Reversed(ClassifierMixin, BaseEstimator):
    """Has its classes in descending order."""

    def fit(self, X, y, sample_weight=None):
        self.model_ = LogisticRegression().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_[::-1]
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)[:, ::-1]

    def decision_function(self, X):
        scores = self.model_.decision_function(X)
        return -scores if scores.ndim == 1 else scores[:, ::-1]


LOGISTIC = LogisticRegression()
FINAL = {
    "linear": LOGISTIC,
    "Bayes": GaussianNB(),
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
    "boosting": HistGradientBoostingClassifier(max_iter=3, max_bins=32, random_state=0),
    "no probabilities": LinearSVC(random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LOGISTIC),
    "search": GridSearchCV(LOGISTIC, {"C": [0.1, 1.0]}, cv=2),
    "another order": Reversed(),
}
NAMES = {
    "numbers": np.arange(4),
    "negative": np.array([-5, -1, 0, 3]),
    "texts": np.array(["p", "q", "r", "s"]),
}


def fitted(final, missing, names, **options):
    """A model whose final estimator has not seen names[0], rows, true and given names."""
    X, truth, is_clean = far_classes()
    y, weight = truth.copy(), np.ones(len(truth))
    if missing == "relabelled":
        y[np.flatnonzero(~is_clean)[:2]] = 0
    else:
        y[:20], weight[:20] = 0, 0
    model = HyperCleaningClassifier(
        final_estimator=final, **{"max_iter": 0, "cv": 3, "standard_errors": 0, **options}
    )
    model.fit(X, names[y], weight, is_clean=is_clean)
    assert names[0] not in model.final_estimator_.classes_
    return model, X, names[truth], names[y]


@pytest.mark.parametrize("missing", ["relabelled", "of weight 0"])
@pytest.mark.parametrize(
    ("kind", "names"),
    [*((kind, "texts") for kind in FINAL), ("linear", "numbers"), ("tree", "negative")],
)
def test_each_class_has_its_column(kind, missing, names):
    names = NAMES[names]
    model, X, truth, _ = fitted(FINAL[kind], missing, names)
    assert model.classes_.tolist() == names.tolist()
    predicted, final = model.predict(X), model.final_estimator_
    np.testing.assert_array_equal(predicted, final.predict(X))
    assert np.mean(predicted == truth) > 0.97
    if hasattr(model, "predict_proba"):
        found = model.predict_proba(X)
        expected = np.zeros((len(X), 4))
        for column, name in enumerate(final.classes_):
            expected[:, names.tolist().index(name)] = final.predict_proba(X)[:, column]
        np.testing.assert_array_equal(found, expected)
        with np.errstate(divide="ignore"):
            np.testing.assert_array_equal(model.predict_log_proba(X), np.log(expected))
    if hasattr(model, "decision_function"):
        scores = model.decision_function(X)
        assert scores.shape == (len(X), 4) and np.isfinite(scores).all()
        np.testing.assert_array_equal(names[scores.argmax(1)], predicted)
        assert (scores[:, 0] < scores[:, 1:].min(1)).all()


def test_scorers_take_the_columns_for_those_of_the_classes():
    model, X, _, y = fitted(LOGISTIC, "relabelled", NAMES["texts"])
    seen = y != "p"
    columns = model.final_estimator_.predict_proba(X)
    whole = np.column_stack([np.zeros(len(X)), columns])
    expected = roc_auc_score(y, whole, multi_class="ovr", labels=model.classes_)
    assert get_scorer("roc_auc_ovr")(model, X, y) == pytest.approx(expected)
    found = log_loss(y[seen], model.predict_proba(X[seen]), labels=model.classes_)
    assert found == pytest.approx(log_loss(y[seen], columns[seen]))
    assert np.isfinite(get_scorer("neg_log_loss")(model, X, y))


@pytest.mark.parametrize("method", ["predict_log_proba", "decision_function"])
def test_cross_val_predict_is_as_right_as_its_labels(method):
    X, truth, is_clean = far_classes()
    y = truth.copy()
    y[np.flatnonzero(~is_clean)[:6]] = 0
    model = HyperCleaningClassifier(final_estimator=LOGISTIC, max_iter=0, cv=3)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    found = cross_val_predict(model, X, y, cv=folds, params={"is_clean": is_clean}, method=method)
    assert np.mean(found.argmax(1) == truth) > 0.97


AROUND = {
    "sigmoid": lambda model: CalibratedClassifierCV(model, cv=3),
    "isotonic": lambda model: CalibratedClassifierCV(model, cv=3, method="isotonic"),
    "temperature": lambda model: CalibratedClassifierCV(model, cv=3, method="temperature"),
    "vote": lambda model: VotingClassifier([("one", model), ("two", LOGISTIC)], voting="soft"),
    "stack": lambda model: StackingClassifier([("one", model)], cv=3),
}


@pytest.mark.parametrize(
    ("around", "kind"),
    [
        *((around, "another order") for around in AROUND),  # harder than one in order
        *((around, "no probabilities") for around in ("temperature", "vote", "stack")),
    ],
)
def test_what_is_around_it_takes_the_right_columns(around, kind):
    X, truth, _ = far_classes()
    y, weight = truth.copy(), np.ones(len(truth))
    y[:30], weight[:30] = 0, 0
    model = HyperCleaningClassifier(final_estimator=FINAL[kind], max_iter=0, cv=3)
    outer = AROUND[around](model)
    if isinstance(outer, VotingClassifier) and kind == "no probabilities":
        outer.set_params(voting="hard")
    predicted = outer.fit(X, y, sample_weight=weight).predict(X)
    assert np.mean(predicted == truth) > 0.95


@pytest.mark.parametrize(
    "final", [*FINAL.values(), SVC(), GradientBoostingClassifier(n_estimators=3)]
)
def test_of_two_classes_one_may_be_relabelled_away(final):
    X, truth, is_clean = far_classes(n_classes=1)
    y = truth.copy()
    y[np.flatnonzero(~is_clean)[:3]] = 0
    model = HyperCleaningClassifier(final_estimator=final, max_iter=0, cv=3)
    model.fit(X, y, is_clean=is_clean)
    assert np.mean(model.predict(X) == 1) > 0.95
    if hasattr(model, "predict_proba"):
        assert model.predict_proba(X).shape == (len(X), 2)
        assert model.predict_proba(X)[:, 1].mean() > 0.95
    if hasattr(model, "decision_function"):
        np.testing.assert_array_equal(model.decision_function(X) > 0, model.predict(X) == 1)


class Fixed(BaseEstimator):
    """Answers what it was given."""

    def __init__(self, classes_, answer):
        self.classes_, self.answer = np.asarray(classes_), np.asarray(answer, dtype=float)

    def predict_proba(self, X):
        return self.answer

    decision_function = predict_proba


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: make_pipeline(model)])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_scores_of_pairs_of_classes_are_no_scores_of_classes(n_classes, wrap):
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % n_classes
    X[np.arange(60), y] += 9
    final = wrap(SVC(decision_function_shape="ovo"))
    model = HyperCleaningClassifier(final_estimator=final, max_iter=0).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), y)
    if n_classes == 2:
        np.testing.assert_array_equal(model.decision_function(X) > 0, y)
        return
    with pytest.raises(ValueError, match="one for each pair of them"):
        model.decision_function(X)


def test_two_of_four_classes_seen_give_four_scores():
    found = class_scores(Fixed([1, 3], [4.0, -2.0, 0.0]), None, np.arange(4))
    # A logistic score s stands for the odds e^s.
    odds = np.exp(found[:, 3] - found[:, 1])
    np.testing.assert_allclose(odds, np.exp([4.0, -2.0, 0.0]))
    assert (found[:, [0, 2]].max(1) < found[:, [1, 3]].min(1) - 30).all()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, np.finfo(np.float32).max / 4])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_scores_of_any_size_stay_below_and_finite(scale, kind):
    model = Fixed([1, 2], [])
    model.answer = (np.array([[0.5, 1.0], [-1.0, -0.5]]) * scale).astype(kind)
    found = class_scores(model, None, np.arange(3))
    assert np.isfinite(found).all() and found.dtype == kind
    assert (found[:, 0] < found[:, 1:].min(1)).all()


@pytest.mark.parametrize(("classes", "expected"), [([0], [-1, -1]), ([1], [1, 1])])
def test_a_single_class_seen_of_two_is_the_one_scored(classes, expected):
    found = class_scores(Fixed(classes, [0.3, -0.3]), None, np.arange(2))
    np.testing.assert_array_equal(np.sign(found), expected)


def test_classes_in_another_order_turn_a_score_round():
    found = class_scores(Fixed([1, 0], [0.3, -2.0]), None, np.arange(2))
    np.testing.assert_allclose(found, [-0.3, 2.0])


def test_probabilities_that_are_not_finite_name_the_final_estimator():
    with pytest.raises(ValueError, match=r"final_estimator must give finite.*Fixed have NaN"):
        class_probabilities(Fixed([0, 1], [[0.5, np.nan]]), None, np.arange(2))


@pytest.mark.parametrize(("classes", "shape"), [([0, 1], (2, 3)), ([7, 8], (2, 2)), ([0], (2,))])
def test_columns_of_no_class_name_the_final_estimator(classes, shape):
    with pytest.raises(ValueError, match="final_estimator must have a column for each"):
        class_probabilities(Fixed(classes, np.zeros(shape)), None, np.arange(3))


def test_consecutive_numbers_stand_for_all_classes():
    answer = np.array([[0.2, 0.8]])
    found = class_probabilities(Fixed([0, 1], answer), None, np.array(["no", "yes"]))
    np.testing.assert_array_equal(found, answer)
