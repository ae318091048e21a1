"""HyperCleaningClassifier against answers known by other means."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _search
from skbamm.cleaning._design import FoldedDesign, Standardizer
from skbamm.cleaning._rows import LabelRows, make_label_folds
from tests.cleaning.label_data import make_labels
from tests.reference.cleaning import cleaning_criterion, expanded, logistic_fit

pytestmark = pytest.mark.filterwarnings(
    # Answers are checked wherever a run ends.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(params=[2, 3], ids="{} classes".format, scope="module")
def data(request):
    return make_labels(n_classes=request.param)


def scaled(X, weight):
    return StandardScaler().fit(X, sample_weight=weight).transform(X)


def assert_scores_equal(model, X, coef, design, **tolerance):
    """Equal log odds between classes; a common shift of all scores says nothing."""
    expected = design @ coef[:, :-1].T + coef[:, -1]
    found = model.decision_function(X)
    if found.ndim == 1:
        expected = expected[:, 1] - expected[:, 0]
    else:
        expected = expected - expected.mean(1, keepdims=True)
        found = found - found.mean(1, keepdims=True)
    np.testing.assert_allclose(found, expected, **tolerance)


# A plain fit


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_all_rows_clean_and_a_fixed_alpha_is_logistic_regression(data, weighting):
    model = HyperCleaningClassifier(weighting, alpha=0.02)
    model.fit(data.X, data.y, is_clean=np.ones(120, dtype=bool))
    design = scaled(data.X, None)
    plain = LogisticRegression(C=1 / (0.02 * 120), tol=1e-10, solver="newton-cg")
    plain.fit(design, data.y)
    coef = np.hstack([plain.coef_, plain.intercept_[:, None]])
    if len(coef) == 1:
        coef = np.vstack([0 * coef, coef])
    # Our ridge of 1e-6 on the intercepts is the only difference.
    assert_scores_equal(model, data.X, coef, design, atol=1e-4)


@pytest.mark.parametrize("clean", [True, False])
def test_coefficients_are_logistic_regressions_on_the_learned_weights(data, clean):
    is_clean = data.is_clean if clean else None
    model = HyperCleaningClassifier(max_iter=10, relabel=False, standard_errors=0)
    model.fit(data.X, data.y, data.weight, is_clean=is_clean)
    factor = np.where(data.is_clean, model.clean_weight_, 1) if clean else 1
    weight = data.weight * model.sample_weight_ * factor
    design = scaled(data.X, data.weight)
    coef = logistic_fit(design, data.y, weight, model.alpha_, len(model.classes_))
    # The ridge of 1e-6 on intercepts, and an alpha of 1e-4 at least.
    assert_scores_equal(model, data.X, coef, design, rtol=1e-3, atol=1e-3)


def test_coefficients_are_logistic_regressions_on_relabelled_rows(data, evaluated):
    model, is_clean, _, problem = evaluated
    weight = data.weight * np.where(is_clean, model.clean_weight_, 1)
    design = scaled(data.X, data.weight)
    others = other_labels(problem)
    rows = design, data.y, weight * model.sample_weight_
    if others is not None:  # which needs verified labels
        rows = expanded(design, data.y, weight, model.sample_weight_, others)
    coef = logistic_fit(*rows, model.alpha_, len(model.classes_))
    # The ridge of 1e-6 on intercepts, and an alpha of 1e-4 at least.
    assert_scores_equal(model, data.X, coef, design, rtol=1e-3, atol=1e-3)


def test_the_decision_function_is_linear_in_raw_units(data):
    model = HyperCleaningClassifier(alpha=0.1, max_iter=0).fit(data.X, data.y)
    scores = data.X @ model.coef_.T + model.intercept_
    expected = scores[:, 0] if len(model.classes_) == 2 else scores
    np.testing.assert_allclose(model.decision_function(data.X), expected, atol=1e-12)


def test_probabilities_are_the_softmax_of_scores(data):
    model = HyperCleaningClassifier(alpha=0.1, max_iter=0).fit(data.X, data.y)
    scores = model.decision_function(data.X)
    found = model.predict_proba(data.X)
    if scores.ndim == 1:
        np.testing.assert_allclose(found[:, 1], expit(scores))
    else:
        np.testing.assert_allclose(found, softmax(scores, axis=1))
    np.testing.assert_array_equal(model.predict(data.X), found.argmax(1))


# The criterion


@pytest.fixture(params=[True, False], ids=["verified", "none verified"])
def evaluated(request, data, monkeypatch):
    """A fitted model, and the problem that it was learned on."""
    problems = []
    solve = _search.solve

    def spy(problem, *args, **kwargs):
        problems.append(problem)
        return solve(problem, *args, **kwargs)

    monkeypatch.setattr(_search, "solve", spy)
    is_clean = data.is_clean if request.param else np.zeros(120, dtype=bool)
    model = HyperCleaningClassifier(cv=data.splits, max_iter=12, standard_errors=0)
    model.fit(data.X, data.y, data.weight, is_clean=is_clean)
    log_odds = np.zeros(120)
    log_odds[~is_clean] = problems[0].lower.weighting.log_odds.numpy()
    return model, is_clean, log_odds, problems[0]


def other_labels(problem):
    """Targets of what labels lose in weight, (n_rows, n_classes)."""
    if problem.lower.suggested is None:
        return None
    shares = problem.lower.suggested.numpy().T
    return np.hstack([1 - shares, shares]) if shares.shape[1] == 1 else shares


def plain_criterion(data, evaluated, hyper):
    _, is_clean, log_odds, problem = evaluated
    return cleaning_criterion(
        scaled(data.X, data.weight),
        data.y,
        is_clean,
        data.weight,
        data.splits,
        log_odds,
        hyper,
        problem.upper.prior.precision.numpy(),
        problem.upper.prior.mean.numpy(),
        other_labels(problem),
    )


def test_the_criterion_is_the_held_out_loss_at_the_learned_numbers(data, evaluated):
    model = evaluated[0]
    # The package solves the lower level to 1e-5 and has a ridge of 1e-6 on intercepts.
    expected = plain_criterion(data, evaluated, model.hyper_)
    np.testing.assert_allclose(model.criterion_, expected, rtol=2e-4)


def test_the_initial_criterion_is_the_held_out_loss_without_learning(data, evaluated):
    model, _, _, problem = evaluated
    expected = plain_criterion(data, evaluated, problem.initial_hyper.numpy())
    np.testing.assert_allclose(model.initial_criterion_, expected, rtol=2e-4)


def test_the_criterion_is_not_worse_than_without_learning(evaluated):
    assert evaluated[0].criterion_ <= evaluated[0].initial_criterion_


def test_weights_are_the_learned_function_of_label_quality(evaluated):
    model, is_clean, log_odds, _ = evaluated
    expected = np.where(is_clean, 1.0, expit(model.hyper_[0] + model.hyper_[1] * log_odds))
    np.testing.assert_allclose(model.sample_weight_, expected)


def test_learned_numbers_are_reported_in_their_own_units(evaluated):
    model = evaluated[0]
    np.testing.assert_allclose(model.alpha_, np.exp(model.hyper_[2]))
    np.testing.assert_allclose(model.clean_weight_, np.exp(model.hyper_[3]))


def test_out_of_fold_scores_do_not_depend_on_the_rows_own_label():
    data = make_labels()
    row = data.splits[0][1][0]
    other = data.y.copy()
    other[row] = (other[row] + 1) % 3

    def scores(y):
        nothing = np.zeros(120, dtype=bool)
        rows = LabelRows(data.X, y, data.weight, nothing, 120, np.arange(3))
        folds = make_label_folds(rows, data.splits, 0)
        design = FoldedDesign(rows, folds, Standardizer.of(rows, True), torch.device("cpu"))
        params = design.fit(folds.in_training * rows.weight, 0.1)
        return design.out_of_fold(design.scores(params))

    before, after = scores(data.y), scores(other)
    np.testing.assert_allclose(after[row], before[row], atol=1e-9)
    assert np.abs(after - before).max() > 1e-3


# Digits with 40 % wrong labels

STRENGTHS = np.logspace(-3, 1, 5)


def logistic(strength):
    return LogisticRegression(C=strength, tol=1e-3, max_iter=1000)


def tuned(X, y, is_clean, weight_of_noisy):
    """Logistic regression whose C predicts the verified rows of five folds best."""
    clean = np.flatnonzero(is_clean)
    noisy = np.flatnonzero(~is_clean) if weight_of_noisy else np.arange(0)

    def score(strength):
        folds = StratifiedKFold(5, shuffle=True, random_state=0).split(X[clean], y[clean])
        hits = 0
        for train, test in folds:
            rows = np.concatenate([noisy, clean[train]])
            model = logistic(strength).fit(X[rows], y[rows])
            hits += np.sum(model.predict(X[clean[test]]) == y[clean[test]])
        return hits

    best = max(STRENGTHS, key=score)
    rows = np.concatenate([noisy, clean])
    return logistic(best).fit(X[rows], y[rows])


@pytest.fixture(scope="module")
def digits():
    """50 % noisy, 10 % verified, 40 % test rows; the noise is uniform over the other digits."""
    random = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=0)
    clean = train_test_split(np.arange(len(y)), test_size=1 / 6, stratify=y, random_state=0)[1]
    is_clean = np.isin(np.arange(len(y)), clean)
    is_wrong = ~is_clean & (random.random(len(y)) < 0.4)
    given = np.where(is_wrong, (y + random.integers(1, 10, len(y))) % 10, y)
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    model = HyperCleaningClassifier().fit(X, given, is_clean=is_clean)
    return X, given, is_clean, is_wrong, X_test, y_test, model


def test_wrong_digits_are_found(digits):
    _, _, is_clean, is_wrong, _, _, model = digits
    suspicion = 1 - model.sample_weight_[~is_clean]
    assert roc_auc_score(is_wrong[~is_clean], suspicion) >= 0.985


def test_the_share_of_wrong_digits_is_estimated(digits):
    _, _, is_clean, is_wrong, _, _, model = digits
    assert abs(model.noise_rate_ - is_wrong[~is_clean].mean()) < 0.05


@pytest.mark.parametrize("with_noisy", [True, False], ids=["all rows", "verified rows"])
def test_accuracy_on_digits_is_above_tuned_logistic_regression(digits, with_noisy):
    X, given, is_clean, _, X_test, y_test, model = digits
    plain = tuned(X, given, is_clean, with_noisy)
    assert model.score(X_test, y_test) > plain.score(X_test, y_test)
