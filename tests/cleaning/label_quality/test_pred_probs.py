"""The user's own out-of-fold probabilities as a base model of label quality."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict, cross_validate

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _rows
from skbamm.cleaning._design import FoldedDesign, Standardizer
from skbamm.cleaning._rows import LabelRows, make_label_folds
from skbamm.cleaning.label_quality._nested import nested_predictions
from skbamm.cleaning.label_quality._out_of_fold import label_quality
from tests.cleaning.label_data import make_labels
from tests.cleaning.label_quality.test_stacking import boxes, wrong_ranked

TREES = HistGradientBoostingClassifier(max_iter=15, max_bins=32, random_state=0)


def fit(data, pred_probs, **options):
    X, y, _, is_clean = data
    model = HyperCleaningClassifier(**{"max_iter": 0, "final_estimator": "linear", **options})
    return model.fit(X, y, is_clean=is_clean, pred_probs=pred_probs)


def predicted(data, n_folds=5):
    X, y, *_ = data
    return cross_val_predict(TREES, X, y, method="predict_proba", cv=n_folds)


@pytest.fixture(scope="module", params=[120, 0], ids=["verified", "none verified"])
def data(request):
    return boxes(n_verified=request.param)


@pytest.fixture(scope="module")
def probabilities(data):
    return predicted(data)


def test_probabilities_that_see_the_classes_score_their_labels(data, probabilities):
    model = fit(data, probabilities)
    assert wrong_ranked(model, data) > wrong_ranked(fit(data, None), data) + 0.05


def test_they_are_stacked_with_a_final_estimator():
    data = boxes()
    model = fit(data, predicted(data), cv=3, final_estimator=clone(TREES).set_params(max_iter=10))
    assert model.label_scorer_.user is not None and model.label_scorer_.final is not None
    assert wrong_ranked(model, data) > wrong_ranked(fit(data, None), data) + 0.05


def test_probabilities_that_do_not_help_are_left_out(data):
    X, y, *_ = data
    for useless in (
        np.full((len(y), 3), 1 / 3),
        cross_val_predict(LogisticRegression(), X, y, method="predict_proba"),
    ):
        found, plain = fit(data, useless), fit(data, None)
        assert found.label_scorer_.user is None
        np.testing.assert_array_equal(found.sample_weight_, plain.sample_weight_)
        np.testing.assert_array_equal(found.coef_, plain.coef_)


def test_columns_are_in_the_order_of_sorted_labels(data, probabilities):
    X, y, truth, is_clean = data
    names = np.array(["late", "early", "mid"])
    named = X, names[y], names[truth], is_clean
    order = np.argsort(names)
    assert fit(named, probabilities).label_scorer_.user is None
    assert wrong_ranked(fit(named, probabilities[:, order]), named) > 0.8


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_learning_and_splitters_take_them_too(data, probabilities):
    X, y, *_ = data
    splits = list(KFold(3, shuffle=True, random_state=0).split(X, y))
    model = fit(data, probabilities, max_iter=5, cv=splits)
    assert model.label_scorer_.user is not None
    assert wrong_ranked(model, data) > 0.75


def test_rows_beyond_the_sample_are_scored_by_them(monkeypatch):
    monkeypatch.setattr(_rows, "ENOUGH", 600)
    monkeypatch.setattr(_rows, "PER_COLUMN", 1)
    data = boxes(2000)
    probabilities = predicted(data, 3)
    assert wrong_ranked(fit(data, probabilities), data) > wrong_ranked(fit(data, None), data) + 0.1


def test_nested_predictions_have_them(data, probabilities):
    X, y, truth, is_clean = data
    rows = LabelRows(X, y, np.ones(len(y)), is_clean, len(y), np.arange(3), probabilities)
    folds = make_label_folds(rows, 3, 0)
    design = FoldedDesign(rows, folds, Standardizer.of(rows, True), None)
    quality = label_quality(design)
    found = nested_predictions(design, quality.stages, quality.predictions).argmax(axis=2) == truth
    with_theirs = (quality.predictions.argmax(axis=1) == truth).mean()
    assert found.mean() == pytest.approx(with_theirs, abs=0.03)


def test_other_rows_are_weighed_without_them(data, probabilities):
    X, y, truth, _ = boxes(seed=2)
    weights = fit(data, probabilities).weigh(X, y)
    assert roc_auc_score(y != truth, -weights) > 0.65


def test_cross_validation_cuts_them_along(data, probabilities):
    X, y, _, is_clean = data
    outer = KFold(2)
    with config_context(enable_metadata_routing=True):
        model = HyperCleaningClassifier(max_iter=0, final_estimator="linear")
        model.set_fit_request(is_clean=True, pred_probs=True)
        params = {"is_clean": is_clean, "pred_probs": probabilities}
        fitted = cross_validate(model, X, y, cv=outer, params=params, return_estimator=True)
    for found, (train, _) in zip(fitted["estimator"], outer.split(X), strict=True):
        cut = tuple(column[train] for column in data)
        expected = fit(cut, probabilities[train])
        np.testing.assert_array_equal(found.sample_weight_, expected.sample_weight_)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pred_probs": np.full((60, 2), 0.5)}, "a column for each class: got 2 columns for 3"),
        ({"pred_probs": np.full((59, 3), 1 / 3)}, "one row for each label: got 59 for 60"),
        ({"pred_probs": np.ones((60, 3))}, "rows of which add up to 1"),
        ({"pred_probs": np.full((60, 3), np.nan)}, "pred_probs contains NaN"),
        ({"weighting": "sample"}, "got weighting='sample'"),
        ({"X_val": np.ones((2, 4)), "y_val": [0, 1]}, "pred_probs and X_val were both given"),
    ],
    ids=["columns", "rows", "sums", "gaps", "weighting", "X_val"],
)
@pytest.mark.filterwarnings("ignore:The columns of X_val")
def test_what_cannot_be_used_is_an_error(given, message):
    data = make_labels(60)
    given = {"pred_probs": np.full((60, 3), 1 / 3), **given}
    options = {"weighting": given.pop("weighting")} if "weighting" in given else {}
    with pytest.raises(ValueError, match=message):
        HyperCleaningClassifier(max_iter=0, **options).fit(data.X, data.y, **given)
