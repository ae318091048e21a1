"""Boosted trees in the average: classes that are not linear in the columns."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.special import softmax
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _constants
from skbamm.cleaning._design import FoldedDesign, Standardizer
from skbamm.cleaning._rows import LabelRows, make_label_folds
from skbamm.cleaning.label_quality._trees import (
    can_grow,
    fit_trees,
    probably_right,
    staged_scores,
)
from skbamm.export import to_onnx


def rings(n_classes=2, n_samples=400, noise=0.0, seed=0):
    """Classes by the distance from the centre, which linear models cannot tell."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n_samples, 4))
    distance = np.hypot(X[:, 0], X[:, 1])
    truth = np.searchsorted(np.quantile(distance, np.arange(1, n_classes) / n_classes), distance)
    wrong = random.random(n_samples) < noise
    y = np.where(wrong, (truth + random.integers(1, n_classes, n_samples)) % n_classes, truth)
    is_clean = random.random(n_samples) < 0.15
    return X, np.where(is_clean, truth, y), truth, is_clean


def fit(data, **options):
    X, y, _, is_clean = data
    return HyperCleaningClassifier(max_iter=0, **options).fit(X, y, is_clean=is_clean)


@pytest.fixture(scope="module")
def data():
    return rings(n_classes=3, noise=0.3)


@pytest.fixture(scope="module")
def model(data):
    return fit(data)


def designed(X, labels, is_clean):
    n_rows = len(labels)
    rows = LabelRows(X, labels, np.ones(n_rows), is_clean, n_rows, np.unique(labels))
    folds = make_label_folds(rows, 5, 0)
    return FoldedDesign(rows, folds, Standardizer.of(rows, True), "cpu")


# What is gained


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_trees_join_where_classes_are_not_linear_in_the_columns(noise):
    train, (X, _, truth, _) = rings(noise=noise), rings(seed=1)
    linear = fit(train, final_estimator="linear").score(X, truth)
    model = fit(train)
    assert model.score(X, truth) > linear + 0.2
    assert sum(w for kind, w in model.average_weights_.items() if kind.startswith("trees")) > 0.9
    assert sum(model.average_weights_.values()) == pytest.approx(1)


def test_labels_are_scored_by_trees_too(data, model):
    _, y, truth, is_clean = data
    wrong, noisy = (y != truth)[~is_clean], ~is_clean
    linear = fit(data, final_estimator="linear")
    ranked, by_linear = (
        roc_auc_score(wrong, 1 - one.sample_weight_[noisy]) for one in (model, linear)
    )
    assert ranked > by_linear + 0.03


def test_rows_that_were_not_in_the_fit_are_scored_by_trees(data, model):
    X, y, truth, _ = rings(n_classes=3, noise=0.3, seed=2)
    weight = model.weigh(X, y)
    assert weight[y == truth].mean() > weight[y != truth].mean() + 0.3


# When there are none


@pytest.mark.parametrize("options", [{"final_estimator": "linear"}, {"standard_errors": 0}])
def test_a_linear_model_stays_one_where_asked(data, options):
    model = fit(data, **options)
    assert model.coef_.shape == (3, 4)
    assert not hasattr(model, "final_estimator_")
    assert not any(kind.startswith("trees") for kind in model.average_weights_)


def test_few_rows_grow_none():
    few = rings(n_samples=_constants.TREE_ROWS - 1)
    assert fit(few).coef_.shape == (1, 4)


def test_rows_without_weight_do_not_count_as_rows():
    X, labels, _, is_clean = rings(n_samples=400)
    weight = (np.arange(400) < _constants.TREE_ROWS).astype(float)
    rows = LabelRows(X, labels, weight, is_clean, 400, np.arange(2))
    folds = make_label_folds(rows, 5, 0)
    assert can_grow(rows, folds)
    weight[0] = 0
    assert not can_grow(rows, folds)
    weight[:] = labels == 0
    assert not can_grow(rows, folds)  # no row of the other class


def test_the_unit_of_weights_does_not_matter():
    X, y, _, is_clean = rings()
    weight = np.random.default_rng(1).uniform(0.5, 1.5, 400)
    model = HyperCleaningClassifier(max_iter=0)
    first, *others = (
        clone(model).fit(X, y, weight * unit, is_clean=is_clean).predict_proba(X)
        for unit in (1, 1e-6, 1e100)
    )
    for again in others:
        np.testing.assert_allclose(again, first, atol=1e-6)


def test_a_class_without_weight_is_not_predicted_and_trees_grow_all_the_same():
    X, y, _, is_clean = rings()
    y = np.where(np.arange(400) < 2, 2, y)
    model = HyperCleaningClassifier(max_iter=0).fit(
        X, y, 1.0 * (np.arange(400) >= 2), is_clean=is_clean
    )
    assert any(kind.startswith("trees") for kind in model.average_weights_)
    assert model.predict_proba(X)[:, 2].max() < 1e-9
    assert model.decision_function(X).shape == (400, 3)


def test_many_classes_raise_no_warning():
    X = np.random.default_rng(0).normal(size=(400, 3))
    y = np.digitize(X[:, 0], np.linspace(-1.2, 1.2, 21))
    assert not hasattr(HyperCleaningClassifier(max_iter=0).fit(X, y), "coef_")


def test_sparse_rows_grow_none_but_are_predicted(data, model):
    X, y, _, is_clean = data
    assert fit((sparse.csr_array(X), y, None, is_clean)).coef_.shape == (3, 4)
    np.testing.assert_array_equal(model.predict(sparse.csr_array(X)), model.predict(X))


# What is returned


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_are_sums_of_those_of_members(n_classes):
    X, y, _, is_clean = rings(n_classes, noise=0.3)
    # A wide rule, so that linear members count.
    model = HyperCleaningClassifier(max_iter=0, standard_errors=50).fit(X, y, is_clean=is_clean)
    stack = model.final_estimator_
    factors = stack.final_estimator_.coef_
    assert {*stack.named_estimators_} == {"trees, all labels", "trees, filtered", "linear"}
    n_scores = len(factors)
    expected = sum(
        factors[0, index * n_scores] * member.decision_function(X).reshape(len(X), -1)
        for index, member in enumerate(stack.named_estimators_.values())
    )
    found = model.decision_function(X).reshape(len(X), -1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    if n_scores == 1:
        expected = np.hstack([np.zeros_like(expected), expected])
    np.testing.assert_allclose(model.predict_proba(X), softmax(expected, axis=1), atol=1e-12)


def test_the_plain_copy_is_scikit_learns(data, model):
    X = data[0]
    plain = model.to_sklearn()
    assert type(plain) is StackingClassifier
    np.testing.assert_array_equal(plain.predict_proba(X), model.predict_proba(X))


def test_it_has_no_coefficients_and_names_classes_as_given(data):
    X, y, _, is_clean = data
    names = np.array(["low", "middle", "out"])
    model = fit((X, names[y], None, is_clean))
    with pytest.raises(AttributeError, match='final_estimator="linear" fits without trees'):
        model.coef_  # noqa: B018
    assert set(model.predict(X)) == {*names}
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.predict_proba(X), model.predict_proba(X))


def test_onnx_of_trees_is_refused_with_a_way_out(data, model):
    with pytest.raises(ValueError, match='fit it with final_estimator="linear"'):
        to_onnx(model, data[0])


def test_a_later_fit_without_trees_forgets_them(data, model):
    X, y, _, is_clean = data
    model = fit(data).set_params(final_estimator="linear").fit(X, y, is_clean=is_clean)
    assert model.coef_.shape == (3, 4)
    assert not hasattr(model, "final_estimator_")


# Around it


def test_what_scikit_learn_puts_around_it():
    X, y, truth, is_clean = data = rings(n_classes=3, n_samples=640, noise=0.3)  # in folds, too
    model = fit(data)
    with config_context(enable_metadata_routing=True):
        routed = clone(model).set_fit_request(is_clean=True, sample_weight=True)
        routed.set_score_request(sample_weight=True)
        params = {"is_clean": is_clean, "sample_weight": np.ones(len(y))}
        found = cross_val_predict(routed, X, y, cv=2, params=params)
        search = GridSearchCV(routed, {"final_estimator": [None, "linear"]}, cv=2)
        search.fit(X, y, **params)
    assert (found == truth).mean() > 0.65
    assert search.best_params_ == {"final_estimator": None}
    np.testing.assert_array_equal(search.predict_proba(X), model.predict_proba(X))
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), cv=2).fit(X, truth)
    assert calibrated.score(X, truth) > 0.8


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_a_dataframe_have_names(data, model, library):
    X, y, _, is_clean = data
    table = pytest.importorskip(library).DataFrame(dict(zip("abcd", X.T, strict=True)))
    named = fit((table, y, None, is_clean))
    assert list(named.feature_names_in_) == list("abcd")
    np.testing.assert_allclose(named.predict_proba(table), model.predict_proba(X), rtol=1e-9)
    assert not hasattr(model, "feature_names_in_")


def test_a_saved_model_answers_the_same(data, model):
    io = pytest.importorskip("skops.io")
    dumped = io.dumps(model)
    loaded = io.loads(dumped, trusted=io.get_untrusted_types(data=dumped))
    np.testing.assert_array_equal(loaded.predict_proba(data[0]), model.predict_proba(data[0]))


# Honesty


def test_scores_of_a_fold_do_not_hang_on_its_labels(data):
    X, _, labels, is_clean = data
    design = designed(X, labels, is_clean)
    every = np.ones(len(labels), dtype=bool)
    before = staged_scores(design, every)[0]
    own = design.folds.own == 1
    labels = np.where(own, (labels + 1) % 3, labels)
    changed = FoldedDesign(
        LabelRows(X, labels, np.ones(len(X)), is_clean, len(X), np.arange(3)),
        design.folds,
        design.standardizer,
        "cpu",
    )
    after = staged_scores(changed, every)[0]
    np.testing.assert_array_equal(after[:, own], before[:, own])
    assert np.abs(after[:, ~own] - before[:, ~own]).max() > 1


def test_stages_are_fits_of_fewer_iterations(data):
    X, y, _, is_clean = data
    design = designed(X, y, is_clean)
    scores, stages = staged_scores(design, np.ones(len(y), dtype=bool))
    own = design.folds.own == 0
    trees = fit_trees(design.rows, ~own, stages[1])
    np.testing.assert_allclose(np.exp(scores[1, own]), trees.predict_proba(X[own]), atol=1e-12)


def test_a_class_of_suspect_labels_keeps_them():
    X, labels, _, _ = rings(n_classes=3)
    rows = LabelRows(X, labels, np.ones(400), np.zeros(400, dtype=bool), 400, np.arange(3))
    right = np.where(labels == 2, 0.1, 0.9)
    right[:50] = 0.2
    kept = probably_right(rows, right)
    assert kept[labels == 2].all()
    assert not kept[:50][labels[:50] < 2].any()
    assert set(fit_trees(rows, kept, 5).classes_) == {0, 1, 2}
