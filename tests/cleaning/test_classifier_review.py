"""HyperCleaningClassifier where an earlier version went wrong."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split

from skbamm import HyperCleaningClassifier


@pytest.fixture(scope="module")
def noisy():
    """Two classes, 30 % wrong labels, 40 of 160 rows verified."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((160, 4))
    truth = (X[:, 0] + 0.3 * generator.standard_normal(160) > 0).astype(int)
    is_clean = np.arange(160) < 40
    y = np.where(~is_clean & (generator.random(160) < 0.3), 1 - truth, truth)
    return X, y, is_clean


def frozen(**options):
    return HyperCleaningClassifier(max_iter=0, **options)


def test_a_single_split_is_enough(noisy):
    X, y, is_clean = noisy
    clean = np.flatnonzero(is_clean)
    split = [(np.r_[clean[:20], 40:160], clean[20:])]
    model = frozen(cv=split).fit(X, y, is_clean=is_clean)
    assert np.isfinite(model.coef_).all()
    assert 0.1 < model.noise_rate_ < 0.6


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_noisy_rows_without_weight_leave_a_finite_fit(noisy, weighting):
    X, y, is_clean = noisy
    weight = is_clean.astype(float)
    model = frozen(weighting=weighting).fit(X, y, sample_weight=weight, is_clean=is_clean)
    assert np.isfinite(model.coef_).all() and np.isfinite(model.sample_weight_).all()


def test_free_weights_suggest_labels_by_models_that_have_not_seen_them():
    generator = np.random.default_rng(1)
    truth, X = generator.integers(0, 2, 200), generator.standard_normal((200, 150))
    X[:, :10] += 2 * truth[:, None]
    is_clean = np.arange(200) < 60
    wrong = ~is_clean & (generator.random(200) < 0.3)
    model = frozen(weighting="sample").fit(X, truth ^ wrong, is_clean=is_clean)
    suggested = np.asarray(model.label_report()["suggested_label"])
    # Models of so many columns that saw the labels would agree with the wrong ones.
    assert np.mean(suggested == truth) > 0.85 > 1 - wrong.mean()


def test_a_class_that_no_verified_row_shows_is_predicted():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, train_size=0.5, random_state=0, stratify=y)
    generator = np.random.default_rng(0)
    is_clean = (generator.random(len(y)) < 0.2) & (y != 7)
    given = np.where(
        ~is_clean & (generator.random(len(y)) < 0.3), generator.integers(0, 10, len(y)), y
    )
    model = frozen().fit(X, given, is_clean=is_clean)
    assert (model.predict(X_test[y_test == 7]) == 7).mean() > 0.8


def test_a_boolean_sample_weight_is_taken_for_a_mistake(noisy):
    X, y, is_clean = noisy
    with pytest.raises(ValueError, match="pass is_clean="):
        frozen().fit(X, y, is_clean)


def test_a_single_verified_row_is_refused_by_its_name(noisy):
    X, y, _ = noisy
    with pytest.raises(ValueError, match="single row with a verified label"):
        frozen().fit(X, y, is_clean=np.arange(160) == 3)


def test_methods_are_those_of_the_final_estimator(noisy):
    X, y, is_clean = noisy
    model = frozen(final_estimator=RandomForestClassifier(n_estimators=3, random_state=0))
    model.fit(X, y, is_clean=is_clean)
    assert hasattr(model, "predict_proba") and not hasattr(model, "decision_function")


@pytest.mark.parametrize(
    ("final", "message"),
    [(Ridge(), "must be a classifier"), (LogisticRegression, "instance of a class|an instance")],
)
def test_a_final_estimator_is_refused_before_the_search(noisy, final, message):
    X, y, is_clean = noisy
    with pytest.raises(ValueError, match=message):
        frozen(final_estimator=final).fit(X, y, is_clean=is_clean)


def test_a_refit_without_final_estimator_forgets_the_old_one(noisy):
    X, y, is_clean = noisy
    model = frozen(final_estimator=RandomForestClassifier(n_estimators=3, random_state=0))
    model.fit(X, y, is_clean=is_clean).set_params(final_estimator=None)
    model.fit(X, y, is_clean=is_clean)
    assert not hasattr(model, "final_estimator_")
    assert model.decision_function(X).shape == (160,)
