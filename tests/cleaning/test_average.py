"""What guards a fit: a mean of several, by what they say of labels out of their folds."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss

from skbamm import HyperCleaningClassifier
from skbamm.cleaning._average import Average, Fitted
from skbamm.cleaning._design import FoldedDesign, Standardizer
from skbamm.cleaning._members import Member
from skbamm.cleaning._rows import LabelRows, make_label_folds
from skbamm.cleaning.label_quality._nested import nested_predictions
from skbamm.cleaning.label_quality._out_of_fold import _noise_shown, label_quality
from skbamm.cleaning.label_quality._scores import (
    likeliest_factor,
    log_likelihood,
    weights_by_folds,
)
from tests.cleaning.label_data import make_labels

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Weights


def test_weights_are_normal_densities_of_differences_in_standard_errors():
    losses = np.array([[1.0, 2.0, 3.0], [1.0, 2.5, 3.2], [5.0, 6.0, 9.0]])
    more = losses - losses[0]
    z = [row.sum() / (row.std(ddof=1) * np.sqrt(3)) for row in more[1:]]
    density = np.exp([0.0, *(-np.square(z) / 2 / 1.5**2)]) * [3, 1, 1]
    found = weights_by_folds(losses, 1.5, np.array([3, 1, 1]))
    np.testing.assert_allclose(found, density / density.sum())


def test_fits_on_all_labels_have_half_of_what_the_folds_cannot_tell():
    kinds = ["all labels", "all labels", "filtered", "weighted"]
    losses = np.array([[1.0, 2.0]])
    fitted = [Fitted(kind, 1.0, losses, Member(kind, kind, 0.1)) for kind in kinds]
    found = Average.of(fitted, 1.0).by_kind
    assert found == pytest.approx({"all labels": 0.5, "filtered": 0.25, "weighted": 0.25}, abs=0.01)


def test_trees_on_all_labels_share_that_half():
    losses = np.array([[1.0, 2.0]])
    kinds = ["all labels", "filtered"]
    fitted = [Fitted(kind, 1.0, losses, Member(kind, kind, 0.1)) for kind in kinds]
    fitted += [Fitted(f"trees, {kind}", 1.0, losses) for kind in kinds]
    assert {*Average.of(fitted, 1.0).by_kind.values()} == {0.25}


def test_the_factor_makes_given_labels_likeliest():
    random = np.random.default_rng(0)
    scores, weight = random.normal(size=(200, 3)), random.random(200)
    likelihood = (0.7 * np.eye(3) + 0.1)[(2 * scores + random.gumbel(size=(200, 3))).argmax(1)]
    best = minimize_scalar(
        lambda log: -weight @ log_likelihood(np.exp(log) * scores, likelihood),
        bounds=(-1.6, 1.6),
        method="bounded",
        options={"xatol": 1e-8},
    )
    assert likeliest_factor(scores, likelihood, weight) == pytest.approx(np.exp(best.x), rel=1e-5)


# Label weights out of a fold


@pytest.mark.parametrize("clean", [True, False])
def test_nested_predictions_have_not_seen_the_fold(clean):
    data = make_labels()
    is_clean = data.is_clean & clean

    def predictions(labels, quality=None):
        rows = LabelRows(data.X, labels, data.weight, is_clean, 120, np.arange(3))
        folds = make_label_folds(rows, data.splits, 0)
        design = FoldedDesign(rows, folds, Standardizer.of(rows, True), None)
        # What a few numbers carry over from all rows is held fixed.
        quality = quality or label_quality(design)
        return folds.own, quality, nested_predictions(design, quality.stages, quality.predictions)

    own, quality, expected = predictions(data.y)
    changed = np.where(own == 0, (data.y + 1) % 3, data.y)
    found = predictions(changed, quality)[2]
    others = own != 0
    # Rough fits of all pairs of folds, which share a metric.
    np.testing.assert_allclose(found[0, others], expected[0, others], atol=5e-3)
    assert np.abs(found[1, others] - expected[1, others]).max() > 0.05


# The fit


def overlapping(n_classes, n_samples=600, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(n_samples, 6))
    scores = 1.5 * X[:, :n_classes]
    return X, (scores + random.gumbel(size=scores.shape)).argmax(1)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_verified", [0, 60])
def test_without_wrong_labels_it_is_the_fit_on_all_labels(n_classes, n_verified):
    X, y = overlapping(n_classes)
    is_clean = np.arange(600) < n_verified
    model = HyperCleaningClassifier().fit(X, y, is_clean=is_clean)
    assert {"all labels"} <= {*model.average_weights_} <= {"all labels", "trees, all labels"}
    assert "no wrong labels show" in model.status_
    assert ("verified rows can prove" in model.status_) == (n_verified == 0)
    assert model.noise_rate_ == 0
    np.testing.assert_array_equal(model.fix_labels(), y)
    X_test, y_test = overlapping(n_classes, 4000, seed=1)
    plain = log_loss(y_test, LogisticRegression().fit(X, y).predict_proba(X_test))
    assert log_loss(y_test, model.predict_proba(X_test)) < 1.01 * plain


def test_a_fixed_alpha_without_wrong_labels_is_logistic_regression():
    X, y = overlapping(2)
    model = HyperCleaningClassifier(alpha=0.02, standardize=False).fit(X, y)
    plain = LogisticRegression(C=1 / (0.02 * 600), tol=1e-10).fit(X, y)
    # Our ridge of 1e-6 on the intercept is the only difference.
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=1e-4)


def wrong_labels(y, share, is_clean, seed=0):
    wrong = ~is_clean & (np.random.default_rng(seed).random(len(y)) < share)
    return np.where(wrong, 1 - y, y)


def test_few_verified_labels_do_no_harm():
    X, y = make_classification(1600, 20, n_informative=6, class_sep=0.8, random_state=2)
    scores = {}
    for n_verified in (0, 10, 40):
        is_clean = np.arange(600) < n_verified
        given = wrong_labels(y[:600], 0.3, is_clean)
        model = HyperCleaningClassifier().fit(X[:600], given, is_clean=is_clean)
        scores[n_verified] = model.score(X[600:], y[600:])
    assert min(scores.values()) > scores[0] - 0.01


def test_a_minority_is_found_as_by_logistic_regression():
    random = np.random.default_rng(0)
    y = (random.random(6000) < 0.08).astype(int)
    X = random.normal(size=(6000, 5)) + y[:, None]
    is_clean = random.random(1500) < 0.03
    model = HyperCleaningClassifier().fit(X[:1500], y[:1500], is_clean=is_clean)
    plain = LogisticRegression().fit(X[:1500], y[:1500])
    found, expected = (
        balanced_accuracy_score(y[1500:], one.predict(X[1500:])) for one in (model, plain)
    )
    assert found > expected - 0.01


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_sparse_counts_are_classified_as_by_logistic_regression(noise):
    random = np.random.default_rng(1)
    y = (random.random(1600) < 0.5).astype(int)
    rates = 0.1 * np.exp(random.normal(0, 0.35, (2, 300)))
    X = sparse.csr_array(random.poisson(rates[y]).astype(float))
    given = wrong_labels(y[:600], noise, np.zeros(600, dtype=bool))
    found = HyperCleaningClassifier().fit(X[:600], given).score(X[600:], y[600:])
    assert found > LogisticRegression().fit(X[:600], given).score(X[600:], y[600:])


def test_no_standard_errors_are_the_learned_fit_alone():
    data = make_labels()
    model = HyperCleaningClassifier(standard_errors=0, max_iter=3)
    model.fit(data.X, data.y, is_clean=data.is_clean)
    assert model.average_weights_ == {"learned": 1.0}
    np.testing.assert_allclose(model.alpha_, np.exp(model.hyper_[2]))


def test_many_folds_are_put_together():
    data = make_labels()
    rows = LabelRows(data.X, data.y, data.weight, data.is_clean, 120, np.arange(3))
    folds = make_label_folds(rows, 12, 0)
    few = folds.merged(5)
    assert few.n_folds == 5
    np.testing.assert_array_equal(few.own, folds.own % 5)
    assert (few.in_training[few.own[data.is_clean], np.flatnonzero(data.is_clean)] == 0).all()
    np.testing.assert_allclose(few.validation.sum(), 1.0)


# Whether wrong labels show


def test_noise_must_show_by_models_that_know_no_label_weights_too():
    random = np.random.default_rng(0)
    scores = np.outer(random.normal(size=600), [-1.0, 1.0])
    labels = (scores + random.gumbel(size=(600, 2))).argmax(axis=1)  # overlap, none wrong
    rows = LabelRows(scores, labels, np.ones(600), np.arange(600) < 60, 600, np.arange(2))
    folds = make_label_folds(rows, 5, 0)
    design = FoldedDesign(rows, folds, Standardizer.of(rows, True), "cpu")
    # Too sure far out, as fits are that have dropped the rows that contradict them.
    sure = softmax(3 * scores**3, axis=1)
    assert _noise_shown(design, sure, []).is_shown
    assert not _noise_shown(design, sure, [scores, scores]).is_shown
